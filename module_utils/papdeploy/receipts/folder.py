"""The folder that carries receipts. Anybody may have put anything into it: what is no receipt is named, and skipped."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.durable import sync_folder
from ..core.errors import Refused, Unavailable
from ..core.regular import read_regular
from ..core.visible import visible
from .signing import Keys, trusted, verified
from .statements import KINDS, identity, kind_of

# Far above any receipt (one of 5,000 migrations has half a megabyte), and no burden if it is full of brackets.
LIMIT_BYTES = 4 << 20


def write(folder: Path, document: Mapping[str, Any]) -> Path:
    """Put a signed statement into the folder, whole or not at all. Its name sorts by time, and is that of the receipt:
    a revocation takes the place of what it revokes, so that deleting it brings nothing back."""
    path = folder / _name(next(document[kind] for kind in KINDS if kind in document))
    fresh = ""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, fresh = tempfile.mkstemp(dir=folder, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps(document, indent=2, sort_keys=True) + "\n")
        Path(fresh).replace(path)
        sync_folder(folder)
    except OSError as error:
        if fresh:
            Path(fresh).unlink(missing_ok=True)
        raise Unavailable(
            f"The receipt cannot be written to {folder}: {error.strerror}.", hint="Check receipt_folder."
        ) from error
    return path


def is_revoked(folder: Path, revocation: Mapping[str, Any], keys: Keys) -> bool:
    """Whether the folder has this revocation already, signed by one of the keys."""
    try:
        found = _statement(folder / _name(revocation), keys)
    except Refused:
        return False
    return kind_of(found) == "revocation" and identity(found) == identity(revocation)


def _name(statement: Mapping[str, Any]) -> str:
    stamp = str(statement["at"]).replace("-", "").replace(":", "").split(".")[0]
    words = ["".join(c if c.isalnum() or c in "-_" else "_" for c in word) for word in identity(statement)]
    return f"{'-'.join([stamp, *words])}.json"


@dataclass(frozen=True)
class Shelf:
    """What a folder holds: receipts with a good signature, newest first, what was wrong with other files, and what
    staging took back."""

    receipts: list[dict[str, Any]]
    rejected: list[str]
    revocations: list[dict[str, Any]] = field(default_factory=list)


def read(folder: Path, public_texts: Iterable[str]) -> Shelf:
    """Every statement of a folder. Raises Unavailable if there is no such folder, or it cannot be listed."""
    keys = trusted(public_texts)
    found: list[dict[str, Any]] = []
    rejected: list[str] = []
    for name in sorted(_names(folder), reverse=True):
        try:
            found.append(_statement(folder / name, keys))
        except Refused as error:
            rejected.append(f"{visible(name)}: {error.message}")
    found.sort(key=lambda statement: str(statement["at"]), reverse=True)
    revoked = [statement for statement in found if kind_of(statement) == "revocation"]
    return Shelf([statement for statement in found if kind_of(statement) == "receipt"], rejected, revoked)


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir() if path.name.endswith(".json")]
    except (FileNotFoundError, NotADirectoryError):
        raise Unavailable(
            f"There is no folder of receipts at {folder}.",
            hint="Set receipt_folder to where staging writes its receipts (or receipt_repository).",
        ) from None
    except OSError as error:
        raise Unavailable(
            f"The folder of receipts {folder} cannot be listed: {error.strerror}.", hint="Check its mode."
        ) from error


def _statement(path: Path, keys: Keys) -> dict[str, Any]:
    """The signed statement in a file. Whatever else the file is, Refused says so."""
    try:
        return verified(json.loads(read_regular(path, LIMIT_BYTES)), keys)
    except OSError as error:
        raise Refused(f"it cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise Refused("it is not JSON that a receipt could be.") from error
