"""The agent's calls: the schema check beside the models, requests and results as plain data."""

from __future__ import annotations

import os
from typing import Any, Callable

from ..core import alone
from ..core.database_identity import DatabaseIdentity
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

Request = dict[str, Any]
Emit = Callable[[dict[str, Any]], None]


def _models(request: Request) -> ModelSet:
    return load_models(request["models"], request.get("path"), extensions=request.get("extensions", ()))


def _opened(request: Request) -> Session:
    """A session on the request's ``url``, in the database whose identity is ``expect_database``, if that is given."""
    identity = request.get("expect_database")
    return open_session(
        database_url(request.get("url")),
        application=f"pap-deploy:{request.get('release') or 'cli'}",
        expect=DatabaseIdentity.from_dict(identity) if identity else None,
    )


def ddl(request: Request, emit: Emit) -> dict[str, Any]:
    """{models, path?, extensions?, server_version, alone?} → {digest, ddl, tables, classes}; needs no database. With
    ``alone`` the models are imported where they reach nothing: raises Unavailable if they do not import there."""
    if not request.get("alone"):
        return _ddl(request)
    found = alone.run(lambda: _ddl_with_secrets(request), _ALONE_S)
    emit({"event": "secrets", "values": found.pop("secrets")})
    return found


def _ddl_with_secrets(request: Request) -> dict[str, Any]:
    """With what the import has loaded into the environment, which may be known only here."""
    redactor, before = Redactor(), dict(os.environ)
    made = _ddl(request)
    redactor.learn_environment(dict(os.environ), inherited=before)
    return {**made, "secrets": list(redactor.secrets)}


def _ddl(request: Request) -> dict[str, Any]:
    models = _models(request)
    version = int(request["server_version"])
    major = version // 10_000 if version >= 10_000 else version
    return {
        "digest": models.digest(major),
        "ddl": models.ddl(version),
        "tables": models.tables(),
        "classes": models.classes(),
    }


def expected(request: Request, emit: Emit) -> dict[str, Any]:
    """{models, path?, extensions?, url?, expect_database?} → {digest, catalog}.

    ``url`` is an empty database that the caller drops.
    """
    models = _models(request)
    emit({"event": "schema.models", "tables": models.tables()})
    with _opened(request) as session:
        catalog = expect(models, session)
    return {"digest": catalog.digest, "catalog": catalog.as_json()}


def described(request: Request, emit: Emit) -> dict[str, Any]:
    """{url?, expect_database?} → {catalog, fingerprint}; reads only."""
    with _opened(request) as session:
        catalog = describe(session)
    return {"catalog": catalog.as_json(), "fingerprint": fingerprint(catalog)}


def checked(request: Request, emit: Emit) -> dict[str, Any]:
    """{url?, expect_database?, expected, options?} → the check's result as plain data; reads only."""
    options = CheckOptions.from_dict(request.get("options"))
    with _opened(request) as session:
        return check(session, Catalog.from_json(request["expected"]), options).as_dict()


def identified(request: Request, emit: Emit) -> dict[str, Any]:
    """{url, expect_database} → {}: a session comes and goes, which proves where ``url`` leads."""
    with _opened(request):
        return {}


CALLS: dict[str, Callable[[Request, Emit], dict[str, Any]]] = {
    "schema.ddl": ddl,
    "schema.expect": expected,
    "schema.describe": described,
    "schema.check": checked,
    "schema.identify": identified,
}
