"""Whether the role can dump and restore everything, asked of the catalog before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.errors import Refused
from ..core.text import few, plural
from ..databases import properties
from ..databases.content_digest.queries import no_member, user_schema
from ..databases.psql import Session
from ..sql.quoting import quote_literal

_SHOWN = 10

_ROLE = """
SELECT r.rolname AS name, r.rolsuper AS superuser, pg_has_role(d.datdba, 'USAGE') AS has_owner,
       pg_get_userbyid(d.datdba) AS owner, d.datname AS database, current_setting('server_version_num')::int AS version,
       (SELECT substr(s.setting, 6) FROM pg_db_role_setting b CROSS JOIN unnest(b.setconfig) AS s(setting)
         WHERE b.setrole IN (r.oid, 0) AND b.setdatabase IN (d.oid, 0) AND s.setting LIKE 'role=%'
         ORDER BY b.setrole DESC, b.setdatabase DESC LIMIT 1) AS becomes
FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = current_database()"""

_KINDS = (
    "CASE c.relkind WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'"
    " WHEN 'f' THEN 'foreign table' ELSE 'table' END"
)
_RELATIONS = f"pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND {user_schema()}"

# What pg_dump reads: every table and sequence of the user's. A schema without USAGE hides its tables as well.
_UNREADABLE = f"""
SELECT 'schema ' || quote_ident(n.nspname) || ': no USAGE on it' AS said
FROM pg_namespace n WHERE {user_schema()} AND NOT has_schema_privilege(n.oid, 'USAGE')
UNION ALL
SELECT {_KINDS} || ' ' || c.oid::regclass || ': no SELECT on it' FROM {_RELATIONS}
WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't' AND NOT has_table_privilege(c.oid, 'SELECT')
  AND {no_member("pg_class", "c.oid")}
UNION ALL
SELECT 'table ' || c.oid::regclass || ': its row-level security would hide rows from this role' FROM {_RELATIONS}
WHERE c.relkind IN ('r', 'p') AND row_security_active(c.oid) AND {no_member("pg_class", "c.oid")}
ORDER BY 1"""


def _foreign(version: int) -> str:
    """Objects that a restore would have to give to an owner whom this role cannot become."""
    become = "'SET'" if version >= 160000 else "'MEMBER'"

    def owned(what: str, owner: str, source: str) -> str:
        return (
            f"SELECT {what} || ' belongs to ' || pg_get_userbyid({owner}) AS said, pg_get_userbyid({owner}) AS owner"
            f" FROM {source} AND NOT pg_has_role({owner}, {become})"
        )

    return " UNION ALL ".join(
        (
            owned("'schema ' || quote_ident(n.nspname)", "n.nspowner",
                  f"pg_namespace n WHERE {user_schema()} AND n.nspname <> 'public'"
                  f" AND {no_member('pg_namespace', 'n.oid')}"),
            owned(f"{_KINDS} || ' ' || c.oid::regclass", "c.relowner",
                  f"{_RELATIONS} WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't'"
                  f" AND {no_member('pg_class', 'c.oid')}"),
            owned("'function ' || p.oid::regprocedure", "p.proowner",
                  f"pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND {user_schema()}"
                  f" WHERE {no_member('pg_proc', 'p.oid')}"),
            owned("'type ' || format_type(y.oid, NULL)", "y.typowner",
                  f"pg_type y JOIN pg_namespace n ON n.oid = y.typnamespace AND {user_schema()}"
                  f" WHERE y.typtype IN ('e', 'd', 'r') AND {no_member('pg_type', 'y.oid')}"),
            owned("'large object ' || m.oid", "m.lomowner", "pg_largeobject_metadata m WHERE true"),
            # Whoever owns these must be a superuser, and only a superuser can make them again.
            owned("'event trigger ' || quote_ident(v.evtname)", "v.evtowner", "pg_event_trigger v WHERE true"),
        )
    ) + " ORDER BY 1"  # fmt: skip


_TABLESPACES = """
SELECT quote_ident(t.spcname) AS name, min(c.oid::regclass::text) AS relation FROM pg_class c
JOIN pg_tablespace t ON t.oid = c.reltablespace AND t.spcname <> 'pg_global'
WHERE NOT has_tablespace_privilege(t.oid, 'CREATE') GROUP BY 1 ORDER BY 1"""

# Catalogs whose objects are restored as they are, each with the columns of owner and privileges.
_OWNED = (
    ("pg_namespace", "nspowner", "nspacl"), ("pg_class", "relowner", "relacl"), ("pg_proc", "proowner", "proacl"),
    ("pg_type", "typowner", "typacl"), ("pg_language", "lanowner", "lanacl"),
    ("pg_foreign_data_wrapper", "fdwowner", "fdwacl"), ("pg_foreign_server", "srvowner", "srvacl"),
    ("pg_operator", "oprowner", ""), ("pg_opclass", "opcowner", ""), ("pg_opfamily", "opfowner", ""),
    ("pg_conversion", "conowner", ""), ("pg_collation", "collowner", ""), ("pg_ts_dict", "dictowner", ""),
    ("pg_ts_config", "cfgowner", ""), ("pg_statistic_ext", "stxowner", ""), ("pg_publication", "pubowner", ""),
    ("pg_event_trigger", "evtowner", ""), ("pg_largeobject_metadata", "lomowner", "lomacl"),
)  # fmt: skip
_OWNER = "(SELECT datdba FROM pg_database WHERE datname = current_database())"
# Not what PostgreSQL makes along with a type, and takes to be part of it.
_BY_ITSELF = (
    "NOT EXISTS (SELECT FROM pg_depend i WHERE i.classid = '{0}'::regclass AND i.objid = o.oid AND i.deptype = 'i')"
)


def needs_steps(session: Session) -> bool:
    """Whether the database of ``session`` holds something that a login with the rights of its owner cannot restore in
    one go with the rest: of another owner, of an extension, or with privileges that another than the owner granted."""
    version = int(session.scalar("SELECT current_setting('server_version_num')::int AS version"))
    become = "'SET'" if version >= 160000 else "'MEMBER'"
    queries = [
        f"SELECT 1 FROM {catalog} o WHERE (o.oid >= 16384 OR '{catalog}' = 'pg_largeobject_metadata')"
        f" AND NOT pg_has_role({_OWNER}, o.{owner}, {become}) AND {_BY_ITSELF.format(catalog)}"
        f" AND {no_member(catalog, 'o.oid')}"
        for catalog, owner, _ in _OWNED
    ]
    queries += [
        f"SELECT 1 FROM {catalog} o WHERE EXISTS (SELECT FROM aclexplode(o.{acl}) a WHERE a.grantor <> o.{owner})"
        f" OR o.oid < 16384 AND '{catalog}' IN ('pg_class', 'pg_proc', 'pg_type', 'pg_language') AND"
        f" o.{acl} IS DISTINCT FROM (SELECT i.initprivs FROM pg_init_privs i WHERE i.objoid = o.oid AND i.objsubid = 0"
        f" AND i.classoid = '{catalog}'::regclass)"
        + ("" if catalog != "pg_class" else " AND o.relnamespace <> 'information_schema'::regnamespace")
        for catalog, owner, acl in _OWNED
        if acl
    ]
    queries += [
        "SELECT 1 FROM pg_extension WHERE extname <> 'plpgsql'",
        f"SELECT 1 FROM pg_namespace n WHERE n.nspname = 'public' AND NOT pg_has_role({_OWNER}, n.nspowner, 'USAGE')",
        "SELECT 1 FROM pg_cast c WHERE c.oid >= 16384 AND c.castmethod = 'b'",
        "SELECT 1 FROM pg_transform",
        f"SELECT 1 FROM pg_default_acl f WHERE NOT pg_has_role({_OWNER}, f.defaclrole, {become})",
        "SELECT 1 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid, aclexplode(a.attacl) x"
        " WHERE x.grantor <> c.relowner",
        "SELECT 1 FROM pg_seclabel",
    ]
    found = session.rows(" UNION ALL ".join(f"SELECT EXISTS ({query}) AS found" for query in queries))
    return any(row["found"] for row in found)


# What a superuser made and gave to another, who could not have made it: only a superuser can restore it.
_BEYOND = f"""
SELECT 'function ' || p.oid::regprocedure AS said, p.proowner AS owner FROM pg_proc AS p
JOIN pg_language l ON l.oid = p.prolang
WHERE {no_member("pg_proc", "p.oid")} AND {_BY_ITSELF.format("pg_proc").replace("o.oid", "p.oid")}
  AND (p.proleakproof OR p.prosupport <> 0 OR NOT l.lanpltrusted AND l.lanname <> 'sql'
       OR EXISTS (SELECT FROM unnest(p.proconfig) AS c(text) JOIN pg_settings s ON s.name = split_part(c.text, '=', 1)
                  WHERE s.context <> 'user'))
UNION ALL
SELECT 'type ' || format_type(y.oid, NULL), y.typowner FROM pg_type y
WHERE y.typtype = 'b' AND y.typcategory <> 'A' AND {no_member("pg_type", "y.oid")}
UNION ALL
SELECT 'operator class ' || o.opcname, o.opcowner FROM pg_opclass o WHERE {no_member("pg_opclass", "o.oid")}
UNION ALL
SELECT 'relation ' || c.oid::regclass || ' in tablespace ' || t.spcname, c.relowner
FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace
WHERE t.spcname <> 'pg_global' AND NOT has_tablespace_privilege(c.relowner, t.oid, 'CREATE')"""


def beyond_owners(session: Session) -> list[str]:
    """Objects in the database of ``session`` that take a superuser to restore, although they belong to none."""
    rows = session.rows(
        f"SELECT b.said FROM ({_BEYOND}) AS b JOIN pg_roles r ON r.oid = b.owner AND NOT r.rolsuper ORDER BY 1"
    )
    return [str(row["said"]) for row in rows]


# What a restore and a reader call: the functions of constraints, generated columns, indexes, statistics and casts.
_RUN_BY_ROWS = f"""
SELECT DISTINCT f.oid::regprocedure::text AS function, pg_get_userbyid(f.proowner) AS owner, current_user AS ran_as
FROM (
    SELECT 'pg_constraint'::regclass AS classid, oid FROM pg_constraint WHERE contype = 'c'
    UNION ALL
    SELECT 'pg_attrdef'::regclass, d.oid FROM pg_attrdef d
    JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum AND a.attgenerated <> ''
    UNION ALL
    SELECT 'pg_class'::regclass, indexrelid FROM pg_index WHERE indexprs IS NOT NULL OR indpred IS NOT NULL
    UNION ALL
    SELECT 'pg_class'::regclass, partrelid FROM pg_partitioned_table WHERE partexprs IS NOT NULL
    UNION ALL
    SELECT 'pg_statistic_ext'::regclass, oid FROM pg_statistic_ext WHERE stxexprs IS NOT NULL
    UNION ALL
    SELECT 'pg_cast'::regclass, oid FROM pg_cast WHERE oid >= 16384) AS used
JOIN pg_depend d ON d.classid = used.classid AND d.objid = used.oid
LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
JOIN pg_proc f ON f.oid = coalesce(o.oprcode::oid, CASE WHEN d.refclassid = 'pg_proc'::regclass THEN d.refobjid END)
JOIN pg_namespace n ON n.oid = f.pronamespace AND {user_schema()}
JOIN pg_roles r ON r.oid = f.proowner AND r.rolname NOT IN ({{trusted}})
WHERE {no_member("pg_proc", "f.oid")} AND (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) ORDER BY 1"""


def superusers(session: Session) -> list[str]:
    """Who is one now: what is restored then may make others."""
    return [str(row["name"]) for row in session.rows("SELECT rolname::text AS name FROM pg_roles WHERE rolsuper")]


def run_as_superuser(session: Session, why: str, trusted: Sequence[str]) -> list[str]:
    """A note if a superuser restores this database, because of ``why``, and it calls functions of others than the
    ``trusted``: they run with the rights of the superuser then, as in every pg_restore."""
    named = ", ".join(map(quote_literal, trusted))
    found = session.rows(_RUN_BY_ROWS.format(trusted=named)) if why else []
    if not found:
        return []
    functions = few([str(row["function"]) for row in found], _SHOWN)
    owners = ", ".join(sorted({str(row["owner"]) for row in found}))
    return [
        f"restoring the rows ran functions of {owners} with the rights of {found[0]['ran_as']}, who is a superuser:"
        f" {functions}; for {why}. docs/security.md says what avoids it."
    ]


def refuse_missing(session: Session, *, restores: bool) -> None:
    """Raise Refused with the right that is missing, and on which objects: to dump the database of ``session``, and
    (``restores``) to restore the dump as a proof."""
    role = session.rows(_ROLE)[0]
    if role["superuser"]:
        return
    if not role["has_owner"] and role["becomes"] not in (None, "none"):
        raise Refused(
            f"Role {role['name']} has the rights of {role['owner']} only by its setting role={role['becomes']}, and"
            " sessions of pap-deploy start with role=none: a session must have the rights of the role that it logs"
            " in as.",
            hint=f"GRANT {role['owner']} TO {role['name']} with INHERIT (ALTER ROLE {role['name']} INHERIT before"
            f" PostgreSQL 16), or set pap_db_admin_user to {role['owner']}.",
        )
    found = [str(row["said"]) for row in session.rows(_UNREADABLE)]
    if found:
        raise Refused(
            f"Role {role['name']} may not read everything that a backup holds: {_listed(found)}",
            hint=f"As a superuser: ALTER ROLE {role['name']} BYPASSRLS."
            if all("row-level" in line for line in found)
            else f"GRANT USAGE and SELECT there to {role['name']} (BYPASSRLS for row-level security), or set"
            " pap_db_admin_user to a role that has them.",
            objects=found,
        )
    if restores:
        _refuse_unrestorable(session, role)


def _refuse_unrestorable(session: Session, role: Mapping[str, Any]) -> None:
    properties.refuse_ungivable(session, str(role["database"]))
    places = session.rows(_TABLESPACES)
    if places:
        named = ", ".join(row["name"] for row in places)
        raise Refused(
            f"Role {role['name']} cannot restore {places[0]['relation']}: it may create nothing in tablespace"
            f" {places[0]['name']}.",
            hint=f"As a superuser: GRANT CREATE ON TABLESPACE {named} TO {role['name']}.",
        )
    owned = session.rows(_foreign(int(role["version"])))
    if owned:
        owners = sorted({str(row["owner"]) for row in owned})
        raise Refused(
            f"Role {role['name']} cannot restore what it dumps, because it cannot give objects to their owners:"
            f" {_listed([str(row['said']) for row in owned])}",
            hint=f"GRANT {', '.join(owners)} TO {role['name']}, give those objects to {role['owner']} (ALTER … OWNER"
            " TO), or set pap_db_admin_user to a superuser.",
            objects=[row["said"] for row in owned],
        )


def _listed(found: list[str]) -> str:
    more = f"; and {plural(len(found) - _SHOWN, 'more object')}" if len(found) > _SHOWN else ""
    return f"{'; '.join(found[:_SHOWN])}{more}."
