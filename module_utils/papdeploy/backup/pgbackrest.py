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
from typing import Any, Optional

from ..core.errors import PapError, Refused, Unavailable
from ..core.text import seconds, size
from ..databases.psql import Database

TYPES = ("full", "diff", "incr")


@dataclass(frozen=True)
class PgBackRest:
    """How it is called at the database site. The site must run programs as the user that owns the cluster."""

    stanza: str
    config: str = ""
    program: str = "pgbackrest"
    type: str = "incr"
    timeout_s: float = 6 * 3600.0

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> PgBackRest:
        """From the inventory's options, which have the names of the fields."""
        unknown = sorted(set(value) - {"stanza", "config", "program", "type", "timeout_s"})
        if unknown or not value.get("stanza"):
            what = f"Unknown option: {', '.join(unknown)}" if unknown else "No stanza is named"
            raise Refused(
                f"{what} in backup_pgbackrest.",
                hint="Set it to {stanza: NAME}; config, program, type and timeout_s are optional.",
            )
        return cls(**value)

    def argv(self, command: str, *options: str) -> list[str]:
        config = [f"--config={self.config}"] if self.config else []
        return [self.program, *config, f"--stanza={self.stanza}", "--log-level-console=warn", *options, command]


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

    def as_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "engine": "pgbackrest", "lines": [self.sentence(), f"restore: {self.restore_command}"]}

    def sentence(self) -> str:
        checked = "verified in the repository" if self.verified else "not verified"
        return (
            f"pgBackRest {self.kind} backup {self.label} of the whole cluster: {size(self.bytes)},"
            f" {size(self.repository_bytes)} stored, in {seconds(self.seconds)}, {checked}"
        )


def take(database: Database, tool: PgBackRest, *, release: str, verify: bool = True) -> Recorded:
    """Run a backup, find its label by the annotation that names the release, and have its files verified.

    Raises Refused if the stanza is of another cluster, Unavailable if pgBackRest is not there, CommandFailed if it
    fails, PapError if the repository does not hold what it should.
    """
    if tool.type not in TYPES:
        raise Refused(f"A backup of type {tool.type!r} is not known.", hint=f"Choose one of {', '.join(TYPES)}.")
    started = time.monotonic()
    identifier = database.facts().identifier
    _refuse_other_cluster(_info(database, tool), tool, identifier)
    database.site.run(tool.argv("check"), timeout=300)
    annotation = f"--annotation=pap-deploy={release}"
    database.site.run(tool.argv("backup", f"--type={tool.type}", annotation), timeout=tool.timeout_s)
    info = _info(database, tool)
    found = _newest(info, release)
    if found is None:
        raise PapError(
            f"pgBackRest made a backup of stanza {tool.stanza}, but its list does not show it.",
            hint=f"Look at: {shlex.join(tool.argv('info'))}",
        )
    if found.get("error"):
        raise PapError(
            f"pgBackRest found page checksum errors in backup {found['label']}.",
            hint="The cluster's files are damaged: do not deploy; have the disk looked at.",
        )
    label = str(found["label"])
    if verify:
        _verify(database, tool, label)
    return Recorded(
        label=label,
        stanza=tool.stanza,
        kind=str(found["type"]),
        database=database.conninfo.dbname,
        system_identifier=identifier,
        bytes=int(found["info"]["size"]),
        repository_bytes=int(found["info"]["repository"]["delta"]),
        seconds=round(time.monotonic() - started, 3),
        verified=verify,
        restore_command=shlex.join(tool.argv("restore", f"--set={label}")),
    )


def find(database: Database, tool: PgBackRest, label: str) -> bool:
    """Whether the repository still has that backup."""
    return any(entry["label"] == label for entry in _info(database, tool).get("backup", []))


def _info(database: Database, tool: PgBackRest) -> dict[str, Any]:
    text = database.site.run(tool.argv("info", "--output=json"), timeout=300).text
    stanzas: list[dict[str, Any]] = json.loads(text)
    for stanza in stanzas:
        if stanza.get("name") == tool.stanza and stanza.get("status", {}).get("code") != 1:
            return stanza
    raise Unavailable(
        f"pgBackRest on {database.site.label} has no stanza {tool.stanza}.",
        hint=f"Create it: {shlex.join(tool.argv('stanza-create'))}",
    )


def _refuse_other_cluster(info: Mapping[str, Any], tool: PgBackRest, identifier: str) -> None:
    clusters = {str(entry["system-id"]) for entry in info.get("db", [])}
    if clusters and identifier not in clusters:
        raise Refused(
            f"Stanza {tool.stanza} backs up another cluster ({', '.join(sorted(clusters))}); this one is {identifier}.",
            hint="Check the stanza in the inventory and pg1-path in pgBackRest's configuration.",
        )


def _newest(info: Mapping[str, Any], release: str) -> Optional[dict[str, Any]]:
    mine = [b for b in info.get("backup", []) if (b.get("annotation") or {}).get("pap-deploy") == release]
    return mine[-1] if mine else None


def _verify(database: Database, tool: PgBackRest, label: str) -> None:
    """Every file of the backup and the WAL that it needs is in the repository with its checksum."""
    argv = tool.argv("verify", f"--set={label}", "--output=text", "--verbose")
    said = database.site.run(argv, timeout=tool.timeout_s)
    bad = [line.strip() for line in said.text.splitlines() if "invalid" in line or "missing" in line]
    if any(not line.endswith(" 0") and ": 0" not in line for line in bad):
        raise PapError(
            f"pgBackRest's verify found faults in backup {label}: {'; '.join(bad[:5])}",
            hint="Take a full backup (--type=full) and have the repository's disk looked at.",
        )
