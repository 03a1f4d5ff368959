"""What the models declare: loading them, and the schema that they make."""
