"""Triggers, rules and row security policies of a table."""

from __future__ import annotations

from ...sql.quoting import quote_name
from ..catalog.rows import Part, Relation
from ..repair import definitions
from ..repair.tables import create_part, enable_part
from .comparison import Comparison
from .name_resolution import Side

_ENABLED = {"O": "enabled", "D": "disabled", "R": "enabled on replicas only", "A": "enabled always"}


def compare_parts(work: Comparison, label: str, name: str, expected: Relation, actual: Relation) -> None:
    both = (expected, actual)
    parts = {
        "trigger": [side.triggers for side in both],
        "rule": [side.rules for side in both],
        "policy": [side.policies for side in both],
    }
    for part, sides in parts.items():
        ours, theirs = ({row.name: row for row in rows} for rows in sides)
        for key, row in ours.items():
            other = theirs.get(key)
            object_name = f"{label}.{key}"
            if other is None:
                repair = create_part(work, part, name, row)
                work.add(f"{part}_missing", object_name, _words(part, row), "nothing", repair, table=label)
            else:
                _compare(work, part, label, name, (expected, row), (actual, other))
        for key, row in theirs.items():
            if key not in ours:
                repair = [f"DROP {part.upper()} {quote_name(key)} ON {name};"]
                work.add(f"{part}_extra", f"{label}.{key}", "nothing", _words(part, row), repair, table=label)


def _words(part: str, row: Part) -> str:
    if part == "policy":
        return definitions.policy(row)
    state = row.enabled or "O"
    return str(row.definition) + ("" if state == "O" else f" ({_ENABLED[state]})")


def _compare(
    work: Comparison,
    part: str,
    label: str,
    name: str,
    our_part: tuple[Relation, Part],
    their_part: tuple[Relation, Part],
) -> None:
    (expected, ours), (actual, theirs) = our_part, their_part
    object_name, quoted = f"{label}.{ours.name}", quote_name(ours.name)
    if _key(work.expected, part, expected, ours) != _key(work.actual, part, actual, theirs):
        create = create_part(work, part, name, ours)
        repair = [f"DROP {part.upper()} {quoted} ON {name};", *create]
        work.add(f"{part}_changed", object_name, _words(part, ours), _words(part, theirs), repair, table=label)
    elif part != "policy" and ours.enabled != theirs.enabled:
        repair = [enable_part(part, name, ours)]
        kind_name = "trigger_disabled" if part == "trigger" else "rule_changed"
        words = _ENABLED[ours.enabled], _ENABLED[theirs.enabled]
        work.add(kind_name, object_name, *words, repair, table=label)
    target = f"{part.upper()} {quoted} ON {name}"
    work.compare_comment("constraint_comment", object_name, ours, theirs, target, table=label)


def _key(side: Side, part: str, table: Relation, row: Part) -> object:
    if part == "policy":
        # CREATE POLICY: "if no WITH CHECK expression is defined", USING decides about new rows as well
        check = row.using if row.check is None and row.command in "*w" else row.check
        return (
            row.command,
            bool(row.permissive),
            sorted(row.roles),
            repr(side.expression(row.using, table)),
            repr(side.expression(check, table)),
        )
    return side.text(row.definition)
