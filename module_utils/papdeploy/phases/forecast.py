"""What a deploy would do: the pending migrations run on an empty copy of the schema, which gives the true SQL."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from .. import databases
from ..app.stack import Stack
from ..core.errors import PapError
from ..core.records import recorded
from ..core.text import plural
from ..core.visible import visible
from ..databases.psql import Database
from ..migrations import server_wide
from ..migrations.files import SCRIPT
from ..rehearsal import copies
from ..releases.parts import FailureData, Migration, Statement
from ..releases.rehearsed import Outward
from ..schema import CheckOptions, compare, judge
from ..schema.catalog.rows import Catalog
from ..schema.differences.result import Checked, reaches
from .catalogs import described
from .findings import Findings


@contextlib.contextmanager
def scratch_database(stack: Stack, purpose: str) -> Iterator[Database]:
    """A new empty database with the owner and settings of the live one, dropped at the end."""
    owner = f"{purpose}-{secrets.token_hex(4)}"
    try:
        scratch = databases.create_empty(stack.database, owner, "scratch")
        databases.ready_for_rehearsal(stack.database, scratch)
        yield scratch
    finally:
        databases.drop_created(stack.database, owner, ("scratch",))


@dataclass(frozen=True)
class Diff:
    """A diff as Ansible shows it."""

    before_header: str
    after_header: str
    before: str
    after: str


@dataclass
class Forecast:
    """The plan as lines and as a diff; ``fails`` says why the deploy would fail, or nothing."""

    lines: list[str] = field(default_factory=list)
    diff: list[Diff] = field(default_factory=list)
    fails: str = ""


def copy_schema(stack: Stack, target: Database) -> None:
    """Restore the live schema without rows into the scratch database ``target``; what says what is applied comes
    with its rows."""
    source = stack.database
    for arguments in filter(None, (["--schema-only"], copies.what_was_applied(source))):
        copies.transfer(source, target, arguments, time.monotonic() + 300)
    databases.foreign_servers.lead_to_copy(source, target)
    target.prove()


@dataclass(frozen=True)
class _Ran:
    """What ran on the scratch copy, and the names of what did not (``pending``). ``left_out``: the statements that act
    on the whole server; ``outward``: what tried to reach more than the copy."""

    applied: tuple[Migration, ...] = ()
    pending: tuple[str, ...] = ()
    left_out: tuple[server_wide.LeftOut, ...] = ()
    outward: tuple[Outward, ...] = ()


def _run_on_scratch(stack: Stack, sources: Mapping[str, str], found: Findings) -> tuple[_Ran, Optional[Catalog]]:
    """What ran, and the catalog of the copy afterwards."""
    if not found.pending:
        return _Ran(), None
    if found.pending[0].flavour == SCRIPT:
        return _Ran(pending=tuple(item.identity for item in found.pending)), None
    request = {"sources": dict(sources), "release": "plan", "who": "plan", "options": {"stop_at_scripts": True}}
    with scratch_database(stack, "plan") as scratch:
        copy_schema(stack, scratch)
        with stack.on_copy(found.candidate, scratch, "the plan of the migrations") as app_session:
            done = app_session.call("migrations.apply", request, deadline_s=300)
            return recorded(_Ran, done), described(app_session, 600)


def _left_lines(found: Findings, done: _Ran) -> list[str]:
    """Why each migration that did not run did not."""
    why = {item.identity: "is a legacy script" for item in found.pending if item.flavour == SCRIPT}
    why.update({item.identity: item.what for item in done.outward if item.identity in done.pending})
    later = [name for name in done.pending if name not in why]
    lines = [
        visible(f"{name} {reason}: what it does is known only by running it, as the rehearsal does")
        for name, reason in why.items()
    ]
    return [*lines, *([f"not run here, because they come after it: {', '.join(later)}"] if later else [])]


def _left_out_lines(left_out: Sequence[server_wide.LeftOut]) -> list[str]:
    return [visible(server_wide.said(item)) for item in left_out]


def _sql(statement: Statement) -> list[str]:
    lines = ["-- not run here, because it acts on the whole server:"] if statement.left_out else []
    return [*lines, statement.sql.strip().rstrip(";") + ";"]


def _diff(found: Findings, sql: Sequence[str], before: Sequence[str], after: Sequence[str]) -> list[Diff]:
    """What ``--diff`` shows: the pending SQL, the differences from the models before and after it, the API."""
    now, then = "differences from the models now", "differences from the models after"
    return [
        Diff("SQL (nothing pending)", "SQL (pending)", "", _text(sql)),
        Diff(now, then, _text(before), _text(after)),
        Diff("API", "API", _text([found.running.label]), _text([found.candidate.label])),
    ]


def _text(lines: Sequence[str]) -> str:
    return "".join(line + "\n" for line in lines)


def forecast(stack: Stack, sources: Mapping[str, str], found: Findings, options: CheckOptions) -> Forecast:
    """The pending SQL and the schema's differences now and expected after, from a run on an empty copy.

    Legacy scripts, and what comes after the first of them, do not run: it is unknown where else such a script connects.
    Neither does a migration that needs a program or a connection of its own: the plan has no way out (ADR 103).
    """
    result = Forecast()
    before = [visible(f"{item.object}: {item.kind}") for item in found.differences]
    statements: list[str] = []
    after, differences = before, str(len(before))
    try:
        done, catalog = _run_on_scratch(stack, sources, found)
    except PapError as error:
        result.lines.append(f"on an empty copy of the schema the pending migrations fail: {error.message}")
        data = recorded(FailureData, error.data)
        result.lines += [f"  {line}" for line in data.statement.splitlines()[:6]]
        result.lines += _left_out_lines(data.left_out)
        result.fails = f"the pending migrations fail on an empty copy of the schema: {error.message}"
    else:
        for item in done.applied:
            statements.append(f"-- {item.identity}")
            statements += [line for statement in item.statements for line in _sql(statement)]
        statements += [f"-- {name}: not run here" for name in done.pending]
        result.lines += _left_out_lines(done.left_out)
        result.lines += [
            visible(f"{item.identity} {item.what}, which reaches nothing from a plan")
            for item in done.outward
            if item.identity not in done.pending
        ]
        failing = list(found.failing)
        if catalog:
            verdict = judge(compare(found.expected, catalog, options), Checked(), options)
            failing = [item for item in verdict.differences if reaches(item.severity, options.fail_on)]
            after = [visible(f"{d.object}: {d.kind}") for d in verdict.differences]
            differences = str(len(after))
        if done.pending:
            result.lines += _left_lines(found, done)
            after, differences = [f"known only when {done.pending[0]} has run"], "not known"
        elif failing:
            first = visible(f"{failing[0].object}: {failing[0].kind}")
            result.fails = f"after it, the schema would not match the models: {first}" + (
                f", and {plural(len(failing) - 1, 'more difference')}" if failing[1:] else ""
            )
    count = sum(1 for statement in statements if not statement.startswith("--"))
    result.lines.append(
        f"a deploy would apply {plural(len(found.pending), 'migration')} ({plural(count, 'statement')})"
        f" and activate {found.candidate.label}; differences from its models: {len(before)} now, {differences} after"
    )
    result.diff = _diff(found, statements, before, after)
    return result
