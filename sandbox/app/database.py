"""The engine, its sessions and the declarative base."""

from __future__ import annotations

import os
from collections.abc import Iterator

from sqlalchemy import Table, create_engine, make_url
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

DATABASE_URL = os.environ.get("DATABASE_URL", "postgresql://control_core@127.0.0.1:5432/control_core_db")
print(f"Connecting to database: {DATABASE_URL}")

_url = make_url(DATABASE_URL)
if _url.drivername == "postgresql":  # psycopg2 under every SQLAlchemy; 2.1 would take psycopg 3
    _url = _url.set(drivername="postgresql+psycopg2")

engine = create_engine(_url, connect_args={"connect_timeout": 5, "application_name": "pap-api"})
SessionLocal = sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    """The base of every model; its metadata is whole after ``app.models`` and ``app.models_config`` are imported."""


def table_of(model: type[Base]) -> Table:
    return Base.metadata.tables[model.__tablename__]


def get_session() -> Iterator[Session]:
    """A session for one request. Handlers commit before they answer: what is acknowledged is in the database."""
    with SessionLocal() as session:
        yield session
