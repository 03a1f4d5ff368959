"""Judge the SQL of migrations: squawk's rules and our own, weighed by the live sizes of the tables.

"Rewrites the table" is an outage on 200 GB and nothing on 200 rows. So the size decides: error, warning or note. A
suppression is a comment with a reason, on the line of the statement, directly above it, or at the left margin for the
whole file::

    # lint: allow index-blocks-writes: the table has 40 rows in every stack
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Optional

from ...core import database_identity
from ...core.database_identity import DatabaseIdentity
from ...core.errors import Refused
from ...core.plain_json import JsonObject
from ...core.text import plural
from ...core.text import size as spell_size
from ...sql import statements
from ...sql.quoting import quote_exact
from .. import loading, notes, sql_files, static_sql
from ..alembic.declaration import Declaration
from ..files import SCRIPT, MigrationFile, identity_of
from ..planned_sql import Located, StaticSql
from ..run.concurrent_indexes import name_at
from . import lock_impact, squawk
from .lock_impact import Effect, TableSize

SEVERITIES = ("note", "warning", "error")
LARGE_ROWS, LARGE_BYTES = 1_000_000, 1 << 30
MEDIUM_ROWS, MEDIUM_BYTES = 50_000, 64 << 20
_ALLOW = re.compile(r"(?:#|--)\s*lint:\s*allow\s+(?P<rule>[\w-]+)\s*(?::\s*(?P<reason>.*\S))?")


@dataclass
class Finding:
    """One remark on one statement. ``suppressed`` holds the reason when a comment allows it."""

    rule: str
    severity: str
    file: str
    line: int
    message: str
    help: str = ""
    statement: str = ""
    table: str = ""
    source: str = "papdeploy"
    suppressed: str = ""

    def as_dict(self) -> JsonObject:
        return asdict(self)


@dataclass
class Report:
    """All findings; ``sizes_known`` and ``squawk`` say what the verdicts rest on."""

    findings: list[Finding] = field(default_factory=list)
    files: int = 0
    sizes_known: bool = False
    squawk: str = ""

    @property
    def live(self) -> list[Finding]:
        """The findings that no comment allows, worst first."""
        found = [finding for finding in self.findings if not finding.suppressed]
        return sorted(found, key=lambda f: (-SEVERITIES.index(f.severity), f.file, f.line))

    def worse_than(self, fail_on: str) -> bool:
        """Whether a finding reaches ``fail_on`` (error, warning, never)."""
        if fail_on == "never":
            return False
        return any(SEVERITIES.index(f.severity) >= SEVERITIES.index(fail_on) for f in self.live)

    def as_dict(self) -> JsonObject:
        return {
            "findings": [finding.as_dict() for finding in self.findings],
            "files": self.files,
            "sizes_known": self.sizes_known,
            "squawk": self.squawk,
        }


def run(
    folders: Sequence[Path],
    chosen: Sequence[Path] = (),
    *,
    url: Optional[str] = None,
    offline: bool = False,
    scratch: Optional[str] = None,
    squawk: str = "",
    declared: Optional[Declaration] = None,
) -> Report:
    """Lint the pending migrations (with a database), the ``chosen`` files, or all (offline).

    ``scratch`` is the URL of a copy of the database: what is pending is run there, and the SQL that ran is judged where
    the source alone does not give it. ``declared``: the Alembic tree, where there is one.
    """
    import os

    migrations = everything = loading.from_folders(folders, declared, only_look=True)
    url = url or os.environ.get("DATABASE_URL")
    sizes: Optional[dict[str, TableSize]] = None
    version = 0
    live: Optional[DatabaseIdentity] = None
    if not offline:
        if not url:
            raise Refused("No database URL, so no table sizes.", hint="Set DATABASE_URL, or say --offline.")
        from .. import planning
        from ..options import RunOptions
        from ..run import apply

        with apply.opened(url, release="lint", who="lint", options=RunOptions(), emit=None) as session:
            session.query("SET default_transaction_read_only = on")
            sizes, version = lock_impact.sizes(session.query), session.facts.version
            pending = planning.status(session.raw, migrations).pending
            live = database_identity.read(session.query)
        if not chosen:
            migrations = pending
    if chosen:
        names = {identity_of(path.name) for path in chosen}
        called = {identity_of(migration.filename): migration for migration in migrations}
        unknown = names - {*called}
        if unknown:
            raise Refused(f"{min(unknown)} is not a migration in {', '.join(map(str, folders))}.")
        migrations = [migration for name, migration in called.items() if name in names]
    recorded: dict[str, list[str]] = {}
    if scratch and migrations:
        from ..options import RunOptions
        from ..run.plan_on_copy import record_on

        recorded = {
            name: list(item.statements) for name, item in record_on(scratch, everything, RunOptions(), live).items()
        }
    return judge(migrations, sizes, version=version, program=squawk, recorded=recorded)


def judge(
    migrations: Sequence[MigrationFile],
    sizes: Optional[Mapping[str, TableSize]],
    *,
    version: int = 0,
    program: str = "",
    recorded: Optional[Mapping[str, list[str]]] = None,
) -> Report:
    """The report on ``migrations``; ``sizes`` by quoted table name, None where no database was asked.

    ``recorded`` holds, by identity, the statements of a run on a copy: they count where the source is only a guess.
    """
    report = Report(files=len(migrations), sizes_known=sizes is not None)
    fresh: set[str] = set()
    located: list[Located] = []
    static_sql.prepare(migrations)
    for migration in migrations:
        ran = (recorded or {}).get(migration.identity, [])
        found = _located(migration, ran)
        located += found
        report.findings += [] if ran else _parse_notes(migration)
        exact = bool(ran) or static_sql.conditional(migration) is None
        for item in found:
            report.findings += _run_again(item, exact)
            fresh |= _created(item.statement)
            report.findings += [_verdict(item, effect, sizes, fresh) for effect in lock_impact.effects(item.statement)]
    report.findings += [
        Finding(note.rule, note.severity, _file(note.migration), note.line, note.message, note.help, note.statement)
        for note in notes.of(migrations)
    ]
    said, report.squawk = squawk.check(located, version=version, program=program)
    known = {(finding.file, finding.line) for finding in report.findings}
    for remark in said:
        report.findings += _from_squawk(remark, sizes, fresh, known)
    # What a loop sends is one line of the file: said once.
    report.findings = list({str(f.as_dict() | {"statement": ""}): f for f in report.findings if f.severity}.values())
    for migration in migrations:
        _suppress(migration, report)
    return report


def _located(migration: MigrationFile, ran: Sequence[str]) -> list[Located]:
    found = static_sql.sql_of(migration)
    if ran and not found.exact:
        lines = {_squeezed(text): line for text, line in zip(found.statements, found.lines)}
        start = next(n.lineno for n in migration.tree.body if getattr(n, "name", "") in ("upgrade", "run_migration"))
        found = StaticSql(list(ran), lines=[lines.get(_squeezed(text), start) for text in ran])
    return [
        Located(migration, statement, line)
        for text, line in zip(found.statements, found.lines)
        for statement in statements.split(text)
    ]


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _parse_notes(migration: MigrationFile) -> list[Finding]:
    """Say so where the SQL cannot be read whole: what was not read was not judged."""
    found = static_sql.sql_of(migration)
    if migration.revision is not None and not found.exact:
        return [
            Finding(
                "unread-sql", "note", _file(migration), max(found.lines, default=1),
                f"not all of its SQL could be judged: {'; '.join(found.reasons)}",
                "plan --scratch-url shows the true SQL",
            )
        ]  # fmt: skip
    unread = [text for text in found.statements if text.startswith("-- line ")]
    if not unread:
        return []
    line = int(unread[0].split()[2].rstrip(":"))
    return [
        Finding(
            "unread-sql", "note", _file(migration), line,
            f"{plural(len(unread), 'computed statement')} could not be judged, the first is {unread[0][3:][:80]}",
            "plan --scratch-url shows the true SQL",
        )
    ]  # fmt: skip


def _run_again(item: Located, exact: bool) -> list[Finding]:
    """Outside a transaction a migration may be interrupted anywhere, so each statement must bear being run twice."""
    words, migration = item.statement.words, item.migration
    if migration.flavour == SCRIPT or migration.transactional:
        return []
    instead = ""
    if words[:1] == ("CREATE",) and not {"REPLACE", "EXISTS"} & set(words[:6]):
        instead = "CREATE … IF NOT EXISTS, or ask db.has_table() and the like first"
    elif words[:1] == ("DROP",) and "EXISTS" not in words[:5]:
        instead = "DROP … IF EXISTS"
    elif words[:2] == ("ALTER", "TABLE") and "EXISTS" not in words and {"ADD", "DROP", "RENAME"} & set(words):
        instead = "IF [NOT] EXISTS, or ask db.has_column() and db.has_constraint() first"
    if not instead:
        return []
    # Where the code asks the database first, it may have thought of it.
    return [
        Finding("cannot-run-again", "warning" if exact else "note", _file(migration), item.line,
                "Run a second time, after an interruption, this statement fails.", instead, item.statement.text[:500])
    ]  # fmt: skip


def _file(migration: MigrationFile) -> str:
    if not migration.path:
        return migration.filename
    path = Path(migration.path)
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _created(statement: statements.Statement) -> set[str]:
    words = statement.words
    if words[:1] != ("CREATE",) or "TABLE" not in words[:3]:
        return set()
    position = words.index("TABLE") + 1
    if words[position : position + 3] == ("IF", "NOT", "EXISTS"):
        return set()  # it may be there, and large
    return {quote_exact(*name_at(words, position)[0])}


def _size_severity(size: TableSize) -> str:
    if size.rows >= LARGE_ROWS or size.size >= LARGE_BYTES:
        return "error"
    if size.rows >= MEDIUM_ROWS or size.size >= MEDIUM_BYTES:
        return "warning"
    return "note"


def _verdict(item: Located, effect: Effect, sizes: Optional[Mapping[str, TableSize]], fresh: set[str]) -> Finding:
    """The weight of one effect on its table. An empty severity means: nothing to say."""
    finding = Finding(
        effect.rule, "", _file(item.migration), item.line, "", effect.instead, item.statement.text[:500], effect.table
    )
    table = effect.table.replace('"', "")
    if effect.table in fresh or lock_impact.builds_nothing(item.statement, sizes):
        return finding  # a table of this batch: no session waits for it
    if effect.cost == "always":
        finding.severity, finding.message = "warning", f"{table}: {effect.does}."
        return finding
    if sizes is None:
        finding.severity = "note" if effect.cost == "gentle" else "warning"
        finding.message = f"{table}: {effect.does}. Its size is not known (no database was asked)."
        return finding
    size = sizes.get(effect.table)
    if size is None:
        return finding  # it is not there yet: created under IF NOT EXISTS, or by a file outside this batch
    if effect.type_words and not lock_impact.needs_rewrite(size.types.get(effect.column, ""), effect.type_words):
        return finding
    if effect.rule == "not-null-scans" and effect.column in size.not_null_checked:
        return finding
    rows = "an unknown number of rows" if size.rows < 0 else plural(size.rows, "row")
    how_large = f"{rows}, {spell_size(size.size)}"
    if effect.cost == "rows-fail":
        some = size.size > 0
        finding.severity = "error" if some else "note"
        finding.message = f"{table}: {effect.does}; it has {how_large}."
    elif effect.cost == "loss":
        finding.severity = "warning" if size.size > 0 else "note"
        finding.message = f"{table}: {effect.does}: {how_large}."
    else:
        finding.severity = "note" if effect.cost == "gentle" else _size_severity(size)
        time = lock_impact.seconds(effect, size)
        about = "well under a second" if time < 0.3 else f"about {time:.0f} s" if time >= 1 else "under a second"
        finding.message = f"{table}: {effect.does}. With {how_large} that is {about} (an estimate)."
    return finding


def _from_squawk(
    remark: squawk.Remark,
    sizes: Optional[Mapping[str, TableSize]],
    fresh: set[str],
    known: set[tuple[str, int]],
) -> list[Finding]:
    """A squawk remark with our weight: dropped where our own rule says the same better, lowered on small tables."""
    where = _file(remark.item.migration)
    table = _table_of(remark.item.statement)
    if remark.rule in squawk.SAME_AS_OURS and (
        lock_impact.builds_nothing(remark.item.statement, sizes)
        or (where, remark.item.line) in known
        or sizes is not None
    ):
        return []
    if table in fresh and remark.rule in squawk.ABOUT_EXISTING_TABLES:
        return []
    severity = "note" if remark.rule in squawk.STYLE else "error" if remark.level == "Error" else "warning"
    size = sizes.get(table) if sizes is not None else None
    if size is not None and severity == "warning" and remark.rule in squawk.ABOUT_EXISTING_TABLES:
        severity = _size_severity(size)
    return [
        Finding(remark.rule, severity, where, remark.item.line, remark.message, remark.help,
                remark.item.statement.text[:500], table, source="squawk")
    ]  # fmt: skip


def _table_of(statement: statements.Statement) -> str:
    words = statement.words
    if words[:2] == ("ALTER", "TABLE"):
        position = 2
        for phrase in (("IF", "EXISTS"), ("ONLY",)):
            if words[position : position + len(phrase)] == phrase:
                position += len(phrase)
        return quote_exact(*name_at(words, position)[0])
    if words[:1] == ("CREATE",) and "INDEX" in words[:3] and "ON" in words:
        return quote_exact(*name_at(words, words.index("ON") + 1)[0])
    return ""


def _comments(migration: MigrationFile) -> list[tuple[int, int, str]]:
    """(line, column, text) of every comment of the file."""
    if migration.suffix == sql_files.SUFFIX:
        return list(sql_files.comments(migration.source))
    found = []
    for token in tokenize.generate_tokens(io.StringIO(migration.source).readline):
        if token.type == tokenize.COMMENT:
            found.append((token.start[0], token.start[1], token.string))
    return found


def _suppress(migration: MigrationFile, report: Report) -> None:
    """Apply the file's ``# lint: allow`` comments; one without a reason, or that allows nothing, is a finding."""
    where = _file(migration)
    mine = [finding for finding in report.findings if finding.file == where]
    comments = _comments(migration)
    comment_lines = {line for line, _, _ in comments}
    for line, column, comment in comments:
        match = _ALLOW.search(comment)
        if not match:
            continue
        rule, reason = match.group("rule", "reason")
        if not reason:
            report.findings.append(
                Finding("suppression-without-reason", "error", where, line,
                        f"lint: allow {rule} gives no reason", "# lint: allow RULE: why it is all right here")
            )  # fmt: skip
            continue
        covered = line + 1
        while covered in comment_lines:
            covered += 1
        hits = [f for f in mine if f.rule == rule and (not column or f.line in (line, covered))]
        for finding in hits:
            finding.suppressed = reason
        if not hits:
            report.findings.append(
                Finding("unused-suppression", "warning", where, line,
                        f"lint: allow {rule} allows nothing here", "remove the comment")
            )  # fmt: skip
