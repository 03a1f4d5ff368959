"""Whether the role can dump and restore everything, asked of the catalog before anything runs."""

from __future__ import annotations

from ..core.errors import Refused
from ..core.text import few, plural
from ..databases.content_digest.queries import no_member, user_schema
from ..databases.psql import Session

_SHOWN = 10

_ROLE = """
SELECT r.rolname AS name, r.rolsuper AS superuser, pg_has_role(d.datdba, 'USAGE') AS has_owner,
       pg_get_userbyid(d.datdba) AS owner, current_setting('server_version_num')::int AS version,
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


# What COPY into a table calls: CHECK constraints of tables and domains, and generated columns.
_RUN_BY_ROWS = f"""
SELECT DISTINCT f.oid::regprocedure::text AS function, pg_get_userbyid(f.proowner) AS owner, current_user AS ran_as
FROM (
    SELECT 'pg_constraint'::regclass AS classid, oid FROM pg_constraint WHERE contype = 'c'
    UNION ALL
    SELECT 'pg_attrdef'::regclass, d.oid FROM pg_attrdef d
    JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum AND a.attgenerated <> '') AS used
JOIN pg_depend d ON d.classid = used.classid AND d.objid = used.oid
LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
JOIN pg_proc f ON f.oid = coalesce(o.oprcode::oid, CASE WHEN d.refclassid = 'pg_proc'::regclass THEN d.refobjid END)
JOIN pg_namespace n ON n.oid = f.pronamespace AND {user_schema()}
JOIN pg_roles r ON r.oid = f.proowner AND NOT r.rolsuper
WHERE {no_member("pg_proc", "f.oid")} AND (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) ORDER BY 1"""


def run_as_superuser(session: Session) -> list[str]:
    """A note if a superuser restores rows here whose constraints and generated columns call functions of somebody who
    is none: these run with the rights of the superuser, as in every pg_restore."""
    found = session.rows(_RUN_BY_ROWS)
    if not found:
        return []
    functions = few([str(row["function"]) for row in found], _SHOWN)
    owners = ", ".join(sorted({str(row["owner"]) for row in found}))
    return [
        f"restoring the rows ran functions of {owners} with the rights of {found[0]['ran_as']}, who is a superuser:"
        f" {functions}. An administrating role that is none avoids it (docs/security.md)."
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
    owned = session.rows(_foreign(int(role["version"]))) if restores else []
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
