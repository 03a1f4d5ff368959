"""Holds a transaction open for ever.

Date: 2024-03-01
"""

import os
import time

from sqlalchemy import create_engine, text


def run_migration():
    with create_engine(os.environ["DATABASE_URL"]).begin() as connection:
        connection.execute(text("ALTER TABLE users ADD COLUMN never int"))
        print("working")
        while True:
            time.sleep(0.1)
