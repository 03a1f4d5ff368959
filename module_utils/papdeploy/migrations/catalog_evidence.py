"""What a migration would leave in the catalog, read from its SQL, and whether it is there.

For adopting a database that was migrated by hand: a migration counts as applied only if everything that its SQL
creates, alters or drops is found so. A fact that a later migration overrides (a column added, then dropped) proves
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import catalog_facts, static_sql
from .catalog_facts import Fact
from .files import MigrationFile

PRESENT, ABSENT, PARTIAL, UNKNOWN = "present", "absent", "partial", "unknown"


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


_QUERIES = {
    "table": "SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(%s) AND relkind IN ('r', 'p', 'f'))"
    " OR %s <> ''",
    "view": "SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(%s) AND relkind IN ('v', 'm')) OR %s <> ''",
    "sequence": "SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(%s) AND relkind = 'S') OR %s <> ''",
    "index": "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass(%s) AND indisvalid) OR %s <> ''",
    "column": "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s"
    " AND attnum > 0 AND NOT attisdropped)",
    "not null": "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s"
    " AND attnotnull)",
    "default": "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s"
    " AND atthasdef)",
    "identity": "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s"
    " AND attidentity <> '')",
    "row security": "SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(%s) AND relrowsecurity) OR %s <> ''",
    "forced row security": "SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(%s) AND relforcerowsecurity)"
    " OR %s <> ''",
    "policy": "SELECT EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass(%s) AND polname = %s)",
    "constraint": "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass(%s) AND conname = %s)",
    "validated constraint": "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass(%s) AND conname = %s"
    " AND convalidated)",
    "type": "SELECT to_regtype(%s) IS NOT NULL OR %s <> ''",
    "not null of domain": "SELECT EXISTS (SELECT FROM pg_type WHERE oid = to_regtype(%s) AND typnotnull) OR %s <> ''",
    "default of domain": "SELECT EXISTS (SELECT FROM pg_type WHERE oid = to_regtype(%s) AND typdefault IS NOT NULL)"
    " OR %s <> ''",
    "constraint of domain": "SELECT EXISTS (SELECT FROM pg_constraint WHERE contypid = to_regtype(%s)"
    " AND conname = %s)",
    "validated constraint of domain": "SELECT EXISTS (SELECT FROM pg_constraint WHERE contypid = to_regtype(%s)"
    " AND conname = %s AND convalidated)",
    "enum label": "SELECT EXISTS (SELECT FROM pg_enum WHERE enumtypid = to_regtype(%s) AND enumlabel = %s)",
    "extension": "SELECT EXISTS (SELECT FROM pg_extension WHERE '\"' || extname || '\"' = %s) OR %s <> ''",
    "schema of extension": "SELECT EXISTS (SELECT FROM pg_extension JOIN pg_namespace AS n ON n.oid = extnamespace"
    " WHERE '\"' || extname || '\"' = %s AND '\"' || nspname || '\"' = %s)",
    "schema": "SELECT to_regnamespace(%s) IS NOT NULL OR %s <> ''",
    "trigger": "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass(%s) AND tgname = %s)",
}


def facts_of(migration: MigrationFile) -> list[Fact]:
    """The facts that the SQL of ``migration`` establishes, the last word on each thing only."""
    last: dict[tuple[str, str, str], Fact] = {}
    for statement in static_sql.statements(migration):
        for fact in catalog_facts.of(statement):
            last.pop(fact.key, None)
            last[fact.key] = fact
    facts = list(last.values())
    return [fact for place, fact in enumerate(facts) if not fact.undone_by(facts[place + 1 :])]


def judge(
    migrations: Sequence[MigrationFile], query: Callable[[str, Sequence[Any]], Sequence[Sequence[Any]]]
) -> list[Finding]:
    """A verdict on each of ``migrations`` (in the order they run) from the catalog behind ``query``."""
    facts = {migration.identity: facts_of(migration) for migration in migrations}
    findings: list[Finding] = []
    for number, migration in enumerate(migrations):
        later = [fact for after in migrations[number + 1 :] for fact in facts[after.identity]]
        said = {fact.key for fact in later}
        mine = [f for f in facts[migration.identity] if f.key not in said and not f.undone_by(later)]
        finding = Finding(migration.identity, UNKNOWN, note=static_sql.conditional(migration) or "")
        absent: set[tuple[str, str]] = set()
        for fact in sorted(mine, key=lambda fact: fact.detail):
            if fact.detail and not absent.isdisjoint([(fact.name, fact.part), (fact.name, "")]):
                continue  # that the thing is not there says it all
            if _holds(fact, query):
                finding.found += [] if fact.detail else [str(fact)]
                continue
            finding.lacking.append(str(fact))
            if not fact.detail or fact.kind == "column":
                absent.add((fact.name, fact.part))
        if finding.found and finding.lacking:
            finding.verdict = PARTIAL
        elif finding.found:
            finding.verdict = PRESENT
        elif finding.lacking:
            finding.verdict = ABSENT
        findings.append(finding)
    return findings


def _holds(fact: Fact, query: Callable[[str, Sequence[Any]], Sequence[Sequence[Any]]]) -> bool:
    if fact.proof is not None:
        return fact.proof(query) == fact.exists
    return bool(query(_QUERIES[fact.kind], (fact.name, fact.part or ""))[0][0]) == fact.exists
