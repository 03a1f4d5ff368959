"""Migrations: files, ledger and the runner that applies them whole, once and proven, or not at all.

Importing this package needs the standard library only; a driver is imported when a connection is opened, SQLAlchemy
when a migration or a check asks for ``connection``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "MigrationFile": "files",
    "load_folder": "files",
    "load_folders": "files",
    "load_sources": "files",
    "RunOptions": "options",
    "apply": "run.apply",
    "revert": "run.revert",
    "plan": "run.plan_on_copy",
    "status": "planning",
    "baseline": "run.baseline",
    "repair": "run.baseline",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
