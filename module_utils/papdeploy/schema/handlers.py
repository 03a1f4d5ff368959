"""The agent's calls: the schema check beside the models."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Optional

from ..core import alone, calls
from ..core.calls import Emit
from ..core.database_identity import DatabaseIdentity
from ..core.plain_json import JsonObject
from ..core.records import as_object, read
from ..core.redact import Redactor
from .catalog.build import describe
from .catalog.connect import database_url, open_session
from .catalog.connection import Session
from .catalog.fingerprint import fingerprint
from .catalog.rows import Catalog
from .checker import check
from .differences.options import CheckOptions
from .models.expected import expect
from .models.load import ModelSet, load_models

_ALONE_S = 100.0


@dataclass(frozen=True)
class Connected:
    """A database: its URL (default: DATABASE_URL of the environment), and the identity that a session must prove."""

    url: Optional[str] = None
    expect_database: Optional[DatabaseIdentity] = None
    release: Optional[str] = None

    def session(self) -> Session:
        return open_session(
            database_url(self.url), application=f"pap-deploy:{self.release or 'cli'}", expect=self.expect_database
        )


@dataclass(frozen=True)
class Modelled(Connected):
    """Models. ``server_version``: for which their DDL is; ``alone``: they are imported where they reach nothing."""

    models: tuple[str, ...] = ()
    path: Optional[str] = None
    extensions: tuple[str, ...] = ()
    server_version: int = 0
    alone: bool = False

    def load(self) -> ModelSet:
        return load_models(self.models, self.path, extensions=self.extensions)


@dataclass(frozen=True)
class Compared(Connected):
    """A database and the catalog that it should have; ``options`` of the check."""

    expected: object = None
    options: Optional[dict[str, Any]] = None


@dataclass(frozen=True)
class Ddl:
    digest: str
    ddl: tuple[str, ...]
    tables: int


@dataclass(frozen=True)
class Alone:
    """``secrets``: what the import has loaded into the environment, which may be known only there."""

    made: Ddl
    secrets: tuple[str, ...]


@dataclass(frozen=True)
class Expected:
    digest: str
    catalog: Catalog


@dataclass(frozen=True)
class Described:
    catalog: Catalog
    fingerprint: str


def ddl(request: Modelled, emit: Emit) -> Ddl:
    """Needs no database. Raises Unavailable if the models are to be imported alone, and do not import there."""
    if not request.alone:
        return _ddl(request)
    found = read(Alone, alone.run(lambda: as_object(_ddl_with_secrets(request)), _ALONE_S))
    emit({"event": "secrets", "values": list(found.secrets)})
    return found.made


def _ddl_with_secrets(request: Modelled) -> Alone:
    redactor, before = Redactor(), dict(os.environ)
    made = _ddl(request)
    redactor.learn_environment(dict(os.environ), inherited=before)
    return Alone(made, tuple(redactor.secrets))


def _ddl(request: Modelled) -> Ddl:
    models, version = request.load(), request.server_version
    major = version // 10_000 if version >= 10_000 else version
    return Ddl(models.digest(major), tuple(models.ddl(version)), models.tables())


def expected(request: Modelled, emit: Emit) -> Expected:
    """The catalog that the models make in an empty database, which the caller drops."""
    models = request.load()
    emit({"event": "schema.models", "tables": models.tables()})
    with request.session() as session:
        catalog = expect(models, session)
    return Expected(catalog.digest, catalog)


def described(request: Connected) -> Described:
    """What a database holds; reads only."""
    with request.session() as session:
        catalog = describe(session)
    return Described(catalog, fingerprint(catalog))


def checked(request: Compared) -> JsonObject:
    """The check's result as plain data; reads only."""
    options = CheckOptions.from_dict(request.options)
    with request.session() as session:
        return check(session, Catalog.from_json(request.expected), options).as_dict()


def identified(request: Connected) -> Connected:
    """A session comes and goes, which proves where the URL leads."""
    with request.session():
        return Connected()


CALLS: dict[str, calls.Call] = {
    "schema.ddl": calls.telling(Modelled, ddl),
    "schema.expect": calls.telling(Modelled, expected),
    "schema.describe": calls.of(Connected, described),
    "schema.check": calls.of(Compared, checked),
    "schema.identify": calls.of(Connected, identified),
}
