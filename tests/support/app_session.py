"""Statements as an application sends them: with its own search path, not with the one that pap-deploy pins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from papdeploy.databases.psql import Database


class _AppDatabase(Database):
    def environment(self, settings: Mapping[str, str] | None = None) -> dict[str, str]:
        return super().environment({"search_path": '"$user",public', **(settings or {})})


def as_app(database: Database) -> Database:
    """``database`` with sessions that find unqualified names in public."""
    return _AppDatabase(**{field.name: getattr(database, field.name) for field in fields(database)})
