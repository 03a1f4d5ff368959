"""What belongs to a database itself and is in no dump of its content: owner, privileges, settings, locale."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Optional

from ..core.errors import Refused
from ..core.text import few
from ..sql.quoting import quote_ident, quote_literal
from .content_digest.queries import acl_list
from .managed_names import plain_comment
from .owner_login import NOT_OURS, SHAPE
from .psql import Session

_SHOWN = 10


# A role (None: of every one), and its settings in the database.
Setting = tuple[Optional[str], Optional[tuple[str, ...]]]


@dataclass(frozen=True)
class Properties:
    """Owner, privileges, settings (also per role), locale and encoding of a database. ``grants``: the OID and name of a
    role, the privilege, and whether it may be granted on; None: nothing was ever granted or revoked."""

    owner: str
    connection_limit: int
    allow_connections: bool
    privileges: tuple[str, ...]
    grants: Optional[tuple[tuple[str, str, str, bool], ...]]
    settings: tuple[Setting, ...]
    encoding: str
    lc_collate: str
    lc_ctype: str
    provider: str
    locale: Optional[str]
    icu_rules: Optional[str]
    tablespace: str
    comment: Optional[str]
    is_template: bool = False


@dataclass(frozen=True)
class Role:
    """A role of the server, without its password."""

    rolname: str
    rolsuper: bool
    rolinherit: bool
    rolcreaterole: bool
    rolcreatedb: bool
    rolcanlogin: bool
    rolbypassrls: bool
    member_of: tuple[str, ...]
    settings: Optional[tuple[str, ...]]


@dataclass(frozen=True)
class _Me:
    name: str
    superuser: bool


@dataclass(frozen=True)
class _Ungivable:
    what: str
    needs: str


def capture(session: Session, name: str) -> Properties:
    """The properties of database ``name`` now."""
    version = int(session.scalar("SELECT current_setting('server_version_num')::int AS v"))
    locale = "d.datlocale" if version >= 170000 else "d.daticulocale" if version >= 150000 else "NULL"
    rules = "d.daticurules" if version >= 160000 else "NULL"
    provider = "d.datlocprovider" if version >= 150000 else "'c'"
    found = session.records(
        Properties,
        "SELECT pg_get_userbyid(d.datdba) AS owner, d.datconnlimit AS connection_limit,"
        " d.datallowconn AS allow_connections, d.datistemplate AS is_template,"
        f" {acl_list('d.datacl', 'd.datdba', chr(39) + 'd' + chr(39), NOT_OURS)} AS privileges,"
        " (SELECT json_agg(json_build_array(a.grantee, pg_get_userbyid(a.grantee), a.privilege_type, a.is_grantable)"
        f"    ORDER BY a.grantee, a.privilege_type) FROM aclexplode(d.datacl) a WHERE {NOT_OURS})"
        "    AS grants,"
        " (SELECT coalesce(json_agg(json_build_array(r.rolname, s.setconfig) ORDER BY r.rolname NULLS FIRST), '[]')"
        "    FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole"
        "   WHERE s.setdatabase = d.oid) AS settings,"
        " pg_encoding_to_char(d.encoding) AS encoding, d.datcollate AS lc_collate, d.datctype AS lc_ctype,"
        f" {provider}::text AS provider, {locale} AS locale, {rules} AS icu_rules,"
        " (SELECT spcname FROM pg_tablespace t WHERE t.oid = d.dattablespace) AS tablespace,"
        " shobj_description(d.oid, 'pg_database') AS comment"
        f" FROM pg_database d WHERE d.datname = {quote_literal(name)}",
    )
    if not found:
        raise Refused(f"There is no database named {name}.", database=name)
    # What is copied to a manifest or to another database must not say that it is one of ours.
    return replace(found[0], comment=plain_comment(found[0].comment))


# What of a database a role cannot give to another one: who sets it must be allowed to.
_UNGIVABLE = """
SELECT 'its owner ' || quote_ident(o.rolname) AS what, 'GRANT ' || quote_ident(o.rolname) || ' TO it' AS needs
FROM pg_database d JOIN pg_roles o ON o.oid = d.datdba
WHERE d.oid = {database} AND NOT pg_has_role(d.datdba, {become})
UNION ALL
SELECT 'the settings of role ' || quote_ident(r.rolname) || ' in this database',
       CASE WHEN r.rolsuper THEN 'a superuser' ELSE 'CREATEROLE'
            || CASE WHEN {version} >= 160000 THEN ' and ADMIN OPTION on ' || quote_ident(r.rolname) ELSE '' END
       END
FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole, pg_roles me
WHERE s.setdatabase = {database} AND me.rolname = current_user AND r.oid <> me.oid
  AND (r.rolsuper OR NOT me.rolcreaterole OR {version} >= 160000 AND NOT pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION'))
UNION ALL
SELECT 'its setting ' || g.name, {needs_parameter}
FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS c(text)
JOIN pg_settings g ON g.name = split_part(c.text, '=', 1) AND g.context IN ('superuser', 'superuser-backend')
WHERE s.setdatabase = {database} AND NOT {may_set}
UNION ALL
SELECT 'its tablespace ' || quote_ident(t.spcname), 'CREATE on it' FROM pg_database d
JOIN pg_tablespace t ON t.oid = d.dattablespace AND t.spcname <> 'pg_default'
WHERE d.oid = {database} AND NOT has_tablespace_privilege(t.oid, 'CREATE') ORDER BY 1"""


def refuse_ungivable(session: Session, name: str) -> None:
    """Raise Refused with what of database ``name`` the role of ``session`` may not give to a copy of it, and the right
    that each takes. A superuser may."""
    role = session.records(
        _Me, "SELECT rolname AS name, rolsuper AS superuser FROM pg_roles WHERE rolname = current_user"
    )[0]
    if role.superuser:
        return
    version = int(session.scalar("SELECT current_setting('server_version_num')::int AS v"))
    query = _UNGIVABLE.format(
        version=version,
        become="'SET'" if version >= 160000 else "'MEMBER'",
        database=f"(SELECT oid FROM pg_database WHERE datname = {quote_literal(name)})",
        needs_parameter="'SET on that parameter'" if version >= 150000 else "'a superuser'",
        may_set="has_parameter_privilege(g.name, 'SET')" if version >= 150000 else "false",
    )
    found = [f"{row.what} (needs {row.needs})" for row in session.records(_Ungivable, query)]
    if found:
        raise Refused(
            f"Role {role.name} cannot make a copy of {name}, because it may not give it {few(found, _SHOWN)}.",
            hint=f"As a superuser: grant {role.name} what is named, or take those settings away (ALTER ROLE … IN"
            " DATABASE … RESET ALL); or set pap_db_admin_user to a superuser.",
            objects=found,
        )


def create_like(name: str, properties: Properties, version: int) -> str:
    """CREATE DATABASE of an empty database with the same owner, encoding, locale and tablespace. The owner of what is
    restored into it must be able to create there, and its own role owns the schema public."""
    options = [
        f"OWNER {quote_ident(properties.owner)}",
        "TEMPLATE template0",
        f"ENCODING {quote_literal(properties.encoding)}",
        f"LC_COLLATE {quote_literal(properties.lc_collate)}",
        f"LC_CTYPE {quote_literal(properties.lc_ctype)}",
    ]
    if properties.tablespace != "pg_default":  # to name that one needs a privilege on it; to be given it does not
        options.append(f"TABLESPACE {quote_ident(properties.tablespace)}")
    if version >= 150000:
        provider = {"c": "libc", "i": "icu", "b": "builtin"}[properties.provider]
        options.append(f"LOCALE_PROVIDER {provider}")
        if properties.locale:
            key = "BUILTIN_LOCALE" if provider == "builtin" else "ICU_LOCALE"
            options.append(f"{key} {quote_literal(properties.locale)}")
        if properties.icu_rules:
            options.append(f"ICU_RULES {quote_literal(properties.icu_rules)}")
    return f"CREATE DATABASE {quote_ident(name)} {' '.join(options)}"


def apply(name: str, properties: Properties) -> list[str]:
    """Statements that give database ``name`` the captured owner, privileges and settings; for one transaction."""
    target = quote_ident(name)
    statements = [f"ALTER DATABASE {target} OWNER TO {quote_ident(properties.owner)}"]
    # From nothing: what the new database got by default (PUBLIC may connect) was revoked while it was unproven.
    owner = quote_ident(properties.owner)
    statements.append(f"REVOKE ALL ON DATABASE {target} FROM PUBLIC, {owner}")
    if properties.grants is None:  # nothing was ever granted or revoked: the default, in words
        statements.append(f"GRANT ALL ON DATABASE {target} TO {owner}")
        statements.append(f"GRANT CONNECT, TEMPORARY ON DATABASE {target} TO PUBLIC")
    else:
        for grantee, role, privilege, grantable in properties.grants:
            to = "PUBLIC" if int(grantee) == 0 else quote_ident(role)
            option = " WITH GRANT OPTION" if grantable else ""
            statements.append(f"GRANT {privilege} ON DATABASE {target} TO {to}{option}")
    for subject, settings in properties.settings:
        for setting in settings or ():
            key, _, value = setting.partition("=")
            statements.append(_set(target, subject, key, value))
    return statements


def template(name: str, instead_of: str, properties: Properties) -> list[str]:
    """Statements that make ``name`` a template where the database was one, in whose place it comes."""
    if not properties.is_template:
        return []
    return [f"ALTER DATABASE {quote_ident(of)} IS_TEMPLATE {on}" for of, on in ((name, "true"), (instead_of, "false"))]


# Settings that hold a list: each element is written as a literal of its own, as pg_dump does. The stored text is no
# SQL: SET … FROM CURRENT stores what set_config was given, which may be any text without a space or comma.
_LISTS = ("search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries", "datestyle",
          "shared_preload_libraries", "unix_socket_directories")  # fmt: skip


def _set(target: str, role: Optional[str], key: str, value: str) -> str:
    subject = f"ROLE {quote_ident(role)} IN DATABASE {target}" if role else f"DATABASE {target}"
    return f"ALTER {subject} SET {_assignment(key, value)}"


def _assignment(key: str, value: str) -> str:
    parameter = ".".join(quote_ident(part) for part in key.split("."))
    elements = _elements(value) if key.lower() in _LISTS else [value]
    return f"{parameter} TO {', '.join(map(quote_literal, elements)).strip()}"


def _elements(value: str) -> list[str]:
    """The elements of a list setting as it is stored: separated by commas, some in double quotes."""
    parts = re.findall(r'\s*("(?:[^"]|"")*"|[^,"]*)\s*(?:,|$)', value)
    words = [part.strip() for part in parts]
    if words and not words[-1]:
        words.pop()  # what the expression finds at the very end
    return [word[1:-1].replace('""', '"') if word.startswith('"') else word for word in words] or [""]


def as_sql(name: str, properties: Properties, roles: Sequence[Role], version: int) -> str:
    """A file for a person who rebuilds the server by hand: roles without passwords, then the database's own traits."""
    lines = [
        "-- What pg_dump leaves out: roles (set their passwords again), owner, privileges and settings of the database",
    ]
    lines += [f"{create_role(role)};" for role in roles]
    lines += [f"{statement};" for role in roles for statement in equip_role(role)]
    lines.append(create_like(name, properties, version) + ";")
    lines += [statement + ";" for statement in apply(name, properties)]
    if properties.comment:
        lines.append(f"COMMENT ON DATABASE {quote_ident(name)} IS {quote_literal(properties.comment)};")
    return "\n".join(lines) + "\n"


def create_role(role: Role) -> str:
    """CREATE ROLE with the attributes that it had, without a password."""
    words = [
        word if has else f"NO{word}"
        for word, has in (
            ("SUPERUSER", role.rolsuper), ("INHERIT", role.rolinherit), ("CREATEROLE", role.rolcreaterole),
            ("CREATEDB", role.rolcreatedb), ("LOGIN", role.rolcanlogin), ("BYPASSRLS", role.rolbypassrls),
        )
    ]  # fmt: skip
    return f"CREATE ROLE {quote_ident(role.rolname)} {' '.join(words)}"


def equip_role(role: Role) -> list[str]:
    """Statements that give a role its memberships and settings, once all roles are there."""
    name = quote_ident(role.rolname)
    statements = [f"GRANT {quote_ident(group)} TO {name}" for group in role.member_of]
    for setting in role.settings or ():
        key, _, value = setting.partition("=")
        statements.append(f"ALTER ROLE {name} SET {_assignment(key, value)}")
    return statements


def roles_of(session: Session) -> list[Role]:
    """Every role of the server that is not built in, without its password; but for the logins of our own runs."""
    return session.records(
        Role,
        "SELECT r.rolname, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin, r.rolbypassrls,"
        " (SELECT coalesce(json_agg(g.rolname ORDER BY g.rolname), '[]') FROM pg_auth_members m"
        "    JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid) AS member_of,"
        " (SELECT s.setconfig FROM pg_db_role_setting s WHERE s.setrole = r.oid AND s.setdatabase = 0) AS settings"
        f" FROM pg_roles r WHERE r.rolname !~ '^pg_' AND NOT {SHAPE} ORDER BY 1",
    )
