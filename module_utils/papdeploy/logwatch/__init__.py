"""The watch after a deploy."""
