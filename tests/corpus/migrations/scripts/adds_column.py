"""Add api_key to users.

Date: 2024-03-01
Author: somebody
"""

import os

from sqlalchemy import create_engine, text

DATABASE_URL = os.getenv("DATABASE_URL")
engine = create_engine(DATABASE_URL)


def run_migration():
    print("Connecting to", DATABASE_URL)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE users ADD COLUMN api_key varchar(64)"))
    print("Migration completed successfully")
    return True


if __name__ == "__main__":
    raise SystemExit(0 if run_migration() else 1)
