"""The notes of a restore: whose functions ran with the rights of a superuser, for which objects, and what avoids it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from ..core.text import few
from ..databases.content_digest.queries import no_member, user_schema
from ..databases.psql import Session
from ..sql.quoting import quote_literal
from .rights import BY_ITSELF

_SHOWN = 10

# From what the superuser restored to what that calls: the parts of a relation and the types of its columns; functions
# only from where a restore calls them (defaults, triggers, policies, rules and bodies are parsed, which reads literals
# of their types). What is built in is in no pg_depend.
_CALLED = f"""
WITH RECURSIVE made(classid, objid, owner, object) AS (
    SELECT 'pg_class'::regclass::oid, c.oid, c.relowner, c.oid::regclass::text FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace AND {user_schema()}
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {no_member("pg_class", "c.oid")}
    UNION ALL
    SELECT 'pg_type'::regclass::oid, y.oid, y.typowner, 'type ' || format_type(y.oid, NULL) FROM pg_type y
    JOIN pg_namespace n ON n.oid = y.typnamespace AND {user_schema()}
    WHERE y.typtype IN ('d', 'r') AND {no_member("pg_type", "y.oid")}
    UNION ALL
    SELECT 'pg_proc'::regclass::oid, p.oid, p.proowner, 'function ' || p.oid::regprocedure::text FROM pg_proc p
    JOIN pg_namespace n ON n.oid = p.pronamespace AND {user_schema()} WHERE {no_member("pg_proc", "p.oid")}
      AND {BY_ITSELF.format("pg_proc", "p.oid")}
), uses(object, owner, classid, objid) AS (
    SELECT m.object, r.rolname::text, m.classid, m.objid FROM made m JOIN pg_roles r ON r.oid = m.owner WHERE {{makers}}
    UNION
    SELECT u.object, u.owner, x.classid, x.objid FROM uses u CROSS JOIN LATERAL (
        SELECT d.classid, d.objid FROM pg_depend d
        LEFT JOIN pg_class i ON d.classid = 'pg_class'::regclass AND i.oid = d.objid
        WHERE u.classid = 'pg_class'::regclass AND d.refclassid = u.classid AND d.refobjid = u.objid
          AND d.deptype IN ('a', 'i') AND (i.relkind IN ('i', 'I') OR d.classid IN ('pg_constraint'::regclass,
              'pg_attrdef'::regclass, 'pg_statistic_ext'::regclass, 'pg_trigger'::regclass, 'pg_policy'::regclass,
              'pg_rewrite'::regclass))
        UNION ALL
        SELECT d.refclassid, d.refobjid FROM pg_depend d WHERE d.classid = u.classid AND d.objid = u.objid
          AND (d.refclassid = 'pg_type'::regclass OR d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
              AND (u.classid IN ('pg_constraint'::regclass, 'pg_statistic_ext'::regclass, 'pg_operator'::regclass,
                                 'pg_class'::regclass, 'pg_type'::regclass)
                   OR EXISTS (SELECT FROM pg_attrdef f JOIN pg_attribute a ON a.attrelid = f.adrelid
                              AND a.attnum = f.adnum AND a.attgenerated <> ''
                              WHERE u.classid = 'pg_attrdef'::regclass AND f.oid = u.objid)
                   OR EXISTS (SELECT FROM pg_rewrite w JOIN pg_class m ON m.oid = w.ev_class AND m.relkind = 'm'
                              WHERE u.classid = 'pg_rewrite'::regclass AND w.oid = u.objid)))
        UNION ALL
        SELECT 'pg_constraint'::regclass, k.oid FROM pg_constraint k
        WHERE u.classid = 'pg_type'::regclass AND k.contypid = u.objid
        UNION ALL
        SELECT 'pg_type'::regclass, y.typelem FROM pg_type y
        WHERE u.classid = 'pg_type'::regclass AND y.oid = u.objid AND y.typelem >= 16384
        UNION ALL
        SELECT 'pg_type'::regclass, a.atttypid FROM pg_type y JOIN pg_attribute a ON a.attrelid = y.typrelid
        WHERE u.classid = 'pg_type'::regclass AND y.oid = u.objid AND y.typtype = 'c' AND a.atttypid >= 16384
        UNION ALL
        SELECT 'pg_proc'::regclass, k.castfunc FROM pg_cast k
        WHERE u.classid = 'pg_type'::regclass AND k.castsource = u.objid AND k.castfunc >= 16384) AS x
)
SELECT u.owner AS maker, json_agg(DISTINCT u.object) AS objects,
       pg_get_userbyid(f.proowner)::text AS author, json_agg(DISTINCT f.oid::regprocedure::text) AS functions,
       current_user::text AS ran_as
FROM uses u JOIN pg_proc f ON u.classid = 'pg_proc'::regclass AND f.oid = u.objid
JOIN pg_namespace n ON n.oid = f.pronamespace AND {user_schema()}
JOIN pg_roles r ON r.oid = f.proowner AND r.rolname NOT IN ({{trusted}})
WHERE {no_member("pg_proc", "f.oid")} AND (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
GROUP BY u.owner, f.proowner ORDER BY 1, 3"""


@dataclass(frozen=True)
class _Ran:
    """Functions of ``author``, which the restore of objects of ``maker`` ran as ``ran_as``."""

    maker: str
    objects: tuple[str, ...]
    author: str
    functions: tuple[str, ...]
    ran_as: str


def notes(session: Session, unconfined: Mapping[Optional[str], str], trusted: Sequence[str]) -> list[str]:
    """A note for each role whose objects a superuser restored and which call functions of others than the ``trusted``:
    those ran with the rights of the superuser, as in every pg_restore. ``session``: of the restored database;
    ``unconfined``: the owners without a login of their own (None: all of them), with the reason."""
    named = ", ".join(map(quote_literal, (name for name in unconfined if name)))
    makers = "true" if None in unconfined else f"r.rolsuper OR r.rolname IN ({named})" if named else "r.rolsuper"
    asked = _CALLED.format(trusted=", ".join(map(quote_literal, trusted)), makers=makers)
    found = []
    for ran in session.records(_Ran, asked):
        why = unconfined.get(ran.maker) or unconfined.get(None)
        why = why or f"{ran.maker} is a superuser (ALTER … OWNER TO {ran.author} gives them to another owner)"
        found.append(
            f"restoring {few(ran.objects, 3)} ran functions of {ran.author} with the rights of {ran.ran_as},"
            f" who is a superuser: {few(ran.functions, _SHOWN)}; for {why}. docs/security.md says what avoids it."
        )
    return found


def superusers(session: Session) -> list[str]:
    """Who is one now: what is restored then may make others."""
    return session.column("SELECT rolname::text AS name FROM pg_roles WHERE rolsuper")
