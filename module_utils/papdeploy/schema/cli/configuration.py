"""The configuration of the check: ``pap-deploy.toml`` or ``[tool.papdeploy.schema]`` of ``pyproject.toml``, and JSON.

Python 3.9 and 3.10 have no TOML reader; there ``tomli`` is used where it is installed, and ``pap-deploy.json`` always
works.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.errors import Refused
from ..differences.options import Allowance, allowance

FILES = ("pap-deploy.toml", "pap-deploy.json", "pyproject.toml")
_LISTS = ("models", "ignore", "extensions", "allow")
_TEXTS = ("path", "fail_on", "schema", "owner", "snapshot", "scratch_url", "allow_file")
_TABLES = ("used_by", "severities")


@dataclass
class Configuration:
    """What the file says; the command line goes over it. ``source`` is the file, or ''."""

    source: str = ""
    models: list[str] = field(default_factory=list)
    path: str = ""
    ignore: list[str] = field(default_factory=list)
    extensions: list[str] = field(default_factory=list)
    fail_on: str = ""
    schema: str = ""
    owner: str = ""
    snapshot: str = ""
    scratch_url: str = ""
    used_by: dict[str, str] = field(default_factory=dict)
    severities: dict[str, str] = field(default_factory=dict)
    allow: list[Allowance] = field(default_factory=list)


def load_configuration(path: str | None = None, folder: str | Path = ".") -> Configuration:
    """The configuration in ``path``, or in the first of FILES in ``folder`` that has one; an empty one without any.

    Raises PapError for a file that cannot be read, an unknown key, a value of the wrong kind.
    """
    if path:
        data = _section(Path(path), required=True)
        return _build(data or {}, Path(path))
    for name in FILES:
        candidate = Path(folder) / name
        if candidate.is_file():
            data = _section(candidate, required=False)
            if data is not None:
                return _build(data, candidate)
    return Configuration()


def load_allowances(path: str | Path) -> list[Allowance]:
    """The allow file: a list ``allow`` of {object, kind?, reason, expires}, in TOML or JSON."""
    entries = read_file(Path(path)).get("allow", [])
    if not isinstance(entries, list):
        raise Refused(f"{path}: allow must be a list.", hint="Write [[allow]] before each entry.")
    return [allowance(entry) for entry in entries]


def _section(path: Path, *, required: bool) -> dict[str, Any] | None:
    if path.name == "pyproject.toml" and not required and "tool.papdeploy" not in path.read_text(encoding="utf-8"):
        return None  # not ours: nothing that a missing TOML reader could hide
    data = read_file(path)
    if path.name == "pyproject.toml":
        data = data.get("tool", {}).get("papdeploy", {})
    found = data.get("schema", data)
    if not isinstance(found, dict):
        raise Refused(f"{path}: [schema] must be a table.")
    return found


def read_file(path: Path) -> dict[str, Any]:
    """A TOML or JSON file as plain data."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise Refused(f"{path} cannot be read: {exc}.") from exc
    try:
        data = json.loads(text) if path.suffix == ".json" else _toml(path).loads(text)
    except ValueError as exc:
        raise Refused(f"{path} cannot be read: {exc}.") from exc
    if not isinstance(data, dict):
        raise Refused(f"{path} does not hold a table.")
    return data


def _toml(path: Path) -> Any:
    for name in ("tomllib", "tomli"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise Refused(
        f"{path} is TOML, which this Python cannot read.",
        hint="Use Python 3.11 or newer, install tomli, or write the same as pap-deploy.json.",
    )


def _build(data: Mapping[str, Any], path: Path) -> Configuration:
    known = {*_LISTS, *_TEXTS, *_TABLES}
    unknown = sorted(set(data) - known)
    if unknown:
        raise Refused(f"{path} has unknown keys: {', '.join(unknown)}.", hint=f"Known are {', '.join(sorted(known))}.")
    for names, kind, word in ((_LISTS, list, "a list"), (_TEXTS, str, "a text"), (_TABLES, dict, "a table")):
        for name in names:
            if name in data and not isinstance(data[name], kind):
                raise Refused(f"{path}: {name} must be {word}.")
    allow = [allowance(entry) for entry in data.get("allow", [])]
    if data.get("allow_file"):
        allow += load_allowances(path.parent / data["allow_file"])
    plain = {name: data[name] for name in known - {"allow", "allow_file"} if name in data}
    return Configuration(**plain, source=str(path), allow=allow)
