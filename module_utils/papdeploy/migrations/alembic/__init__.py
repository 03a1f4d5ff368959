"""Alembic trees as they are: read where the application's Python is, and run revision by revision by our runner."""
