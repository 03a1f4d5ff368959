"""The tables whose rows a dump carries, and under which name their rows are compared."""

from __future__ import annotations

from .queries import no_member, user_schema

# The columns of a table by name: [name, type] each.
COLUMNS = """(SELECT coalesce(json_agg(json_build_array(a.attname, a.atttypid::int8) ORDER BY a.attname), '[]')
          FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)"""

# Hash partitions by a type that is hashed by OID (enums, reg… and what is made of them): a restore gives the types new
# OIDs, so a row may belong to another partition of the same root then. ``root`` is the outermost such table.
_SCATTERED = """
WITH RECURSIVE by_oid(oid) AS (
    SELECT y.oid FROM pg_type y WHERE EXISTS (SELECT FROM pg_partitioned_table WHERE partstrat = 'h')
       AND (y.typtype = 'e' OR y.typname ~ '^reg' AND y.typnamespace = 'pg_catalog'::regnamespace AND y.typtype = 'b')
    UNION
    SELECT y.oid FROM by_oid b JOIN pg_type y ON y.typbasetype = b.oid OR y.typelem = b.oid
        OR EXISTS (SELECT FROM pg_range r WHERE r.rngtypid = y.oid AND r.rngsubtype = b.oid)
        OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = y.typrelid AND a.atttypid = b.oid AND a.attnum > 0)
), scattered(root, oid, depth) AS (
    SELECT p.partrelid, p.partrelid, 0 FROM pg_partitioned_table p WHERE p.partstrat = 'h' AND EXISTS (
        SELECT FROM unnest(p.partattrs::int2[], p.partclass::oid[]) AS k(attnum, class)
        JOIN pg_opclass o ON o.oid = k.class
        LEFT JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = k.attnum AND k.attnum > 0
        WHERE a.atttypid IN (SELECT b.oid FROM by_oid b) OR o.opcintype = 'pg_catalog.anyenum'::regtype)
    UNION ALL
    SELECT s.root, h.inhrelid, s.depth + 1 FROM scattered s JOIN pg_inherits h ON h.inhparent = s.oid
)"""

ANY_SCATTERED = _SCATTERED + " SELECT EXISTS (SELECT FROM scattered) AS found"

# Tables whose rows a dump carries: ordinary ones (partitions each by itself, or at the root where a restore may place
# them otherwise) and configuration tables of extensions.
TABLES = f"""
SELECT n.nspname AS schema, c.relname AS name, ext.condition, {COLUMNS} AS columns,
       (SELECT json_build_array(rn.nspname, rc.relname) FROM scattered s JOIN pg_class rc ON rc.oid = s.root
          JOIN pg_namespace rn ON rn.oid = rc.relnamespace WHERE s.oid = c.oid ORDER BY s.depth DESC LIMIT 1) AS root
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
    SELECT x.condition FROM pg_extension, unnest(extconfig, extcondition) AS x(relation, condition)
    WHERE x.relation = c.oid) AS ext ON true
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND {user_schema()}
  AND (ext.condition IS NOT NULL OR {no_member("pg_class", "c.oid")})
ORDER BY 1, 2"""
TABLES = f"{_SCATTERED} {TABLES}"
