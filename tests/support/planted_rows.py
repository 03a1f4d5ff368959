"""A database whose every definition calls a function that tries to become superuser, in the place of its owner."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2

if TYPE_CHECKING:
    from support.postgres_servers import Server

OWNER = "planter_of_rows"

# What each planted function does: it gives up whatever role it was given, and takes what the session has. A program on
# the server's machine is the witness, because that works in a read-only transaction too; its name says what was run.
ATTACK = """
CREATE FUNCTION public.a_attack(kind text) RETURNS void LANGUAGE plpgsql VOLATILE AS $f$
DECLARE attempt text;
BEGIN
    IF session_user = '{owner}' THEN RETURN; END IF;
    FOREACH attempt IN ARRAY ARRAY['RESET ROLE', 'SET SESSION AUTHORIZATION postgres', 'SET ROLE postgres',
        'ALTER ROLE {owner} SUPERUSER', 'CREATE ROLE {owner}_got_in SUPERUSER',
        'GRANT pg_execute_server_program TO {owner}',
        'COPY (SELECT 1) TO PROGRAM ' || quote_literal('touch {witness}/' || replace(kind, ' ', '_')),
        'COPY (SELECT 1) TO ' || quote_literal('{witness}/' || replace(kind, ' ', '_'))]
    LOOP
        BEGIN EXECUTE attempt; EXCEPTION WHEN OTHERS THEN NULL; END;
    END LOOP;
END $f$;
CREATE FUNCTION public.holds(v int, kind text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
$f$ BEGIN PERFORM public.a_attack(kind); RETURN true; END $f$;
CREATE FUNCTION public.same(v int, kind text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
$f$ BEGIN PERFORM public.a_attack(kind); RETURN v; END $f$;
"""

# By what runs it: literals while a definition is parsed, rows while they are loaded, what follows the rows, a reader.
LITERALS = """
CREATE DOMAIN dom_{at} AS int CHECK (public.holds(VALUE, '{kind}'));
CREATE TYPE comp_{at} AS (a dom_{at});
"""
KINDS = {
    "literal of a default": "CREATE TABLE t_{at} (id int, x dom_{at}[] DEFAULT '{{1}}'::dom_{at}[])",
    "literal of a check": "CREATE TABLE t_{at} (id int, c comp_{at} CHECK (c <> '(2)'::comp_{at}))",
    "literal of a view": "CREATE VIEW v_{at} AS SELECT '{{5}}'::dom_{at}[] AS x, '(5)'::comp_{at} AS c",
    "literal of a function": "CREATE FUNCTION f_{at}() RETURNS dom_{at}[] LANGUAGE sql BEGIN ATOMIC"
    " SELECT '{{7}}'::dom_{at}[]; END",
    "literal of an argument": "CREATE FUNCTION f_{at}(x dom_{at}[] DEFAULT '{{8}}'::dom_{at}[]) RETURNS int"
    " LANGUAGE sql AS 'SELECT 1'",
    "bound of a partition": "CREATE TABLE t_{at} (d dom_{at}) PARTITION BY LIST (d);"
    "CREATE TABLE t_{at}_1 PARTITION OF t_{at} FOR VALUES IN (1); INSERT INTO t_{at} VALUES (1)",
    "literal of an index": "CREATE TABLE t_{at} (id int, x dom_{at}[]); CREATE INDEX ON t_{at} (id)"
    " WHERE x <> '{{1}}'::dom_{at}[]",
    "literal of a policy": "CREATE TABLE t_{at} (id int, x dom_{at}[]); CREATE POLICY p ON t_{at}"
    " USING (x <> '{{1}}'::dom_{at}[]); ALTER TABLE t_{at} ENABLE ROW LEVEL SECURITY;"
    " ALTER TABLE t_{at} FORCE ROW LEVEL SECURITY",
    "literal of a rule": "CREATE TABLE t_{at} (id int, x dom_{at}[]); CREATE RULE r AS ON UPDATE TO t_{at}"
    " WHERE new.x <> '{{1}}'::dom_{at}[] DO INSTEAD NOTHING",
    "literal of a trigger": "CREATE TABLE t_{at} (id int, x dom_{at}[]); CREATE FUNCTION g_{at}() RETURNS trigger"
    " LANGUAGE plpgsql AS $f$ BEGIN PERFORM public.a_attack('always trigger'); RETURN new; END $f$;"
    " CREATE TRIGGER t BEFORE INSERT ON t_{at} FOR EACH ROW WHEN (new.x <> '{{1}}'::dom_{at}[])"
    " EXECUTE FUNCTION g_{at}(); ALTER TABLE t_{at} ENABLE ALWAYS TRIGGER t; INSERT INTO t_{at} VALUES (1, '{{2}}')",
    "check of a row": "CREATE TABLE t_{at} (a int CHECK (public.holds(a, '{kind}'))); INSERT INTO t_{at} VALUES (1)",
    "domain of a row": "CREATE TABLE t_{at} (d dom_{at}); INSERT INTO t_{at} VALUES (1)",
    "generated column": "CREATE TABLE t_{at} (a int, g int GENERATED ALWAYS AS (public.same(a, '{kind}')) STORED);"
    " INSERT INTO t_{at} VALUES (1)",
    "default of a column": "CREATE TABLE t_{at} (a int, d int DEFAULT public.same(1, '{kind}')); INSERT INTO t_{at} VALUES (1)",
    "key of a partition": "CREATE TABLE t_{at} (a int) PARTITION BY LIST (public.same(a, '{kind}'));"
    "CREATE TABLE t_{at}_1 PARTITION OF t_{at} FOR VALUES IN (1); INSERT INTO t_{at} VALUES (1)",
    "cast of a foreign key": "CREATE TYPE e_{at} AS ENUM ('1', '2'); CREATE FUNCTION c_{at}(e_{at}) RETURNS int LANGUAGE plpgsql"
    " IMMUTABLE AS $f$ BEGIN PERFORM public.a_attack('{kind}'); RETURN $1::text::int; END $f$;"
    " CREATE CAST (e_{at} AS int) WITH FUNCTION c_{at}(e_{at}) AS IMPLICIT;"
    " CREATE TABLE p_{at} (id int PRIMARY KEY); INSERT INTO p_{at} VALUES (1), (2);"
    " CREATE TABLE t_{at} (x e_{at} REFERENCES p_{at}); INSERT INTO t_{at} VALUES ('1'), ('2')",
    "expression of an index": "CREATE TABLE t_{at} (a int); INSERT INTO t_{at} VALUES (1);"
    " CREATE INDEX ON t_{at} (public.same(a, '{kind}'))",
    "exclusion constraint": "CREATE TABLE t_{at} (r int4range, EXCLUDE USING gist ((int4range(0,"
    " public.same(upper(r), '{kind}'))) WITH =)); INSERT INTO t_{at} VALUES ('[1,3)')",
    "materialized view": "CREATE MATERIALIZED VIEW v_{at} AS SELECT public.same(1, '{kind}') AS one",
    "check added later": "CREATE TABLE t_{at} (a int); INSERT INTO t_{at} VALUES (1);"
    " ALTER TABLE t_{at} ADD CHECK (public.holds(a, '{kind}')) NOT VALID",
    "predicate that is planned": "CREATE TABLE t_{at} (a int); INSERT INTO t_{at} VALUES (1);"
    " CREATE INDEX ON t_{at} (a) WHERE public.holds(1, '{kind}')",
    "expression that is planned": "CREATE TABLE t_{at} (a int); INSERT INTO t_{at} VALUES (1);"
    " CREATE INDEX ON t_{at} ((public.same(1, '{kind}') + a))",
    "statistics that are planned": "CREATE TABLE t_{at} (a int, b int); INSERT INTO t_{at} VALUES (1, 1);"
    " CREATE STATISTICS s_{at} ON (public.same(1, '{kind}') + a), b FROM t_{at}",
    "literal of a function that is validated": "CREATE FUNCTION s_{at}(int) RETURNS boolean IMMUTABLE LANGUAGE sql"
    " AS $f$ SELECT $1 > 0 AND '{{1}}'::public.dom_{at}[] IS NOT NULL $f$; CREATE TABLE t_{at} (a int);"
    " INSERT INTO t_{at} VALUES (1); CREATE INDEX ON t_{at} (public.s_{at}(a))",
}  # fmt: skip
# One of each kind of object that takes no superuser to make: none of them may be taken for one that does.
ANYBODYS = (
    "CREATE AGGREGATE z_sum(int) (sfunc = int4pl, stype = int4, initcond = '0')",
    "CREATE AGGREGATE z_count(*) (sfunc = int8inc, stype = int8, initcond = '0')",
    "CREATE AGGREGATE z_moving(int) (sfunc = int4pl, stype = int4, msfunc = int4pl, minvfunc = int4mi, mstype = int4)",
    "CREATE AGGREGATE z_ordered(ORDER BY int) (sfunc = int4pl, stype = int4)",
    "CREATE PROCEDURE z_procedure() LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION z_diff(float8, float8) RETURNS float8 IMMUTABLE LANGUAGE sql AS 'SELECT $1 - $2'",
    "CREATE TYPE z_range AS RANGE (subtype = float8, subtype_diff = z_diff)",
    "CREATE TYPE z_enum AS ENUM ('a')",
    "CREATE FUNCTION z_settings() RETURNS int LANGUAGE sql SET work_mem = '1MB' SET search_path = public AS 'SELECT 1'",
    "CREATE FUNCTION z_shield() RETURNS int SECURITY DEFINER PARALLEL RESTRICTED COST 7 LANGUAGE sql AS 'SELECT 1'",
    "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq, RESTRICT = eqsel, JOIN = eqjoinsel)",
    'CREATE COLLATION z_collation FROM "C"',
    "CREATE CONVERSION z_conversion FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
    "CREATE TEXT SEARCH DICTIONARY z_dictionary (TEMPLATE = pg_catalog.simple)",
    'CREATE TEXT SEARCH CONFIGURATION z_configuration (PARSER = "default")',
    "CREATE TABLE z_logged (id serial PRIMARY KEY, r z_range) WITH (fillfactor = 70)",
    "CREATE TABLE z_child () INHERITS (z_logged)",
    "CREATE INDEX ON z_logged USING gist (r)",
    "CREATE PUBLICATION z_publication FOR TABLE z_logged",
    "CREATE SCHEMA z_schema",
    "SELECT lo_from_bytea(0, 'large')",
)
PLANNED = {kind for kind in KINDS if kind.endswith("planned")}
# What COPY alone calls, and what a superuser parses.
PLANTED_BY_ROWS = {kind for kind in KINDS if kind.startswith(("literal", "bound", "key"))} | {
    "check of a row", "domain of a row", "generated column", "cast of a foreign key",
}  # fmt: skip


def as_owner(server: Server, dbname: str) -> psycopg2.extensions.connection:
    connection = psycopg2.connect(host=server.host, port=server.port, user=OWNER, password="pw", dbname=dbname)
    connection.autocommit = True
    return connection


def plant(server: Server, dbname: str, witness: Path) -> None:
    """Give database ``dbname`` to the planter, who plants everything in it."""
    witness.chmod(0o777)
    server.sql(f"DO $d$ BEGIN CREATE ROLE {OWNER} LOGIN PASSWORD 'pw'; EXCEPTION WHEN duplicate_object THEN END $d$")
    server.sql(f'ALTER DATABASE "{dbname}" OWNER TO {OWNER}')
    with contextlib.closing(as_owner(server, dbname)) as connection:
        cursor = connection.cursor()
        cursor.execute(ATTACK.replace("{owner}", OWNER).replace("{witness}", str(witness)))
        for at, (kind, made) in enumerate(KINDS.items()):
            cursor.execute((LITERALS + made).format(at=at, kind=kind))
        for made in ANYBODYS:
            cursor.execute(made)


def got_in(server: Server, witness: Path) -> set[str]:
    """What was run with more rights than the planter has."""
    found = {path.name.replace("_", " ") for path in witness.iterdir()}
    for role, superuser in server.sql(f"SELECT rolname, rolsuper FROM pg_roles WHERE rolname LIKE '{OWNER}%'"):
        if superuser or role != OWNER:
            found.add(f"role {role}")
    if server.sql(f"SELECT pg_has_role('{OWNER}', 'pg_execute_server_program', 'MEMBER')")[0][0]:
        found.add("pg_execute_server_program")
    return found


def logins(server: Server) -> set[str]:
    """The logins that pap-deploy made and has not dropped."""
    return {name for (name,) in server.sql("SELECT rolname FROM pg_roles WHERE rolname LIKE 'pap\\_deploy\\_rows\\_%'")}


@contextlib.contextmanager
def disarmed(server: Server) -> Iterator[None]:
    """Afterwards the planter has no more rights than before, whatever the test has let it take."""
    try:
        yield
    finally:
        server.sql(
            f"ALTER ROLE {OWNER} NOSUPERUSER; REVOKE pg_execute_server_program FROM {OWNER};"
            f"DROP ROLE IF EXISTS {OWNER}_got_in"
        )
