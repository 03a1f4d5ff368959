"""Whether the role can dump and restore everything, asked of the catalog before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ..core.errors import Refused
from ..core.text import few, plural
from ..databases import properties
from ..databases.content_digest.queries import no_member, user_schema
from ..databases.owner_login import DATABASE_OWNER
from ..databases.psql import Session
from ..sql.lexer import one_line

_SHOWN = 10

_ROLE = """
SELECT r.rolname AS name, r.rolsuper AS superuser, pg_has_role(d.datdba, 'USAGE') AS has_owner,
       pg_get_userbyid(d.datdba) AS owner, d.datname AS database, current_setting('server_version_num')::int AS version,
       (SELECT substr(s.setting, 6) FROM pg_db_role_setting b CROSS JOIN unnest(b.setconfig) AS s(setting)
         WHERE b.setrole IN (r.oid, 0) AND b.setdatabase IN (d.oid, 0) AND s.setting LIKE 'role=%'
         ORDER BY b.setrole DESC, b.setdatabase DESC LIMIT 1) AS becomes
FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = current_database()"""


@dataclass(frozen=True)
class _Role:
    """The role of a session. ``becomes``: its setting ``role``."""

    name: str
    superuser: bool
    has_owner: bool
    owner: str
    database: str
    version: int
    becomes: Optional[str]


@dataclass(frozen=True)
class _Tablespace:
    """With one of the relations in it."""

    name: str
    relation: str


@dataclass(frozen=True)
class _Foreign:
    """An object (``said``) and its owner."""

    said: str
    owner: str


@dataclass(frozen=True)
class _Missing:
    """What is missing, and the statement that gives it."""

    said: str
    mended: str


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
SELECT {_KINDS} || ' ' || c.oid::regclass::text || ': no SELECT on it' FROM {_RELATIONS}
WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't' AND NOT has_table_privilege(c.oid, 'SELECT')
  AND {no_member("pg_class", "c.oid")}
UNION ALL
SELECT 'user mapping for ' || u.usename || ' on server ' || quote_ident(u.srvname) || ': its options are hidden'
FROM pg_user_mappings u JOIN pg_foreign_server s ON s.oid = u.srvid
WHERE NOT (u.umuser = 0 AND pg_has_role(s.srvowner, 'USAGE') OR u.usename = current_user AND (
    pg_has_role(s.srvowner, 'USAGE') OR has_server_privilege(s.oid, 'USAGE')))
UNION ALL
SELECT 'table ' || c.oid::regclass::text || ': its row-level security would hide rows from this role' FROM {_RELATIONS}
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
            owned(f"{_KINDS} || ' ' || c.oid::regclass::text", "c.relowner",
                  f"{_RELATIONS} WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't'"
                  f" AND {no_member('pg_class', 'c.oid')}"),
            owned("'function ' || p.oid::regprocedure::text", "p.proowner",
                  f"pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND {user_schema()}"
                  f" WHERE {no_member('pg_proc', 'p.oid')}"),
            owned("'type ' || format_type(y.oid, NULL)", "y.typowner",
                  f"pg_type y JOIN pg_namespace n ON n.oid = y.typnamespace AND {user_schema()}"
                  f" WHERE y.typtype IN ('e', 'd', 'r') AND {no_member('pg_type', 'y.oid')}"),
            owned("'large object ' || m.oid::text", "m.lomowner", "pg_largeobject_metadata m WHERE true"),
            owned("'foreign server ' || quote_ident(s.srvname)", "s.srvowner",
                  f"pg_foreign_server s WHERE {no_member('pg_foreign_server', 's.oid')}"),
            # Whoever owns these must be a superuser, and only a superuser can make them again.
            owned("'event trigger ' || quote_ident(v.evtname)", "v.evtowner", "pg_event_trigger v WHERE true"),
            owned("'foreign data wrapper ' || quote_ident(w.fdwname)", "w.fdwowner",
                  f"pg_foreign_data_wrapper w WHERE {no_member('pg_foreign_data_wrapper', 'w.oid')}"),
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
_OWNERS = (
    f"(SELECT datdba FROM pg_database WHERE datname = current_database() UNION SELECT '{DATABASE_OWNER}'::regrole)"
)
# Not what PostgreSQL makes along with a type, and takes to be part of it.
BY_ITSELF = (
    "NOT EXISTS (SELECT FROM pg_depend i WHERE i.classid = '{0}'::regclass AND i.objid = {1} AND i.deptype = 'i')"
)


def needs_steps(session: Session) -> bool:
    """Whether the database of ``session`` holds something that a login with the rights of its owner cannot restore in
    one go with the rest: of another owner, of an extension, or with privileges that another than the owner granted."""
    queries = [
        f"SELECT 1 FROM {catalog} o WHERE (o.oid >= 16384 OR '{catalog}' = 'pg_largeobject_metadata')"
        f" AND o.{owner} NOT IN {_OWNERS} AND {BY_ITSELF.format(catalog, 'o.oid')}"
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
        f"SELECT 1 FROM pg_namespace n WHERE n.nspname = 'public' AND n.nspowner NOT IN {_OWNERS}",
        "SELECT 1 FROM pg_cast c WHERE c.oid >= 16384 AND c.castmethod = 'b'",
        "SELECT 1 FROM pg_transform",
        f"SELECT 1 FROM pg_default_acl f WHERE f.defaclrole NOT IN {_OWNERS}",
        "SELECT 1 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid, aclexplode(a.attacl) x"
        " WHERE x.grantor <> c.relowner",
        "SELECT 1 FROM pg_seclabel",
    ]
    return any(session.column(" UNION ALL ".join(f"SELECT EXISTS ({query}) AS found" for query in queries)))


def owners(session: Session) -> list[str]:
    """Who owns the database of ``session``, or something in it, and is no superuser."""
    return session.column(
        "SELECT DISTINCT r.rolname::text AS name FROM pg_database d LEFT JOIN pg_shdepend s ON s.dbid = d.oid"
        " AND s.deptype = 'o' AND s.refclassid = 'pg_authid'::regclass"
        " JOIN pg_roles r ON r.oid IN (s.refobjid, d.datdba) AND NOT r.rolsuper"
        " WHERE d.datname = current_database() ORDER BY 1"
    )


# What a superuser made and gave to another, who could not have made it: only a superuser can restore it. Nothing may
# count that any role can make, or it has its functions run as the superuser: an aggregate's language is "internal".
_BEYOND = f"""
SELECT 'function ' || p.oid::regprocedure::text AS said, p.proowner AS owner FROM pg_proc AS p
JOIN pg_language l ON l.oid = p.prolang
WHERE {no_member("pg_proc", "p.oid")} AND {BY_ITSELF.format("pg_proc", "p.oid")}
  AND (p.proleakproof OR p.prosupport <> 0 OR NOT l.lanpltrusted AND l.lanname <> 'sql' AND p.prokind <> 'a'
       OR EXISTS (SELECT FROM unnest(p.proconfig) AS c(text) JOIN pg_settings s ON s.name = split_part(c.text, '=', 1)
                  WHERE s.context <> 'user'))
UNION ALL
SELECT 'type ' || format_type(y.oid, NULL), y.typowner FROM pg_type y
WHERE y.typtype = 'b' AND y.typcategory <> 'A' AND {no_member("pg_type", "y.oid")}
UNION ALL
SELECT 'operator class ' || o.opcname, o.opcowner FROM pg_opclass o WHERE {no_member("pg_opclass", "o.oid")}
UNION ALL
SELECT 'relation ' || c.oid::regclass::text || ' in tablespace ' || t.spcname, c.relowner
FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace
WHERE t.spcname <> 'pg_global' AND NOT has_tablespace_privilege(c.relowner, t.oid, 'CREATE')
UNION ALL
SELECT 'table ' || p.oid::regclass::text || ', whose partition or child ' || c.oid::regclass::text || ' belongs to '
       || r.rolname, p.relowner
FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhparent AND p.relkind IN ('r', 'p')
JOIN pg_class c ON c.oid = h.inhrelid JOIN pg_roles r ON r.oid = c.relowner AND r.rolsuper"""


def beyond_owners(session: Session) -> list[str]:
    """Objects in the database of ``session`` that take a superuser to restore, although they belong to none."""
    return session.column(
        f"SELECT b.said FROM ({_BEYOND}) AS b JOIN pg_roles r ON r.oid = b.owner AND NOT r.rolsuper ORDER BY 1"
    )


def refuse_missing(session: Session, *, restores: bool) -> None:
    """Raise Refused with the right that is missing, and on which objects: to dump the database of ``session``, and
    (``restores``) to restore the dump as a proof."""
    role = session.records(_Role, _ROLE)[0]
    if role.superuser:
        _refuse_without_owner(session, restores)
        return
    if not role.has_owner and role.becomes not in (None, "none"):
        raise Refused(
            f"Role {role.name} has the rights of {role.owner} only by its setting role={role.becomes}, and"
            " sessions of pap-deploy start with role=none: a session must have the rights of the role that it logs"
            " in as.",
            hint=f"GRANT {role.owner} TO {role.name} with INHERIT (ALTER ROLE {role.name} INHERIT before"
            f" PostgreSQL 16), or set pap_db_admin_user to {role.owner}.",
        )
    found = session.column(_UNREADABLE)
    if found:
        raise Refused(
            f"Role {role.name} may not read everything that a backup holds: {_listed(found)}",
            hint=f"As a superuser: ALTER ROLE {role.name} BYPASSRLS."
            if all("row-level" in line for line in found)
            else f"GRANT USAGE and SELECT there to {role.name} (BYPASSRLS for row-level security), or set"
            " pap_db_admin_user to a role that has them; only a superuser reads the options of all user mappings.",
            objects=found,
        )
    if restores:
        _refuse_unrestorable(session, role)


def _refuse_unrestorable(session: Session, role: _Role) -> None:
    properties.refuse_ungivable(session, role.database)
    places = session.records(_Tablespace, _TABLESPACES)
    if places:
        named = ", ".join(place.name for place in places)
        raise Refused(
            f"Role {role.name} cannot restore {places[0].relation}: it may create nothing in tablespace"
            f" {places[0].name}.",
            hint=f"As a superuser: GRANT CREATE ON TABLESPACE {named} TO {role.name}.",
        )
    owned = session.records(_Foreign, _foreign(role.version))
    if owned:
        owners = sorted({one.owner for one in owned})
        objects = [one.said for one in owned]
        raise Refused(
            f"Role {role.name} cannot restore what it dumps, because it cannot give objects to their owners:"
            f" {_listed(objects)}",
            hint=f"GRANT {', '.join(owners)} TO {role.name}, give those objects to {role.owner} (ALTER … OWNER"
            " TO), or set pap_db_admin_user to a superuser.",
            objects=objects,
        )


# What owners must be able to do with their own, because a superuser does not do it for them: that would run what they
# planted. Each with the statement that gives it.
_OWN = f"""
SELECT 'schema ' || quote_ident(n.nspname) || ': ' || r.rolname || ', who owns a table there, has no USAGE on it'
       AS said,
       'GRANT USAGE ON SCHEMA ' || quote_ident(n.nspname) || ' TO ' || quote_ident(r.rolname) AS mended
FROM {_RELATIONS} JOIN pg_roles r ON r.oid = c.relowner AND NOT r.rolsuper
WHERE c.relkind IN ('r', 'S') AND c.relpersistence <> 't' AND NOT has_schema_privilege(r.oid, n.oid, 'USAGE')
UNION
SELECT {_KINDS} || ' ' || c.oid::regclass::text || ': ' || r.rolname || ', who owns it, has no SELECT on it',
       'GRANT SELECT ON ' || c.oid::regclass::text || ' TO ' || quote_ident(r.rolname)
FROM {_RELATIONS} JOIN pg_roles r ON r.oid = c.relowner AND NOT r.rolsuper
WHERE c.relkind IN ('r', 'S') AND c.relpersistence <> 't' AND NOT CASE c.relkind
    WHEN 'S' THEN has_sequence_privilege(r.oid, c.oid, 'SELECT') ELSE has_table_privilege(r.oid, c.oid, 'SELECT') END
ORDER BY 1"""
_REFERS = f"""
SELECT 'foreign key ' || quote_ident(k.conname) || ' of ' || c.oid::regclass::text || ': ' || r.rolname
       || ' has no REFERENCES on ' || k.confrelid::regclass::text AS said,
       'GRANT REFERENCES ON ' || k.confrelid::regclass::text || ' TO ' || quote_ident(r.rolname) AS mended
FROM {_RELATIONS} JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'f' AND k.conparentid = 0
JOIN pg_roles r ON r.oid = c.relowner AND NOT r.rolsuper JOIN pg_class p ON p.oid = k.confrelid
WHERE NOT pg_has_role(r.oid, p.relowner, 'USAGE') AND EXISTS (SELECT FROM unnest(k.confkey) AS u(attnum)
    WHERE NOT has_column_privilege(r.oid, k.confrelid, u.attnum, 'REFERENCES')) ORDER BY 1"""


# What takes the rights of two owners to make again. A login with both would run the functions of each as the other.
_OF_TWO = f"""
SELECT b.what || ' belongs to ' || r.rolname || ', and ' || b.other || ' to ' || o.rolname AS said,
       'ALTER ' || b.kind || ' ' || b.what || ' OWNER TO ' || quote_ident(o.rolname) AS mended
FROM (SELECT 'TABLE' AS kind, c.oid::regclass::text AS what, c.relowner AS owner, p.oid::regclass::text AS other,
             p.relowner AS other_owner
      FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhparent
      JOIN {_RELATIONS} ON c.oid = h.inhrelid AND c.relkind IN ('r', 'p', 'f')
      UNION ALL
      SELECT 'STATISTICS', quote_ident(n.nspname) || '.' || quote_ident(x.stxname), x.stxowner, t.oid::regclass::text,
             t.relowner
      FROM pg_statistic_ext x JOIN pg_namespace n ON n.oid = x.stxnamespace JOIN pg_class t ON t.oid = x.stxrelid
      UNION ALL
      SELECT 'PUBLICATION', quote_ident(u.pubname), u.pubowner, t.oid::regclass::text, t.relowner
      FROM pg_publication u JOIN pg_publication_rel l ON l.prpubid = u.oid JOIN pg_class t ON t.oid = l.prrelid) AS b
JOIN pg_roles r ON r.oid = b.owner AND NOT r.rolsuper JOIN pg_roles o ON o.oid = b.other_owner
WHERE NOT pg_has_role(r.oid, o.oid, 'USAGE') ORDER BY 1"""


def _refuse_without_owner(session: Session, restores: bool) -> None:
    queries = (_OWN, _REFERS, _OF_TWO) if restores else (_OWN,)
    found = [one for query in queries for one in session.records(_Missing, query)]
    if found:
        objects = [one.said for one in found]
        raise Refused(
            f"An owner may not do with its own what a backup takes, and a superuser does not do it in its place:"
            f" {_listed(objects)}",
            hint=f"As a superuser: {few([one_line(one.mended) + ';' for one in found], _SHOWN)}",
            objects=objects,
        )


def _listed(found: list[str]) -> str:
    more = f"; and {plural(len(found) - _SHOWN, 'more object')}" if len(found) > _SHOWN else ""
    return f"{'; '.join(found[:_SHOWN])}{more}."
