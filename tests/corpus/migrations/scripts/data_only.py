"""Changes rows only: the catalog stays as it is.

Date: 2024-03-01
"""

import os

from sqlalchemy import create_engine, text


def run_migration():
    with create_engine(os.environ["DATABASE_URL"]).begin() as connection:
        connection.execute(text("UPDATE users SET name = upper(name)"))
    return True
