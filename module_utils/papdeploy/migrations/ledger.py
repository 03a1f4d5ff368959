"""The ledger: an append-only table in a schema of its own, from which every state is derived."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Callable, Optional

from ..core.errors import Refused, Unavailable
from ..core.plain_json import parse
from ..core.records import plain
from .run.drivers import sqlstate

SCHEMA = "pap_deploy"
# The advisory lock of a run: the bytes "papdeplo" as a 64-bit number; one per database.
LOCK_KEY = int.from_bytes(b"papdeplo", "big")
LOCK_HIGH, LOCK_LOW = LOCK_KEY >> 32, LOCK_KEY & 0xFFFFFFFF

APPLIED, REVERTED, BASELINED, FAILED = "applied", "reverted", "baselined", "failed"
STARTED, REPAIRED, FORGOTTEN = "started", "repaired", "forgotten"
EVENTS = (APPLIED, REVERTED, BASELINED, FAILED, STARTED, REPAIRED, FORGOTTEN)

# Not to_regclass: that raises for a role without USAGE on the schema.
EXISTS = f"""EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
       WHERE n.nspname = '{SCHEMA}' AND c.relname = 'ledger')"""
CREATE_SCHEMA = f"CREATE SCHEMA {SCHEMA}"
CREATE = f"""
CREATE TABLE {SCHEMA}.ledger (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event text NOT NULL CHECK (event IN ({", ".join(f"'{event}'" for event in EVENTS)})),
    identity text NOT NULL,
    checksum text NOT NULL,
    release text NOT NULL,
    who text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seconds double precision NOT NULL DEFAULT 0,
    statements jsonb NOT NULL DEFAULT '[]',
    run uuid NOT NULL,
    details jsonb NOT NULL DEFAULT '{{}}'
);
COMMENT ON TABLE {SCHEMA}.ledger IS 'What the migration runner of pap-deploy did. Append-only.';
CREATE TABLE {SCHEMA}.batch (
    run uuid NOT NULL,
    number integer NOT NULL,
    xid bigint NOT NULL,
    release text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run, number)
);
COMMENT ON TABLE {SCHEMA}.batch IS
    'One row per committed transaction of the runner: after a lost connection it tells whether the COMMIT happened.';
CREATE TABLE {SCHEMA}.progress (
    identity text NOT NULL,
    step text NOT NULL,
    last_key text,
    rows_done bigint NOT NULL,
    finished boolean NOT NULL DEFAULT false,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (identity, step)
);
COMMENT ON TABLE {SCHEMA}.progress IS 'Where the unfinished backfills of db.batches() are.';
CREATE VIEW {SCHEMA}.applied AS
    SELECT identity, checksum, release, who, at, seconds, event
    FROM (
        SELECT DISTINCT ON (identity) * FROM {SCHEMA}.ledger
        WHERE event NOT IN ('{FAILED}', '{STARTED}') ORDER BY identity, id DESC
    ) AS latest
    WHERE event IN ('{APPLIED}', '{BASELINED}', '{REPAIRED}');
COMMENT ON VIEW {SCHEMA}.applied IS 'The migrations that are in force, one row each.';
CREATE FUNCTION {SCHEMA}.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only', TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING HINT = 'Use the baseline or repair command: it records what was done.';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {SCHEMA}.ledger
    FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.refuse_change();
CREATE FUNCTION {SCHEMA}.refuse_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Deferred to COMMIT: a transaction of the runner ends only when the runner itself says so.
    IF NEW.xid = txid_current() AND current_setting('{SCHEMA}.commit', true) IS DISTINCT FROM NEW.run::text
        AND current_query() !~* '^\\s*set\\s+constraints'
    THEN
        RAISE EXCEPTION 'a migration tried to end the transaction that it runs in'
            USING HINT = 'Remove the COMMIT; for work outside a transaction write transactional = False.';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER commit_guard AFTER INSERT ON {SCHEMA}.batch
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.refuse_commit();
"""

READ = f"""
SELECT id, event, identity, checksum, release, who, (at AT TIME ZONE 'UTC')::text || '+00', seconds, run::text,
       details::text
FROM {SCHEMA}.ledger ORDER BY id
"""
INSERT = f"""
INSERT INTO {SCHEMA}.ledger (event, identity, checksum, release, who, at, seconds, statements, run, details)
SELECT e.event, e.identity, e.checksum, e.release, e.who, coalesce(e.at, clock_timestamp()), e.seconds, e.statements,
       e.run, e.details
FROM jsonb_to_recordset(%s::jsonb) AS e(event text, identity text, checksum text, release text,
     who text, at timestamptz, seconds double precision, statements jsonb, run uuid, details jsonb)
"""


@dataclass(frozen=True)
class Entry:
    """One row of the ledger."""

    id: int
    event: str
    identity: str
    checksum: str
    release: str
    who: str
    at: str
    seconds: float
    run: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NewEntry:
    """A row to be written. ``at`` None: now, by the server's clock."""

    event: str
    identity: str
    checksum: str = ""
    at: Optional[str] = None
    seconds: float = 0.0
    statements: Sequence[object] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ledger:
    """What the ledger says. ``exists`` is false for a database that never had one."""

    exists: bool
    entries: tuple[Entry, ...]
    versions: tuple[str, ...] = ()  # the rows of Alembic's version table, where the release has a tree
    unseen: str = ""  # a version table of the tree's name that the connection does not see, where it sees none

    @property
    def applied(self) -> dict[str, Entry]:
        """The migrations in force by identity, in the order they were applied; the entry that put them in force."""
        state: dict[str, Entry] = {}
        for entry in self.entries:
            if entry.event in (APPLIED, BASELINED):
                state.pop(entry.identity, None)
                state[entry.identity] = entry
            elif entry.event == REPAIRED and entry.identity in state:
                before = state[entry.identity]
                state[entry.identity] = replace(before, checksum=entry.checksum)
            elif entry.event in (REVERTED, FORGOTTEN):
                state.pop(entry.identity, None)
        return state

    @property
    def interrupted(self) -> dict[str, Entry]:
        """Migrations outside a transaction that were started and neither finished nor failed, by identity."""
        state: dict[str, Entry] = {}
        for entry in self.entries:
            if entry.event == STARTED:
                state[entry.identity] = entry
            else:
                state.pop(entry.identity, None)
        return state

    @property
    def unrecorded(self) -> dict[str, Entry]:
        """The start of each migration outside a transaction that was never told to have been done, by identity."""
        state: dict[str, Entry] = {}
        for entry in self.entries:
            if entry.event == STARTED:
                state[entry.identity] = entry
            elif entry.event != FAILED:
                state.pop(entry.identity, None)
        return state

    @property
    def last_failures(self) -> dict[str, Entry]:
        """The latest failure of each migration that has not been applied since."""
        state: dict[str, Entry] = {}
        for entry in self.entries:
            if entry.event == FAILED:
                state[entry.identity] = entry
            elif entry.event != STARTED:
                state.pop(entry.identity, None)
        return state


EMPTY = Ledger(exists=False, entries=())

Query = Callable[[str], Sequence[Sequence[Any]]]


def read(query: Query, exists: Optional[bool] = None) -> Ledger:
    """The ledger through ``query`` (SQL to rows). Reads only: works on a standby and where there is no ledger.

    Raises Unavailable if there is one that this role may not read.
    """
    if exists is None:
        exists = bool(query(f"SELECT {EXISTS}")[0][0])
    if not exists:
        return EMPTY
    try:
        found = query(READ)
    except Exception as error:
        if sqlstate(error) != "42501":
            raise
        raise Unavailable(
            f"The migration ledger {SCHEMA}.ledger is there, but this role may not read it.",
            hint=f"GRANT USAGE ON SCHEMA {SCHEMA}, and SELECT ON {SCHEMA}.ledger, to the role.",
        ) from None
    return Ledger(exists=True, entries=tuple(map(_entry, found)))


def _entry(row: Sequence[Any]) -> Entry:
    try:
        details = parse(row[9] or "{}")
    except ValueError:
        details = None
    if not isinstance(details, dict):
        raise Refused(
            f"The migration ledger {SCHEMA}.ledger holds what pap-deploy does not write: the details of {row[2]} are no"
            " JSON object.",
            hint=f"Find out who wrote it. That column is only a record: UPDATE {SCHEMA}.ledger SET details = '{{}}'.",
        )
    entry = Entry(*row[:9], details=details)  # type: ignore[misc]
    # Another file system may have written the name in another form.
    return replace(entry, identity=unicodedata.normalize("NFC", entry.identity))


def rows_as_json(entries: Iterable[NewEntry], **of_the_run: str) -> str:
    """The parameter of :data:`INSERT`: any number of ledger rows in one statement."""
    names = [item.name for item in fields(NewEntry)]
    rows = [{**{name: plain(getattr(entry, name)) for name in names}, **of_the_run} for entry in entries]
    return json.dumps(rows, default=str)
