"""A helper opens a second connection, which waits for the first one's uncommitted ALTER.

Date: 2024-03-01
"""

import os

from sqlalchemy import create_engine, text

engine = create_engine(os.environ["DATABASE_URL"])


def has_rows(table):
    with engine.connect() as connection:
        return connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() > 0


def run_migration():
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE users ADD COLUMN one int"))
        if has_rows("users"):
            connection.execute(text("ALTER TABLE users ADD COLUMN two int"))
    return True
