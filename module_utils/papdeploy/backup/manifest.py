"""The manifest beside a backup: what it is of, when, how much, and what its content is. Written last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Optional

from ..core import earlier_names, text
from ..core.durable import sync_folder
from ..core.errors import PapError, Refused
from ..core.plain_json import JsonObject, parse
from ..core.records import plain, read_known, recorded
from ..core.regular import read_regular
from ..databases.content_digest import ContentDigest, Positions
from ..databases.properties import Properties, Role
from ..databases.write_snapshot import Mark
from . import files
from .acceptance import Accepted
from .encryption import EncryptedFor

FORMAT = 1
SUFFIX = ".manifest.json"
GLOBALS = ".globals.sql"
_DAMAGED = "Do not restore from it. Take the next older backup, and look at the disk."


@dataclass(frozen=True)
class Proof:
    """``kind`` is one of ``retention.PROOFS``; ``seconds`` is what it took to read the restored copy."""

    kind: str
    seconds: float


@dataclass(frozen=True)
class Seconds:
    """What the parts of a backup took."""

    dump: float
    restore: float
    content_digest: float
    total: float


@dataclass(frozen=True)
class Manifest:
    """What is known of a backup, with the names of the file. Times are UTC. ``content_digest`` is as JSON has it: it is
    large, and another version may have written it in a format of its own (``Backup.digest`` reads it). ``scratch``: the
    database that holds the restored copy, if it was kept. ``digest``: of all the rest."""

    format: int
    stack: str
    database: str
    release: str
    started: str
    ended: str
    file: str
    bytes: int
    sha256: str
    compression: str
    encryption: Optional[EncryptedFor]
    system_identifier: str
    database_oid: int
    database_bytes: int
    server_version: int
    tool_version: int
    ledger_head: object
    mark: Mark
    properties: Properties
    roles: tuple[Role, ...]
    tables: int
    rows: int
    content_hash: str
    content_digest: object
    sequences_after: Positions
    notes: tuple[str, ...]
    proof: Proof
    seconds: Seconds
    needs_superuser: tuple[str, ...] = ()
    owners: Optional[tuple[str, ...]] = None
    accepted: tuple[Accepted, ...] = ()
    scratch: Optional[str] = None
    digest: str = ""

    @property
    def major(self) -> int:
        """The major version of the server that it is from."""
        return self.server_version // 10000

    @property
    def counted(self) -> str:
        """ "14 tables, 61,204 rows"."""
        return f"{text.plural(self.tables, 'table')}, {text.plural(self.rows, 'row')}"

    @property
    def accepted_ids(self) -> list[str]:
        """The differences between the database and its copy that are no fault."""
        return [one.difference for one in self.accepted]

    @property
    def may_own(self) -> Sequence[str]:
        """Who owns something in the database; older versions noted all roles only."""
        return [role.rolname for role in self.roles if not role.rolsuper] if self.owners is None else self.owners

    def sealed(self) -> Manifest:
        """With the digest of its own content, so that a damaged manifest is recognised too."""
        return replace(self, digest=digest_of(self.as_json()))

    def as_json(self) -> object:
        """What its file holds: every field."""
        return {item.name: plain(getattr(self, item.name)) for item in fields(self)}


@dataclass(frozen=True)
class _Header:
    """What tells whether the rest can be read."""

    digest: str = ""
    format: object = None


# What a journal or a result does not need.
_LARGE = ("content_digest", "sequences_after", "properties", "roles", "mark")


@dataclass(frozen=True)
class Backup:
    """A finished backup: the archive's ``path`` and its ``manifest``."""

    path: Path
    manifest: Manifest

    @property
    def digest(self) -> ContentDigest:
        return ContentDigest.from_dict(self.manifest.content_digest)

    def as_dict(self) -> JsonObject:
        """What a journal or a result needs: everything but the content digest and the database's traits."""
        return {
            "path": str(self.path),
            "lines": self.lines(),
            **{
                item.name: plain(getattr(self.manifest, item.name))
                for item in fields(self.manifest)
                if item.name not in _LARGE
            },
        }

    def lines(self) -> list[str]:
        """The same for a person."""
        return [
            self.sentence(),
            f"archive {self.path}",
            *(f"note: {note}" for note in self.manifest.notes),
            *(one.told for one in self.manifest.accepted),
        ]

    def sentence(self) -> str:
        """One line for a person: "18.4 MB in 0.6 s, sha256 …, restored and compared: 14 tables, 61,204 rows"."""
        m = self.manifest
        proof = {
            "full": f"restored and compared: {m.counted}",
            "schema": f"its schema restored and compared: {text.plural(m.tables, 'table')} (rows not restored)",
            "none": "not restored",
        }[m.proof.kind]
        return f"{text.size(m.bytes)} in {text.seconds(m.seconds.total)}, sha256 {m.sha256[:12]}…, {proof}"


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


def digest_of(manifest: object) -> str:
    """The digest of a manifest, as JSON has it, but for the digest itself."""
    rest = {key: value for key, value in manifest.items() if key != "digest"} if isinstance(manifest, dict) else None
    text = json.dumps(rest, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
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
    header = recorded(_Header, value)
    if header.digest != digest_of(value):
        raise Refused(f"The manifest {where} is damaged: its digest does not fit its content.", hint=_DAMAGED)
    if header.format != FORMAT:
        raise Refused(f"{where} has format {header.format!r}; this version reads format {FORMAT}.")
    try:
        manifest = read_known(Manifest, earlier_names.manifest(value), f"The manifest {where}")
    except PapError as error:
        raise Refused(
            error.message,
            hint="Another version of pap-deploy wrote it, or a person: restore the backup by that version.",
        ) from None
    return Backup(where.with_name(where.name[: -len(SUFFIX)]), manifest)


def settle(folder: Path, stack: str, dbname: str) -> None:
    """Bring to an end what killed runs for that stack and database left in ``folder``. A whole manifest under its
    temporary name is the record of a proven archive: where that has its name already, the files beside it get theirs.
    All else of theirs goes; what has no name of ours stays."""
    with files.stale(folder, stack, dbname) as left:
        for path in left:
            final = path.with_name(path.name.removeprefix(files.PARTIAL))
            if path.name.endswith(SUFFIX) and _belongs(path, final):
                sql = path.with_name(path.name[: -len(SUFFIX)] + GLOBALS)
                if sql in left and sql.exists():
                    sql.rename(sql.with_name(sql.name.removeprefix(files.PARTIAL)))
                path.rename(final)
                sync_folder(folder)
        for path in left:
            path.unlink(missing_ok=True)


def _belongs(written: Path, final: Path) -> bool:
    """Whether the manifest at ``written`` is whole and that of the archive beside ``final``, which has none yet."""
    archive = final.with_name(final.name[: -len(SUFFIX)])
    try:
        manifest = load_manifest(written).manifest
        return not final.exists() and archive.name == manifest.file and archive.stat().st_size == manifest.bytes
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
    if size != manifest.bytes:
        raise Refused(
            f"The backup {backup.path} is damaged: it has {size:,} of {text.plural(manifest.bytes, 'byte')}.",
            hint=_DAMAGED,
            damaged=True,
        )
    digest, _ = files.sha256_of(backup.path)
    if digest != manifest.sha256:
        raise Refused(
            f"The backup {backup.path} is damaged: its SHA-256 is {digest[:16]}…, not {manifest.sha256[:16]}….",
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
        wanted, found = getattr(expected, key), getattr(backup.manifest, key)
        if wanted and wanted != found:
            raise Refused(
                f"{backup.path.name} is of another {word}: {found}, expected {wanted}.",
                hint="Choose the backup that belongs to this release.",
                expected=wanted,
                found=found,
            )
