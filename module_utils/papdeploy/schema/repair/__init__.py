"""The SQL that makes a database match its models."""
