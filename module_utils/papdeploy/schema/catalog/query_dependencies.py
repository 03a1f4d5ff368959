"""What only a repair asks: dependencies between objects (pg_depend), rights of single roles, the partitions of a table.

Each object by its place in the catalog: kind, schema, names. Parts that have no name of their own count as what they
belong to: the rule of a view is the view, the index of a constraint the constraint, the row type of a table the table,
a partition its table, a member of an extension the extension.
"""

from __future__ import annotations

from .query_parts import Section, role_rights, since

_RELATIONS = "FROM rel c"
_PARTITIONS = f"{_RELATIONS} CROSS JOIN LATERAL pg_partition_tree(CASE WHEN c.relkind = 'p' THEN c.oid END) t"
# (catalog, oid, subid, kind, names, source)
_NODES = (
    ("pg_class", "c.oid", "0", "relation", "c.nspname, c.relname", _RELATIONS),
    (
        "pg_class",
        "a.attrelid",
        "a.attnum",
        "column",
        "c.nspname, c.relname, a.attname",
        f"{_RELATIONS} JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped",
    ),
    ("pg_class", "t.relid", "0", "relation", "c.nspname, c.relname", f"{_PARTITIONS} WHERE t.level > 0"),
    (
        "pg_class",
        "t.relid",
        "a.attnum",
        "column",
        "c.nspname, c.relname, a.attname",
        f"{_PARTITIONS} JOIN pg_attribute a ON a.attrelid = t.relid AND a.attnum > 0 AND NOT a.attisdropped "
        "WHERE t.level > 0",
    ),
    (
        "pg_attrdef",
        "f.oid",
        "0",
        "default",
        "c.nspname, c.relname, a.attname",
        f"{_RELATIONS} JOIN pg_attrdef f ON f.adrelid = c.oid "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = f.adnum",
    ),
    (
        "pg_attrdef",
        "f.oid",
        "0",
        "default",
        "c.nspname, c.relname, a.attname",
        f"{_PARTITIONS} JOIN pg_attrdef f ON f.adrelid = t.relid "
        "JOIN pg_attribute a ON a.attrelid = t.relid AND a.attnum = f.adnum WHERE t.level > 0",
    ),
    (
        "pg_class",
        "i.indexrelid",
        "0",
        "index",
        "c.nspname, c.relname, x.relname",
        f"{_RELATIONS} JOIN pg_index i ON i.indrelid = c.oid JOIN pg_class x ON x.oid = i.indexrelid "
        "WHERE NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = x.oid AND k.contype IN ('p', 'u', 'x'))",
    ),
    (
        "pg_class",
        "k.conindid",
        "0",
        "constraint",
        "c.nspname, c.relname, k.conname",
        f"{_RELATIONS} JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype IN ('p', 'u', 'x')",
    ),
    (
        "pg_constraint",
        "k.oid",
        "0",
        "constraint",
        "c.nspname, c.relname, k.conname",
        f"{_RELATIONS} JOIN pg_constraint k ON k.conrelid = c.oid AND k.conparentid = 0",
    ),
    (
        "pg_rewrite",
        "r.oid",
        "0",
        "relation",
        "c.nspname, c.relname",
        f"{_RELATIONS} JOIN pg_rewrite r ON r.ev_class = c.oid AND r.rulename = '_RETURN'",
    ),
    (
        "pg_rewrite",
        "r.oid",
        "0",
        "rule",
        "c.nspname, c.relname, r.rulename",
        f"{_RELATIONS} JOIN pg_rewrite r ON r.ev_class = c.oid AND r.rulename <> '_RETURN'",
    ),
    (
        "pg_trigger",
        "g.oid",
        "0",
        "trigger",
        "c.nspname, c.relname, g.tgname",
        f"{_RELATIONS} JOIN pg_trigger g ON g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgparentid = 0",
    ),
    (
        "pg_policy",
        "p.oid",
        "0",
        "policy",
        "c.nspname, c.relname, p.polname",
        f"{_RELATIONS} JOIN pg_policy p ON p.polrelid = c.oid",
    ),
    (
        "pg_statistic_ext",
        "s.oid",
        "0",
        "statistics",
        "n.nspname, s.stxname",
        "FROM ns n JOIN pg_statistic_ext s ON s.stxnamespace = n.oid",
    ),
    (
        "pg_type",
        "t.oid",
        "0",
        "relation",
        "c.nspname, c.relname",
        f"{_RELATIONS} JOIN pg_type r ON r.typrelid = c.oid JOIN pg_type t ON t.oid IN (r.oid, r.typarray)",
    ),
    (
        "pg_type",
        "t.oid",
        "0",
        "type",
        "n.nspname, o.typname",
        "FROM ns n JOIN pg_type o ON o.typnamespace = n.oid AND o.typtype IN ('e', 'd', 'c', 'r') "
        "LEFT JOIN pg_class k ON k.oid = o.typrelid JOIN pg_type t ON t.oid IN (o.oid, o.typarray) "
        "WHERE k.relkind IS NULL OR k.relkind = 'c'",
    ),
    (
        "pg_class",
        "k.oid",
        "0",
        "type",
        "n.nspname, k.relname",
        "FROM ns n JOIN pg_class k ON k.relnamespace = n.oid AND k.relkind = 'c'",
    ),
    (
        "pg_class",
        "k.oid",
        "a.attnum",
        "type",
        "n.nspname, k.relname",
        "FROM ns n JOIN pg_class k ON k.relnamespace = n.oid AND k.relkind = 'c' "
        "JOIN pg_attribute a ON a.attrelid = k.oid AND a.attnum > 0",
    ),
    (
        "pg_constraint",
        "k.oid",
        "0",
        "type",
        "n.nspname, o.typname",
        "FROM ns n JOIN pg_type o ON o.typnamespace = n.oid JOIN pg_constraint k ON k.contypid = o.oid",
    ),
    (
        "pg_class",
        "s.oid",
        "0",
        "sequence",
        "n.nspname, s.relname",
        "FROM ns n JOIN pg_class s ON s.relnamespace = n.oid AND s.relkind = 'S'",
    ),
    (
        "pg_proc",
        "p.oid",
        "0",
        "function",
        "n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)",
        "FROM ns n JOIN pg_proc p ON p.pronamespace = n.oid",
    ),
    *(
        (
            catalog,
            "o.oid",
            "0",
            "object",
            f"pg_describe_object('{catalog}'::regclass, o.oid, 0)",
            f"FROM ns n JOIN {catalog} o ON o.{namespace} = n.oid",
        )
        for catalog, namespace in (
            ("pg_operator", "oprnamespace"),
            ("pg_opclass", "opcnamespace"),
            ("pg_ts_config", "cfgnamespace"),
            ("pg_ts_dict", "dictnamespace"),
            ("pg_collation", "collnamespace"),
        )
    ),
    (
        "pg_publication_rel",
        "r.oid",
        "0",
        "publication",
        "c.nspname, c.relname, p.pubname",
        f"{_RELATIONS} JOIN pg_publication_rel r ON r.prrelid = c.oid JOIN pg_publication p ON p.oid = r.prpubid",
    ),
    ("pg_namespace", "n.oid", "0", "schema", "n.nspname", "FROM ns n"),
    ("pg_extension", "e.oid", "0", "extension", "e.extname", "FROM pg_extension e"),
)
_MEMBERS = (
    "SELECT d.classid, d.objid, 0, json_build_array('extension', e.extname)::text FROM pg_depend d "
    "JOIN pg_extension e ON e.oid = d.refobjid WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass"
)


# (kind, names, rights, owner, source) of what may carry rights of single roles
_GRANTED = (
    ("relation", "c.nspname, c.relname", "c.relacl", "c.relowner", _RELATIONS),
    (
        "column",
        "c.nspname, c.relname, a.attname",
        "a.attacl",
        "c.relowner",
        f"{_RELATIONS} JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped",
    ),
    (
        "function",
        "n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)",
        "p.proacl",
        "p.proowner",
        "FROM ns n JOIN pg_proc p ON p.pronamespace = n.oid",
    ),
    (
        "type",
        "n.nspname, o.typname",
        "o.typacl",
        "o.typowner",
        "FROM ns n JOIN pg_type o ON o.typnamespace = n.oid",
    ),
)


def repair_sections(version: int) -> list[Section]:
    return [_dependencies(), _rights(), _partitions(), _publications(version)]


def _publications(version: int) -> Section:
    """(table in a publication, what follows its name in ALTER PUBLICATION … ADD TABLE)."""
    listed = (
        "coalesce((SELECT ' (' || string_agg(quote_ident(attname), ', ' ORDER BY attnum) || ')' FROM pg_attribute "
        "WHERE attrelid = c.oid AND attnum = ANY (r.prattrs)), '') "
        "|| coalesce(' WHERE (' || pg_get_expr(r.prqual, c.oid) || ')', '')"
    )
    return Section(
        "publication",
        [
            ("place", "json_build_array('publication', c.nspname, c.relname, p.pubname)"),
            ("definition", since(version, 15, listed, "''")),
        ],
        f"{_RELATIONS} JOIN pg_publication_rel r ON r.prrelid = c.oid JOIN pg_publication p ON p.oid = r.prpubid",
    )


def _rights() -> Section:
    """(object, [[role, right], …]) of single roles."""
    found = " UNION ALL ".join(
        f"SELECT json_build_array('{kind}', {names}) AS place, {role_rights(acl, owner)} AS rights {source} "
        f"{'AND' if ' JOIN ' in source else 'WHERE'} {acl} IS NOT NULL"
        for kind, names, acl, owner, source in _GRANTED
    )
    return Section(
        "right", [("place", "r.place"), ("rights", "r.rights")], f"FROM ({found}) r WHERE r.rights IS NOT NULL"
    )


def _partitions() -> Section:
    """(table, schema and name of a partition, of its parent, its bounds, its own key), parents first."""
    return Section(
        "partition",
        [
            ("of", "json_build_array('relation', c.nspname, c.relname)"),
            ("schema", "n.nspname"),
            ("name", "o.relname"),
            ("parent", "json_build_array(pn.nspname, pc.relname)"),
            ("bounds", "pg_get_expr(o.relpartbound, o.oid)"),
            ("key", "CASE WHEN o.relkind = 'p' THEN pg_get_partkeydef(o.oid) END"),
            ("level", "t.level"),
        ],
        f"{_PARTITIONS} JOIN pg_class o ON o.oid = t.relid JOIN pg_namespace n ON n.oid = o.relnamespace "
        "JOIN pg_class pc ON pc.oid = t.parentrelid JOIN pg_namespace pn ON pn.oid = pc.relnamespace "
        "WHERE t.level > 0 AND o.relkind IN ('r', 'p')",
    )


def _dependencies() -> Section:
    """(dependent object, the one that it depends on), both by their places; a sequence's owner is left out."""
    nodes = " UNION ALL ".join(
        f"SELECT '{catalog}'::regclass::oid, {oid}, {part}, json_build_array('{kind}', {names})::text {source}"
        for catalog, oid, part, kind, names, source in _NODES
    )
    return Section(
        "dependency",
        [("dependent", "p.dependent::json"), ("on", "p.on_what::json")],
        f"FROM (WITH node (class, id, part, place) AS MATERIALIZED ({nodes} UNION ALL {_MEMBERS}) "
        "SELECT DISTINCT a.place AS dependent, b.place AS on_what FROM pg_depend d "
        "JOIN node a ON a.class = d.classid AND a.id = d.objid AND a.part = d.objsubid "
        "JOIN node b ON b.class = d.refclassid AND b.id = d.refobjid AND b.part = d.refobjsubid "
        "WHERE d.deptype IN ('n', 'a', 'i') AND a.place <> b.place "
        "AND NOT (d.deptype IN ('a', 'i') AND a.place LIKE '[\"sequence\"%')) p",
    )
