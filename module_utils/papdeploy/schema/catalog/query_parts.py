"""What one kind of row of the describing query is, and the SQL that the kinds share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """One kind of row: ``fields`` are (name, SQL expression); ``source`` is the FROM clause and what follows."""

    name: str
    fields: Sequence[tuple[str, str]]
    source: str

    def select(self) -> str:
        values = ", ".join(expression for _, expression in self.fields)
        return f"SELECT '{self.name}'::text, json_build_array({values})::text {self.source}"


def public_rights(acl: str) -> str:
    """What PUBLIC may do, as a JSON array; null where the object has no explicit privileges."""
    return (
        f"(SELECT json_agg(privilege_type || CASE WHEN is_grantable THEN '*' ELSE '' END ORDER BY privilege_type) "
        f"FROM aclexplode({acl}) WHERE grantee = 0)"
    )


def owner_lacks(kind: str, acl: str, owner: str) -> str:
    """What was revoked from the owner of an object of ``kind`` (as acldefault names it), as a JSON array; else null."""
    return (
        f"CASE WHEN {acl} IS NOT NULL THEN (SELECT json_agg(privilege_type ORDER BY privilege_type) FROM "
        f"(SELECT privilege_type FROM aclexplode(acldefault('{kind}', {owner})) WHERE grantee = {owner} EXCEPT "
        f"SELECT privilege_type FROM aclexplode({acl}) WHERE grantee = {owner}) r) END"
    )


def role_rights(acl: str, owner: str) -> str:
    """What single roles may do beside the owner, as a JSON array of [role, right]; null where there is nothing."""
    return (
        "(SELECT json_agg(json_build_array(pg_get_userbyid(grantee), privilege_type "
        "|| CASE WHEN is_grantable THEN '*' ELSE '' END) ORDER BY pg_get_userbyid(grantee), privilege_type) "
        f"FROM aclexplode({acl}) WHERE grantee NOT IN (0, {owner}))"
    )


def comment_join(catalog: str, oid: str, part: str = "0") -> str:
    """A LEFT JOIN that gives ``d.description``."""
    return (
        f"LEFT JOIN pg_description d ON d.objoid = {oid} AND d.classoid = '{catalog}'::regclass AND d.objsubid = {part}"
    )


def of_extension(catalog: str, oid: str) -> str:
    """True for an object that belongs to an extension."""
    return f"EXISTS (SELECT FROM ext WHERE ext.classid = '{catalog}'::regclass AND ext.objid = {oid})"


def own_options(options: str) -> str:
    """Options of a column without the number by which some servers (Debian's 17.12) mark it as theirs."""
    return f"(SELECT array_agg(option) FROM unnest({options}) AS option WHERE option !~ '^pg_attver=')"


def since(version: int, major: int, expression: str, otherwise: str = "null") -> str:
    """``expression`` where the server (server_version_num) has what it reads, else ``otherwise``."""
    return expression if version >= major * 10_000 else otherwise
