"""The frame of a comparison: collects differences, and gives each its severity, its reason and its filter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from ...sql.lexer import one_line
from ...sql.quoting import quote_name, quote_text
from ..catalog.rows import Catalog, Column, Commented, Described, Granted
from .name_resolution import Sides, schemas_in_use
from .options import CheckOptions
from .renames import asked, find_renames, translate
from .result import Difference
from .rules import RULES


class Comparison:
    """State of one comparison; the rules live in the modules named ``compare_*``."""

    def __init__(self, expected: Catalog, actual: Catalog, options: CheckOptions) -> None:
        self.options = options
        actual = _without_versions(expected, actual)
        self.renames = find_renames(expected, actual, options)
        likely = self.renames if options.guess else find_renames(expected, actual, replace(options, guess=True))
        self.asked = asked(likely, self.renames)
        actual = translate(actual, self.renames)
        self.sides = Sides(expected, actual, schema=options.schema, exact=options.exact)
        if options.undo:
            self.sides.scope |= schemas_in_use(actual)
        self.expected, self.actual = self.sides.expected, self.sides.actual
        self.major = actual.database.major
        self.classes: dict[str, Any] = (expected.models or {}).get("classes", {})
        self.python_defaults: dict[str, str] = (expected.models or {}).get("defaults", {})
        self.owner = options.owner  # of everything; else of most, which compare_owners finds out
        self.differences: list[Difference] = []

    def add(
        self,
        kind: str,
        name: str,
        expected: str,
        actual: str,
        repair: Iterable[str] = (),
        *,
        table: str = "",
        severity: str = "",
        why: str = "",
    ) -> None:
        """Record a difference unless an ignore pattern covers it."""
        if self.options.ignores(kind, name):
            return
        rule = RULES[kind]
        severity = self.options.severities.get(kind) or severity or rule.severity
        if severity == "never":
            return
        reader, uses = self._readers(table or name)
        why = (why or rule.why).format(table=table, object=name, reader=reader, uses=uses)
        self.differences.append(Difference(kind, name, severity, expected, actual, why, tuple(map(one_line, repair))))

    def _readers(self, table: str) -> tuple[str, str]:
        use = self.options.used_by.get(table)
        if use:
            return use, f"every {use} fails"
        model = self.classes.get(table, {}).get("class")
        return (f"every query that loads {model}" if model else "every query of the models on it"), "each one fails"

    # shared by all kinds of objects

    def compare_common(self, prefix: str, name: str, expected: Described, actual: Described, sql_name: str) -> None:
        """Comment, owner and what PUBLIC may do. ``sql_name`` is what COMMENT ON and ALTER take."""
        self.compare_comment(f"{prefix}_comment", name, expected, actual, sql_name)
        self.compare_grants(f"{prefix}_grant", name, expected, actual, sql_name)
        self._compare_revoked(f"{prefix}_grant", name, expected, actual, sql_name)
        if self.options.exact and expected.owner != actual.owner:
            self.add(
                f"{prefix}_owner",
                name,
                str(expected.owner),
                str(actual.owner),
                [f"ALTER {sql_name} OWNER TO {quote_name(str(expected.owner))};"],
            )

    def compare_comment(
        self, kind: str, name: str, expected: Commented, actual: Commented, sql_name: str, *, table: str = ""
    ) -> None:
        wanted, present = expected.comment, actual.comment
        if wanted != present:
            value = quote_text(wanted) if wanted else "NULL"
            self.add(
                kind,
                name,
                f"comment {wanted!r}" if wanted else "no comment",
                f"comment {present!r}" if present else "no comment",
                [f"COMMENT ON {sql_name} IS {value};"],
                table=table,
            )

    def compare_grants(
        self, kind: str, name: str, expected: Granted, actual: Granted, sql_name: str, column: str = ""
    ) -> None:
        wanted, present = set(expected.public), set(actual.public)
        if wanted == present:
            return
        target = _grantable(sql_name)
        part = f" ({column})" if column else ""
        repair = [f"GRANT {right.rstrip('*')}{part} ON {target} TO PUBLIC;" for right in sorted(wanted - present)]
        repair += [f"REVOKE {right.rstrip('*')}{part} ON {target} FROM PUBLIC;" for right in sorted(present - wanted)]
        self.add(kind, name, _rights(wanted), _rights(present), repair)

    def _compare_revoked(self, kind: str, name: str, expected: Described, actual: Described, sql_name: str) -> None:
        """What the owner may no longer do."""
        wanted, present = set(expected.revoked), set(actual.revoked)
        if wanted == present or actual.owner is None:
            return
        target, owner = _grantable(sql_name), quote_name(actual.owner)
        repair = [f"GRANT {right} ON {target} TO {owner};" for right in sorted(present - wanted)]
        repair += [f"REVOKE {right} ON {target} FROM {owner};" for right in sorted(wanted - present)]
        words = [f"its owner lacks {', '.join(sorted(side)) or 'nothing'}" for side in (wanted, present)]
        why = "the owner is refused, and so is what runs as the owner: migrations, foreign keys, SECURITY DEFINER"
        self.add(kind, name, words[0], words[1], repair, severity="error", why=why)

    def compare_role_grants(self, label: str, expected: Column, actual: Column, table: str, column: str) -> None:
        """Rights of single roles on a column, which those on its table do not show."""
        wanted, present = set(expected.granted), set(actual.granted)
        if wanted == present:
            return

        def said(how: str, role: str, right: str) -> str:
            return f"{how.split()[0]} {right.rstrip('*')} ({column}) ON {table} {how.split()[1]} {quote_name(role)};"

        repair = [said("GRANT TO", role, right) for role, right in sorted(wanted - present)]
        gone = [said("REVOKE FROM", role, right) for role, right in sorted(present - wanted)]
        repair += gone if wanted else [f"-- given beside the models, decide whether it goes: {text}" for text in gone]
        sides = [", ".join(f"{role} {right}" for role, right in sorted(side)) for side in (wanted, present)]
        words = [f"rights of single roles ({side})" if side else "no right of a single role" for side in sides]
        # Models cannot give rights: what was given beside them is the operator's, and no fault of a migration.
        why = "a role has a right on the column, whatever it may do with the table"
        self.add("column_grant", label, words[0], words[1], repair, severity="" if wanted else "note", why=why)

    def compare_owners(self, rows: Sequence[tuple[str, str, Described, str]]) -> None:
        """Objects (prefix, name, row, sql_name) that belong to another role than ``options.owner`` or the rest."""
        if self.options.exact:
            return
        # an expected catalog in the actual one's place has none
        owned = [(prefix, name, row.owner, sql) for prefix, name, row, sql in rows if row.owner is not None]
        owners: dict[str, int] = {}
        for _, _, owner, _ in owned:
            owners[owner] = owners.get(owner, 0) + 1
        self.owner = wanted = self.options.owner or max(owners, key=lambda owner: owners[owner], default="")
        for prefix, name, owner, sql_name in owned:
            if owner != wanted:
                self.add(
                    f"{prefix}_owner",
                    name,
                    f"owned by {wanted}" + ("" if self.options.owner else ", like the rest"),
                    f"owned by {owner}",
                    [f"ALTER {sql_name} OWNER TO {quote_name(wanted)};"],
                )


def _without_versions(expected: Catalog, actual: Catalog) -> Catalog:
    """The catalog without Alembic's version tables, which no model describes and nobody may drop."""
    modelled = {row.name for row in expected.relations}
    kept = tuple(row for row in actual.relations if not row.has_versions or row.name in modelled)
    return actual if len(kept) == len(actual.relations) else replace(actual, relations=kept)


def _grantable(sql_name: str) -> str:
    """GRANT and REVOKE name a table without the word VIEW or MATERIALIZED VIEW."""
    return sql_name.replace("MATERIALIZED VIEW ", "").replace("FOREIGN TABLE ", "").replace("VIEW ", "")


def _rights(rights: Iterable[str]) -> str:
    listed = ", ".join(sorted(rights))
    return f"PUBLIC may {listed}" if listed else "PUBLIC has no right"
