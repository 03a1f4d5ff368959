"""The rows of the describing query about everything that is no table."""

from __future__ import annotations

from collections.abc import Sequence

from ...sql.quoting import text_array
from .query_parts import Section, comment_join, of_extension, owner_lacks, public_rights, since

_OTHERS = (
    (
        "pg_operator",
        "oprnamespace",
        "concat_ws(' ', o.oprcode, o.oprcom::regoperator, o.oprnegate::regoperator, o.oprrest, o.oprjoin, "
        "o.oprcanhash, o.oprcanmerge)",
    ),
    ("pg_opclass", "opcnamespace", "concat_ws(' ', o.opcintype::regtype, o.opckeytype::regtype, o.opcdefault)"),
    ("pg_collation", "collnamespace", ""),
    ("pg_conversion", "connamespace", "concat_ws(' ', o.conproc, o.condefault)"),
    (
        "pg_ts_config",
        "cfgnamespace",
        "concat_ws(' ', o.cfgparser, (SELECT string_agg(concat_ws(' ', maptokentype, mapdict::regdictionary), ', ' "
        "ORDER BY maptokentype, mapseqno) FROM pg_ts_config_map WHERE mapcfg = o.oid))",
    ),
    ("pg_ts_dict", "dictnamespace", "concat_ws(' ', o.dicttemplate, o.dictinitoption)"),
    ("pg_ts_parser", "prsnamespace", "concat_ws(' ', o.prsstart, o.prstoken, o.prsend, o.prslextype)"),
    ("pg_ts_template", "tmplnamespace", "concat_ws(' ', o.tmplinit, o.tmpllexize)"),
)


def _collation(version: int) -> str:
    """The options of CREATE COLLATION. PostgreSQL 15 and 17 keep the locale in columns of their own."""
    column = "o.colllocale" if version >= 170_000 else "o.colliculocale" if version >= 150_000 else "null"
    return (
        "concat_ws(', ', 'PROVIDER = ' || CASE o.collprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' "
        "WHEN 'b' THEN 'builtin' ELSE 'default' END, CASE WHEN o.collprovider = 'c' THEN "
        "'LC_COLLATE = ' || quote_literal(o.collcollate) || ', LC_CTYPE = ' || quote_literal(o.collctype) "
        f"ELSE 'LOCALE = ' || quote_literal(coalesce({column}, o.collcollate)) END, "
        f"'RULES = ' || quote_literal({since(version, 16, 'o.collicurules', 'null::text')}), "
        "CASE WHEN NOT o.collisdeterministic THEN 'DETERMINISTIC = false' END)"
    )


def object_sections(version: int) -> list[Section]:
    """Schemas, sequences, types, functions, extensions, statistics, default privileges."""
    return [
        _database(),
        _schema(),
        _sequence(),
        _type(),
        _function(version),
        _extension(),
        _statistics(),
        _default_privilege(),
    ]


def _database() -> Section:
    return Section(
        "database",
        [
            ("server_version", "current_setting('server_version_num')::int"),
            ("name", "current_database()"),
            ("user", "current_user"),
            ("path", "current_setting('papdeploy.path')::json"),
            ("standby", "pg_is_in_recovery()"),
        ],
        "",
    )


def _schema() -> Section:
    return Section(
        "schema",
        [
            ("name", "n.nspname"),
            ("owner", "pg_get_userbyid(n.nspowner)"),
            ("public", public_rights("n.nspacl")),
            ("revoked", owner_lacks("n", "n.nspacl", "n.nspowner")),
            ("comment", "d.description"),
            ("extension", of_extension("pg_namespace", "n.oid")),
        ],
        f"FROM ns n {comment_join('pg_namespace', 'n.oid')}",
    )


def _sequence() -> Section:
    return Section(
        "sequence",
        [
            ("oid", "c.oid::int8"),
            ("schema", "n.nspname"),
            ("name", "c.relname"),
            ("persistence", "c.relpersistence"),
            ("owner", "pg_get_userbyid(c.relowner)"),
            ("public", public_rights("c.relacl")),
            ("revoked", owner_lacks("s", "c.relacl", "c.relowner")),
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
        f"{comment_join('pg_class', 'c.oid')} WHERE NOT {of_extension('pg_class', 'c.oid')}",
    )


def _type() -> Section:
    return Section(
        "type",
        [
            ("schema", "n.nspname"),
            ("name", "t.typname"),
            ("kind", "t.typtype"),
            ("owner", "pg_get_userbyid(t.typowner)"),
            (
                "public",
                f"CASE WHEN t.typacl IS NOT NULL THEN coalesce({public_rights('t.typacl')}, '[]'::json) END",
            ),
            ("revoked", owner_lacks("T", "t.typacl", "t.typowner")),
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
                "atttypmod) || CASE WHEN attcollation NOT IN (0, 100) THEN ' COLLATE ' "
                "|| attcollation::regcollation::text ELSE '' END) ORDER BY attnum) FROM pg_attribute "
                "WHERE attrelid = t.typrelid AND attnum > 0 "
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
        f"{comment_join('pg_type', 't.oid')} WHERE (t.typtype <> 'c' OR c.relkind = 'c') "
        f"AND NOT {of_extension('pg_type', 't.oid')}",
    )


def _function(version: int) -> Section:
    return Section(
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
            ("body", since(version, 14, "pg_get_function_sqlbody(p.oid)")),
            (
                "aggregate",
                "CASE WHEN p.prokind = 'a' THEN (SELECT json_build_array(aggkind, aggtransfn::regproc::text, "
                "aggfinalfn::regproc::text, aggcombinefn::regproc::text, format_type(aggtranstype, null), "
                "agginitval) FROM pg_aggregate WHERE aggfnoid = p.oid) END",
            ),
            ("owner", "pg_get_userbyid(p.proowner)"),
            (
                "public",
                f"CASE WHEN p.proacl IS NOT NULL THEN coalesce({public_rights('p.proacl')}, '[]'::json) END",
            ),
            ("revoked", owner_lacks("f", "p.proacl", "p.proowner")),
            ("comment", "d.description"),
        ],
        "FROM ns n JOIN pg_proc p ON p.pronamespace = n.oid JOIN pg_language l ON l.oid = p.prolang "
        f"{comment_join('pg_proc', 'p.oid')} WHERE NOT {of_extension('pg_proc', 'p.oid')} "
        "AND NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = 'pg_proc'::regclass AND x.objid = p.oid "
        "AND x.deptype = 'i')",
    )


def _extension() -> Section:
    return Section(
        "extension",
        [("name", "e.extname"), ("schema", "n.nspname"), ("version", "e.extversion")],
        "FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace",
    )


def _statistics() -> Section:
    return Section(
        "statistics",
        [
            ("schema", "n.nspname"),
            ("name", "s.stxname"),
            ("relation", "s.stxrelid::int8"),
            ("definition", "pg_get_statisticsobjdef(s.oid)"),
            ("target", "nullif(s.stxstattarget, -1)"),
            ("owner", "pg_get_userbyid(s.stxowner)"),
            ("comment", "d.description"),
        ],
        "FROM ns n JOIN pg_statistic_ext s ON s.stxnamespace = n.oid JOIN rel c ON c.oid = s.stxrelid "
        f"{comment_join('pg_statistic_ext', 's.oid')}",
    )


def _default_privilege() -> Section:
    return Section(
        "default_privilege",
        [("schema", "n.nspname"), ("kind", "a.defaclobjtype"), ("public", public_rights("a.defaclacl"))],
        "FROM pg_default_acl a LEFT JOIN ns n ON n.oid = a.defaclnamespace "
        "WHERE a.defaclnamespace = 0 OR n.oid IS NOT NULL",
    )


def other_sections(version: int) -> list[Section]:
    """Objects of rarer kinds, each with one text that says what it does."""
    found = [
        Section(
            "other",
            [
                ("identity", f"pg_describe_object('{catalog}'::regclass, o.oid, 0)"),
                ("schema", "n.nspname"),
                ("definition", definition or _collation(version)),
            ],
            f"FROM ns n JOIN {catalog} o ON o.{namespace} = n.oid WHERE NOT {of_extension(catalog, 'o.oid')}"
            # named as a commutator and never made: a shell, which no dump keeps
            + (" AND o.oprcode <> 0" if catalog == "pg_operator" else ""),
        )
        for catalog, namespace, definition in _OTHERS
    ]
    found.append(
        Section(
            "other",
            [
                ("identity", "pg_describe_object('pg_cast'::regclass, o.oid, 0)"),
                ("schema", "null"),
                ("definition", "concat_ws(' ', o.castfunc::regprocedure, o.castcontext, o.castmethod)"),
            ],
            f"FROM pg_cast o WHERE o.oid >= 16384 AND NOT {of_extension('pg_cast', 'o.oid')}",
        )
    )
    return found


def elsewhere_section(names: Sequence[str]) -> Section:
    """Relations called ``names`` outside of what is described: moved, or now a partition."""
    return Section(
        "elsewhere",
        [
            ("schema", "n.nspname"),
            ("name", "c.relname"),
            ("kind", "c.relkind"),
            ("partition", "c.relispartition"),
            (
                "columns",
                "(SELECT json_agg(attname) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 "
                "AND NOT attisdropped)",
            ),
        ],
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        f"WHERE c.relname = ANY ({text_array(names)}) AND c.relkind IN ('r', 'p', 'v', 'm', 'f') "
        "AND c.oid NOT IN (SELECT oid FROM rel) AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'",
    )
