"""What is applied, what is pending, and what blocks them: read only, on any database, also a standby."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Optional

from ..core import alone
from ..core.errors import Refused
from ..core.records import read, whole
from . import ledger
from .files import SCRIPT, MigrationFile, with_requirements
from .ledger import Entry, Ledger
from .options import RunOptions
from .planned_sql import PlannedSql
from .problems import Problem

_LOAD_S = 100.0


@dataclass(frozen=True)
class State:
    """Files against ledger. ``pending`` is in the order of running; ``applied`` maps identities to ledger entries."""

    applied: dict[str, Entry]
    pending: list[MigrationFile]
    problems: list[Problem]
    interrupted: dict[str, Entry]
    failures: dict[str, Entry]
    ledger_exists: bool

    def as_json(self) -> Any:
        return {
            "applied": whole(list(self.applied.values())),
            "pending": [migration.as_dict() for migration in self.pending],
            "problems": whole(self.problems),
            "interrupted": sorted(self.interrupted),
            "failures": {name: {"at": e.at, **e.details} for name, e in self.failures.items()},
            "ledger_exists": self.ledger_exists,
        }


@dataclass(frozen=True)
class Plan:
    """A state together with the SQL of what is pending.

    In ``sql``, by pending identity, ``exact`` is false where the SQL was read from the source and depends on what the
    migration finds when it runs. ``notes`` say what does not stop a run and is better known before it.
    """

    state: State
    sql: dict[str, PlannedSql] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def pending(self) -> list[MigrationFile]:
        return self.state.pending

    @property
    def applied(self) -> dict[str, Entry]:
        return self.state.applied

    @property
    def problems(self) -> list[Problem]:
        return self.state.problems

    @property
    def exact(self) -> bool:
        return all(item.exact for item in self.sql.values())

    def as_json(self) -> Any:
        return {**self.state.as_json(), "sql": whole(self.sql), "exact": self.exact, "notes": list(self.notes)}

    def as_text(self) -> str:
        """The plan as an SQL script with comments: what check mode and diff print."""
        lines: list[str] = []
        for migration in self.pending:
            item = self.sql.get(migration.identity, PlannedSql((), exact=False, why="not read"))
            kind = "legacy script, own process" if migration.flavour == SCRIPT else (
                "in the transaction" if migration.transactional else "outside a transaction"
            )  # fmt: skip
            lines.append(f"-- {migration.identity} ({kind}): {migration.description}")
            if not item.exact:
                lines.append(f"-- a guess: {item.why}")
            lines.extend(_terminated(statement) for statement in item.statements)
            lines.append("")
        lines.extend(f"-- note: {note}" for note in self.notes)
        lines.extend(f"-- refused: {problem.message} {problem.hint}" for problem in self.problems)
        return "\n".join(lines)


def _terminated(statement: str) -> str:
    text = statement.strip()
    return text if text.endswith(";") or (text.startswith("--") and "\n" not in text) else text + ";"


def compare(files: Sequence[MigrationFile], book: Ledger, options: Optional[RunOptions] = None) -> State:
    """Files against ledger, without a database."""
    options = options or RunOptions()
    with_requirements(files, options.assume_applied)  # a misspelt name is refused
    by_name = {migration.identity: migration for migration in files}
    applied, names, problems = _standing(files, book)
    pending = [by_name[name] for name in names]
    if options.only:
        wanted = {migration.identity for migration in with_requirements(files, options.only)}
        pending = [migration for migration in pending if migration.identity in wanted]
    problems += [*_edited(by_name, applied), *_missing(by_name, applied)]
    # The order of revisions is their graph's: a branch that is merged may lie before what is applied.
    positions = {m.identity: number for number, m in enumerate(files) if m.revision is None}
    newest = max((positions[name] for name in applied if name in positions), default=-1)
    if not options.allow_out_of_order:
        problems += [
            Problem(
                "out_of_order",
                migration.identity,
                f"{migration.identity} is pending, but sorts before {files[newest].identity}, which is applied.",
                "Rename it to today's date, or allow it explicitly (--allow-out-of-order, allow_out_of_order)."
                if not _lies_ahead(files[newest])
                else f"The date of {files[newest].identity} lies in the future: until then, allow each new migration"
                " explicitly (--allow-out-of-order, allow_out_of_order).",
            )
            for migration in pending
            if positions.get(migration.identity, newest) < newest
        ]
    interrupted = {name: entry for name, entry in book.interrupted.items() if name not in applied}
    return State(applied, pending, problems, interrupted, book.last_failures, book.exists)


def _standing(files: Sequence[MigrationFile], book: Ledger) -> tuple[dict[str, Entry], list[str], list[Problem]]:
    """What is applied and, in order, what is pending: of an Alembic tree by its version table, else by the ledger."""
    applied = book.applied
    dated = [migration for migration in files if migration.revision is None]
    pending = [migration.identity for migration in dated if migration.identity not in applied]
    if len(dated) == len(files):
        return applied, pending, []
    from .alembic import tree, versions

    found = tree.of(files)
    assert found is not None
    standing = versions.standing(found, book)
    last = files[0].revision is None
    return standing.applied, [*pending, *standing.pending] if last else [*standing.pending, *pending], standing.problems


def _lies_ahead(migration: MigrationFile) -> bool:
    return migration.listed < 0 and migration.dated is not None and migration.dated > date.today()


def _edited(by_name: dict[str, MigrationFile], applied: dict[str, Entry]) -> list[Problem]:
    return [
        Problem(
            "edited",
            name,
            f"{name} was edited after it was applied (release {entry.release}, {entry.at[:19]} UTC).",
            "Restore the file as it was and write the change as a new migration; if the edit is harmless (a comment),"
            " accept it with `repair`.",
        )
        for name, entry in applied.items()
        if name in by_name and entry.checksum != by_name[name].checksum
    ]


def _missing(by_name: dict[str, MigrationFile], applied: dict[str, Entry]) -> list[Problem]:
    return [
        Problem(
            "missing",
            name,
            f"{name} is applied (release {entry.release}, {entry.at[:19]} UTC) but its file is gone.",
            "Is this an older checkout than the one that was deployed? Bring the file back; if it was removed on"
            " purpose, record that with `repair`.",
        )
        for name, entry in applied.items()
        if name not in by_name
    ]


def refuse_if(problems: Sequence[Problem]) -> None:
    """Raise Refused for the first problem, naming how many there are."""
    if problems:
        more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
        raise Refused(
            problems[0].message + more,
            hint=problems[0].hint,
            problems=whole(problems),
        )


@dataclass(frozen=True)
class _Loaded:
    problems: tuple[Problem, ...]


def import_problems(migrations: Sequence[MigrationFile]) -> list[Problem]:
    """Pending migrations that cannot even be loaded: a missing module, an error in their first lines.

    They are loaded where they reach nothing, programs that they start included. Legacy scripts are only
    parsed: what they do when imported belongs into a process of their own. An Alembic tree was loaded on trial as a
    whole before it was read (``alembic.tree.try_to_load``).
    """
    ours = [migration for migration in migrations if migration.flavour != SCRIPT and migration.revision is None]
    if not ours:
        return []
    try:
        found = alone.run(lambda: {"problems": whole(_load_problems(ours))}, _LOAD_S)
    except alone.CannotConfine:
        return _load_problems(ours)
    return list(read(_Loaded, found).problems)


def _load_problems(migrations: Sequence[MigrationFile]) -> list[Problem]:
    from .run import execute
    from .run.connection_guard import no_second_connection

    found = []
    refusal = Refused("it opens a connection when it is imported.", hint="Connections are the runner's: use db.")
    for migration in migrations:
        try:
            with no_second_connection(lambda _: refusal):
                execute.load(migration)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it is reported as the problem
            said = f"{type(error).__name__}: {error}".split("\n")[0]
            found.append(
                Problem(
                    "import",
                    migration.identity,
                    f"{migration.identity} cannot be loaded: {said}",
                    "Correct it; run the plan with the same Python as the deploy (the API container's).",
                )
            )
    return found


def rows(connection: Any, query: str) -> list[tuple[Any, ...]]:
    """The rows of ``query`` on an SQLAlchemy or a driver's connection."""
    if hasattr(connection, "exec_driver_sql"):
        return [tuple(row) for row in connection.exec_driver_sql(query.replace("%", "%%"))]
    cursor = connection.cursor()
    try:
        cursor.execute(query)
        return [tuple(row) for row in cursor.fetchall()]
    finally:
        cursor.close()


def beside_versions(book: Ledger, files: Sequence[MigrationFile], query: ledger.Query) -> Ledger:
    """The ledger with the rows of the version table, where some of the files are of an Alembic tree."""
    if not any(migration.revision for migration in files):
        return book
    from .alembic import tree, versions

    found = tree.of(files)
    assert found is not None
    there = versions.read(found.home, query)
    return replace(book, versions=there, unseen="" if there else versions.unseen(found.home, query))


def status(connection: Any, files: Sequence[MigrationFile], options: Optional[RunOptions] = None) -> State:
    """Applied, pending and problems. Reads only: creates nothing, locks nothing, works on a standby."""

    def query(text: str) -> Sequence[Sequence[Any]]:
        return rows(connection, text)

    return compare(files, beside_versions(ledger.read(query), files, query), options)
