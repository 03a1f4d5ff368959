"""The folder that carries receipts. Anybody may have put anything into it: what is no receipt is named, and skipped."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

from ..core.durable import sync_folder
from ..core.errors import Refused, Unavailable
from ..core.records import recorded
from ..core.regular import read_regular
from ..core.visible import visible
from .signing import Keys, trusted, verified
from .statements import Statement

# Far above any receipt (one of 5,000 migrations has half a megabyte), and no burden if it is full of brackets.
LIMIT_BYTES = 4 << 20


@dataclass(frozen=True)
class _Named:
    """What the name of a file is made of."""

    at: str = ""
    environment: str = ""
    stack: str = ""
    release: str = ""


@dataclass(frozen=True)
class _Document:
    receipt: Optional[_Named] = None
    revocation: Optional[_Named] = None


def write(folder: Path, document: Mapping[str, Any]) -> Path:
    """Put a signed statement into the folder, whole or not at all. Its name sorts by time, and is that of the receipt:
    a revocation takes the place of what it revokes, so that deleting it brings nothing back."""
    named = recorded(_Document, document)
    path = folder / _name(named.receipt or named.revocation or _Named())
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


def is_revoked(folder: Path, revocation: Statement, keys: Keys) -> bool:
    """Whether the folder has this revocation already, signed by one of the keys."""
    try:
        found = _statement(folder / _name(revocation), keys)
    except Refused:
        return False
    return found.kind == "revocation" and found.identity == revocation.identity


def _name(of: Union[Statement, _Named]) -> str:
    stamp = of.at.replace("-", "").replace(":", "").split(".")[0]
    names = (of.environment, of.stack, of.release)
    words = ["".join(c if c.isalnum() or c in "-_" else "_" for c in word) for word in names]
    return f"{'-'.join([stamp, *words])}.json"


@dataclass(frozen=True)
class Shelf:
    """What a folder holds: receipts with a good signature, newest first, what was wrong with other files, and what
    staging took back."""

    receipts: list[Statement]
    rejected: list[str]
    revocations: list[Statement] = field(default_factory=list)


def read(folder: Path, public_texts: Iterable[str]) -> Shelf:
    """Every statement of a folder. Raises Unavailable if there is no such folder, or it cannot be listed."""
    keys = trusted(public_texts)
    found: list[Statement] = []
    rejected: list[str] = []
    for name in sorted(_names(folder), reverse=True):
        try:
            found.append(_statement(folder / name, keys))
        except Refused as error:
            rejected.append(f"{visible(name)}: {error.message}")
    found.sort(key=lambda statement: statement.at, reverse=True)
    revoked = [statement for statement in found if statement.kind == "revocation"]
    return Shelf([statement for statement in found if statement.kind == "receipt"], rejected, revoked)


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


def _statement(path: Path, keys: Keys) -> Statement:
    """The signed statement in a file. Whatever else the file is, Refused says so."""
    try:
        return verified(json.loads(read_regular(path, LIMIT_BYTES)), keys)
    except OSError as error:
        raise Refused(f"it cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise Refused("it is not JSON that a receipt could be.") from error
