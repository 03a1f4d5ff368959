"""This package as a zip: whole, or the part of it that runs in the Python of the app.

Works from a checkout, an installed package and the zip that Ansible makes of it.
"""

from __future__ import annotations

import fnmatch
import io
import zipfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

_PACKAGE = __package__.rpartition(".")[0]

# What runs in the Python of the app (3.9, the standard library, its SQLAlchemy and driver): no more is sent there.
# A test holds that it is closed under imports, and that nothing in it is without a use there.
TRAVELS = (
    "__init__.py",
    "core/__init__.py",
    "core/alone.py",
    "core/calls.py",
    "core/confined.py",
    "core/conninfo.py",
    "core/database_identity.py",
    "core/database_url.py",
    "core/errors.py",
    "core/plain_json.py",
    "core/processes.py",
    "core/reasons.py",
    "core/records.py",
    "core/redact.py",
    "core/secret_names.py",
    "core/secret_patterns.py",
    "core/text.py",
    "core/url_hosts.py",
    "core/url_spellings.py",
    "core/visible.py",
    "environment/__init__.py",
    "environment/application.py",
    "environment/copy_environment.py",
    "environment/copy_process.py",
    "environment/encoded.py",
    "environment/env_file.py",
    "environment/installed.py",
    "environment/libpq_files.py",
    "environment/reached.py",
    "environment/settings*.py",
    "environment/shell_commands.py",
    "environment/shell_script.py",
    "environment/start*.py",
    "environment/switches.py",
    "migrations/*.py",
    "migrations/alembic/*.py",
    "migrations/run/*.py",
    "remote/__init__.py",
    "remote/handlers.py",
    "remote/server.py",
    "schema/*.py",
    "schema/catalog/*.py",
    "schema/differences/*.py",
    "schema/models/__init__.py",
    "schema/models/capture_output.py",
    "schema/models/expected.py",
    "schema/models/load.py",
    "schema/models/recorder.py",
    "schema/models/source.py",
    "schema/repair/*.py",
    "sql/*.py",
)


def package_folder() -> str:
    """The folder that holds this package as plain files; empty if it is inside an archive."""
    folder = Path(__file__).resolve().parents[2]
    return str(folder) if _PACKAGE == "papdeploy" and folder.is_dir() else ""


def travels() -> bytes:
    """What is sent into the app's Python, as a zip."""
    return _zip(lambda path: any(_matches(path, pattern) for pattern in TRAVELS))


def whole() -> bytes:
    """The whole package as a zip."""
    return _zip(lambda path: path.endswith((".py", ".sql")))


def _matches(path: str, pattern: str) -> bool:
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)


def _zip(wanted: Callable[[str], bool]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, resources.files(_PACKAGE), "", wanted)
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, folder: Any, prefix: str, wanted: Callable[[str], bool]) -> None:
    for entry in sorted(folder.iterdir(), key=lambda item: str(item.name)):
        path = f"{prefix}{entry.name}"
        if entry.is_dir():
            _add(archive, entry, f"{path}/", wanted)
        elif wanted(path):
            archive.writestr(f"papdeploy/{path}", entry.read_bytes())
