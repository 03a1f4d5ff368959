"""A release as the journal would tell it, for the tests of rollback: fence, restore point, migrations, fence lifted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable

from papdeploy import backup, databases, rollback
from papdeploy.core.records import as_object, read, recorded
from papdeploy.databases import content_digest, relation_baseline
from papdeploy.databases.psql import Database, Session
from papdeploy.releases.records import Backup, RestorePoint, Unfence
from papdeploy.releases.version import Version
from papdeploy.rollback import restore_point

from support.app_session import as_app
from support.backup import FakeApi, plain

R = "r7"
LEDGER = """
CREATE SCHEMA pap_deploy;
CREATE TABLE pap_deploy.ledger (id bigint GENERATED ALWAYS AS IDENTITY, event text, identity text, release text);
"""
# What the migration does to the hostile content: every kind of damage that a rollback has to undo.
MIGRATE = """
BEGIN;
ALTER TABLE secret ADD COLUMN extra int DEFAULT 1;
DROP TABLE parent CASCADE;
UPDATE "sel;ect '--" SET amount = 0;
CREATE TYPE leftover AS ENUM ('x'); CREATE TABLE leftover_table (v leftover);
SELECT nextval('never_used'), lo_unlink(700002);
REVOKE ALL ON "sel;ect '--" FROM pap_reader;
INSERT INTO pap_deploy.ledger (event, identity, release) VALUES ('applied', 'm1', 'r7');
COMMIT
"""
SMALL = "CREATE TABLE t (id serial PRIMARY KEY, v text); INSERT INTO t (v) SELECT 'old' FROM generate_series(1, 300)"
SMALL_UP = """
BEGIN; ALTER TABLE t ADD COLUMN extra int DEFAULT 1; UPDATE t SET v = 'migrated';
INSERT INTO pap_deploy.ledger (event, identity, release) VALUES ('applied', 'm1', 'r7'); COMMIT
"""
SMALL_DOWN = """
BEGIN; ALTER TABLE t DROP COLUMN extra; UPDATE t SET v = 'old' WHERE v = 'migrated';
INSERT INTO pap_deploy.ledger (event, identity, release) VALUES ('reverted', 'm1', 'r7'); COMMIT
"""


def baseline(inside: Session) -> relation_baseline.Baseline:
    """What the deploy keeps when the fence comes down."""
    return relation_baseline.take(inside, limit_bytes=1 << 28, digest_bytes=1 << 25, ignore_schemas=("pap_deploy",))


def facts_of(told: Mapping[str, Any]) -> rollback.Facts:
    """What a journal says, as the facts of a rollback."""
    apart = ("before_version", "unfence", "identity", "backup", "restore_point")
    facts = read(rollback.Facts, {key: value for key, value in told.items() if key not in apart and value is not None})
    return replace(
        facts,
        before_version=told.get("before_version"),
        lifted=recorded(Unfence, told.get("unfence") or {}).mark,
        stack=(told.get("identity") or {}).get("stack", ""),
        backup=recorded(Backup, told["backup"]) if told.get("backup") else None,
        restore_point=recorded(RestorePoint, told["restore_point"]) if told.get("restore_point") else None,
    )


@dataclass
class Release:
    """What was done and what the journal says of it."""

    database: Database
    facts: dict[str, Any]
    before: content_digest.ContentDigest
    api: FakeApi = field(default_factory=FakeApi)
    notes: list[tuple[str, str]] = field(default_factory=list)
    down: str = ""

    def choose(self, **options: Any) -> rollback.RollbackPlan:
        return rollback.choose(self.database, facts_of(self.facts), **options)

    def hooks(self, **replaced: Callable[..., Any]) -> rollback.Hooks:
        given: dict[str, Any] = {
            "revert": lambda dbname: as_app(self.database.named(dbname)).execute(self.down) or {},
            "validate": lambda strategy: {},
            "smoke": dict,
            "checkpoint": lambda phase, event, data: self.notes.append((phase, event)),
        }
        return rollback.Hooks(**{**given, **replaced})

    def roll_back(self, *, accept_data_loss: bool = False, **hooks: Any) -> dict[str, Any]:
        plan = self.choose(accept_data_loss=accept_data_loss)
        given = self.hooks(**hooks)
        result = rollback.run(
            plan,
            database=self.database,
            api=self.api,
            facts=facts_of(self.facts),
            hooks=given,
            accept_data_loss=accept_data_loss,
        )
        return result.as_dict()


def deploy(
    database: Database, folder: Path, *, kind: str, up: str, down: str = "", unfence: bool = True, **facts: Any
) -> Release:
    """Do what a deploy does to the database, up to the moment of its rollback."""
    as_app(database).execute(LEDGER)
    before = content_digest.take(database)
    taken = backup.take(database, folder, stack="st", release=R)
    databases.fence(database, R)
    behind = databases.must_be_fenced(database, R)
    point = restore_point.make(
        behind, R, live=database.conninfo.dbname, backup=str(taken.path), kind=kind, stack="st", folder=folder
    )
    if up:
        as_app(behind).execute(up)
    data: list[relation_baseline.Baseline] = []
    lifted = databases.unfence(database, R, last=lambda inside: data.append(baseline(inside))) if unfence else None
    told = {
        "release": R,
        "restore_point": as_object(point),
        "backup": taken.as_dict(),
        "unfence": lifted,
        "switched": unfence,
        "reversible": bool(down),
        "identity": {"stack": "st"},
        "data": data[0] if data else None,
        "may_delete": [],
        **facts,
    }
    release = Release(database, {**plain(told), "before_version": Version("old", "old")}, before, down=down)
    if not unfence:
        release.api.version = Version("old", "old")
    return release
