"""Commits its first half, then fails.

Date: 2024-03-01
"""

import os

from sqlalchemy import create_engine, text


def run_migration():
    engine = create_engine(os.environ["DATABASE_URL"])
    try:
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE users ADD COLUMN half int"))
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE missing ADD COLUMN other int"))
    except Exception as error:  # noqa: BLE001 - this is what such scripts do
        print("Migration failed:", error)
        return False
    return True
