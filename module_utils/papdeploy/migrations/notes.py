"""What does not stop a run and is better known before it: said by the lint and by the plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from ..sql import statements
from .files import SCRIPT, MigrationFile
from .planned_sql import Located
from .static_sql import located, prepare, sql_of

_A_DAY = timedelta(days=1)  # somewhere it is tomorrow


@dataclass(frozen=True)
class Note:
    """``rule`` names it; ``line`` is of the migration's file; ``help`` is the way out."""

    rule: str
    migration: MigrationFile
    line: int
    message: str
    help: str
    statement: str = ""
    severity: str = "warning"

    def __str__(self) -> str:
        return f"{self.migration.identity}, line {self.line}: {self.message} {self.help}"


def of(migrations: Sequence[MigrationFile], transaction: str = "all") -> list[Note]:
    """The notes on migrations that run in this order, sharing transactions as ``transaction`` (all, each) says."""
    today = date.today()
    prepare(migrations)
    found = [_in_future(m, m.dated) for m in migrations if m.dated and m.listed < 0 and m.dated > today + _A_DAY]
    refused = (note for migration in migrations if migration.flavour != SCRIPT for note in _refused(migration))
    return [*found, *refused, *_early_labels(migrations, transaction)]


def _refused(migration: MigrationFile) -> Iterator[Note]:
    """What the runner will not send: what only psql understands, and the ends of its own transaction."""
    found = sql_of(migration)
    for text, line in zip(found.statements, found.lines):
        command = statements.of_psql(text) or statements.copies_with_client(text)
        if command:
            yield Note(
                "only-psql",
                migration,
                line,
                f"It sends {command}, which only psql understands.",
                "Leave out psql's commands, and have pg_dump write data as INSERT (--inserts).",
                text[:500],
                "error",
            )
        control = statements.transaction_control(text) if migration.transactional and not command else ""
        if control:
            yield Note(
                "transaction-control",
                migration,
                line,
                f"It sends {control[:60]}, which is refused: the runner owns the transaction.",
                "Leave it out, or write transactional = False (in SQL: -- transactional: false).",
                text[:500],
                "error",
            )


def _in_future(migration: MigrationFile, dated: date) -> Note:
    return Note(
        "dated-in-the-future",
        migration,
        1,
        f"Its date, {dated.isoformat()}, lies in the future: what is written until then sorts before it, and is"
        " refused as out of order once this one is applied.",
        "Rename it to today's date before it is applied.",
    )


def _early_labels(migrations: Sequence[MigrationFile], transaction: str) -> Iterator[Note]:
    """Uses of an enum label in the transaction that adds it: refused by PostgreSQL, unless the type is new as well."""
    fresh: dict[str, str] = {}  # label, as a literal, to the migration that adds it
    created: set[str] = set()
    for migration in migrations:
        apart = transaction == "each" or migration.own_transaction
        if migration.flavour == SCRIPT or not migration.transactional or apart:
            fresh, created = {}, set()
        if migration.flavour == SCRIPT or not migration.transactional:
            continue
        for item in located(migration):
            words = item.statement.words
            if words[:2] == ("CREATE", "TYPE"):
                created.add(_type_of(words[2:]))
            elif words[:2] == ("ALTER", "TYPE") and "VALUE" in words:
                label = _added(words)
                if label and _type_of(words[2:]) not in created:
                    fresh[label] = migration.identity
            else:
                yield from _uses(item, fresh)


def _uses(item: Located, fresh: dict[str, str]) -> Iterator[Note]:
    for word in item.statement.words:
        if word in fresh:
            by = fresh[word]
            alone = by == item.migration.identity
            yield Note(
                "enum-label-not-committed",
                item.migration,
                item.line,
                f"If {word} is the enum label that {by} adds, PostgreSQL refuses this use before the commit of it.",
                "Add it in a migration of its own, with transactional = False."
                if alone
                else f"Write transactional = False in {by}, or run with --transaction each.",
                item.statement.text[:500],
            )
            return


def _type_of(words: Sequence[str]) -> str:
    """The last part of a name: its schema may be given in one place and not in the other."""
    position = 2 if words[1:2] == (".",) else 0
    return words[position] if position < len(words) else ""


def _added(words: Sequence[str]) -> str:
    """The literal behind ADD VALUE [IF NOT EXISTS]."""
    position = words.index("VALUE") + 1
    if words[position - 2] != "ADD":
        return ""
    position += 3 if words[position : position + 1] == ("IF",) else 0
    return words[position] if position < len(words) else ""
