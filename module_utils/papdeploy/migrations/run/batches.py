"""Backfills in pieces: keyset pagination, one commit per piece, a note of how far it got, progress."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

from ...sql import statements
from ...sql.quoting import quote_exact
from .. import ledger
from . import advisory_lock, drivers
from .rows import row_type
from .step import MigrationError

if TYPE_CHECKING:
    from .session import Session
    from .step import Step

EXACT_UP_TO = 1_000_000  # rows; above it the planner's estimate serves as the total


@dataclass(frozen=True)
class Batch:
    """One piece. ``rows`` are those of the select, ``keys`` their first columns; ``number`` counts from 1."""

    number: int
    rows: list[Any]
    keys: list[Any]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def iterate(
    session: Session, step: Step, select: str, params: Mapping[str, Any], size: int, name: str, pause_s: float
) -> Iterator[Batch]:
    """See :meth:`Db.batches`."""
    if size < 1:
        raise MigrationError("db.batches(): size must be 1 or more.")
    bound = statements.bind_names(select, params).rstrip().rstrip(";")
    with session.internal():
        key, kind = _key(session, bound, params)
    commits = not step.transactional
    note = name or hashlib.sha256(select.encode()).hexdigest()[:12]
    note = f"{step.direction}:{note}"
    last, done = (None, 0)
    if commits:
        session.ensure_ledger()
        saved = session.query(
            f"SELECT last_key, rows_done, finished FROM {ledger.SCHEMA}.progress WHERE identity = %s AND step = %s",
            (step.identity, note),
        )
        if saved:
            last, done = saved[0][0], int(saved[0][1])
            if saved[0][2]:
                return
            session.emit("resumed", identity=step.identity, rows_done=done)
    with session.internal():
        total, exact = _total(session, bound, params)
    total += done if last is not None and total < done else 0
    after = "" if last is None else f"WHERE q.{key} > %(pap_last)s::{kind}"
    began, began_with, number = time.monotonic(), done, 0
    while True:
        session.check_deadline()
        if commits:
            session.query("BEGIN")
            step.in_transaction = True
        try:
            rows = _page(session, _paged(bound, key, after, size), {**params, "pap_last": last})
            _check_unique(step, key, rows)  # with the first row of the next piece
            whole, rows = len(rows) <= size, rows[:size]
            if rows:
                number += 1
                yield Batch(number, [row[:-1] for row in rows], [row[0] for row in rows])
                last, after = rows[-1][-1], f"WHERE q.{key} > %(pap_last)s::{kind}"
                done += len(rows)
            if commits:
                _commit(session, step, note, (last, done, whole))
        except BaseException:
            # Also when the loop is left early. A generator may be collected long after its migration ended.
            if commits and not step.closed and not session.lost:
                session.query("ROLLBACK")
            raise
        finally:
            step.in_transaction = False
        rate = (done - began_with) / max(time.monotonic() - began, 1e-9)
        many = {"rows_done": done, "rows_total": max(total, done), "estimated": not exact}
        session.emit("progress", identity=step.identity, **many, rows_per_second=round(rate, 1))
        if whole:
            return
        if pause_s:
            time.sleep(pause_s)


def _paged(bound: str, key: str, after: str, size: int) -> str:
    return (
        f"SELECT q.*, q.{key}::text AS pap_key FROM (\n{bound}\n) AS q {after} ORDER BY q.{key} LIMIT {int(size) + 1}"
    )


def _commit(session: Session, step: Step, note: Any, noted: tuple[Any, int, bool]) -> None:
    """End the transaction of a piece, with the note that says how far it came."""
    if session.status != drivers.IN_TRANSACTION:
        raise step.broken("an error inside a piece of db.batches() was caught and passed over")
    _note(session, step, note, *noted)
    advisory_lock.assert_kept(session)
    session.query("COMMIT")


def _page(session: Session, page: str, params: Mapping[str, Any]) -> list[Any]:
    cursor = session.raw.cursor()
    try:
        used = {k: v for k, v in params.items() if f"%({k})s" in page}
        cursor.execute(page, used)
        row = row_type(tuple(column[0] for column in cursor.description))
        return [row(*values) for values in cursor.fetchall()]
    finally:
        cursor.close()


def _key(session: Session, bound: str, params: Mapping[str, Any]) -> tuple[str, str]:
    """Quoted name and type of the first column."""
    cursor = session.raw.cursor()
    try:
        cursor.execute(f"SELECT * FROM (\n{bound}\n) AS q LIMIT 0", dict(params))
        column = cursor.description[0]
    finally:
        cursor.close()
    kind = session.query("SELECT format_type(%s, NULL)", (column[1],))[0][0]
    return quote_exact(str(column[0])), str(kind)


def _total(session: Session, bound: str, params: Mapping[str, Any]) -> tuple[int, bool]:
    cursor = session.raw.cursor()
    try:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {bound}", dict(params))
        plan: Any = cursor.fetchone()[0]
        plan = json.loads(plan) if isinstance(plan, str) else plan
        estimate = int(plan[0]["Plan"]["Plan Rows"])
        if estimate > EXACT_UP_TO:
            return estimate, False
        cursor.execute(f"SELECT count(*) FROM (\n{bound}\n) AS q", dict(params))
        return int(cursor.fetchone()[0]), True
    finally:
        cursor.close()


def _check_unique(step: Step, key: str, rows: list[Any]) -> None:
    previous: Optional[str] = None
    for row in rows:
        if row[-1] is None or row[-1] == previous:
            what = "has a NULL" if row[-1] is None else f"has {previous} twice"
            raise MigrationError(
                f"Migration {step.identity}: db.batches() goes by the first column, but {key} {what}.",
                hint="Select a unique, not null key first, for example the primary key.",
                identity=step.identity,
            )
        previous = row[-1]


def _note(session: Session, step: Step, note: str, last: Optional[str], done: int, finished: bool) -> None:
    session.query(
        f"INSERT INTO {ledger.SCHEMA}.progress (identity, step, last_key, rows_done, finished)"
        " VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT (identity, step) DO UPDATE SET last_key = excluded.last_key, rows_done = excluded.rows_done,"
        " finished = excluded.finished, at = clock_timestamp()",
        (step.identity, note, last, done, finished),
    )
