"""What a server keeps outside of its databases and what is in force for one of them: settings, privileges, roles.

It is read in any database of the server. Values of settings may be secrets, so the sentences name them without.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from ..sql.quoting import quote_ident
from .content_digest.queries import acl_list
from .owner_login import NOT_OURS, SHAPE
from .psql import Session


@dataclass(frozen=True)
class _Said:
    object: Optional[str]
    attribute: Optional[str]
    value: Optional[str]


ServerState = Mapping[str, Mapping[str, str]]

_OPEN = "allows connections"
# Attributes whose values are not told.
_SECRET = re.compile("^(?:password|comment|options)$|setting ")
_WORDS = {
    "datallowconn": _OPEN,
    "datconnlimit": "connection limit",
    "datistemplate": "is a template",
    "rolvaliduntil": "password is valid until",
    "rolconnlimit": "connection limit",
    "rolcanlogin": "may log in",
    "rolsuper": "is a superuser",
}
# Attributes that the server changes by itself, that are read otherwise below, or that are secret or local.
_NOT_OF_DATABASE = "{oid,datname,datdba,datacl,dattablespace,datfrozenxid,datminmxid,dathasloginevt}"
_NOT_OF_ROLE = "{rolname,rolpassword,rolconfig}"


def take(session: Session, oid: int) -> ServerState:
    """The state of the server and of its database ``oid``: per object, which is named in words, its attributes."""
    version = int(session.scalar("SELECT current_setting('server_version_num')::int AS v"))
    found: dict[str, dict[str, str]] = {}
    for row in session.records(_Said, " UNION ALL ".join(_queries(session, int(oid), version))):
        if row.value is not None:
            found.setdefault(str(row.object), {})[str(row.attribute)] = row.value
    return found


def changes(before: ServerState, after: ServerState) -> list[str]:
    """What is different, each a sentence that names no value of a setting."""
    found = [f"{name} is new." for name in sorted(set(after) - set(before))]
    found += [f"{name} is gone." for name in sorted(set(before) - set(after))]
    for name in sorted(set(before) & set(after)):
        old, new = before[name], after[name]
        for attribute in sorted(set(old) | set(new)):
            if old.get(attribute) != new.get(attribute):
                found.append(f"{name}: {_changed(name, attribute, old, new)}.")
    return found


def _changed(name: str, attribute: str, old: Mapping[str, str], new: Mapping[str, str]) -> str:
    if attribute == _OPEN and new.get(attribute) == "false":
        opens = f"ALTER DATABASE {quote_ident(name.partition(' ')[2])} ALLOW_CONNECTIONS true"
        return f"it allows no connections any more; {opens} opens it again"
    if attribute not in old:
        return f"{attribute} is new"
    if attribute not in new:
        return f"{attribute} is gone"
    if _SECRET.search(attribute):
        return f"{attribute} is another than before"
    return f"{attribute} was {old[attribute]}, is {new[attribute]}"


def _queries(session: Session, oid: int, version: int) -> list[str]:
    """Queries of one shape: object, attribute, value as text."""
    queries = [_of_database(oid), _SETTINGS.format(oid=oid), _ROLES, _MEMBERSHIPS, _TABLESPACES]
    if version >= 150000:
        queries.append(
            "SELECT 'parameter ' || p.parname, 'privileges',"
            f" {acl_list('p.paracl', '10::oid', chr(39) + 'p' + chr(39))}::text FROM pg_parameter_acl p"
        )
    if session.scalar("SELECT has_column_privilege('pg_authid', 'rolpassword', 'SELECT') AS may"):
        # Only whether it is another one is of interest; what is brought out tells nothing of it.
        queries.append(
            "SELECT 'role ' || rolname, 'password', hashtextextended(rolpassword, oid::int8)::text FROM pg_authid"
            f" WHERE oid NOT IN (SELECT r.oid FROM pg_roles r WHERE {SHAPE})"
        )
    if session.scalar(
        "SELECT has_table_privilege('pg_file_settings', 'SELECT')"
        " AND has_function_privilege('pg_show_all_file_settings()', 'EXECUTE') AS may"
    ):
        queries.append(
            "SELECT 'server', 'ALTER SYSTEM setting ' || name, string_agg(coalesce(setting, ''), ',' ORDER BY seqno)"
            " FROM pg_file_settings WHERE sourcefile LIKE '%postgresql.auto.conf' AND name IS NOT NULL GROUP BY 2"
        )
    return queries


def _words(column: str) -> str:
    cases = " ".join(f"WHEN '{name}' THEN '{words}'" for name, words in _WORDS.items())
    return f"CASE {column} {cases} ELSE {column} END"


def _of_database(oid: int) -> str:
    return (
        "SELECT 'database ' || d.datname AS object, a.key AS attribute, a.value AS value FROM pg_database d,"
        f" LATERAL (SELECT {_words('e.key')} AS key, e.value"
        f" FROM jsonb_each_text(to_jsonb(d) - '{_NOT_OF_DATABASE}'::text[]) e"
        " UNION ALL SELECT 'owner', pg_get_userbyid(d.datdba)"
        f" UNION ALL SELECT 'privileges', {acl_list('d.datacl', 'd.datdba', chr(39) + 'd' + chr(39), NOT_OURS)}::text"
        " UNION ALL SELECT 'tablespace', (SELECT spcname::text FROM pg_tablespace t WHERE t.oid = d.dattablespace)"
        f" UNION ALL SELECT 'comment', shobj_description(d.oid, 'pg_database')) a WHERE d.oid = {oid}"
    )


_SETTINGS = f"""
SELECT CASE WHEN s.setrole = 0 AND s.setdatabase = 0 THEN 'every role'
            WHEN s.setrole = 0 THEN 'database ' || d.datname
            ELSE 'role ' || pg_get_userbyid(s.setrole) END,
       'setting ' || split_part(c, '=', 1)
         || CASE WHEN s.setrole <> 0 AND s.setdatabase <> 0 THEN ' in database ' || d.datname ELSE '' END,
       substr(c, strpos(c, '=') + 1)
FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) AS c
WHERE s.setdatabase IN (0, {{oid}}) AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = s.setrole AND {SHAPE})"""

_ROLES = f"""
SELECT 'role ' || r.rolname, a.key, a.value FROM pg_roles r, LATERAL (
  SELECT {_words("e.key")} AS key, e.value FROM jsonb_each_text(to_jsonb(r) - '{_NOT_OF_ROLE}'::text[]) e
  UNION ALL SELECT 'comment', shobj_description(r.oid, 'pg_authid')) a WHERE NOT {SHAPE}"""

_MEMBERSHIPS = f"""
SELECT 'role ' || pg_get_userbyid(m.member),
       'membership in ' || pg_get_userbyid(m.roleid) || ' by ' || pg_get_userbyid(m.grantor),
       (to_jsonb(m) - '{{oid,roleid,member,grantor}}'::text[])::text
FROM pg_auth_members m WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = m.member AND {SHAPE})"""

_TABLESPACES = f"""
SELECT 'tablespace ' || t.spcname, a.key, a.value FROM pg_tablespace t, LATERAL (
  SELECT 'owner' AS key, pg_get_userbyid(t.spcowner)::text AS value
  UNION ALL SELECT 'privileges', {acl_list("t.spcacl", "t.spcowner", "'t'")}::text
  UNION ALL SELECT 'options', array_to_string(t.spcoptions, ',')
  UNION ALL SELECT 'comment', shobj_description(t.oid, 'pg_tablespace')) a"""
