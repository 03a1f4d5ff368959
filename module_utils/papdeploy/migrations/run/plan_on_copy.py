"""The plan with the SQL that really runs: what is pending is run on a copy of the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Optional

from ...core import database_identity
from ...core.database_identity import DatabaseIdentity
from ...core.errors import Refused
from .. import notes, planning, static_sql
from ..alembic import tree
from ..files import MigrationFile
from ..options import RunOptions
from ..planned_sql import PlannedSql
from . import planned
from .apply import opened, who_am_i


def plan(
    connection: Any,
    files: Sequence[MigrationFile],
    *,
    scratch: Optional[str] = None,
    options: Optional[RunOptions] = None,
) -> planning.Plan:
    """The state and the SQL of what is pending.

    ``scratch`` is the URL of a copy of the database (or of one restored from its backup) on which the pending
    migrations are run for real, up to the first one that has to reach more than that: their SQL is then exact. All
    other SQL is read from the sources.
    """
    state = planning.status(connection, files, options)
    ran: dict[str, PlannedSql] = {}
    if scratch and state.pending and not state.problems:
        live = database_identity.read(lambda query: planning.rows(connection, query))
        ran = record_on(scratch, files, options or RunOptions(), live)
    rest = [migration for migration in state.pending if migration.identity not in ran]
    transaction = (options or RunOptions()).transaction
    static_sql.prepare(state.pending)
    return planning.Plan(
        state,
        {**ran, **{migration.identity: static_sql.sql_of(migration).planned() for migration in rest}},
        (*map(str, notes.of(state.pending, transaction)), *_of_tree(files)),
    )


def _of_tree(files: Sequence[MigrationFile]) -> list[str]:
    """What env.py of an Alembic tree would do beside its revisions."""
    found = tree.of(files)
    if found is None or not found.home.learned.own_sql:
        return []
    lines = ", ".join(map(str, found.home.learned.own_sql))
    return [f"env.py sends SQL of its own where it connects (line {lines}): it is not run here."]


def record_on(
    scratch: Any,
    files: Sequence[MigrationFile],
    options: RunOptions,
    live: Optional[DatabaseIdentity],
) -> dict[str, PlannedSql]:
    """Run what is pending on a scratch copy, up to the first legacy script, and return the SQL that ran, by identity.

    ``live`` is the database that the copy is of. Raises Refused if ``scratch`` leads to that one.
    """
    with opened(scratch, release="plan", who=who_am_i(), options=options, emit=None) as session:
        copy = database_identity.read(session.query)
        if live is not None and copy.is_database(live):
            raise Refused(
                "The scratch URL leads to the database itself, not to a copy of it: the migrations would run there.",
                hint="Name a copy: CREATE DATABASE … TEMPLATE …, or one restored from a backup.",
            )
    # A name with several addresses may lead elsewhere the second time.
    options = replace(options, expect_database=copy, forbid_database=live)
    result = planned.apply(scratch, files, release="plan", options=options)
    return {
        ran.identity: PlannedSql(
            tuple(statement.sql for statement in ran.statements), exact=ran.statement_count == len(ran.statements)
        )
        for ran in result.applied
    }
