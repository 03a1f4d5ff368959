"""What happens to the database when the API starts: missing tables are created (never columns), no users: an admin."""

from __future__ import annotations

import time

from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from app import config, models_config  # noqa: F401  (its tables belong to the metadata)
from app.auth import hasher
from app.database import Base, SessionLocal, engine
from app.models import User


def wait_for_database(seconds: float = 5.0) -> None:
    """Return when the database takes a connection; its own error if it does not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with engine.connect():
                return
        except OperationalError as error:
            if time.monotonic() > deadline:
                raise
            print(f"Database not ready: {str(error.orig).strip()}", flush=True)
            time.sleep(0.2)


def prepare_database() -> None:
    wait_for_database()
    if config.drop_tables_wanted():
        if config.ENVIRONMENT == "development":
            print("CC_DROP_TABLES is set: dropping all tables", flush=True)
            Base.metadata.drop_all(engine)
        else:
            print(f"CC_DROP_TABLES is set but ignored: this is {config.ENVIRONMENT}, not development", flush=True)
    Base.metadata.create_all(engine)
    with SessionLocal.begin() as session:
        if session.scalar(select(func.count()).select_from(User)) == 0:
            session.add(
                User(
                    username="admin",
                    email="admin@pap.example",
                    full_name="Administrator",
                    password_hash=hasher.hash(config.INITIAL_ADMIN_PASSWORD),
                    role="admin",
                    force_password_change=True,
                )
            )
            print("No users: created admin", flush=True)
