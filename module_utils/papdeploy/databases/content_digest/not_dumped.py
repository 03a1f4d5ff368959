"""What pg_dump takes for somebody else's and leaves out: of the system, or of an extension, but changed by a person.

A dump carries neither what is built in nor what is a member of an extension, as whoever restores it is to have both.
What a person has changed of them, added to them or put among them is therefore in no dump, but for privileges. It is
found by comparing with the copy: that has what the server itself and CREATE EXTENSION make.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Union

from ...core.records import recorded
from ...core.text import few
from .content import Nested
from .queries import no_member, row

_BUILT_IN = ("pg_operator", "pg_opclass", "pg_opfamily", "pg_cast", "pg_conversion", "pg_collation", "pg_ts_config",
             "pg_ts_dict", "pg_ts_parser", "pg_ts_template", "pg_rewrite")  # fmt: skip
# Of these a row is also written where a privilege is given, which a dump carries: all are read, but for privileges.
_GIVEN = {
    "pg_proc": "proname, proowner, procost, prorows, prosupport, prosecdef, proleakproof, proisstrict, provolatile,"
    " proparallel, proargdefaults, prosrc, probin, proconfig",
    "pg_type": "typname, typowner, typcategory, typispreferred, typdefault, typstorage, typcollation",
    "pg_language": "lanname, lanowner, lanpltrusted, lanplcallfoid, laninline, lanvalidator",
}
# Parts of what is built in, by the column that holds its OID: the only ones that can be taken away as well.
_PARTS = {"pg_amop": ("pg_opfamily", "amopfamily"), "pg_amproc": ("pg_opfamily", "amprocfamily"),
          "pg_ts_config_map": ("pg_ts_config", "mapcfg")}  # fmt: skip

# Rows are read that are younger than the server's own databases.
_LATER = "age(k.xmin) < (SELECT age(d.xmin) FROM pg_database d WHERE d.datname = 'template0')"

_TOUCHED = 6
_BUILT_IN_KEY, _MEMBERS_KEY = "built in ", "extension members "

# What a person has made in a schema of the system; ``needed``: it holds rows, or other objects depend on it.
STRAY = """
SELECT o.type || ' ' || o.identity AS name, 'ALTER ' || upper(o.type) || ' ' || o.identity || ' SET SCHEMA public;'
       AS moved, k.kind IN ('r', 'p', 'm', 'S') OR EXISTS (SELECT FROM pg_depend u WHERE u.refclassid = k.classid
                AND u.refobjid = k.oid AND u.deptype IN ('n', 'a')) AS needed
FROM (SELECT 'pg_class'::regclass::oid AS classid, oid, relnamespace AS schema, relkind AS kind FROM pg_class
       WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      UNION ALL SELECT 'pg_proc'::regclass, oid, pronamespace, NULL FROM pg_proc
      UNION ALL SELECT 'pg_type'::regclass, oid, typnamespace, NULL FROM pg_type
      UNION ALL SELECT 'pg_operator'::regclass, oid, oprnamespace, NULL FROM pg_operator
      UNION ALL SELECT 'pg_collation'::regclass, oid, collnamespace, NULL FROM pg_collation
      UNION ALL SELECT 'pg_conversion'::regclass, oid, connamespace, NULL FROM pg_conversion
      UNION ALL SELECT 'pg_opclass'::regclass, oid, opcnamespace, NULL FROM pg_opclass
      UNION ALL SELECT 'pg_opfamily'::regclass, oid, opfnamespace, NULL FROM pg_opfamily
      UNION ALL SELECT 'pg_ts_config'::regclass, oid, cfgnamespace, NULL FROM pg_ts_config
      UNION ALL SELECT 'pg_ts_dict'::regclass, oid, dictnamespace, NULL FROM pg_ts_dict) AS k
CROSS JOIN LATERAL pg_identify_object(k.classid, k.oid, 0) AS o
WHERE k.oid >= 16384 AND k.schema IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = k.classid AND e.objid = k.oid
                   AND e.deptype IN ('e', 'i'))"""

_DEFINED = """CASE m.classid
    WHEN 'pg_proc'::regclass THEN (SELECT pg_get_functiondef(p.oid) FROM pg_proc p
      WHERE p.oid = m.objid AND p.prokind <> 'a')
    WHEN 'pg_class'::regclass THEN (SELECT concat(c.reloptions, CASE WHEN c.relkind IN ('v', 'm') THEN
      pg_get_viewdef(c.oid) END, (SELECT string_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod),
        a.attnotnull, (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d WHERE d.adrelid = a.attrelid
                        AND d.adnum = a.attnum)), ',' ORDER BY a.attname) FROM pg_attribute a
      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)) FROM pg_class c WHERE c.oid = m.objid)
    WHEN 'pg_type'::regclass THEN (SELECT string_agg(l.enumlabel, ',' ORDER BY l.enumsortorder) FROM pg_enum l
      WHERE l.enumtypid = m.objid) END"""

# Since the youngest row that says what the member m is. An update of the extension makes all of them younger.
_AGE = """LEAST(age(m.xmin),
           (SELECT age(p.xmin) FROM pg_proc p WHERE m.classid = 'pg_proc'::regclass AND p.oid = m.objid),
           (SELECT age(c.xmin) FROM pg_class c WHERE m.classid = 'pg_class'::regclass AND c.oid = m.objid),
           (SELECT age(y.xmin) FROM pg_type y WHERE m.classid = 'pg_type'::regclass AND y.oid = m.objid),
           (SELECT age(d.xmin) FROM pg_description d WHERE d.classoid = m.classid AND d.objoid = m.objid LIMIT 1))"""

_MEMBERS = f"""
SELECT 'extension members' AS kind, '' AS schema, x.extname::text AS name,
       jsonb_build_object('version', x.extversion, 'members', hashtextextended(string_agg(m.name, ','
           ORDER BY m.name COLLATE "C"), 0)::text,
           'definitions', hashtextextended(string_agg(m.name || m.definition, ','
           ORDER BY m.name COLLATE "C"), 0)::text, 'later',
           coalesce((SELECT jsonb_agg(l.name ORDER BY l.name COLLATE "C") FROM (SELECT t.name FROM unnest(
             array_agg(m.name) FILTER (WHERE m.later)) AS t(name) ORDER BY t.name COLLATE "C" LIMIT 100) AS l), '[]'))
       AS definition
FROM pg_extension x JOIN LATERAL (
    SELECT o.type || ' ' || o.identity AS name, {_AGE} < age(x.xmin) AS later,
           concat({_DEFINED}, obj_description(m.objid, m.classid::regclass::text::name)) AS definition
    FROM pg_depend m CROSS JOIN LATERAL pg_identify_object(m.classid, m.objid, m.objsubid) AS o
    WHERE m.refclassid = 'pg_extension'::regclass AND m.refobjid = x.oid AND m.deptype = 'e') AS m ON true
GROUP BY x.oid, x.extname, x.extversion, x.xmin"""

_BY_EXTENSION = (
    "pg_dump carries no member of an extension, and CREATE EXTENSION makes its own (PostgreSQL documentation, Packaging"
    " Related Objects into an Extension)"
)
_BY_SYSTEM = "pg_dump carries nothing of what is built in but its privileges (pg_dump.c, selectDumpableObject)"


def queries() -> list[str]:
    """Queries of (kind, schema, name, definition), as those of :func:`~.catalog_queries.catalog_queries`."""
    built_in = [
        _rows(name, f"'{name}'::regclass", "k.oid", f"{_LATER} AND {no_member(name, 'k.oid')}", "collversion")
        for name in _BUILT_IN
    ]
    built_in += [_all_rows(*given) for given in _GIVEN.items()]
    parts = [
        _rows(catalog, f"'{of}'::regclass", f"k.{column}", "true", "oid") for catalog, (of, column) in _PARTS.items()
    ]
    comments = _rows(
        "pg_description", "k.classoid", "k.objoid", f"{_LATER} AND k.classoid NOT IN ('pg_namespace'::regclass,"
        " 'pg_largeobject'::regclass, 'pg_extension'::regclass) AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid"
        " = k.classoid AND e.objid = k.objoid AND e.deptype = 'e')", "",
    )  # fmt: skip
    return [*built_in, *parts, comments, _MEMBERS]


def _rows(catalog: str, of: str, oid: str, condition: str, without: str) -> str:
    """The rows of a catalog about what is built in, a number by object; ``of`` is the object's own catalog."""
    return row(
        "built in", "''", f"'{catalog}'",
        [("rows", "(SELECT jsonb_object_agg(o.type || ' ' || o.identity, k.number) FROM (SELECT"
                  f" {of} AS of, {oid} AS oid,"
                  f" sum(hashtextextended((to_jsonb(k) - '{without}')::text, 0))::text AS number"
                  f" FROM {catalog} AS k WHERE {oid} < 16384 AND {condition} GROUP BY 1, 2) AS k"
                  " CROSS JOIN LATERAL pg_identify_object(k.of, k.oid, 0) AS o WHERE o.identity IS NOT NULL)")],
        "",
    )  # fmt: skip


def _all_rows(catalog: str, columns: str) -> str:
    """The same of all rows together; ``later``: which of them may have changed."""
    values = ", ".join(f"k.{column}" for column in columns.split(", "))
    mine = f"k.oid < 16384 AND {no_member(catalog, 'k.oid')}"
    return row(
        "built in", "''", f"'{catalog}'",
        [("rows", f"(SELECT jsonb_build_object('{catalog}', sum(hashtextextended(ROW({values})::text, 0))::text)"
                  f" FROM {catalog} AS k WHERE {mine})"),
         ("later", f"(SELECT jsonb_agg(o.type || ' ' || o.identity) FROM {catalog} AS k CROSS JOIN LATERAL"
                   f" pg_identify_object('{catalog}'::regclass, k.oid, 0) AS o WHERE {mine} AND {_LATER})")],
        "",
    )  # fmt: skip


@dataclass(frozen=True)
class _BuiltIn:
    """What one catalog says of what is built in: a number by object, and which of them may have been changed ``later``
    than the server was made, where one number stands for all."""

    rows: dict[str, str] = field(default_factory=dict)
    later: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Extension:
    """The members of an extension and their definitions, a number each; and which are younger than it."""

    version: str = ""
    members: str = ""
    definitions: str = ""
    later: tuple[str, ...] = ()

    @property
    def said(self) -> dict[str, Union[str, list[str]]]:
        """What is compared where the members are not the same."""
        return {"number": self.members, "younger than the extension": list(self.later)}


def judged(before: Nested, after: Nested) -> Iterator[str]:
    """Take what a dump cannot carry of these out of both catalogs, with a note for each; what is missing from the copy
    stays in them, and is a difference."""
    left, right = before.get("", {}), after.get("", {})
    for key in sorted({*left, *right}):
        kind = _BuiltIn if key.startswith(_BUILT_IN_KEY) else _Extension
        if key.startswith((_BUILT_IN_KEY, _MEMBERS_KEY)):
            one, other = left.pop(key, None), right.pop(key, None)
            had, has = recorded(kind, one or {}), recorded(kind, other or {})
            if isinstance(had, _BuiltIn) and isinstance(has, _BuiltIn):
                yield from _changed(had, has)
            elif isinstance(had, _Extension) and isinstance(has, _Extension) and had.version == has.version:
                # Where the extension itself is missing, or its version is another, both are said.
                if had.members != has.members:
                    left[key], right[key] = ({"members": one.said} for one in (had, has))
                elif had.definitions != has.definitions:
                    yield _changed_members(key.removeprefix(_MEMBERS_KEY), had.later or has.later)


def _changed(before: _BuiltIn, after: _BuiltIn) -> Iterator[str]:
    names = {*before.rows, *after.rows}
    other = sorted(name for name in names if before.rows.get(name) != after.rows.get(name))
    if other:
        named = few(sorted({*before.later, *after.later}) or other, _TOUCHED)
        yield f"what is built in was changed, and a copy has it as the server made it ({named}): {_BY_SYSTEM}."


def _changed_members(name: str, later: Sequence[str]) -> str:
    named = few(later, _TOUCHED) if later else "it cannot be told which"
    return (
        f"members of extension {name} were changed by hand, and a copy has them as it makes them ({named}):"
        f" {_BY_EXTENSION}."
    )


def loses(key: str, members: object) -> bool:
    """Whether rows may go with a member that is missing. ``members``: what :func:`judged` has left of them."""
    held = str(members) if key.startswith(_MEMBERS_KEY) else ""
    return any(f"'{kind} " in held for kind in ("table", "sequence", "materialized view"))
