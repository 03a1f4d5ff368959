"""Which statements act on the whole server, and must not run on a copy beside the live database."""

from __future__ import annotations

import pytest
from papdeploy.migrations import server_wide
from papdeploy.sql import statements

ACTS = [
    "ALTER DATABASE app SET search_path = app, public",
    "alter /* the /* nested */ one */ database app allow_connections false",
    "-- first\nALTER\n DATABASE app CONNECTION LIMIT 3",
    "CREATE DATABASE other",
    "DROP DATABASE IF EXISTS other",
    "CREATE ROLE reader",
    "ALTER ROLE ALL SET work_mem = '64MB'",
    "ALTER ROLE control_core IN DATABASE app RESET ALL",
    "DROP ROLE reader",
    "CREATE USER x PASSWORD 'secret'",
    "ALTER USER x PASSWORD 'secret'",
    "CREATE USER mapping",
    "DROP USER mapping",
    "CREATE GROUP g",
    "ALTER GROUP g ADD USER x",
    "ALTER SYSTEM SET work_mem = '64MB'",
    "CREATE TABLESPACE fast LOCATION '/fast'",
    "ALTER TABLESPACE fast OWNER TO x",
    "DROP TABLESPACE fast",
    "CREATE SUBSCRIPTION s CONNECTION 'host=x' PUBLICATION p",
    "ALTER SUBSCRIPTION s DISABLE",
    "GRANT reader TO x",
    'GRANT "on", reader TO x WITH ADMIN OPTION',
    "REVOKE ADMIN OPTION FOR reader FROM x",
    "GRANT CONNECT ON DATABASE app TO x",
    "REVOKE CONNECT ON DATABASE app FROM reader",
    "GRANT CREATE ON TABLESPACE fast TO x",
    "GRANT SET ON PARAMETER work_mem TO x",
    "COMMENT ON DATABASE app IS 'mine'",
    "COMMENT ON ROLE x IS NULL",
    "COMMENT ON TABLESPACE fast IS NULL",
    "SECURITY LABEL FOR selinux ON ROLE x IS 'label'",
    "SECURITY LABEL ON DATABASE app IS 'label'",
    "REASSIGN OWNED BY x TO y",
    "DROP OWNED BY x",
    "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'r') THEN CREATE ROLE r; END IF; END $$",
    "DO LANGUAGE plpgsql $x$ BEGIN EXECUTE 'SELECT 1'; ALTER DATABASE app SET work_mem = '1MB'; END $x$",
    "DO 'BEGIN GRANT reader TO x; END'",
    "DO $$ BEGIN CREATE ROLE r; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
]
DOES_NOT = [
    "SET ROLE reader",
    "RESET ROLE",
    "SET SESSION AUTHORIZATION x",
    "ALTER DEFAULT PRIVILEGES FOR ROLE x GRANT SELECT ON TABLES TO y",
    "CREATE USER MAPPING FOR x SERVER s",
    "CREATE USER MAPPING IF NOT EXISTS FOR x SERVER s",
    "DROP USER MAPPING IF EXISTS FOR x SERVER s",
    "ALTER USER MAPPING FOR x SERVER s OPTIONS (SET user 'y')",
    "GRANT SELECT ON t TO y",
    "GRANT SELECT (a) ON t TO reader",
    "REVOKE GRANT OPTION FOR SELECT ON t FROM y",
    "GRANT SELECT ON database TO y",
    "GRANT SELECT ON parameter, tablespace TO y",
    "GRANT USAGE ON SCHEMA app TO y",
    "GRANT ALL ON ALL TABLES IN SCHEMA public TO y",
    "COMMENT ON TABLE t IS 'see COMMENT ON DATABASE'",
    "COMMENT ON COLUMN database.role IS 'x'",
    "ALTER TABLE t OWNER TO x",
    'ALTER TABLE "ROLE" ADD COLUMN "DATABASE" text',
    "CREATE TABLE role (database text)",
    "CREATE POLICY p ON t TO reader",
    "CREATE SCHEMA app AUTHORIZATION x",
    "INSERT INTO notes VALUES ('ALTER ROLE x; DROP DATABASE y')",
    "SELECT 'GRANT a TO b'",
    "-- ALTER ROLE x\nSELECT 1",
    "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN ALTER ROLE x LOGIN; END $$",
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem TO 1', current_database()); END $$",
    "DO $$ BEGIN ALTER TABLE t ADD COLUMN database text; END $$",
    "CREATE SERVER role FOREIGN DATA WRAPPER w",
    "ALTER TABLE ALL IN TABLESPACE fast SET TABLESPACE pg_default",
]


@pytest.mark.parametrize("text", ACTS)
def test_what_acts_on_the_whole_server(text: str) -> None:
    rest, found = server_wide.without(text)
    assert (rest, len(found)) == ("", 1)


@pytest.mark.parametrize("text", DOES_NOT)
def test_what_does_not(text: str) -> None:
    assert server_wide.without(text) == (text, [])


def test_the_rest_of_a_text_stays() -> None:
    text = "CREATE TABLE t (id int); -- now the role\nALTER ROLE x LOGIN;\nINSERT INTO t VALUES (1) /* ; */; COMMENT ON ROLE x IS ';'"
    rest, found = server_wide.without(text)
    assert rest == "CREATE TABLE t (id int);\nINSERT INTO t VALUES (1)"
    assert [statement.head for statement in found] == ["ALTER", "COMMENT"]


SHOWN = {
    "ALTER  ROLE x\n LOGIN": "ALTER ROLE x LOGIN",
    "ALTER ROLE x PASSWORD 'secret'": "ALTER ROLE x PASSWORD …",
    "ALTER ROLE x /* it's 'secret' */ PASSWORD $$secret$$": "ALTER ROLE x PASSWORD …",
    "ALTER ROLE x PASSWORD E'secret' LOGIN": "ALTER ROLE x PASSWORD …",
    "GRANT a TO " + "b" * 100: "GRANT a TO …",
    "DO $$ BEGIN CREATE ROLE x PASSWORD 'secret'; END $$": "DO … CREATE ROLE X …",
}


@pytest.mark.parametrize("text", SHOWN)
def test_it_is_shown_without_what_may_be_secret(text: str) -> None:
    assert server_wide.shown(statements.split(text)[0]) == SHOWN[text]
