"""The one query that describes a database: every section of pg_catalog that matters, as rows of (section, JSON array).

A section is a table of field names and SQL expressions, so that what the server sends and what Python reads cannot
drift apart. Numbers of columns and relations are resolved in Python: joins on pg_attribute for every key would cost
more than all the rest. Version differences (PostgreSQL 13 to 18) are spelled out where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LEDGER_SCHEMA = "pap_deploy"


@dataclass(frozen=True)
class Section:
    """One kind of row: ``fields`` are (name, SQL expression); ``source`` is the FROM clause and what follows."""

    name: str
    fields: Sequence[tuple[str, str]]
    source: str

    def select(self) -> str:
        values = ", ".join(expression for _, expression in self.fields)
        return f"SELECT '{self.name}'::text, json_build_array({values})::text {self.source}"


def literal(value: str) -> str:
    """``value`` as a string literal that is safe whatever standard_conforming_strings says."""
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"


def text_array(values: Sequence[str]) -> str:
    return "ARRAY[" + ", ".join(literal(value) for value in values) + "]::text[]"


def _public(acl: str) -> str:
    """What PUBLIC may do, as a JSON array; null where the object has no explicit privileges."""
    return (
        f"(SELECT json_agg(privilege_type || CASE WHEN is_grantable THEN '*' ELSE '' END ORDER BY privilege_type) "
        f"FROM aclexplode({acl}) WHERE grantee = 0)"
    )


def _comment(catalog: str, oid: str, part: str = "0") -> str:
    """A LEFT JOIN that gives ``d.description``."""
    return (
        f"LEFT JOIN pg_description d ON d.objoid = {oid} AND d.classoid = '{catalog}'::regclass AND d.objsubid = {part}"
    )


def _member(catalog: str, oid: str) -> str:
    """True for an object that belongs to an extension."""
    return f"EXISTS (SELECT FROM ext WHERE ext.classid = '{catalog}'::regclass AND ext.objid = {oid})"


_OTHERS = (
    ("pg_operator", "oprnamespace"),
    ("pg_opclass", "opcnamespace"),
    ("pg_collation", "collnamespace"),
    ("pg_conversion", "connamespace"),
    ("pg_ts_config", "cfgnamespace"),
    ("pg_ts_dict", "dictnamespace"),
    ("pg_ts_parser", "prsnamespace"),
    ("pg_ts_template", "tmplnamespace"),
)


def sections(version: int, elsewhere: Sequence[str] = ()) -> list[Section]:
    """The sections for a server of ``version`` (server_version_num, such as 160004).

    ``elsewhere`` are relation names to look for outside the described schemas (moved, or now a partition).
    """
    at_least = {number: version >= number * 10_000 for number in (14, 15, 17, 18)}

    def since(major: int, expression: str, otherwise: str = "null") -> str:
        return expression if at_least[major] else otherwise

    found = [
        Section(
            "database",
            [
                ("server_version", "current_setting('server_version_num')::int"),
                ("name", "current_database()"),
                ("user", "current_user"),
                ("path", "current_setting('papdeploy.path')::json"),
                ("standby", "pg_is_in_recovery()"),
            ],
            "",
        ),
        Section(
            "schema",
            [
                ("name", "n.nspname"),
                ("owner", "pg_get_userbyid(n.nspowner)"),
                ("public", _public("n.nspacl")),
                ("comment", "d.description"),
                ("extension", _member("pg_namespace", "n.oid")),
            ],
            f"FROM ns n {_comment('pg_namespace', 'n.oid')}",
        ),
        Section(
            "relation",
            [
                ("oid", "c.oid::int8"),
                ("schema", "c.nspname"),
                ("name", "c.relname"),
                ("kind", "c.relkind"),
                ("persistence", "c.relpersistence"),
                ("owner", "pg_get_userbyid(c.relowner)"),
                ("public", _public("c.relacl")),
                ("options", "c.reloptions"),
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
                    "inherits",
                    "CASE WHEN c.oid IN (SELECT inhrelid FROM pg_inherits) THEN (SELECT json_agg(inhparent::regclass::text "
                    "ORDER BY inhseqno) FROM pg_inherits WHERE inhrelid = c.oid) END",
                ),
                ("definition", "CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END"),
                (
                    "server",
                    "CASE WHEN c.relkind = 'f' THEN (SELECT json_build_array(s.srvname, f.ftoptions) FROM pg_foreign_table f "
                    "JOIN pg_foreign_server s ON s.oid = f.ftserver WHERE f.ftrelid = c.oid) END",
                ),
                (
                    "readable",
                    "has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(c.relnamespace, 'USAGE') "
                    "AND NOT row_security_active(c.oid)",
                ),
            ],
            f"FROM rel c {_comment('pg_class', 'c.oid')}",
        ),
        Section(
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
                ("compression", since(14, "a.attcompression", "''")),
                ("statistics", "nullif(a.attstattarget, -1)"),
                ("options", "a.attoptions"),
                ("foreign_options", "a.attfdwoptions"),
                ("comment", "d.description"),
                ("public", f"CASE WHEN a.attacl IS NOT NULL THEN {_public('a.attacl')} END"),
                ("local", "a.attislocal"),
            ],
            "FROM rel c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
            "JOIN pg_type t ON t.oid = a.atttypid "
            "LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum "
            f"{_comment('pg_class', 'a.attrelid', 'a.attnum')}",
        ),
        Section(
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
                    "CASE WHEN k.contype = 'f' AND k.confrelid NOT IN (SELECT oid FROM rel) THEN (SELECT json_agg(attname "
                    "ORDER BY array_position(k.confkey, attnum)) FROM pg_attribute WHERE attrelid = k.confrelid "
                    "AND attnum = ANY (k.confkey)) END",
                ),
                ("on_update", "k.confupdtype"),
                ("on_delete", "k.confdeltype"),
                ("delete_key", since(15, "k.confdelsetcols")),
                ("match", "k.confmatchtype"),
                ("deferrable", "k.condeferrable"),
                ("deferred", "k.condeferred"),
                ("validated", "k.convalidated"),
                ("enforced", since(18, "k.conenforced", "true")),
                ("no_inherit", "k.connoinherit"),
                ("local", "k.conislocal"),
                ("period", since(18, "k.conperiod", "false")),
                ("expression", "CASE WHEN k.contype = 'c' THEN pg_get_expr(k.conbin, k.conrelid) END"),
                ("definition", "CASE WHEN k.contype = 'x' THEN pg_get_constraintdef(k.oid) END"),
                ("index", "k.conindid::int8"),
                (
                    "disabled",
                    "k.oid IN (SELECT tgconstraint FROM pg_trigger WHERE tgisinternal AND tgenabled IN ('D', 'R'))",
                ),
                ("comment", "d.description"),
            ],
            "FROM rel c JOIN pg_constraint k ON k.conrelid = c.oid AND k.conparentid = 0 AND k.contype <> 't' "
            "LEFT JOIN pg_class tc ON tc.oid = k.confrelid LEFT JOIN pg_namespace tn ON tn.oid = tc.relnamespace "
            f"{_comment('pg_constraint', 'k.oid')}",
        ),
        Section(
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
                    "CASE WHEN i.indexprs IS NOT NULL THEN (SELECT json_agg(pg_get_indexdef(i.indexrelid, n, false) ORDER BY n) "
                    "FROM generate_series(1, i.indnkeyatts) n WHERE i.indkey[n - 1] = 0) END",
                ),
                ("predicate", "pg_get_expr(i.indpred, i.indrelid)"),
                ("nulls_not_distinct", since(15, "i.indnullsnotdistinct", "false")),
                ("options", "x.reloptions"),
                ("key_options", "o.options"),
                ("tablespace", "(SELECT spcname FROM pg_tablespace s WHERE s.oid = x.reltablespace)"),
                ("clustered", "i.indisclustered"),
                ("replica_identity", "i.indisreplident"),
                ("comment", "d.description"),
            ],
            "FROM rel c JOIN pg_index i ON i.indrelid = c.oid JOIN pg_class x ON x.oid = i.indexrelid "
            "JOIN pg_am am ON am.oid = x.relam LEFT JOIN (SELECT attrelid, json_object_agg(attnum, attoptions) AS options "
            "FROM pg_attribute WHERE attoptions IS NOT NULL GROUP BY attrelid) o ON o.attrelid = i.indexrelid "
            f"{_comment('pg_class', 'i.indexrelid')}",
        ),
        Section(
            "opclass",
            [("oid", "o.oid::int8"), ("name", "quote_ident(n.nspname) || '.' || quote_ident(o.opcname)")],
            "FROM pg_opclass o JOIN pg_namespace n ON n.oid = o.opcnamespace WHERE NOT o.opcdefault",
        ),
        Section(
            "collation",
            [("oid", "o.oid::int8"), ("name", "quote_ident(n.nspname) || '.' || quote_ident(o.collname)")],
            "FROM pg_collation o JOIN pg_namespace n ON n.oid = o.collnamespace WHERE o.oid <> 100 AND o.oid IN "
            "(SELECT a.attcollation FROM pg_attribute a JOIN rel c ON c.oid = a.attrelid UNION ALL "
            "SELECT unnest(i.indcollation::oid[]) FROM pg_index i JOIN rel c ON c.oid = i.indrelid UNION ALL "
            "SELECT t.typcollation FROM pg_type t JOIN ns ON ns.oid = t.typnamespace)",
        ),
        Section(
            "sequence",
            [
                ("oid", "c.oid::int8"),
                ("schema", "n.nspname"),
                ("name", "c.relname"),
                ("persistence", "c.relpersistence"),
                ("owner", "pg_get_userbyid(c.relowner)"),
                ("public", _public("c.relacl")),
                ("type", "format_type(s.seqtypid, null)"),
                ("start", "s.seqstart"),
                ("increment", "s.seqincrement"),
                ("minimum", "s.seqmin"),
                ("maximum", "s.seqmax"),
                ("cache", "s.seqcache"),
                ("cycle", "s.seqcycle"),
                ("of", "p.refobjid::int8"),
                ("of_column", "p.refobjsubid"),
                ("internal", "p.deptype = 'i'"),
                ("comment", "d.description"),
                ("readable", "has_sequence_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE')"),
            ],
            "FROM ns n JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind = 'S' AND c.relpersistence <> 't' "
            "JOIN pg_sequence s ON s.seqrelid = c.oid "
            "LEFT JOIN pg_depend p ON p.classid = 'pg_class'::regclass AND p.objid = c.oid AND p.objsubid = 0 "
            "AND p.refclassid = 'pg_class'::regclass AND p.deptype IN ('a', 'i') "
            f"{_comment('pg_class', 'c.oid')} WHERE NOT {_member('pg_class', 'c.oid')}",
        ),
        Section(
            "trigger",
            [
                ("relation", "g.tgrelid::int8"),
                ("name", "g.tgname"),
                ("definition", "pg_get_triggerdef(g.oid)"),
                ("enabled", "g.tgenabled"),
                ("comment", "d.description"),
            ],
            "FROM rel c JOIN pg_trigger g ON g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgparentid = 0 "
            f"{_comment('pg_trigger', 'g.oid')}",
        ),
        Section(
            "rule",
            [
                ("relation", "r.ev_class::int8"),
                ("name", "r.rulename"),
                ("definition", "pg_get_ruledef(r.oid)"),
                ("enabled", "r.ev_enabled"),
                ("comment", "d.description"),
            ],
            "FROM rel c JOIN pg_rewrite r ON r.ev_class = c.oid AND r.rulename <> '_RETURN' "
            f"{_comment('pg_rewrite', 'r.oid')}",
        ),
        Section(
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
            f"FROM rel c JOIN pg_policy p ON p.polrelid = c.oid {_comment('pg_policy', 'p.oid')}",
        ),
        Section(
            "type",
            [
                ("schema", "n.nspname"),
                ("name", "t.typname"),
                ("kind", "t.typtype"),
                ("owner", "pg_get_userbyid(t.typowner)"),
                ("public", f"CASE WHEN t.typacl IS NOT NULL THEN coalesce({_public('t.typacl')}, '[]'::json) END"),
                ("comment", "d.description"),
                (
                    "labels",
                    "CASE WHEN t.typtype = 'e' THEN (SELECT json_agg(enumlabel ORDER BY enumsortorder) FROM pg_enum "
                    "WHERE enumtypid = t.oid) END",
                ),
                ("base", "CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END"),
                ("not_null", "t.typnotnull"),
                ("expression", "CASE WHEN t.typtype = 'd' THEN pg_get_expr(t.typdefaultbin, 0) END"),
                (
                    "collation",
                    "CASE WHEN t.typtype = 'd' AND t.typcollation <> (SELECT b.typcollation FROM pg_type b "
                    "WHERE b.oid = t.typbasetype) THEN t.typcollation::int8 END",
                ),
                (
                    "checks",
                    "CASE WHEN t.typtype = 'd' THEN (SELECT json_agg(json_build_array(conname, pg_get_expr(conbin, 0), "
                    "convalidated) ORDER BY conname) FROM pg_constraint WHERE contypid = t.oid AND contype = 'c') END",
                ),
                (
                    "attributes",
                    "CASE WHEN t.typtype = 'c' THEN (SELECT json_agg(json_build_array(attname, format_type(atttypid, "
                    "atttypmod)) ORDER BY attnum) FROM pg_attribute WHERE attrelid = t.typrelid AND attnum > 0 "
                    "AND NOT attisdropped) END",
                ),
                (
                    "range",
                    "CASE WHEN t.typtype = 'r' THEN (SELECT json_build_array(format_type(rngsubtype, null), "
                    "rngsubopc::int8, rngcollation::int8, rngcanonical::regproc::text, rngsubdiff::regproc::text) "
                    "FROM pg_range WHERE rngtypid = t.oid) END",
                ),
            ],
            "FROM ns n JOIN pg_type t ON t.typnamespace = n.oid AND t.typtype IN ('e', 'd', 'c', 'r') "
            "LEFT JOIN pg_class c ON c.oid = t.typrelid "
            f"{_comment('pg_type', 't.oid')} WHERE (t.typtype <> 'c' OR c.relkind = 'c') AND NOT {_member('pg_type', 't.oid')}",
        ),
        Section(
            "function",
            [
                ("schema", "n.nspname"),
                ("name", "p.proname"),
                ("identity", "pg_get_function_identity_arguments(p.oid)"),
                ("kind", "p.prokind"),
                ("arguments", "pg_get_function_arguments(p.oid)"),
                ("result", "pg_get_function_result(p.oid)"),
                ("language", "l.lanname"),
                ("volatility", "p.provolatile"),
                ("strict", "p.proisstrict"),
                ("security_definer", "p.prosecdef"),
                ("leakproof", "p.proleakproof"),
                ("parallel", "p.proparallel"),
                ("cost", "p.procost"),
                ("rows", "p.prorows"),
                ("settings", "p.proconfig"),
                ("source", "p.prosrc"),
                ("library", "p.probin"),
                ("body", since(14, "pg_get_function_sqlbody(p.oid)")),
                (
                    "aggregate",
                    "CASE WHEN p.prokind = 'a' THEN (SELECT json_build_array(aggkind, aggtransfn::regproc::text, "
                    "aggfinalfn::regproc::text, aggcombinefn::regproc::text, format_type(aggtranstype, null), "
                    "agginitval) FROM pg_aggregate WHERE aggfnoid = p.oid) END",
                ),
                ("owner", "pg_get_userbyid(p.proowner)"),
                ("public", f"CASE WHEN p.proacl IS NOT NULL THEN coalesce({_public('p.proacl')}, '[]'::json) END"),
                ("comment", "d.description"),
            ],
            "FROM ns n JOIN pg_proc p ON p.pronamespace = n.oid JOIN pg_language l ON l.oid = p.prolang "
            f"{_comment('pg_proc', 'p.oid')} WHERE NOT {_member('pg_proc', 'p.oid')} AND NOT EXISTS (SELECT FROM pg_depend x "
            "WHERE x.classid = 'pg_proc'::regclass AND x.objid = p.oid AND x.deptype = 'i')",
        ),
        Section(
            "extension",
            [("name", "e.extname"), ("schema", "n.nspname"), ("version", "e.extversion")],
            "FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace",
        ),
        Section(
            "statistics",
            [
                ("schema", "n.nspname"),
                ("name", "s.stxname"),
                ("relation", "s.stxrelid::int8"),
                ("definition", "pg_get_statisticsobjdef(s.oid)"),
                ("owner", "pg_get_userbyid(s.stxowner)"),
                ("comment", "d.description"),
            ],
            "FROM ns n JOIN pg_statistic_ext s ON s.stxnamespace = n.oid JOIN rel c ON c.oid = s.stxrelid "
            f"{_comment('pg_statistic_ext', 's.oid')}",
        ),
        Section(
            "default_privilege",
            [("schema", "n.nspname"), ("kind", "a.defaclobjtype"), ("public", _public("a.defaclacl"))],
            "FROM pg_default_acl a LEFT JOIN ns n ON n.oid = a.defaclnamespace WHERE a.defaclnamespace = 0 OR n.oid IS NOT NULL",
        ),
    ]
    found += [
        Section(
            "other",
            [("identity", f"pg_describe_object('{catalog}'::regclass, o.oid, 0)"), ("schema", "n.nspname")],
            f"FROM ns n JOIN {catalog} o ON o.{namespace} = n.oid WHERE NOT {_member(catalog, 'o.oid')}",
        )
        for catalog, namespace in _OTHERS
    ]
    found.append(
        Section(
            "other",
            [("identity", "pg_describe_object('pg_cast'::regclass, o.oid, 0)"), ("schema", "null")],
            f"FROM pg_cast o WHERE o.oid >= 16384 AND NOT {_member('pg_cast', 'o.oid')}",
        )
    )
    if elsewhere:
        found.append(
            Section(
                "elsewhere",
                [
                    ("schema", "n.nspname"),
                    ("name", "c.relname"),
                    ("kind", "c.relkind"),
                    ("partition", "c.relispartition"),
                ],
                "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                f"WHERE c.relname = ANY ({text_array(elsewhere)}) AND c.relkind IN ('r', 'p', 'v', 'm', 'f') "
                "AND c.oid NOT IN (SELECT oid FROM rel) AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'",
            )
        )
    return found


def describe_query(version: int, schemas: Sequence[str] | None = None, elsewhere: Sequence[str] = ()) -> str:
    """The query. ``schemas``: only these and those of the search path; None means every schema but the system's."""
    scope = ""
    if schemas is not None:
        path = "(SELECT json_array_elements_text(current_setting('papdeploy.path')::json))"
        scope = f" AND (n.nspname = ANY ({text_array(schemas)}) OR n.nspname IN {path})"
    names = (
        "SELECT n.oid, n.nspname, n.nspowner, n.nspacl FROM pg_namespace n WHERE n.nspname !~ '^pg_' "
        f"AND n.nspname NOT IN ('information_schema', '{LEDGER_SCHEMA}'){scope}"
    )
    relations = (
        "SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relowner, c.relacl, c.reloptions, c.relam, "
        "c.reltablespace, c.relreplident, c.relrowsecurity, c.relforcerowsecurity, c.relispopulated, c.reloftype, "
        "c.relnamespace FROM pg_class c JOIN ns n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') "
        "AND NOT c.relispartition AND c.relpersistence <> 't' "
        f"AND NOT {_member('pg_class', 'c.oid')}"
    )
    extension_members = (
        "SELECT classid, objid FROM pg_depend WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass"
    )
    parts = " UNION ALL ".join(section.select() for section in sections(version, elsewhere))
    return (
        f"WITH ns AS MATERIALIZED ({names}), ext AS MATERIALIZED ({extension_members}), "
        f"rel AS MATERIALIZED ({relations}) {parts}"
    )
