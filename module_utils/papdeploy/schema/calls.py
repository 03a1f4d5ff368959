"""The agent's calls: the schema check beside the models, requests and results as plain data."""

from __future__ import annotations

from typing import Any, Callable

from ..postgres import WHEREABOUTS
from .catalog import describe
from .checker import check
from .fingerprints import fingerprint
from .models import ModelSet, load_models
from .opening import database_url, open_session
from .options import CheckOptions
from .scratch import expect

Request = dict[str, Any]
Emit = Callable[[dict[str, Any]], None]


def _models(request: Request) -> ModelSet:
    return load_models(request["models"], request.get("path"), extensions=request.get("extensions", ()))


def _application(request: Request) -> str:
    return f"pap-deploy:{request.get('release') or 'cli'}"


def ddl(request: Request, emit: Emit) -> dict[str, Any]:
    """{models, path?, extensions?, server_version} → {digest, ddl, tables, classes}; needs no database."""
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
    """{models, path?, extensions?, url?} → {digest, catalog}; ``url`` is an empty database that the caller drops."""
    models = _models(request)
    emit({"event": "schema.models", "tables": models.tables()})
    with open_session(database_url(request.get("url")), application=_application(request)) as session:
        catalog = expect(models, session)
    return {"digest": catalog["digest"], "catalog": catalog}


def described(request: Request, emit: Emit) -> dict[str, Any]:
    """{url?} → {catalog, fingerprint, whereabouts}; reads only."""
    with open_session(database_url(request.get("url")), application=_application(request)) as session:
        catalog = describe(session)
        whereabouts = session.read(f"SELECT {WHEREABOUTS}")[0][0]
    return {"catalog": catalog, "fingerprint": fingerprint(catalog), "whereabouts": whereabouts}


def checked(request: Request, emit: Emit) -> dict[str, Any]:
    """{url?, expected, options?} → the check's result as plain data; reads only."""
    options = CheckOptions.from_dict(request.get("options"))
    with open_session(database_url(request.get("url")), application=_application(request)) as session:
        return check(session, request["expected"], options).as_dict()


CALLS: dict[str, Callable[[Request, Emit], dict[str, Any]]] = {
    "schema.ddl": ddl,
    "schema.expect": expected,
    "schema.describe": described,
    "schema.check": checked,
}
