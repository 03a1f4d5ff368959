"""What a database contains: one query, and how its session is opened."""
