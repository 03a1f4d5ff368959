"""The sections of a release's page, each from its part of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ..core.text import plural
from ..logwatch.kinds import KINDS
from . import format, plot, rollback_sections
from .format import escape
from .markup import EMPTY, Part, figures, mark, none, section, table

MAX_STATEMENTS = 200


def failure(failed: Mapping[str, Any], rollback: Part) -> str:
    body = f'<div class="message"><strong>{escape(failed.get("message") or format.NOT_RECORDED)}</strong>'
    if failed.get("hint"):
        body += f"<p>{escape(failed['hint'])}</p>"
    body += "</div>"
    if failed.get("statement"):
        body += f"<h3>The statement</h3><pre>{escape(failed['statement'])}</pre>"
    found = failed.get("differences") or []
    unequal = [item for item in found if not isinstance(item, Mapping)]  # of a copy: sentences
    checked = [item for item in found if isinstance(item, Mapping)]
    if failed.get("lines") and not unequal:
        body += f"<pre>{escape(chr(10).join(failed['lines']))}</pre>"
    if unequal:
        body += f"<h3>{plural(len(unequal), 'difference')}</h3><pre>{escape(chr(10).join(map(str, unequal)))}</pre>"
    if checked:
        body += differences(checked, "What the check found")
    body += rollback_sections.how(rollback)
    return section(f"What failed: {format.phase_noun(failed['phase'])}", body)


def override(found: Mapping[str, Any]) -> str:
    """A decision to go on without a receipt: whose, why, and what was missing."""
    who = found.get("who") or {}
    return section(
        "Deployed without a receipt",
        f'<div class="message warn-box"><strong>{escape(found.get("reason") or format.NOT_RECORDED)}</strong>'
        f'<p class="soft">{escape(who.get("user") or "?")}@{escape(who.get("host") or "?")},'
        f" {format.when(found.get('at'))}</p><p>{escape(found.get('instead_of') or '')}</p></div>",
    )


def alarms(watch: Mapping[str, Any]) -> str:
    rows = []
    for alarm in watch.get("alarms") or []:
        acknowledged = alarm.get("acknowledged")
        said = f"{acknowledged['who']}: {acknowledged['reason']}" if acknowledged else "open"
        rows.append(
            f'<div class="message warn-box"><strong>{escape(alarm["why"])}</strong>'
            f'<p class="soft">{format.when(alarm["at"])}, log of the {escape(alarm["source"])}, {escape(said)}</p>'
            + (f"<pre>{escape(alarm['sample'])}</pre>" if alarm.get("sample") else "")
            + "</div>"
        )
    return section("Alarms since the deploy", "".join(rows)) if rows else ""


def next_steps(steps: Sequence[Mapping[str, str]]) -> str:
    if not steps:
        return ""
    items = "".join(f"<li>{escape(step['say'])}<pre>{escape(step['type'])}</pre></li>" for step in steps)
    return section("What to do next", f'<ol class="steps">{items}</ol>')


def migrations(found: Sequence[Mapping[str, Any]]) -> str:
    if not found:
        return section("Migrations", none("No migration was pending."))
    rows = [
        [
            f"<code>{escape(item['identity'])}</code>"
            + ("" if item["applied"] else ' <span class="warn">not applied</span>'),
            _or_none(item.get("seconds"), format.seconds),
            _or_none(item.get("rehearsed_s"), format.seconds),
            str(item["statement_count"]) if item.get("statement_count") else EMPTY,
            _or_none(item.get("rows"), format.number),
            escape(", ".join(item.get("rewritten") or []) or "none") if item.get("rewritten") is not None else EMPTY,
            _or_none(item.get("wal_bytes"), format.size),
        ]
        for item in found
    ]
    head = ["Migration", "Took", "Rehearsed", "Statements", "Rows", "Rewrites", "WAL"]
    body = table(
        "In the order in which they ran, in one transaction with the schema check", head, rows, (1, 2, 3, 4, 6)
    )
    details = "".join(_migration(item) for item in found if item.get("statements") or item.get("locks"))
    return section("Migrations", body + details)


def _or_none(value: Any, form: Any) -> str:
    return EMPTY if value is None else escape(form(value))


def _migration(item: Mapping[str, Any]) -> str:
    statements = item.get("statements") or []
    parts = []
    if item.get("locks"):
        rows = [
            [
                f"<code>{escape(lock['table'])}</code>",
                escape(_lock(lock["mode"])),
                _or_none(lock.get("held_s"), format.seconds),
            ]
            for lock in _strongest(item["locks"])
        ]
        caption = "The strongest lock on each table, held to the end of the transaction"
        parts.append(table(caption, ["Table", "Mode", "Held on the copy"], rows, (2,)))
    if statements:
        rows = [
            [
                f"<code>{escape(statement.get('sql', ''))}</code>",
                _milliseconds(statement.get("ms")),
                _or_none(statement.get("rows"), format.number),
            ]
            for statement in statements[:MAX_STATEMENTS]
        ]
        parts.append(table("Statements", ["SQL", "Took", "Rows"], rows, (1, 2), sql=(0,)))
    if len(statements) > MAX_STATEMENTS:
        parts.append(f'<p class="soft">and {len(statements) - MAX_STATEMENTS} more, in report.json</p>')
    count = item.get("statement_count") or len(statements)
    return (
        f'<details><summary>{escape(item["identity"])} <span class="soft">{plural(count, "statement")}</span>'
        f"</summary>{''.join(parts) or none('What it ran was not recorded.')}</details>"
    )


# From weak to strong (PostgreSQL documentation, 13.3.1).
_MODES = ("AccessShare", "RowShare", "RowExclusive", "ShareUpdateExclusive", "Share", "ShareRowExclusive", "Exclusive",
          "AccessExclusive")  # fmt: skip


def _strongest(locks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """One lock for each table."""

    def strength(lock: Mapping[str, Any]) -> int:
        mode = str(lock["mode"])
        name = mode[: -len("Lock")] if mode.endswith("Lock") else mode
        return _MODES.index(name) if name in _MODES else -1

    best: dict[str, Mapping[str, Any]] = {}
    for lock in locks:
        if lock["table"] not in best or strength(lock) > strength(best[lock["table"]]):
            best[lock["table"]] = lock
    return list(best.values())


def _lock(mode: str) -> str:
    """``AccessExclusiveLock`` as the documentation writes it."""
    name = mode[: -len("Lock")] if mode.endswith("Lock") else mode
    return "".join(f" {c}" if c.isupper() and i else c for i, c in enumerate(name)).upper()


def schema(found: Mapping[str, Any]) -> str:
    parts = []
    matches = found.get("matches")
    if matches is not None:
        tables = (found.get("checked") or {}).get("tables")
        compared = plural(tables or 0, "table")
        what = f"the database matches the models{f' ({compared} compared)' if tables else ''}"
        parts.append(f"<p>{mark(matches, what, 'the database does not match the models')}</p>")
    if found.get("differences_after"):
        parts.append(differences(found["differences_after"], "Differences after the deploy"))
    changes = found.get("diff")
    if changes:
        added = sum(1 for change in changes for sign, _ in change["lines"] if sign == "+")
        removed = sum(1 for change in changes for sign, _ in change["lines"] if sign == "-")
        parts.append(
            f'<p class="soft">{plural(len(changes), "object")} changed: <span class="ok">+{added}</span>'
            f' <span class="bad">−{removed}</span> lines</p>'
        )
        parts += [_diff(change) for change in changes]
    elif changes is not None:
        parts.append(none("The schema is as it was before."))
    elif found.get("differences_before"):
        before = found["differences_before"]
        shown = differences(before, "Between the new models and the database, before the deploy")
        parts.append(
            f"<details><summary>{plural(len(before), 'difference')} before the deploy</summary>{shown}</details>"
        )
    return section("Schema", "".join(parts) or none("Not recorded."))


def _diff(change: Mapping[str, Any]) -> str:
    kinds = {"+": "plus", "-": "minus"}
    lines = "".join(
        f'<span class="{kinds.get(sign, "soft")}">{sign if sign != "…" else " …"} {escape(text)}</span>'
        for sign, text in change["lines"]
    )
    return (
        f"<details{' open' if len(change['lines']) <= 30 else ''}><summary>{escape(change['object'])} "
        f'<span class="soft">{escape(change["change"])}</span></summary><pre class="diff">{lines}</pre></details>'
    )


def differences(found: Sequence[Mapping[str, Any]], caption: str) -> str:
    """Differences between the models and a database, as the schema check lists them."""
    rows = [
        [
            f"<code>{escape(item.get('object', '?'))}</code>",
            escape(str(item.get("kind", "")).replace("_", " ")),
            escape(item.get("expected") or EMPTY),
            escape(item.get("actual") or EMPTY),
        ]
        for item in found
    ]
    return table(caption, ["Object", "Difference", "The models say", "The database had"], rows)


def rehearsal(found: Part, unavailable_s: Optional[float]) -> str:
    if not found:
        return section("Rehearsal", none("Not rehearsed."))
    if found.get("failed"):
        return section("Rehearsal on a copy of the data", f"<p>{mark(False)} {escape(found['failed'])}</p>")
    facts = [("Verdict", f"{escape(found.get('verdict') or format.NOT_RECORDED)}", str(found.get("copy") or ""))]
    for name, key in (("Reversible", "reversible"), ("The old API works on the new schema", "old_api_works")):
        value = found.get(key)
        facts.append((name, "not tried" if value is None else mark(bool(value), "yes", "no"), ""))
    online = found.get("online")
    if isinstance(online, Mapping):
        facts.append(("Safe under traffic", mark(bool(online.get("safe")), "yes", "no"), ""))
    if found.get("expected_unavailable_s") is not None:
        expected = format.seconds(found["expected_unavailable_s"])
        facts.append(("API unavailable", f"{expected} predicted", f"{format.seconds(unavailable_s)} measured"))
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{value}<small>{escape(note)}</small></dd></div>"
        for name, value, note in facts
    )
    body = f'<dl class="facts" style="margin:0">{items}</dl>'
    if found.get("downgrade_loses"):
        body += f"<h3>What a downgrade loses</h3><p>{escape(found['downgrade_loses'])}</p>"
    strategies = found.get("recovery_s")
    if isinstance(strategies, Mapping) and strategies:
        rows = [[escape(strategy.replace("_", " ")), format.seconds(value)] for strategy, value in strategies.items()]
        body += f"<h3>Rollback options</h3>{table('How long each would take on the copy', ['Strategy', 'Time'], rows)}"
    reasons = [str(why) for why in online.get("why") or []] if isinstance(online, Mapping) else []
    reasons += [str(why) for why in found.get("cannot_tell") or []]
    if reasons:
        points = "".join(f"<li>{escape(reason)}</li>" for reason in reasons)
        body += f"<h3>Why it is not safe under traffic</h3><ul>{points}</ul>"
    return section("Rehearsal on a copy of the data", body)


def backup(found: Part, point: Part) -> str:
    if not found:
        return section("Backup", none("None was taken."))
    body = figures(
        ("size", format.size(found.get("bytes"))),
        ("taken in", format.seconds(found.get("seconds"))),
        ("tables", _or_none(found.get("tables"), format.number)),
        ("rows", _or_none(found.get("rows"), format.number)),
        ("restored in", format.seconds(found.get("restore_seconds"))),
    )
    proof = found.get("proof")
    text = proof.get("sentence") or proof.get("kind") if isinstance(proof, Mapping) else proof
    text = found.get("sentence") or text
    names = {"path": "File", "sha256": "SHA-256"}
    if found.get("label"):  # of a backup by pgBackRest
        names = {"label": "Label", "restore_command": "Restored by"}
    rows = [(name, f"<code>{escape(found.get(key) or format.NOT_RECORDED)}</code>") for key, name in names.items()]
    rows.append(("Proof", escape(text or "none")))
    if point:
        kind = str(point.get("kind") or format.NOT_RECORDED)
        said = str(point.get("sentence") or kind).removeprefix("restore point: ")
        rows.append(("Restore point", escape(said)))
    for entry in found.get("accepted") or []:
        rows.append(("Accepted", escape(f"{entry['sentence']} ({entry['reason']}; until {entry['until']})")))
    rows += [("Note", escape(str(note))) for note in found.get("notes") or []]
    body += "".join(f'<p><span class="soft">{name}:</span> {value}</p>' for name, value in rows)
    return section("Backup and its proof", body)


def smoke(found: Part) -> str:
    if not found:
        return section("Login smoke test", none("Not run."))
    rows = [
        [
            escape(str(check.get("name", "")).capitalize()),
            mark(bool(check.get("ok"))) + (f" {escape(check['detail'])}" if check.get("detail") else ""),
            _status(check.get("status")),
            _milliseconds(check.get("ms")),
        ]
        for check in found.get("checks") or []
    ]
    after = found.get("healthy_after_s")
    caption = f"Healthy after {format.seconds(after)}" if after is not None else "Checks"
    body = table(caption, ["Check", "Result", "Status", "Took"], rows, (3,))
    endpoints = found.get("endpoints") or []
    if endpoints:
        rows = [
            [
                f"<code>{escape(item['path'])}</code>",
                _status(item.get("before")),
                _status(item.get("after")),
                _milliseconds(item.get("ms_before")),
                _milliseconds(item.get("ms")),
                mark(bool(item.get("ok", True)), "no worse", item.get("detail") or "worse"),
            ]
            for item in endpoints
        ]
        head = ["Endpoint", "Before", "After", "Took before", "Took after", "Result"]
        body += (
            f"<h3>Endpoints</h3>{table('As the smoke user, before the fence and after the switch', head, rows, (3, 4))}"
        )
    return section("Login smoke test", body)


def _status(status: Any) -> str:
    if status is None:
        return EMPTY
    if status == 0:
        return '<span class="bad">no answer</span>'
    kind = "bad" if int(status) >= 500 else ""
    return f'<span class="{kind}">{escape(status)}</span>' if kind else escape(status)


def _milliseconds(value: Any) -> str:
    number = format.figure(value)
    return EMPTY if number is None else escape(format.seconds(number / 1000))


def watch(found: Part) -> str:
    if not found:
        return section("Watch over the logs", none("No watch was started."))
    if not found.get("started"):
        return section("Watch over the logs", none("Only the first minute was watched."))
    if found.get("steps") == 0:
        return section("Watch over the logs", none("It failed before the logs were looked at."))
    body = figures(
        ("watched", format.seconds(plot.span_of(found))),
        ("requests", format.number(found.get("requests"))),
        ("log records", format.number(found.get("records"))),
    )
    body += f"<p>{escape(found.get('summary') or '')}</p>{plot.draw(found)}"
    rows = []
    for item in sorted(found.get("findings") or [], key=lambda item: list(KINDS).index(item["kind"])):
        rows.append(
            [
                escape(item["kind"].replace("_", " ")),
                escape(item["source"]),
                f"<code>{escape(item['subject'])}</code>",
                format.number(item["count"]),
                f"{format.minute(item['first'])} – {format.minute(item['last'])}",
            ]
        )
    if rows:
        head = ["Kind", "Log", "About", "Count", "First–last"]
        body += f"<h3>Findings</h3>{table('Each log record is counted once', head, rows, (3,))}"
    for gap in found.get("gaps") or []:
        body += f'<p class="warn">{escape(gap["what"])} ({format.when(gap["at"])})</p>'
    return section("Watch over the logs", body)
