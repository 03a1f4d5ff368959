"""The sections of a release's page, each from its part of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ..core.records import recorded
from ..core.text import plural
from ..logwatch.kinds import KINDS
from ..releases.parts import Difference, Override, Proof, TableLock
from ..releases.records import Backup, RestorePoint, RolledBack
from ..releases.rehearsed import Online, Rehearsal
from . import format, plot, rollback_sections
from .format import escape
from .markup import EMPTY, figures, mark, none, section, table
from .records import Change, Failure, Migration, Schema, Smoke, Step, Watch

MAX_STATEMENTS = 200


def failure(failed: Failure, rollback: Optional[RolledBack]) -> str:
    body = f'<div class="message"><strong>{escape(failed.message or format.NOT_RECORDED)}</strong>'
    if failed.hint:
        body += f"<p>{escape(failed.hint)}</p>"
    body += "</div>"
    if failed.statement:
        body += f"<h3>The statement</h3><pre>{escape(failed.statement)}</pre>"
    found = failed.differences
    unequal = [item for item in found if not isinstance(item, Mapping)]  # of a copy: sentences
    checked = [item for item in found if isinstance(item, Mapping)]
    if failed.lines and not unequal:
        body += f"<pre>{escape(chr(10).join(failed.lines))}</pre>"
    if unequal:
        body += f"<h3>{plural(len(unequal), 'difference')}</h3><pre>{escape(chr(10).join(map(str, unequal)))}</pre>"
    if checked:
        body += differences([recorded(Difference, item) for item in checked], "What the check found")
    body += rollback_sections.how(rollback)
    return section(f"What failed: {format.phase_noun(failed.phase)}", body)


def override(found: Override) -> str:
    """A decision to go on without a receipt: whose, why, and what was missing."""
    return section(
        "Deployed without a receipt",
        f'<div class="message warn-box"><strong>{escape(found.reason or format.NOT_RECORDED)}</strong>'
        f'<p class="soft">{escape(str(found.who))},'
        f" {format.when(found.at)}</p><p>{escape(found.instead_of)}</p></div>",
    )


def alarms(watch: Watch) -> str:
    rows = []
    for alarm in watch.alarms:
        acknowledged = alarm.acknowledged
        said = f"{acknowledged.who}: {acknowledged.reason}" if acknowledged else "open"
        rows.append(
            f'<div class="message warn-box"><strong>{escape(alarm.why)}</strong>'
            f'<p class="soft">{format.when(alarm.at)}, log of the {escape(alarm.source)}, {escape(said)}</p>'
            + (f"<pre>{escape(alarm.sample)}</pre>" if alarm.sample else "")
            + "</div>"
        )
    return section("Alarms since the deploy", "".join(rows)) if rows else ""


def next_steps(steps: Sequence[Step]) -> str:
    if not steps:
        return ""
    items = "".join(f"<li>{escape(step.say)}<pre>{escape(step.type)}</pre></li>" for step in steps)
    return section("What to do next", f'<ol class="steps">{items}</ol>')


def migrations(found: Sequence[Migration]) -> str:
    if not found:
        return section("Migrations", none("No migration was pending."))
    rows = [
        [
            f"<code>{escape(item.identity)}</code>"
            + ("" if item.applied else ' <span class="warn">not applied</span>'),
            _or_none(item.seconds, format.seconds),
            _or_none(item.rehearsed_s, format.seconds),
            str(item.statement_count) if item.statement_count else EMPTY,
            _or_none(item.rows, format.number),
            escape(", ".join(item.rewritten) or "none") if item.rewritten is not None else EMPTY,
            _or_none(item.wal_bytes, format.size),
        ]
        for item in found
    ]
    head = ["Migration", "Took", "Rehearsed", "Statements", "Rows", "Rewrites", "WAL"]
    body = table(
        "In the order in which they ran, in one transaction with the schema check", head, rows, (1, 2, 3, 4, 6)
    )
    details = "".join(_migration(item) for item in found if item.statements or item.locks)
    return section("Migrations", body + details)


def _or_none(value: Any, form: Any) -> str:
    return EMPTY if value is None else escape(form(value))


def _migration(item: Migration) -> str:
    statements = item.statements
    parts = []
    if item.locks:
        rows = [
            [
                f"<code>{escape(lock.table)}</code>",
                escape(_lock(lock.mode)),
                _or_none(lock.held_s, format.seconds),
            ]
            for lock in _strongest(item.locks)
        ]
        caption = "The strongest lock on each table, held to the end of the transaction"
        parts.append(table(caption, ["Table", "Mode", "Held on the copy"], rows, (2,)))
    if statements:
        rows = [
            [
                f"<code>{escape(statement.sql)}</code>",
                _milliseconds(statement.ms),
                _or_none(statement.rows, format.number),
            ]
            for statement in statements[:MAX_STATEMENTS]
        ]
        parts.append(table("Statements", ["SQL", "Took", "Rows"], rows, (1, 2), sql=(0,)))
    if len(statements) > MAX_STATEMENTS:
        parts.append(f'<p class="soft">and {len(statements) - MAX_STATEMENTS} more, in report.json</p>')
    count = item.statement_count or len(statements)
    return (
        f'<details><summary>{escape(item.identity)} <span class="soft">{plural(count, "statement")}</span>'
        f"</summary>{''.join(parts) or none('What it ran was not recorded.')}</details>"
    )


# From weak to strong (PostgreSQL documentation, 13.3.1).
_MODES = ("AccessShare", "RowShare", "RowExclusive", "ShareUpdateExclusive", "Share", "ShareRowExclusive", "Exclusive",
          "AccessExclusive")  # fmt: skip


def _strongest(locks: Sequence[TableLock]) -> list[TableLock]:
    """One lock for each table."""

    def strength(lock: TableLock) -> int:
        mode = lock.mode
        name = mode[: -len("Lock")] if mode.endswith("Lock") else mode
        return _MODES.index(name) if name in _MODES else -1

    best: dict[str, TableLock] = {}
    for lock in locks:
        if lock.table not in best or strength(lock) > strength(best[lock.table]):
            best[lock.table] = lock
    return list(best.values())


def _lock(mode: str) -> str:
    """``AccessExclusiveLock`` as the documentation writes it."""
    name = mode[: -len("Lock")] if mode.endswith("Lock") else mode
    return "".join(f" {c}" if c.isupper() and i else c for i, c in enumerate(name)).upper()


def schema(found: Schema) -> str:
    parts = []
    matches = found.matches
    if matches is not None:
        tables = found.checked.tables
        compared = plural(tables or 0, "table")
        what = f"the database matches the models{f' ({compared} compared)' if tables else ''}"
        parts.append(f"<p>{mark(matches, what, 'the database does not match the models')}</p>")
    if found.differences_after:
        parts.append(differences(found.differences_after, "Differences after the deploy"))
    changes = found.diff
    if changes:
        added = sum(1 for change in changes for sign, _ in change.lines if sign == "+")
        removed = sum(1 for change in changes for sign, _ in change.lines if sign == "-")
        parts.append(
            f'<p class="soft">{plural(len(changes), "object")} changed: <span class="ok">+{added}</span>'
            f' <span class="bad">−{removed}</span> lines</p>'
        )
        parts += [_diff(change) for change in changes]
    elif changes is not None:
        parts.append(none("The schema is as it was before."))
    elif found.differences_before:
        before = found.differences_before
        shown = differences(before, "Between the new models and the database, before the deploy")
        parts.append(
            f"<details><summary>{plural(len(before), 'difference')} before the deploy</summary>{shown}</details>"
        )
    return section("Schema", "".join(parts) or none("Not recorded."))


def _diff(change: Change) -> str:
    kinds = {"+": "plus", "-": "minus"}
    lines = "".join(
        f'<span class="{kinds.get(sign, "soft")}">{sign if sign != "…" else " …"} {escape(text)}</span>'
        for sign, text in change.lines
    )
    return (
        f"<details{' open' if len(change.lines) <= 30 else ''}><summary>{escape(change.object)} "
        f'<span class="soft">{escape(change.change)}</span></summary><pre class="diff">{lines}</pre></details>'
    )


def differences(found: Sequence[Difference], caption: str) -> str:
    """Differences between the models and a database, as the schema check lists them."""
    rows = [
        [
            f"<code>{escape(item.object)}</code>",
            escape(item.kind.replace("_", " ")),
            escape(item.expected or EMPTY),
            escape(item.actual or EMPTY),
        ]
        for item in found
    ]
    return table(caption, ["Object", "Difference", "The models say", "The database had"], rows)


def rehearsal(found: Optional[Rehearsal], failed: str, unavailable_s: Optional[float]) -> str:
    if failed:
        return section("Rehearsal on a copy of the data", f"<p>{mark(False)} {escape(failed)}</p>")
    if not found:
        return section("Rehearsal", none("Not rehearsed."))
    facts = [("Verdict", escape(found.verdict or format.NOT_RECORDED), found.copy)]
    works = found.old_api_works
    for name, value in (("Reversible", found.reversible), ("The old API works on the new schema", works)):
        facts.append((name, "not tried" if value is None else mark(value, "yes", "no"), ""))
    online = found.online
    if online != Online():
        facts.append(("Safe under traffic", mark(online.safe, "yes", "no"), ""))
    if found.expected_unavailable_s is not None:
        expected = format.seconds(found.expected_unavailable_s)
        facts.append(("API unavailable", f"{expected} predicted", f"{format.seconds(unavailable_s)} measured"))
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{value}<small>{escape(note)}</small></dd></div>"
        for name, value, note in facts
    )
    body = f'<dl class="facts" style="margin:0">{items}</dl>'
    if found.downgrade_loses:
        body += f"<h3>What a downgrade loses</h3><p>{escape(found.downgrade_loses)}</p>"
    strategies = found.recovery_s
    if strategies:
        rows = [[escape(strategy.replace("_", " ")), format.seconds(value)] for strategy, value in strategies.items()]
        body += f"<h3>Rollback options</h3>{table('How long each would take on the copy', ['Strategy', 'Time'], rows)}"
    reasons = [*online.why, *found.cannot_tell]
    if reasons:
        points = "".join(f"<li>{escape(reason)}</li>" for reason in reasons)
        body += f"<h3>Why it is not safe under traffic</h3><ul>{points}</ul>"
    return section("Rehearsal on a copy of the data", body)


def backup(found: Optional[Backup], point: Optional[RestorePoint]) -> str:
    if not found:
        return section("Backup", none("None was taken."))
    body = figures(
        ("size", format.size(found.bytes)),
        ("taken in", format.seconds(found.seconds)),
        ("tables", _or_none(found.tables, format.number)),
        ("rows", _or_none(found.rows, format.number)),
        ("restored in", format.seconds(found.restore_seconds)),
    )
    proof = found.proof
    text = proof.sentence or proof.kind if isinstance(proof, Proof) else proof
    text = found.sentence or next(iter(found.lines), None) or text
    where = [("File", found.path), ("SHA-256", found.sha256)]
    if found.label:  # of a backup by pgBackRest
        where = [("Label", found.label), ("Restored by", found.restore_command)]
    rows = [(name, f"<code>{escape(value or format.NOT_RECORDED)}</code>") for name, value in where]
    rows.append(("Proof", escape(text or "none")))
    if point:
        kind = point.kind or format.NOT_RECORDED
        said = (point.sentence or kind).removeprefix("restore point: ")
        rows.append(("Restore point", escape(said)))
    for entry in found.accepted:
        rows.append(("Accepted", escape(f"{entry.sentence} ({entry.reason}; until {entry.until})")))
    rows += [("Note", escape(note)) for note in found.notes]
    body += "".join(f'<p><span class="soft">{name}:</span> {value}</p>' for name, value in rows)
    return section("Backup and its proof", body)


def smoke(found: Optional[Smoke]) -> str:
    if not found:
        return section("Login smoke test", none("Not run."))
    rows = [
        [
            escape(check.name.capitalize()),
            mark(check.ok) + (f" {escape(check.detail)}" if check.detail else ""),
            _status(check.status),
            _milliseconds(check.ms),
        ]
        for check in found.checks
    ]
    after = found.healthy_after_s
    caption = f"Healthy after {format.seconds(after)}" if after is not None else "Checks"
    body = table(caption, ["Check", "Result", "Status", "Took"], rows, (3,))
    endpoints = found.endpoints
    if endpoints:
        rows = [
            [
                f"<code>{escape(item.path)}</code>",
                _status(item.before),
                _status(item.after),
                _milliseconds(item.ms_before),
                _milliseconds(item.ms),
                mark(item.ok, "no regressions", item.detail or "regression"),
            ]
            for item in endpoints
        ]
        head = ["Endpoint", "Before", "After", "Took before", "Took after", "Result"]
        body += (
            f"<h3>Endpoints</h3>{table('As the smoke user, before the fence and after the switch', head, rows, (3, 4))}"
        )
    return section("Login smoke test", body)


def _status(status: Optional[int]) -> str:
    if status is None:
        return EMPTY
    if status == 0:
        return '<span class="bad">no answer</span>'
    kind = "bad" if status >= 500 else ""
    return f'<span class="{kind}">{escape(status)}</span>' if kind else escape(status)


def _milliseconds(value: Optional[float]) -> str:
    return EMPTY if value is None else escape(format.seconds(value / 1000))


def watch(found: Optional[Watch], switched: Optional[str]) -> str:
    if not found:
        return section("Watch over the logs", none("No watch was started."))
    if not found.started:
        said = (
            f"It is not known what it saw: {found.summary}." if found.summary else "Only the first minute was watched."
        )
        return section("Watch over the logs", none(said))
    if found.steps == 0:
        return section("Watch over the logs", none("It failed before the logs were looked at."))
    body = figures(
        ("watched", format.seconds(plot.span_of(found))),
        ("requests", format.number(found.requests)),
        ("log records", format.number(found.records)),
    )
    body += f"<p>{escape(found.summary or '')}</p>{plot.draw(found, switched)}"
    rows = []
    for item in sorted(found.findings, key=lambda item: list(KINDS).index(item.kind)):
        rows.append(
            [
                escape(item.kind.replace("_", " ")),
                escape(item.source),
                f"<code>{escape(item.subject)}</code>",
                format.number(item.count),
                f"{format.minute(item.first)} – {format.minute(item.last)}",
            ]
        )
    if rows:
        head = ["Kind", "Log", "About", "Count", "First–last"]
        body += f"<h3>Findings</h3>{table('Each log record is counted once', head, rows, (3,))}"
    for blind in found.unseen:
        body += f'<p class="warn">The watch was blind: {escape(blind.what)}. <code>{escape(blind.remedy)}</code></p>'
    for gap in found.gaps:
        body += f'<p class="warn">{escape(gap.what)} ({format.when(gap.at)})</p>'
    return section("Watch over the logs", body)
