"""Rarer kinds of objects: by identity, with their owner, privileges and what makes them what they are."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.secret_names import shown_options
from .catalog_queries import SHELL
from .queries import acl_list, no_member, row


@dataclass(frozen=True)
class _Kind:
    """``definition``: SQL for what a row ``k`` of ``catalog`` is; ``acl``: its column and the letter of its default."""

    catalog: str
    definition: str
    owner: str = ""
    acl: tuple[str, str] = ("", "")


def _functions(*columns: str) -> str:
    return f"ARRAY[{', '.join('k.' + column for column in columns)}]::regproc[]::text[]"


_MEMBERS = """(SELECT jsonb_agg(m ORDER BY m) FROM (
    SELECT concat_ws(' ', 'operator', o.amopstrategy, o.amopopr::regoperator, o.amoppurpose,
                     NULLIF(o.amopsortfamily, 0)::regclass) AS m FROM pg_amop o WHERE o.amopfamily = k.oid
    UNION ALL
    SELECT concat_ws(' ', 'function', p.amprocnum, p.amproclefttype::regtype, p.amprocrighttype::regtype,
                     p.amproc::regprocedure) FROM pg_amproc p WHERE p.amprocfamily = k.oid) AS members)"""
_TOKENS = """(SELECT jsonb_agg(concat_ws(' ', m.maptokentype, m.mapseqno, m.mapdict::regdictionary)
                     ORDER BY m.maptokentype, m.mapseqno) FROM pg_ts_config_map m WHERE m.mapcfg = k.oid)"""
# Of a row as JSON, because columns came and went with the versions. Of a collation for any encoding (-1), a copy or a
# restored one is for that of its database.
_COLLATION = """(SELECT jsonb_strip_nulls(jsonb_object_agg(e.key, e.value)) FROM jsonb_each(to_jsonb(k)) AS e
                  WHERE e.key NOT IN ('oid', 'collname', 'collnamespace', 'collowner', 'collversion',
                                    'collencoding'))"""
_OPERATOR = (
    "jsonb_build_object('functions', " + _functions("oprcode", "oprrest", "oprjoin") + ", 'operators',"
    " ARRAY[k.oprcom, k.oprnegate]::regoperator[]::text[], 'joins', concat_ws(' ', k.oprcanmerge, k.oprcanhash))"
)
_KINDS = (
    _Kind("pg_cast", "concat_ws(' ', k.castcontext, k.castmethod, NULLIF(k.castfunc, 0)::regprocedure)"),
    _Kind("pg_collation", _COLLATION, "collowner"),
    _Kind("pg_conversion", "concat_ws(' ', k.conproc, k.condefault)", "conowner"),
    _Kind("pg_language", "concat_ws(' ', k.lanpltrusted, k.lanplcallfoid::regproc, k.laninline::regproc,"
                         " k.lanvalidator::regproc)", "lanowner", ("lanacl", "l")),
    _Kind("pg_operator", _OPERATOR, "oprowner"),
    _Kind("pg_opclass", "concat_ws(' ', k.opcdefault, NULLIF(k.opckeytype, 0)::regtype)", "opcowner"),
    _Kind("pg_opfamily", _MEMBERS, "opfowner"),
    _Kind("pg_am", "concat_ws(' ', k.amtype, k.amhandler)"),
    _Kind("pg_ts_config", _TOKENS, "cfgowner"),
    _Kind("pg_ts_dict", "k.dictinitoption", "dictowner"),
    _Kind("pg_ts_parser", _functions("prsstart", "prstoken", "prsend", "prsheadline", "prslextype")),
    _Kind("pg_ts_template", _functions("tmplinit", "tmpllexize")),
    _Kind("pg_transform", _functions("trffromsql", "trftosql")),
    _Kind("pg_foreign_data_wrapper", "jsonb_build_object('functions', " + _functions("fdwhandler", "fdwvalidator")
                                     + f", 'options', {shown_options('k.fdwoptions')})", "fdwowner", ("fdwacl", "F")),
    _Kind("pg_foreign_server", "jsonb_build_object('type', k.srvtype, 'version', k.srvversion, 'options',"
                               f" {shown_options('k.srvoptions')})", "srvowner", ("srvacl", "S")),
)  # fmt: skip

# What a mapping says is a secret: its options by name, and a number of 32 bits that tells another value.
_MAPPINGS = (
    "user mapping", "''", "concat_ws(' ', k.srvname, CASE WHEN k.umuser = 0 THEN 'PUBLIC' ELSE k.usename::text END)",
    [("options", "(SELECT jsonb_agg(concat_ws(' ', o.option_name, hashtext(o.option_value)) ORDER BY o.option_name)"
                 " FROM pg_options_to_table(k.umoptions) AS o)")],
    "FROM pg_user_mappings k",
)  # fmt: skip

# Privileges of what is built in (of information_schema a dump keeps none) or belongs to an extension, where they are
# others than those that it came with.
_GIVEN = (
    ("pg_class", "k.relacl", "k.relowner", "CASE k.relkind WHEN 'S' THEN 's'::\"char\" ELSE 'r' END", ""),
    ("pg_attribute", "k.attacl", "(SELECT c.relowner FROM pg_class c WHERE c.oid = k.attrelid)", "'c'", "attrelid"),
    ("pg_proc", "k.proacl", "k.proowner", "'f'", ""),
    ("pg_type", "k.typacl", "k.typowner", "'T'", ""),
    ("pg_language", "k.lanacl", "k.lanowner", "'l'", ""),
    ("pg_namespace", "k.nspacl", "k.nspowner", "'n'", ""),
    ("pg_foreign_data_wrapper", "k.fdwacl", "k.fdwowner", "'F'", ""),
    ("pg_foreign_server", "k.srvacl", "k.srvowner", "'S'", ""),
)


def rare_queries() -> list[str]:
    """Queries of (kind, schema, name, definition), as those of ``queries.catalog_queries``."""
    objects = [
        row(
            "object", "coalesce(o.schema, '')", "o.type || ' ' || o.identity",
            [("owner", f"pg_get_userbyid(k.{kind.owner})" if kind.owner else "NULL"),
             ("acl", acl_list(f"k.{kind.acl[0]}", f"k.{kind.owner}", f"'{kind.acl[1]}'") if kind.acl[0] else "NULL"),
             ("what it is", kind.definition),
             ("left out", f"CASE WHEN k.oprcode = 0 THEN '{SHELL}' END" if kind.catalog == "pg_operator" else "NULL")],
            f"FROM {kind.catalog} k CROSS JOIN LATERAL pg_identify_object('{kind.catalog}'::regclass, k.oid, 0) AS o"
            f" WHERE k.oid >= 16384 AND {no_member(kind.catalog, 'k.oid')}",
        )
        for kind in _KINDS
    ]  # fmt: skip
    return [*objects, row(*_MAPPINGS), *map(_privileges, _GIVEN), _LABELS]


def _privileges(given: tuple[str, str, str, str, str]) -> str:
    catalog, acl, owner, default, of = given
    oid, sub, described = (f"k.{of}", "k.attnum", "pg_class") if of else ("k.oid", "0", catalog)
    built_in = f"{oid} < 16384 AND 'pg_catalog' IN (o.schema, o.identity)"
    if catalog == "pg_language":
        built_in = f"{oid} < 16384"
    return row(
        "privileges", "coalesce(o.schema, '')", "o.type || ' ' || o.identity",
        [("acl", acl_list(acl, owner, default))],
        f"FROM {catalog} k LEFT JOIN pg_init_privs i ON i.classoid = '{described}'::regclass AND i.objoid = {oid}"
        f" AND i.objsubid = {sub} CROSS JOIN LATERAL pg_identify_object('{described}'::regclass, {oid}, {sub}) AS o"
        f" WHERE {acl} IS DISTINCT FROM i.initprivs"
        f" AND {acl_list(acl, owner, default)} <> {acl_list('i.initprivs', owner, default)} AND ({built_in} OR NOT "
        + no_member(described, oid)
        + ")",
    )  # fmt: skip


_LABELS = row(
    "security label", "coalesce(o.schema, '')", "s.provider || ' ' || o.type || ' ' || o.identity",
    [("label", "s.label")],
    "FROM pg_seclabel s CROSS JOIN LATERAL pg_identify_object(s.classoid, s.objoid, s.objsubid) AS o"
    " WHERE o.identity IS NOT NULL",
)  # fmt: skip
