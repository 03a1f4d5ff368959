"""Where a stack is backed up by pgBackRest already: take its backup and record its label, instead of a dump.

pgBackRest copies the whole cluster and restores the whole cluster, so a rollback never uses it by itself (the restore
point is then a snapshot database). The label and the command that restores it go into the journal and the report.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from ..core.errors import Refused, Unavailable, VerificationFailed
from ..core.plain_json import JsonObject
from ..core.records import read_known, recorded, unknown_names
from ..core.text import seconds, size
from ..databases.psql import Database

TYPES = ("full", "diff", "incr")


@dataclass(frozen=True)
class PgBackRest:
    """How it is called at the database site. The site must run programs as the user that owns the cluster."""

    stanza: str = ""
    config: str = ""
    program: str = "pgbackrest"
    type: str = "incr"
    timeout_s: float = 6 * 3600.0

    @classmethod
    def of(cls, value: object) -> PgBackRest:
        """From the inventory's options, which have the names of the fields."""
        unknown = unknown_names(cls, value)
        given = {name: one for name, one in value.items() if one is not None} if isinstance(value, Mapping) else value
        chosen = read_known(cls, given, "backup_pgbackrest")
        if unknown or not chosen.stanza:
            what = f"Unknown option: {', '.join(unknown)}" if unknown else "No stanza is named"
            raise Refused(
                f"{what} in backup_pgbackrest.",
                hint="Set it to {stanza: NAME}; config, program, type and timeout_s are optional.",
            )
        return chosen

    def argv(self, command: str, *options: str) -> list[str]:
        config = [f"--config={self.config}"] if self.config else []
        return [self.program, *config, f"--stanza={self.stanza}", "--log-level-console=warn", *options, command]


@dataclass(frozen=True)
class _Repository:
    delta: int


@dataclass(frozen=True)
class _Size:
    """Bytes of the cluster, and what of them this backup added to the repository."""

    size: int
    repository: _Repository


@dataclass(frozen=True)
class _Listed:
    """A backup in pgBackRest's list. ``error``: pages of it are not what their checksums say."""

    label: str
    type: str
    info: _Size
    error: Optional[bool] = None
    annotation: Optional[Mapping[str, str]] = None


@dataclass(frozen=True)
class _Status:
    code: Optional[int] = None


@dataclass(frozen=True)
class _Stanza:
    """As ``pgbackrest info --output=json`` has it. ``db``: the clusters that it is or was of."""

    name: str = ""
    status: _Status = _Status()
    db: tuple[Mapping[str, object], ...] = ()
    backup: tuple[_Listed, ...] = ()

    def newest(self, release: str) -> Optional[_Listed]:
        mine = [one for one in self.backup if (one.annotation or {}).get("pap-deploy") == release]
        return mine[-1] if mine else None


@dataclass(frozen=True)
class Recorded:
    """A backup in pgBackRest's repository."""

    label: str
    stanza: str
    kind: str
    database: str
    system_identifier: str
    bytes: int
    repository_bytes: int
    seconds: float
    verified: bool
    restore_command: str

    def as_dict(self) -> JsonObject:
        return {**self.__dict__, "engine": "pgbackrest", "lines": self.lines()}

    def lines(self) -> list[str]:
        return [self.sentence(), f"restore: {self.restore_command}"]

    def sentence(self) -> str:
        checked = "verified in the repository" if self.verified else "not verified"
        return (
            f"pgBackRest {self.kind} backup {self.label} of the whole cluster: {size(self.bytes)},"
            f" {size(self.repository_bytes)} stored, in {seconds(self.seconds)}, {checked}"
        )


def take(database: Database, tool: PgBackRest, *, release: str, verify: bool = True) -> Recorded:
    """Run a backup, find its label by the annotation that names the release, and have its files verified.

    Raises Refused if the stanza is of another cluster, Unavailable if pgBackRest is not there, CommandFailed if it
    fails, VerificationFailed if the repository does not hold what it should.
    """
    if tool.type not in TYPES:
        raise Refused(f"A backup of type {tool.type!r} is not known.", hint=f"Choose one of {', '.join(TYPES)}.")
    started = time.monotonic()
    identifier = database.facts().identifier
    _refuse_other_cluster(_info(database, tool), tool, identifier)
    database.site.run(tool.argv("check"), timeout=300)
    annotation = f"--annotation=pap-deploy={release}"
    database.site.run(tool.argv("backup", f"--type={tool.type}", annotation), timeout=tool.timeout_s)
    found = _info(database, tool).newest(release)
    if found is None:
        raise VerificationFailed(
            f"pgBackRest made a backup of stanza {tool.stanza}, but its list does not show it.",
            hint=f"Look at: {shlex.join(tool.argv('info'))}",
        )
    if found.error:
        raise VerificationFailed(
            f"pgBackRest found page checksum errors in backup {found.label}.",
            hint="The cluster's files are damaged: do not deploy; have the disk looked at.",
        )
    if verify:
        _verify(database, tool, found.label)
    return Recorded(
        label=found.label,
        stanza=tool.stanza,
        kind=found.type,
        database=database.conninfo.dbname,
        system_identifier=identifier,
        bytes=found.info.size,
        repository_bytes=found.info.repository.delta,
        seconds=round(time.monotonic() - started, 3),
        verified=verify,
        restore_command=shlex.join(tool.argv("restore", f"--set={found.label}")),
    )


def find(database: Database, tool: PgBackRest, label: str) -> bool:
    """Whether the repository still has that backup."""
    return any(one.label == label for one in _info(database, tool).backup)


def _info(database: Database, tool: PgBackRest) -> _Stanza:
    text = database.site.run(tool.argv("info", "--output=json"), timeout=300).text
    for one in json.loads(text):
        if recorded(_Stanza, one).name == tool.stanza:
            stanza = read_known(_Stanza, one, "the answer of pgbackrest info")
            if stanza.status.code != 1:
                return stanza
    raise Unavailable(
        f"pgBackRest on {database.site.label} has no stanza {tool.stanza}.",
        hint=f"Create it: {shlex.join(tool.argv('stanza-create'))}",
    )


def _refuse_other_cluster(info: _Stanza, tool: PgBackRest, identifier: str) -> None:
    clusters = {str(cluster["system-id"]) for cluster in info.db}
    if clusters and identifier not in clusters:
        raise Refused(
            f"Stanza {tool.stanza} backs up another cluster ({', '.join(sorted(clusters))}); this one is {identifier}.",
            hint="Check the stanza in the inventory and pg1-path in pgBackRest's configuration.",
        )


def _verify(database: Database, tool: PgBackRest, label: str) -> None:
    """Every file of the backup and the WAL that it needs is in the repository with its checksum."""
    argv = tool.argv("verify", f"--set={label}", "--output=text", "--verbose")
    said = database.site.run(argv, timeout=tool.timeout_s)
    bad = [line.strip() for line in said.text.splitlines() if "invalid" in line or "missing" in line]
    if any(not line.endswith(" 0") and ": 0" not in line for line in bad):
        raise VerificationFailed(
            f"pgBackRest's verify found faults in backup {label}: {'; '.join(bad[:5])}",
            hint="Take a full backup (--type=full) and have the repository's disk looked at.",
        )
