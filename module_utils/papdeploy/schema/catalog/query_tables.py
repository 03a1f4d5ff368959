"""The rows of the describing query about tables and views and what belongs to them.

Numbers of columns and relations are resolved in Python: joins on pg_attribute for every key would cost more than all
the rest.
"""

from __future__ import annotations

from ...core.secret_names import shown_options
from .query_parts import Section, comment_join, own_options, owner_lacks, public_rights, role_rights, since

# Columns whose default on a partition is not the parent's: what an insert into the partition itself gets.
_PARTITION_DEFAULTS = (
    "(SELECT json_agg(json_build_array(q.nspname, o.relname, a.attname, pg_get_expr(f.adbin, f.adrelid)) "
    "ORDER BY q.nspname, o.relname, a.attname) FROM pg_partition_tree(c.oid) t JOIN pg_class o ON o.oid = t.relid "
    "JOIN pg_namespace q ON q.oid = o.relnamespace JOIN pg_attribute a ON a.attrelid = o.oid AND a.attnum > 0 "
    "AND NOT a.attisdropped AND a.attgenerated = '' LEFT JOIN pg_attrdef f ON f.adrelid = o.oid AND f.adnum = a.attnum "
    "JOIN pg_attribute b ON b.attrelid = c.oid AND b.attname = a.attname AND (a.atthasdef OR b.atthasdef) "
    "LEFT JOIN pg_attrdef g ON g.adrelid = c.oid AND g.adnum = b.attnum WHERE t.level > 0 "
    "AND pg_get_expr(f.adbin, f.adrelid) IS DISTINCT FROM pg_get_expr(g.adbin, g.adrelid))"
)


def table_sections(version: int) -> list[Section]:
    """Relations, columns, constraints, indexes, triggers, rules, policies; and the names that their oids stand for."""
    return [
        _relation(),
        _column(version),
        _constraint(version),
        _index(version),
        _opclass(),
        _collation(),
        _trigger(),
        _rule(),
        _policy(),
    ]


def _relation() -> Section:
    return Section(
        "relation",
        [
            ("oid", "c.oid::int8"),
            ("schema", "c.nspname"),
            ("name", "c.relname"),
            ("kind", "c.relkind"),
            ("persistence", "c.relpersistence"),
            ("owner", "pg_get_userbyid(c.relowner)"),
            ("public", public_rights("c.relacl")),
            ("revoked", owner_lacks("r", "c.relacl", "c.relowner")),
            (
                "options",
                "c.reloptions || (SELECT array_agg('toast.' || o) FROM pg_class x, unnest(x.reloptions) o "
                "WHERE x.oid = c.reltoastrelid)",
            ),
            ("method", "(SELECT amname FROM pg_am WHERE pg_am.oid = c.relam)"),
            ("tablespace", "(SELECT spcname FROM pg_tablespace s WHERE s.oid = c.reltablespace)"),
            ("replica_identity", "c.relreplident"),
            ("row_security", "c.relrowsecurity"),
            ("force_row_security", "c.relforcerowsecurity"),
            ("populated", "c.relispopulated"),
            ("of_type", "CASE WHEN c.reloftype <> 0 THEN format_type(c.reloftype, null) END"),
            ("comment", "d.description"),
            ("partition_key", "CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END"),
            (
                "partitions",
                "CASE WHEN c.relkind = 'p' THEN (SELECT count(*) FROM pg_inherits WHERE inhparent = c.oid) END",
            ),
            (
                "default_partition",
                "CASE WHEN c.relkind = 'p' THEN (SELECT partdefid <> 0 FROM pg_partitioned_table WHERE "
                "partrelid = c.oid) END",
            ),
            ("partition_defaults", f"CASE WHEN c.relkind = 'p' THEN {_PARTITION_DEFAULTS} END"),
            (
                "inherits",
                "CASE WHEN c.oid IN (SELECT inhrelid FROM pg_inherits) THEN "
                "(SELECT json_agg(inhparent::regclass::text ORDER BY inhseqno) FROM pg_inherits WHERE "
                "inhrelid = c.oid) END",
            ),
            ("definition", "CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END"),
            (
                "server",
                "CASE WHEN c.relkind = 'f' THEN (SELECT json_build_array(s.srvname, "
                f"{shown_options('f.ftoptions')}) "
                "FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver WHERE f.ftrelid = "
                "c.oid) END",
            ),
            (
                "readable",
                "has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(c.relnamespace, 'USAGE') "
                "AND NOT row_security_active(c.oid)",
            ),
        ],
        f"FROM rel c {comment_join('pg_class', 'c.oid')}",
    )


def _column(version: int) -> Section:
    return Section(
        "column",
        [
            ("relation", "a.attrelid::int8"),
            ("number", "a.attnum"),
            ("name", "a.attname"),
            ("type", "format_type(a.atttypid, a.atttypmod)"),
            ("not_null", "a.attnotnull"),
            ("expression", "pg_get_expr(f.adbin, f.adrelid)"),
            ("identity", "a.attidentity"),
            ("generated", "a.attgenerated"),
            ("collation", "CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::int8 END"),
            ("storage", "CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage END"),
            ("compression", since(version, 14, "a.attcompression", "''")),
            ("statistics", "nullif(a.attstattarget, -1)"),
            ("options", own_options("a.attoptions")),
            ("foreign_options", "a.attfdwoptions"),
            ("comment", "d.description"),
            ("public", f"CASE WHEN a.attacl IS NOT NULL THEN {public_rights('a.attacl')} END"),
            ("granted", f"CASE WHEN a.attacl IS NOT NULL THEN {role_rights('a.attacl', 'c.relowner')} END"),
            ("local", "a.attislocal"),
        ],
        "FROM rel c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
        "JOIN pg_type t ON t.oid = a.atttypid "
        "LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum "
        f"{comment_join('pg_class', 'a.attrelid', 'a.attnum')}",
    )


def _constraint(version: int) -> Section:
    return Section(
        "constraint",
        [
            ("oid", "k.oid::int8"),
            ("relation", "k.conrelid::int8"),
            ("name", "k.conname"),
            ("type", "k.contype"),
            ("key", "k.conkey"),
            ("target", "CASE WHEN k.contype = 'f' THEN json_build_array(tn.nspname, tc.relname) END"),
            ("target_relation", "k.confrelid::int8"),
            ("target_key", "k.confkey"),
            (
                "target_columns",
                "CASE WHEN k.contype = 'f' AND k.confrelid NOT IN (SELECT oid FROM rel) THEN "
                "(SELECT json_agg(attname ORDER BY array_position(k.confkey, attnum)) FROM pg_attribute "
                "WHERE attrelid = k.confrelid "
                "AND attnum = ANY (k.confkey)) END",
            ),
            ("on_update", "k.confupdtype"),
            ("on_delete", "k.confdeltype"),
            ("delete_key", since(version, 15, "k.confdelsetcols")),
            ("match", "k.confmatchtype"),
            ("deferrable", "k.condeferrable"),
            ("deferred", "k.condeferred"),
            ("validated", "k.convalidated"),
            ("enforced", since(version, 18, "k.conenforced", "true")),
            ("no_inherit", "k.connoinherit"),
            ("local", "k.conislocal"),
            ("period", since(version, 18, "k.conperiod", "false")),
            ("expression", "CASE WHEN k.contype = 'c' THEN pg_get_expr(k.conbin, k.conrelid) END"),
            ("definition", "CASE WHEN k.contype = 'x' THEN pg_get_constraintdef(k.oid) END"),
            ("backing_index", "k.conindid::int8"),
            (
                "disabled",
                "k.oid IN (SELECT tgconstraint FROM pg_trigger WHERE tgisinternal AND tgenabled IN ('D', 'R'))",
            ),
            ("comment", "d.description"),
        ],
        "FROM rel c JOIN pg_constraint k ON k.conrelid = c.oid AND k.conparentid = 0 AND k.contype <> 't' "
        "LEFT JOIN pg_class tc ON tc.oid = k.confrelid LEFT JOIN pg_namespace tn ON tn.oid = tc.relnamespace "
        f"{comment_join('pg_constraint', 'k.oid')}",
    )


def _index(version: int) -> Section:
    return Section(
        "index",
        [
            ("oid", "i.indexrelid::int8"),
            ("relation", "i.indrelid::int8"),
            ("name", "x.relname"),
            ("method", "am.amname"),
            ("unique", "i.indisunique"),
            ("exclusion", "i.indisexclusion"),
            ("valid", "i.indisvalid AND i.indisready AND i.indislive"),
            ("keys", "i.indnkeyatts"),
            ("columns", "i.indkey::text"),
            ("opclasses", "i.indclass::text"),
            ("collations", "i.indcollation::text"),
            ("flags", "i.indoption::text"),
            (
                "expressions",
                "CASE WHEN i.indexprs IS NOT NULL THEN "
                "(SELECT json_agg(pg_get_indexdef(i.indexrelid, n, false) ORDER BY n) FROM "
                "generate_series(1, i.indnkeyatts) n WHERE i.indkey[n - 1] = 0) END",
            ),
            ("predicate", "pg_get_expr(i.indpred, i.indrelid)"),
            ("nulls_not_distinct", since(version, 15, "i.indnullsnotdistinct", "false")),
            ("options", "x.reloptions"),
            ("key_options", "o.options"),
            ("tablespace", "(SELECT spcname FROM pg_tablespace s WHERE s.oid = x.reltablespace)"),
            ("clustered", "i.indisclustered"),
            ("replica_identity", "i.indisreplident"),
            ("comment", "d.description"),
        ],
        "FROM rel c JOIN pg_index i ON i.indrelid = c.oid JOIN pg_class x ON x.oid = i.indexrelid "
        "JOIN pg_am am ON am.oid = x.relam "
        "LEFT JOIN (SELECT attrelid, json_object_agg(attnum, " + own_options("attoptions") + ") AS options"
        " FROM pg_attribute WHERE "
        + own_options("attoptions")
        + " IS NOT NULL GROUP BY attrelid) o ON o.attrelid = i.indexrelid "
        f"{comment_join('pg_class', 'i.indexrelid')}",
    )


def _opclass() -> Section:
    return Section(
        "opclass",
        [("oid", "o.oid::int8"), ("name", "quote_ident(n.nspname) || '.' || quote_ident(o.opcname)")],
        "FROM pg_opclass o JOIN pg_namespace n ON n.oid = o.opcnamespace WHERE NOT o.opcdefault",
    )


def _collation() -> Section:
    return Section(
        "collation",
        [("oid", "o.oid::int8"), ("name", "quote_ident(n.nspname) || '.' || quote_ident(o.collname)")],
        "FROM pg_collation o JOIN pg_namespace n ON n.oid = o.collnamespace WHERE o.oid <> 100 AND o.oid IN "
        "(SELECT a.attcollation FROM pg_attribute a JOIN rel c ON c.oid = a.attrelid UNION ALL "
        "SELECT unnest(i.indcollation::oid[]) FROM pg_index i JOIN rel c ON c.oid = i.indrelid UNION ALL "
        "SELECT t.typcollation FROM pg_type t JOIN ns ON ns.oid = t.typnamespace)",
    )


def _trigger() -> Section:
    return Section(
        "trigger",
        [
            ("relation", "g.tgrelid::int8"),
            ("name", "g.tgname"),
            ("definition", "pg_get_triggerdef(g.oid)"),
            ("enabled", "g.tgenabled"),
            ("comment", "d.description"),
        ],
        "FROM rel c JOIN pg_trigger g ON g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgparentid = 0 "
        f"{comment_join('pg_trigger', 'g.oid')}",
    )


def _rule() -> Section:
    return Section(
        "rule",
        [
            ("relation", "r.ev_class::int8"),
            ("name", "r.rulename"),
            ("definition", "pg_get_ruledef(r.oid)"),
            ("enabled", "r.ev_enabled"),
            ("comment", "d.description"),
        ],
        "FROM rel c JOIN pg_rewrite r ON r.ev_class = c.oid AND r.rulename <> '_RETURN' "
        f"{comment_join('pg_rewrite', 'r.oid')}",
    )


def _policy() -> Section:
    return Section(
        "policy",
        [
            ("relation", "p.polrelid::int8"),
            ("name", "p.polname"),
            ("command", "p.polcmd"),
            ("permissive", "p.polpermissive"),
            (
                "roles",
                "(SELECT json_agg(CASE WHEN r = 0 THEN 'public' ELSE pg_get_userbyid(r)::text END ORDER BY r) "
                "FROM unnest(p.polroles) r)",
            ),
            ("using", "pg_get_expr(p.polqual, p.polrelid)"),
            ("check", "pg_get_expr(p.polwithcheck, p.polrelid)"),
            ("comment", "d.description"),
        ],
        f"FROM rel c JOIN pg_policy p ON p.polrelid = c.oid {comment_join('pg_policy', 'p.oid')}",
    )
