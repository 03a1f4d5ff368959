"""The folder that carries receipts. Anybody may have put anything into it: what is no receipt is named, and skipped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.durable import sync_folder
from ..core.regular import read_regular
from ..core.visible import visible
from ..errors import Refused, Unavailable
from .signing import Keys, trusted, verified

# Far above any receipt (one of 5,000 migrations has half a megabyte), and no burden if it is full of brackets.
LIMIT_BYTES = 4 << 20


def write(folder: Path, document: Mapping[str, Any]) -> Path:
    """Put a signed receipt into the folder, whole or not at all. Its name sorts by time."""
    receipt = document["receipt"]
    stamp = str(receipt["at"]).replace("-", "").replace(":", "").split(".")[0]
    path = folder / f"{'-'.join([stamp, *(_plain(receipt[key]) for key in ('environment', 'stack', 'release'))])}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        fresh.replace(path)
        sync_folder(folder)
    except OSError as error:
        raise Unavailable(
            f"The receipt cannot be written to {folder}: {error.strerror}.", hint="Check receipt_folder."
        ) from error
    return path


def _plain(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in str(text))


@dataclass(frozen=True)
class Shelf:
    """What a folder holds: receipts with a good signature, newest first, and what was wrong with the others."""

    receipts: list[dict[str, Any]]
    rejected: list[str]


def read(folder: Path, public_texts: Iterable[str]) -> Shelf:
    """Every receipt of a folder. Raises Unavailable if there is no such folder, or it cannot be listed."""
    keys = trusted(public_texts)
    found: list[dict[str, Any]] = []
    rejected: list[str] = []
    for name in sorted(_names(folder), reverse=True):
        try:
            found.append(_statement(folder / name, keys))
        except Refused as error:
            rejected.append(f"{visible(name)}: {error.message}")
    return Shelf(sorted(found, key=lambda receipt: str(receipt["at"]), reverse=True), rejected)


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
