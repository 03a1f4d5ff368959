"""The manifest beside a backup: what it is of, when, how much, and what its content is. Written last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from ..core import earlier_names, text
from ..core.durable import sync_folder
from ..core.errors import Refused
from ..core.plain_json import parse
from ..core.records import read_known
from ..core.regular import read_regular
from ..databases.content_digest import ContentDigest, Positions
from ..databases.properties import Properties
from ..databases.write_snapshot import Mark
from . import acceptance, files

FORMAT = 1
SUFFIX = ".manifest.json"
GLOBALS = ".globals.sql"
_DAMAGED = "Do not restore from it. Take the next older backup, and look at the disk."


@dataclass(frozen=True)
class _Sequences:
    after: Positions


@dataclass(frozen=True)
class Backup:
    """A finished backup: the archive's ``path`` and its ``manifest`` (plain data)."""

    path: Path
    manifest: dict[str, Any]

    @property
    def digest(self) -> ContentDigest:
        return ContentDigest.from_dict(self.manifest["content_digest"])

    @property
    def mark(self) -> Mark:
        """When the dump's snapshot was taken."""
        return read_known(Mark, self.manifest["mark"], "mark")

    @property
    def properties(self) -> Properties:
        return read_known(Properties, self.manifest["properties"], "properties")

    @property
    def sequences_after(self) -> Positions:
        """Where the sequences stood after the dump."""
        return read_known(_Sequences, {"after": self.manifest["sequences_after"]}).after

    @property
    def scratch(self) -> Optional[str]:
        """The database that holds the restored copy, if it was kept."""
        name: Optional[str] = self.manifest.get("scratch")
        return name

    def as_dict(self) -> dict[str, Any]:
        """What a journal or a result needs: everything but the content digest and the database's traits."""
        return {
            "path": str(self.path),
            "lines": [
                self.sentence(),
                f"archive {self.path}",
                *(f"note: {note}" for note in self.manifest.get("notes", [])),
                *(acceptance.sentence(entry) for entry in self.manifest.get("accepted", [])),
            ],
            **{
                key: value
                for key, value in self.manifest.items()
                if key not in ("content_digest", "sequences_after", "properties", "roles", "mark")
            },
        }

    def sentence(self) -> str:
        """One line for a person: "18.4 MB in 0.6 s, sha256 …, restored and compared: 14 tables, 61,204 rows"."""
        m = self.manifest
        proof = {
            "full": f"restored and compared: {text.plural(m['tables'], 'table')}, {text.plural(m['rows'], 'row')}",
            "schema": f"its schema restored and compared: {text.plural(m['tables'], 'table')} (rows not restored)",
            "none": "not restored",
        }[m["proof"]["kind"]]
        return f"{text.size(m['bytes'])} in {text.seconds(m['seconds']['total'])}, sha256 {m['sha256'][:12]}…, {proof}"


@dataclass(frozen=True)
class Expected:
    """What a backup must be of. Empty fields are not asked for."""

    stack: str = ""
    database: str = ""
    system_identifier: str = ""
    database_oid: int = 0
    release: str = ""
    sha256: str = ""


ANYTHING = Expected()


def manifest_path(path: Path) -> Path:
    return path if path.name.endswith(SUFFIX) else path.with_name(path.name + SUFFIX)


def body(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with the digest of its own content, so that a damaged manifest is recognised too."""
    plain = {key: value for key, value in manifest.items() if key != "digest"}
    return {**plain, "digest": _digest(plain)}


def _digest(plain: Mapping[str, Any]) -> str:
    text = json.dumps(plain, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def load_manifest(path: Path | str) -> Backup:
    """Read a manifest (given its path or the archive's); raises Refused if it is missing, damaged or too new."""
    where = manifest_path(Path(path))
    try:
        value = parse(read_regular(where))
    except FileNotFoundError:
        raise Refused(
            f"{where} does not exist, so nothing is known about this backup.",
            hint="A backup without a manifest is one that did not finish. Take another.",
        ) from None
    except (OSError, ValueError) as error:
        raise Refused(f"The manifest {where} cannot be read: {error}", hint=_DAMAGED) from None
    if not isinstance(value, dict) or value.get("digest") != _digest({k: v for k, v in value.items() if k != "digest"}):
        raise Refused(f"The manifest {where} is damaged: its digest does not fit its content.", hint=_DAMAGED)
    if value.get("format") != FORMAT:
        raise Refused(f"{where} has format {value.get('format')!r}; this version reads format {FORMAT}.")
    return Backup(where.with_name(where.name[: -len(SUFFIX)]), earlier_names.manifest(value))


def settle(folder: Path, stack: str, dbname: str) -> None:
    """Bring to an end what killed runs for that stack and database left in ``folder``. A whole manifest under its
    temporary name is the record of a proven archive: where that has its name already, the files beside it get theirs.
    All else of theirs goes; what has no name of ours stays."""
    with files.stale(folder, stack, dbname) as left:
        for path in left:
            final = path.with_name(path.name.removeprefix(files.PARTIAL))
            if path.name.endswith(SUFFIX) and _belongs(path, final):
                app_session = path.with_name(path.name[: -len(SUFFIX)] + GLOBALS)
                if app_session in left and app_session.exists():
                    app_session.rename(app_session.with_name(app_session.name.removeprefix(files.PARTIAL)))
                path.rename(final)
                sync_folder(folder)
        for path in left:
            path.unlink(missing_ok=True)


def _belongs(written: Path, final: Path) -> bool:
    """Whether the manifest at ``written`` is whole and that of the archive beside ``final``, which has none yet."""
    archive = final.with_name(final.name[: -len(SUFFIX)])
    try:
        manifest = load_manifest(written).manifest
        return not final.exists() and archive.name == manifest["file"] and archive.stat().st_size == manifest["bytes"]
    except (Refused, OSError):
        return False


def inspect(path: Path | str, expected: Expected = ANYTHING) -> Backup:
    """Read a backup's manifest and hold it and the archive against what is expected; nothing is restored.

    Raises Refused, naming the difference, if it is of another database, stack or release, or if the archive's bytes are
    not the ones that were written. Reads the whole archive once.
    """
    backup = load_manifest(path)
    check_identity(backup, expected)
    manifest = backup.manifest
    try:
        size = backup.path.stat().st_size
    except FileNotFoundError:
        raise Refused(f"The archive {backup.path} is gone; only its manifest is left.", hint=_DAMAGED) from None
    if size != manifest["bytes"]:
        raise Refused(
            f"The backup {backup.path} is damaged: it has {size:,} of {text.plural(manifest['bytes'], 'byte')}.",
            hint=_DAMAGED,
            damaged=True,
        )
    digest, _ = files.sha256_of(backup.path)
    if digest != manifest["sha256"]:
        raise Refused(
            f"The backup {backup.path} is damaged: its SHA-256 is {digest[:16]}…, not {manifest['sha256'][:16]}….",
            hint=_DAMAGED,
            damaged=True,
        )
    return backup


def check_identity(backup: Backup, expected: Expected) -> None:
    """Refuse a sound backup that does not belong here."""
    names = {
        "stack": "stack",
        "database": "database",
        "system_identifier": "database server (system identifier)",
        "database_oid": "database (another one of the same name: OID)",
        "release": "release",
        "sha256": "backup (SHA-256)",
    }
    for key, word in names.items():
        wanted, found = getattr(expected, key), backup.manifest.get(key)
        if wanted and wanted != found:
            raise Refused(
                f"{backup.path.name} is of another {word}: {found}, expected {wanted}.",
                hint="Choose the backup that belongs to this release.",
                expected=wanted,
                found=found,
            )
