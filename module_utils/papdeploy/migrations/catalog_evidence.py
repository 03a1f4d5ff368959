"""What a migration would leave in the catalog, read from its SQL, and whether it is there.

For adopting a database that was migrated by hand: a migration counts as applied only if everything that its SQL
creates, alters or drops is found so. A fact that a later migration overrides (a column added, then dropped) proves
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..sql import statements
from ..sql.quoting import quote_exact
from . import static_sql
from .files import MigrationFile
from .run.concurrent_indexes import name_at

PRESENT, ABSENT, PARTIAL, UNKNOWN = "present", "absent", "partial", "unknown"


@dataclass(frozen=True)
class Fact:
    """``kind`` of thing, its quoted ``name`` (and ``part`` of it), and whether it should exist."""

    kind: str
    name: str
    part: str = ""
    exists: bool = True

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.kind, self.name, self.part)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}{'.' + self.part if self.part else ''}" + ("" if self.exists else " gone")


@dataclass
class Finding:
    """The verdict on one migration: ``present``, ``absent``, ``partial`` or ``unknown``; what was and was not found.

    ``note`` says why its SQL could not be read whole, if so: the verdict then rests on the part that could.
    """

    identity: str
    verdict: str
    found: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)


_QUERIES = {
    "table": "SELECT to_regclass(%s) IS NOT NULL OR %s <> ''",
    "relation": "SELECT to_regclass(%s) IS NOT NULL OR %s <> ''",
    "index": "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass(%s) AND indisvalid) OR %s <> ''",
    "column": "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s"
    " AND attnum > 0 AND NOT attisdropped)",
    "not null": "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s"
    " AND attnotnull)",
    "default": "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s"
    " AND atthasdef)",
    "constraint": "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass(%s) AND conname = %s)",
    "validated constraint": "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass(%s) AND conname = %s"
    " AND convalidated)",
    "type": "SELECT to_regtype(%s) IS NOT NULL OR %s <> ''",
    "enum label": "SELECT EXISTS (SELECT FROM pg_enum WHERE enumtypid = to_regtype(%s) AND enumlabel = %s)",
    "extension": "SELECT EXISTS (SELECT FROM pg_extension WHERE quote_ident(extname) = %s"
    " OR '\"' || extname || '\"' = %s)",
    "schema": "SELECT to_regnamespace(%s) IS NOT NULL OR %s <> ''",
    "trigger": "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass(%s) AND tgname = %s)",
}


def facts_of(migration: MigrationFile) -> list[Fact]:
    """The facts that the SQL of ``migration`` establishes, the last word on each thing only."""
    last: dict[tuple[str, str, str], Fact] = {}
    for statement in static_sql.statements(migration):
        for fact in _facts(statement):
            last.pop(fact.key, None)
            last[fact.key] = fact
    gone = {fact.name for fact in last.values() if fact.kind == "table" and not fact.exists}
    return [fact for fact in last.values() if not (fact.part and fact.name in gone)]


def judge(
    migrations: Sequence[MigrationFile], query: Callable[[str, Sequence[Any]], Sequence[Sequence[Any]]]
) -> list[Finding]:
    """A verdict on each of ``migrations`` (in the order they run) from the catalog behind ``query``."""
    facts = {migration.identity: facts_of(migration) for migration in migrations}
    findings: list[Finding] = []
    for number, migration in enumerate(migrations):
        overridden = {fact.key for later in migrations[number + 1 :] for fact in facts[later.identity]}
        dropped = {
            fact.name
            for later in migrations[number + 1 :]
            for fact in facts[later.identity]
            if fact.kind == "table" and not fact.exists
        }
        finding = Finding(migration.identity, UNKNOWN, note=static_sql.conditional(migration) or "")
        for fact in facts[migration.identity]:
            if fact.key in overridden or fact.name in dropped:
                continue
            holds = bool(query(_QUERIES[fact.kind], (fact.name, fact.part or ""))[0][0]) == fact.exists
            (finding.found if holds else finding.lacking).append(str(fact))
        if finding.found and finding.lacking:
            finding.verdict = PARTIAL
        elif finding.found:
            finding.verdict = PRESENT
        elif finding.lacking:
            finding.verdict = ABSENT
        findings.append(finding)
    return findings


def _facts(statement: statements.Statement) -> list[Fact]:
    words = statement.words
    if words[:2] == ("ALTER", "TABLE"):
        return _alter_table(words)
    if words[:2] == ("ALTER", "TYPE"):
        return _alter_type(words)
    if words[:1] == ("CREATE",):
        return _create(words)
    if words[:1] == ("DROP",):
        return _drop(words)
    return []


_CREATED = {"TABLE": "table", "VIEW": "relation", "SEQUENCE": "relation", "TYPE": "type", "DOMAIN": "type",
            "EXTENSION": "extension", "SCHEMA": "schema"}  # fmt: skip
_SKIPPED = {"OR", "REPLACE", "UNIQUE", "UNLOGGED", "TEMP", "TEMPORARY", "MATERIALIZED", "RECURSIVE", "CONSTRAINT"}


def _after_if(words: tuple[str, ...], position: int) -> int:
    for phrase in (("CONCURRENTLY",), ("IF", "NOT", "EXISTS"), ("IF", "EXISTS"), ("ONLY",)):
        if words[position : position + len(phrase)] == phrase:
            position += len(phrase)
    return position


def _create(words: tuple[str, ...]) -> list[Fact]:
    position = 1
    while position < len(words) and words[position] in _SKIPPED:
        if words[position] in ("TEMP", "TEMPORARY"):
            return []
        position += 1
    if position >= len(words):
        return []
    kind, position = words[position], position + 1
    position = _after_if(words, position)
    if kind == "INDEX":
        if words[position : position + 1] == ("ON",):
            return []
        index, position = name_at(words, position)
        table, _ = name_at(words, _after_if(words, position + 1))
        return [Fact("index", quote_exact(*table[:-1], index[-1]))]
    if kind == "TRIGGER":
        name, position = name_at(words, position)
        if "ON" not in words[position:]:
            return []
        table, _ = name_at(words, words.index("ON", position) + 1)
        return [Fact("trigger", quote_exact(*table), name[-1])]
    if kind in _CREATED:
        name, _ = name_at(words, position)
        return [Fact(_CREATED[kind], quote_exact(*name))] if name else []
    return []


def _drop(words: tuple[str, ...]) -> list[Fact]:
    kinds = {**_CREATED, "INDEX": "index"}
    position = 2 if words[1:2] == ("MATERIALIZED",) else 1
    if words[position : position + 1] and words[position] in kinds:
        kind = kinds[words[position]]
        facts = []
        position = _after_if(words, position + 1)
        while position < len(words):
            name, position = name_at(words, position)
            facts.append(Fact(kind, quote_exact(*name), exists=False))
            if words[position : position + 1] != (",",):
                break
            position += 1
        return facts
    return []


def _alter_type(words: tuple[str, ...]) -> list[Fact]:
    name, position = name_at(words, 2)
    if words[position : position + 2] == ("ADD", "VALUE"):
        position = _after_if(words, position + 2)
        return [Fact("enum label", quote_exact(*name), _string(words[position]))]
    if words[position : position + 2] == ("RENAME", "VALUE"):
        return [
            Fact("enum label", quote_exact(*name), _string(words[position + 2]), exists=False),
            Fact("enum label", quote_exact(*name), _string(words[position + 4])),
        ]
    return []


def _string(word: str) -> str:
    return word[1:-1].replace("''", "'")


def _alter_table(words: tuple[str, ...]) -> list[Fact]:
    name, position = name_at(words, _after_if(words, 2))
    table = quote_exact(*name)
    facts: list[Fact] = []
    for action in split_actions(words[position:]):
        facts += _action(table, name, action)
    return facts


def split_actions(words: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The comma-separated actions of an ALTER TABLE; commas in parentheses do not separate."""
    actions: list[tuple[str, ...]] = []
    depth, start = 0, 0
    for position, word in enumerate(words):
        depth += (word in "([") - (word in ")]") if len(word) == 1 else 0
        if word == "," and not depth:
            actions.append(words[start:position])
            start = position + 1
    actions.append(words[start:])
    return actions


def _action(table: str, name: tuple[str, ...], words: tuple[str, ...]) -> list[Fact]:
    def one(position: int) -> str:
        return name_at(words, position)[0][-1]

    if words[:2] == ("ADD", "CONSTRAINT"):
        return [Fact("constraint", table, one(2))]
    if words[:1] == ("ADD",) and words[1:2] and words[1] not in ("PRIMARY", "UNIQUE", "CHECK", "FOREIGN", "EXCLUDE"):
        position = _after_if(words, 2 if words[1] == "COLUMN" else 1)
        column = one(position)
        facts = [Fact("column", table, column)]
        if any(pair == ("NOT", "NULL") for pair in zip(words, words[1:])):
            facts.append(Fact("not null", table, column))
        return facts
    if words[:2] == ("DROP", "CONSTRAINT"):
        return [Fact("constraint", table, one(_after_if(words, 2)), exists=False)]
    if words[:1] == ("DROP",):
        return [Fact("column", table, one(_after_if(words, 2 if words[1:2] == ("COLUMN",) else 1)), exists=False)]
    if words[:2] == ("VALIDATE", "CONSTRAINT"):
        return [Fact("validated constraint", table, one(2))]
    if words[:2] == ("RENAME", "TO"):
        return [Fact("table", table, exists=False), Fact("table", quote_exact(*name[:-1], one(2)))]
    if words[:1] == ("RENAME",) and "TO" in words and words[1:2] != ("CONSTRAINT",):
        start = 2 if words[1] == "COLUMN" else 1
        return [
            Fact("column", table, one(start), exists=False),
            Fact("column", table, one(words.index("TO") + 1)),
        ]
    if words[:1] == ("ALTER",):
        start = 2 if words[1:2] == ("COLUMN",) else 1
        target, position = name_at(words, start)
        column = target[-1]
        change = words[position : position + 3]
        if change == ("SET", "NOT", "NULL"):
            return [Fact("not null", table, column)]
        if change == ("DROP", "NOT", "NULL"):
            return [Fact("not null", table, column, exists=False)]
        if change[:2] == ("SET", "DEFAULT"):
            return [Fact("default", table, column)]
        if change[:2] == ("DROP", "DEFAULT"):
            return [Fact("default", table, column, exists=False)]
    return []
