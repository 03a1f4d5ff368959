"""A check's result for people and machines: text, JSON, SARIF, JUnit, GitHub annotations. Pure: data in, text out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from ... import __version__
from ...core.text import plural
from ...core.visible import json_text, visible, visible_block
from ..differences.result import CheckResult, Difference
from ..differences.rules import RULES
from ..models.source import Source

Locations = Mapping[str, Source]

_COLOURS = {"error": "31", "warning": "33", "note": "36"}
_LEVELS = {"error": "error", "warning": "warning", "note": "notice"}


def as_text(result: CheckResult, *, colour: bool = False) -> str:
    """For a terminal: what differs, why it matters, what would repair it."""

    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if colour else text

    checked = result.checked
    lines: list[str] = []
    for difference in result.differences:
        severity = paint(difference.severity, _COLOURS[difference.severity])
        heading = f"{severity}  {paint(visible(difference.object), '1')}"
        lines.append(f"{heading}  {difference.kind}")
        lines += _labelled("models", difference.expected)
        lines += _labelled("database", difference.actual)
        lines += _labelled("why", difference.why)
        for statement in difference.repair:
            lines += _labelled("repair", statement)
        lines.append("")
    for difference in result.allowed:
        lines.append(visible(f"allowed  {difference.object}  {difference.kind}: {difference.allowed}"))
    lines += [visible(f"note: {notice}") for notice in result.notices]
    tables, columns = plural(checked.tables, "table"), plural(checked.columns, "column")
    scope = f"{tables}, {columns}, {plural(checked.indexes, 'index', 'indexes')}"
    where = f"Database {checked.database!r}"
    if not result.differences:
        lines.append(paint(f"{where} matches the models ({scope}).", "32"))
    else:
        below = " (none of them fails this check)" if result.matches else ""
        lines.append(paint(f"{where} differs from the models: {result.summary()}{below}. Checked {scope}.", "1"))
    return "\n".join(lines) + "\n"


def _labelled(label: str, text: str) -> list[str]:
    first, *rest = text.splitlines() or [""]
    return [f"    {label + ':':<10}{visible(first)}", *(f"{'':14}{visible(line)}" for line in rest)]


def as_json(result: CheckResult) -> str:
    return json_text(result.as_dict(), indent=2) + "\n"


def _message(difference: Difference) -> str:
    return f"{difference.sentence()}; {difference.why}"


def _location(difference: Difference, locations: Locations) -> Source | None:
    """Where the model of the difference's table is written."""
    parts = difference.object.split(".")
    for length in range(len(parts), 0, -1):
        found = locations.get(".".join(parts[:length]))
        if found and found.file:
            return found
    return None


def as_sarif(result: CheckResult, locations: Locations | None = None) -> str:
    """SARIF 2.1.0, as code scanning reads it. Allowed differences are there as suppressed."""
    kinds = sorted({d.kind for d in (*result.differences, *result.allowed)})
    entries = []
    for difference in (*result.differences, *result.allowed):
        place = _location(difference, locations or {})
        physical = {
            "artifactLocation": {"uri": quote(place.file if place else "check_db_schema.py")},
            "region": {"startLine": place.line if place else 1},
        }
        entry: dict[str, Any] = {
            "ruleId": difference.kind,
            "level": difference.severity,
            "message": {"text": _message(difference)},
            "locations": [
                {
                    "physicalLocation": physical,
                    "logicalLocations": [{"fullyQualifiedName": difference.object, "kind": "object"}],
                }
            ],
            "partialFingerprints": {"object/v1": f"{difference.kind}:{difference.object}"},
            "properties": {"repair": difference.repair},
        }
        if difference.allowed:
            entry["suppressions"] = [{"kind": "external", "justification": difference.allowed}]
        entries.append(entry)
    notices = [{"level": "note", "message": {"text": notice}} for notice in result.notices]
    rules = [
        {
            "id": kind,
            "shortDescription": {"text": kind.replace("_", " ")},
            "fullDescription": {"text": _plain(RULES[kind].why)},
            "defaultConfiguration": {"level": RULES[kind].severity},
        }
        for kind in kinds
    ]
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "check_db_schema", "version": __version__, "rules": rules}},
                "results": entries,
                "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": notices}],
            }
        ],
    }
    return json_text(document, indent=2) + "\n"


def _plain(why: str) -> str:
    words = {"{reader}": "the application", "{object}": "it", "{uses}": "queries fail", "{table}": "the table"}
    for placeholder, word in words.items():
        why = why.replace(placeholder, word)
    return why


def as_junit(result: CheckResult) -> str:
    """JUnit XML: a case for each difference, and one that stands for everything else."""
    cases = []
    failures = 0
    for difference in result.differences:
        failures += 1
        details = "\n".join(
            [
                f"models: {difference.expected}",
                f"database: {difference.actual}",
                f"why: {difference.why}",
                *difference.repair,
            ]
        )
        cases.append(
            f"  <testcase classname={quoteattr('schema.' + difference.kind)} name={_attribute(difference.object)}>"
            f"<failure type={quoteattr(difference.severity)} message={_attribute(_message(difference))}>"
            f"{escape(_xml(details))}</failure></testcase>"
        )
    for difference in result.allowed:
        name, kind = _attribute(difference.object), quoteattr("schema." + difference.kind)
        reason = _attribute(difference.allowed)
        cases.append(f"  <testcase classname={kind} name={name}><skipped message={reason}/></testcase>")
    cases.append('  <testcase classname="schema" name="everything else"/>')
    notices = "\n".join(result.notices)
    output = f"  <system-out>{escape(_xml(notices))}</system-out>\n" if notices else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<testsuite name="database schema" tests="{len(cases)}" failures="{failures}" errors="0" '
        f'skipped="{len(result.allowed)}">\n' + "\n".join(cases) + f"\n{output}</testsuite>\n"
    )


def _attribute(text: str) -> str:
    return quoteattr(_xml(text))


def _xml(text: str) -> str:
    """Without the characters that XML 1.0 forbids."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text)


def as_github(result: CheckResult, locations: Locations | None = None) -> str:
    """Workflow commands: an annotation for each difference, at the model where its source is known."""
    lines = []
    for difference in result.differences:
        place = _location(difference, locations or {})
        properties = {"title": f"Schema: {difference.kind} {difference.object}"}
        if place:
            properties = {"file": place.file, "line": str(place.line), **properties}
        listed = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
        body = "\n".join([_message(difference), *difference.repair])
        lines.append(f"::{_LEVELS[difference.severity]} {listed}::{_data(body)}")
    lines += [f"::notice title=Schema::{_data(notice)}" for notice in result.notices]
    if not result.differences:
        lines.append(f"Database matches the models ({plural(result.checked.tables, 'table')}).")
    return "\n".join(lines) + "\n"


def _data(text: str) -> str:
    """Escaped as the runner's toolkit does it."""
    return visible_block(text).replace("%", "%25").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


FORMATS = ("text", "json", "sarif", "junit", "github")


def render(result: CheckResult, name: str, *, locations: Locations | None = None, colour: bool = False) -> str:
    """``result`` in the format ``name`` (one of FORMATS)."""
    writers: dict[str, Callable[[], str]] = {
        "text": lambda: as_text(result, colour=colour),
        "json": lambda: as_json(result),
        "sarif": lambda: as_sarif(result, locations),
        "junit": lambda: as_junit(result),
        "github": lambda: as_github(result, locations),
    }
    return writers[name]()
