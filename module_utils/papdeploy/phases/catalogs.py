"""Catalogs of databases, read beside the models."""

from __future__ import annotations

import json

from ..app.stack import AppSession, Stack
from ..core.durable import write_durably
from ..releases.journal import Journal
from ..releases.version import Version
from ..schema.catalog.rows import Catalog


def described(app_session: AppSession, deadline_s: float = 120.0) -> Catalog:
    """The catalog of the database that ``app_session`` is in."""
    return Catalog.from_json(app_session.call("schema.describe", {}, deadline_s=deadline_s)["catalog"])


def left_by(stack: Stack, journal: Journal, version: Version) -> Catalog:
    """The live catalog after the release: as the validation read it, else read now beside the models of ``version``."""
    path = journal.folder / "catalog.json"
    if not path.is_file():
        with stack.beside_models(version) as app_session:
            keep(journal, described(app_session))
    return Catalog.from_json(json.loads(path.read_text(encoding="utf-8")))


def keep(journal: Journal, catalog: Catalog) -> None:
    """Keep what a release has left with it."""
    write_durably(journal.folder / "catalog.json", json.dumps(catalog.as_json()).encode())
