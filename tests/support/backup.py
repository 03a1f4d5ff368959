"""What the tests of backup and rollback share: a database full of awkward content, and the way to reach a server."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from papdeploy.app.host_app import Api, Runtime
from papdeploy.core import records
from papdeploy.core.durable import private_folder
from papdeploy.core.registry import Registry
from papdeploy.databases.psql import Conninfo, Database, Session
from papdeploy.releases.version import Version
from papdeploy.sites.host import HostSite

from support.app_session import as_app

if TYPE_CHECKING:
    from support.postgres_servers import Server

ROLES = ("pap_reader", "pap \"quoted' role", "pap_owner")

# Everything that has ever broken a backup: names, values, kinds of objects.
HOSTILE = r"""
CREATE SCHEMA "second ""schema"" x" AUTHORIZATION pap_owner;
CREATE TYPE mood AS ENUM ('sad', 'so so', 'it''s ok', 'ünï');
CREATE DOMAIN positive AS int CHECK (VALUE > 0) NOT NULL;
CREATE TYPE pair AS (a int, "b c" text);
CREATE TYPE floats AS RANGE (subtype = float8);
CREATE TABLE "sel;ect '--" (
    id serial PRIMARY KEY,
    "we""ird 'col" text,
    raw bytea,
    amount numeric,
    exact numeric(12, 4),
    f8 float8, f4 float4,
    d date, ts timestamp, tz timestamptz, iv interval, tm timetz,
    j json, jb jsonb, arr text[], m mood, p positive, c pair, r floats, u uuid, fixed char(5), v varchar(9),
    net inet, bits bit varying, flag bool, cash money, small smallint, big bigint,
    CONSTRAINT "v in" CHECK (v IN ('a', 'b', E'c\\d')));
INSERT INTO "sel;ect '--" ("we""ird 'col", raw, amount, exact, f8, f4, d, ts, tz, iv, tm, j, jb, arr, m, p, c, r, u,
    fixed, v, net, bits, flag, cash, small, big) VALUES
 (E'quote '' double " backslash \\ tab \t newline \n cr \r \\. end', '\x0001ff00', 'NaN', 1.5000, 'NaN', '-Infinity',
  'infinity', '-infinity', 'infinity', '1 mon', '12:00+02', '{"a" : 1,  "a":2}', '{"a": 1.0}',
  ARRAY['', NULL, 'NULL', '"'], 'it''s ok', 1, '(1,"x,y")', '[1,2)', '00000000-0000-0000-0000-000000000001',
  'ab', 'a', '::1/64', '1010', true, '-12.34', -32768, 9223372036854775807),
 ('', '', '1.00', NULL, '-0', 0, '4713-01-01 BC', '4713-01-01 00:00:00 BC', '2024-03-31 02:30:00+01', '30 days',
  '00:00-12', '[]', '[]', '{}', 'ünï', 2, NULL, 'empty', NULL, '', 'b', NULL, '', false, 0, 32767,
  -9223372036854775808),
 (NULL, decode('c328', 'hex'), '1.0', 0, 0, 'Infinity', '5874897-12-31',
  '294276-12-31 23:59:59.999999', '0001-01-01 BC', '-178000000 years',
  '23:59:59.999999-15:59', 'null', 'null', NULL, 'sad', 3, '(,)', NULL, NULL, NULL, NULL,
  NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO "sel;ect '--" ("we""ird 'col", p)
 SELECT chr(1 + g % 60) || repeat('ж€𝄞', g % 9), g FROM generate_series(1, 500) g;
INSERT INTO "sel;ect '--" ("we""ird 'col", p) SELECT 'the same row', 7 FROM generate_series(1, 3);
CREATE TABLE "second ""schema"" x"."-dash" (
    id bigint GENERATED ALWAYS AS IDENTITY (START 100 INCREMENT 5), w int, h int,
    area int GENERATED ALWAYS AS (w * h) STORED, gone text, later text DEFAULT 'd');
INSERT INTO "second ""schema"" x"."-dash" (w, h) SELECT g, g + 1 FROM generate_series(1, 50) g;
ALTER TABLE "second ""schema"" x"."-dash" DROP COLUMN gone;
CREATE INDEX "an index" ON "second ""schema"" x"."-dash" (w DESC NULLS LAST, lower(later)) WHERE h > 3;
CREATE TABLE parted (k int, at date, v text) PARTITION BY RANGE (at);
CREATE TABLE parted_old PARTITION OF parted FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
CREATE TABLE parted_new PARTITION OF parted FOR VALUES FROM ('2024-01-01') TO (MAXVALUE) PARTITION BY LIST (k);
CREATE TABLE parted_new_even PARTITION OF parted_new FOR VALUES IN (0, 2, 4);
CREATE TABLE parted_rest PARTITION OF parted_new DEFAULT;
INSERT INTO parted SELECT g % 6, date '2023-12-01' + g, 'p' || g FROM generate_series(1, 200) g;
ALTER TABLE parted ADD UNIQUE (at, k, v);
CREATE TABLE parent (a int, note text); CREATE TABLE child (b int) INHERITS (parent);
INSERT INTO parent VALUES (1, 'up'); INSERT INTO child VALUES (2, 'down', 3);
CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES;
CREATE UNLOGGED TABLE unlogged (a int); INSERT INTO unlogged VALUES (1);
CREATE TABLE secret (owner_name text, v text);
INSERT INTO secret VALUES ('a', 'one'), ('b', 'two');
ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
ALTER TABLE secret FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON secret FOR SELECT TO pap_reader USING (owner_name = current_user);
CREATE SEQUENCE never_used START 42; CREATE SEQUENCE down INCREMENT -3 MINVALUE -1000 START -1;
SELECT nextval('down'), nextval('down'); CREATE SEQUENCE called_once; SELECT nextval('called_once');
CREATE SEQUENCE set_back; SELECT setval('set_back', 77, false);
CREATE VIEW a_view AS SELECT id, "we""ird 'col" FROM "sel;ect '--" WHERE p > 3 AND v IN ('a', 'b');
CREATE MATERIALIZED VIEW a_matview AS SELECT count(*) AS n FROM parted WITH DATA;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN NEW.v := NEW.v || '$$'; RETURN NEW; END $f$;
CREATE TRIGGER touch BEFORE UPDATE ON secret FOR EACH ROW WHEN (OLD.v IN ('x', 'y')) EXECUTE FUNCTION touch();
CREATE FUNCTION plus(a int, b int DEFAULT 1) RETURNS int LANGUAGE sql IMMUTABLE RETURN a + b;
CREATE AGGREGATE product(int) (SFUNC = int4mul, STYPE = int, INITCOND = '1');
CREATE RULE quiet AS ON DELETE TO nothing DO INSTEAD NOTHING;
CREATE STATISTICS two (dependencies) ON w, h FROM "second ""schema"" x"."-dash";
ALTER TABLE "sel;ect '--" OWNER TO pap_owner;
GRANT SELECT ON "sel;ect '--" TO pap_reader WITH GRANT OPTION;
GRANT UPDATE (v) ON "sel;ect '--" TO "pap ""quoted' role";
REVOKE EXECUTE ON FUNCTION plus FROM PUBLIC; GRANT EXECUTE ON FUNCTION plus TO pap_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO pap_reader;
COMMENT ON TABLE parted IS 'a comment; with ''quotes''';
COMMENT ON COLUMN secret.v IS E'line\nbreak';
CREATE PUBLICATION pub FOR TABLE parent, parted WITH (publish = 'insert');
CREATE FOREIGN DATA WRAPPER idle; CREATE SERVER nowhere TYPE 't' FOREIGN DATA WRAPPER idle OPTIONS (host 'a');
GRANT USAGE ON FOREIGN SERVER nowhere TO pap_reader WITH GRANT OPTION;
CREATE USER MAPPING FOR pap_reader SERVER nowhere OPTIONS (user 'u', password 'of-a-mapping');
CREATE FOREIGN TABLE far (a int) SERVER nowhere OPTIONS (path '/a');
CREATE TEXT SEARCH DICTIONARY plain (TEMPLATE = simple, accept = false);
CREATE TEXT SEARCH CONFIGURATION ours (COPY = simple); ALTER TEXT SEARCH CONFIGURATION ours
    ALTER MAPPING FOR asciiword WITH plain, simple;
REVOKE EXECUTE ON FUNCTION pg_catalog.pg_advisory_lock(int8) FROM PUBLIC;
SELECT lo_from_bytea(700001, decode(repeat('00ff10', 50000), 'hex'));
SELECT lo_create(700002); SELECT lo_put(700002, 5000000, '\xdeadbeef');
GRANT SELECT ON LARGE OBJECT 700001 TO pap_reader;
"""


def database_of(server: Server, name: str) -> Database:
    """The Database object by which the product reaches a database of the test server, as one and the same stack."""
    conninfo = Conninfo(name, server.host, server.port, server.user, server.password)
    return Database(HostSite(), conninfo, str(server.bin_dir), registry=registry_of(server, name))


def registry_of(server: Server, name: str, stack: str = "") -> Registry:
    """What a stack with this live database wrote down; it outlives a process that is killed."""
    folder = private_folder(server.state / f"{name.encode().hex()[:200]}-{stack}")
    return Registry(folder, name=stack, database=name)


def make_roles(execute: Callable[[str], Any]) -> None:
    for role in ROLES:
        quoted = '"' + role.replace('"', '""') + '"'
        literal = "'" + role.replace("'", "''") + "'"
        execute(
            f"DO $d$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {literal})"
            f" THEN CREATE ROLE {quoted} LOGIN PASSWORD 'pw'; END IF; END $d$"
        )


def fill(server: Server, name: str) -> Database:
    """Put the hostile content into database ``name``."""
    make_roles(server.sql)
    database = database_of(server, name)
    as_app(database).execute(HOSTILE)
    return database


def plain(value: Any) -> Any:
    """As it comes back out of a journal."""
    return json.loads(json.dumps(records.plain(value)))


def names(server: Server) -> set[str]:
    return {row[0] for row in server.sql("SELECT datname FROM pg_database")}


def restart(server: Server, mode: str = "immediate") -> None:
    """Restart a test server as it was started; "immediate" is a crash."""
    step_down: dict[str, Any] = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        step_down = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    subprocess.run(
        [server.bin_dir / "pg_ctl", "-D", server.data, "-l", server.data.parent / "log", "-m", mode, "-w", "restart"],
        check=True, stdout=subprocess.DEVNULL, timeout=90, cwd="/", **step_down,
    )  # fmt: skip


def forget(server: Server, live: str) -> None:
    """Drop a database of a test and everything that was made for it."""
    for name in names(server):
        if name == live or name.startswith((live + "__", live[:40] + "__")):
            server.drop(name)


class FakeApi(Api):
    """An API that only remembers what was asked of it. The real ones are tested with their own flavours."""

    def __init__(self, on_stop: Callable[[], None] = lambda: None) -> None:
        self.version = Version("new", "new")
        self.log: list[str] = []
        self.on_stop = on_stop

    def running(self) -> Version:
        return self.version

    def candidate(self) -> Version:
        raise NotImplementedError

    def environment(self, version: Version) -> dict[str, str]:
        raise NotImplementedError

    def runtime(self, version: Version) -> contextlib.AbstractContextManager[Runtime]:
        raise NotImplementedError

    def stop(self) -> None:
        self.log.append("stop")
        self.on_stop()

    def start(self) -> None:
        self.log.append("start")

    def switch(self, version: Version) -> None:
        self.version = version
        self.log.append(f"switch {version.label}")


def folder_of(tmp_path: Path) -> Path:
    return tmp_path / "backups"


def run_and_die(work: Callable[[], Any], after: int, *, in_flight: bool) -> bool:
    """Do ``work`` in a child process that is killed before its SQL statement number ``after``, or (``in_flight``) just
    after that statement was sent. True if it came to its end first."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        count = 0
        real = Session.execute

        def execute(self: Session, statement: str) -> list[str]:
            nonlocal count
            count += 1
            if count == after:
                if in_flight:
                    assert self._process.stdin is not None
                    self._process.stdin.write(f"{statement}\n;\n".encode())
                    self._process.stdin.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            return real(self, statement)

        Session.execute = execute  # type: ignore[method-assign]  # in this child alone
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - the parent sees the exit code, a person the reason
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0
    return True
