"""A database of several owners who trust each other in nothing: each plants functions in a schema of its own.

Every planted function writes one line to the server's log, whatever it is called for: who owns it, where it stands, and
what the session that runs it may do. Nothing that a session is forbidden (writing, creating) keeps it from that.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg2

from support.planted_rows import KINDS, LITERALS

if TYPE_CHECKING:
    from support.postgres_servers import Server

OWNERS = ("planter_one", "planter two")

# What the session can do that runs it: the roles that it may act as, and what passes by every check.
WITNESS = """
CREATE FUNCTION {schema}.a_roles() RETURNS text LANGUAGE sql VOLATILE AS $f$
    SELECT pg_catalog.string_agg(r.rolname, ',' ORDER BY 1) FROM pg_catalog.pg_roles r
    WHERE pg_catalog.pg_has_role(current_user, r.oid, 'MEMBER')
      AND (r.rolsuper OR r.rolname IN ('planter_one', 'planter two', 'pg_read_all_data')) $f$;
CREATE FUNCTION {schema}.a_attack(kind text) RETURNS void LANGUAGE plpgsql VOLATILE AS $f$
DECLARE roles text;
BEGIN
    BEGIN  -- the server forbids it where it switches to the owner by itself (ANALYZE)
        PERFORM pg_catalog.set_config('role', 'none', true), pg_catalog.set_config('session_authorization', session_user, true);
        roles := {schema}.a_roles();
        RAISE EXCEPTION 'undo it';
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
    RAISE LOG 'planted|%|%|%|%', '{owner}', kind, session_user, coalesce(roles, {schema}.a_roles());
END $f$;
CREATE FUNCTION {schema}.holds(v int, kind text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
$f$ BEGIN PERFORM {schema}.a_attack(kind); RETURN true; END $f$;
CREATE FUNCTION {schema}.same(v int, kind text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
$f$ BEGIN PERFORM {schema}.a_attack(kind); RETURN v; END $f$;
CREATE FUNCTION {schema}.like_it(a int, b int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
$f$ BEGIN PERFORM {schema}.a_attack('operator of a check'); RETURN true; END $f$;
CREATE OPERATOR {schema}.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = {schema}.like_it);
CREATE TABLE {schema}.likes (a int CHECK (a OPERATOR({schema}.===) 1)); INSERT INTO {schema}.likes VALUES (1);
"""


@dataclass(frozen=True)
class Ran:
    """One run of a planted function: whose, where it stood, as whom, and what that session may act as."""

    owner: str
    kind: str
    session: str
    roles: frozenset[str]


def plant(server: Server, dbname: str) -> None:
    """Give each owner a schema in ``dbname``, in which it plants everything."""
    for number, owner in enumerate(OWNERS, 1):
        server.sql(
            f"DO $d$ BEGIN CREATE ROLE \"{owner}\" LOGIN PASSWORD 'pw'; EXCEPTION WHEN duplicate_object THEN END $d$"
        )
        schema = f"of_{number}"
        server.sql(f'CREATE SCHEMA {schema} AUTHORIZATION "{owner}"', dbname)
        with contextlib.closing(as_role(server, dbname, owner)) as connection:
            cursor = connection.cursor()
            cursor.execute(f"SET search_path = {schema}")
            cursor.execute(WITNESS.format(schema=schema, owner=owner))
            for at, (kind, made) in enumerate(KINDS.items()):
                cursor.execute((LITERALS + made).format(at=at, kind=kind).replace("public.", f"{schema}."))


def as_role(server: Server, dbname: str, role: str) -> psycopg2.extensions.connection:
    connection = psycopg2.connect(host=server.host, port=server.port, user=role, password="pw", dbname=dbname)
    connection.autocommit = True
    return connection


@contextlib.contextmanager
def witnessed(server: Server) -> Iterator[list[Ran]]:
    """What was planted and ran in the meantime."""
    log = server.data.parent / "log"
    found: list[Ran] = []
    start = log.stat().st_size
    server.sql("ALTER ROLE ALL SET log_min_messages = 'log'")
    try:
        yield found
    finally:
        server.sql("ALTER ROLE ALL RESET log_min_messages")
    time.sleep(0.1)
    text = log.read_bytes()[start:].decode("utf-8", "replace")
    for line in text.splitlines():
        if "planted|" in line:
            _, owner, kind, session, roles = line[line.index("planted|") :].split("|")
            found.append(Ran(owner, kind, session, frozenset(re.sub(" at character .*", "", roles).split(","))))
