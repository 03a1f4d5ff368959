"""What lies in a backup folder: our backups, each with what is wrong with it, and everything that is not ours."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Optional

from ..core.clock import epoch
from ..core.durable import sync_folder
from ..core.errors import Refused
from ..core.text import plural
from . import files
from .manifest import GLOBALS, SUFFIX, Manifest, load_manifest
from .retention import PROOFS, Owner, Thing

HOLD = ".hold"


def scan(folder: Path) -> list[Thing]:
    """Everything in ``folder``, oldest backup first. Nothing is opened but manifests; no link is followed.

    A file is part of a backup only if a manifest of ours names it; whatever else lies there is a thing of kind "file".
    """
    if not folder.is_dir():
        return []
    names = {entry.name for entry in os.scandir(folder)}
    found: list[Thing] = []
    explained: set[str] = set()
    for name in sorted(names):
        if name.endswith(SUFFIX) and not name.startswith(".") and _is_file(folder / name):
            archive = name[: -len(SUFFIX)]
            found.append(_backup(folder / archive))
            beside = (archive + suffix for suffix in (SUFFIX, GLOBALS) if _is_file(folder / (archive + suffix)))
            explained |= {archive, archive + HOLD, *beside}
    found.sort(key=lambda thing: (thing.at or 0.0, thing.name))
    for name in sorted(names - explained):
        if not (name.startswith(files.PARTIAL) and files.is_archive(name[len(files.PARTIAL) :])):  # a run at work
            found.append(Thing("file", str(folder / name), trouble=_foreign(folder / name)))
    return found


def remove(thing: Thing) -> None:
    """Remove a backup, the manifest last: it says what the archive is, for as long as there is one. Raises OSError."""
    archive = Path(thing.name)
    for suffix in ("", GLOBALS, SUFFIX):
        path = archive.with_name(archive.name + suffix)
        if _is_file(path):
            path.unlink()
            sync_folder(path.parent)


def numbered(things: Sequence[Thing], seen: Sequence[str], now: float) -> list[Thing]:
    """``things`` in the order in which they were first seen: those of ``seen`` (by key), then the new ones by their
    date. A date after ``now`` says nothing, so such a new one counts as the oldest of them."""
    place = {key: number for number, key in enumerate(dict.fromkeys(seen), 1)}
    new = [thing for thing in things if thing.kind == "backup" and thing.key not in place]
    new.sort(key=lambda thing: (thing.at is not None and thing.at <= now, thing.at or 0.0, thing.name))
    place.update({thing.key: len(place) + number for number, thing in enumerate(new, 1)})
    return [replace(thing, number=place.get(thing.key, 0)) for thing in things]


def _backup(archive: Path) -> Thing:
    try:
        manifest = load_manifest(archive).manifest
    except Refused as error:
        return Thing("backup", str(archive), trouble=error.message)
    held = f"{archive.name}{HOLD} lies beside it" if os.path.lexists(f"{archive}{HOLD}") else ""
    try:
        return replace(_described(archive, manifest), hold=held, trouble=_trouble(archive, manifest))
    except ValueError as error:
        return Thing("backup", str(archive), hold=held, trouble=f"its manifest is not one of ours ({error})")


def _described(archive: Path, manifest: Manifest) -> Thing:
    return Thing(
        "backup",
        str(archive),
        owner=Owner(manifest.stack, manifest.database, manifest.system_identifier),
        release=manifest.release,
        at=epoch(manifest.started),
        proof=PROOFS[PROOFS.index(manifest.proof.kind)],
        bytes=manifest.bytes,
        sha256=manifest.sha256,
    )


def _trouble(archive: Path, manifest: Manifest) -> str:
    """Why it is not certain to be one of ours, or not whole; empty if it is both."""
    if manifest.file != archive.name:
        return f"a copy or renamed by hand: its manifest is that of {manifest.file}"
    if not files.is_ours(archive.name, manifest.stack, manifest.database, manifest.release):
        return "it has no name that pap-deploy gives"
    try:
        status = archive.lstat()
    except FileNotFoundError:
        return "its archive is gone, only the manifest is left"
    if not stat.S_ISREG(status.st_mode):
        return f"its archive is {_what(status.st_mode)}"
    if status.st_size != manifest.bytes:
        return f"its archive is damaged: {status.st_size:,} of {plural(manifest.bytes, 'byte')}"
    return ""


def _foreign(path: Path) -> str:
    mode = _mode(path)
    if mode is not None and not stat.S_ISREG(mode):
        return f"not from pap-deploy ({_what(mode)})"
    if files.is_archive(path.name):
        return "an archive without a manifest: nothing is known about it"
    return "not from pap-deploy"


def _is_file(path: Path) -> bool:
    mode = _mode(path)
    return mode is not None and stat.S_ISREG(mode)


def _mode(path: Path) -> Optional[int]:
    try:
        return path.lstat().st_mode
    except OSError:
        return None


def _what(mode: int) -> str:
    for test, name in (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if test(mode):
            return name
    return "a device"
