"""Databases that PostgreSQL can dump and restore are proven, with a note for what a dump does not keep; the others are
refused with the object and the next step, before anything is made."""

from __future__ import annotations

import contextlib
import datetime
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from papdeploy import backup, schema
from papdeploy.backup import acceptance
from papdeploy.core.errors import CommandFailed, PapError, Refused
from papdeploy.databases import content_digest, lifecycle
from papdeploy.databases.content_digest import queries
from papdeploy.databases.content_digest.content import TableDigests
from papdeploy.databases.psql import Database
from papdeploy.rehearsal import copies
from support.app_session import as_app
from support.backup import database_of, forget, make_roles, names

if TYPE_CHECKING:
    from support.postgres_servers import Server


COLOURS = "CREATE TYPE c AS ENUM ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h');"
FIVE = "".join(f"CREATE TABLE h{i} PARTITION OF h FOR VALUES WITH (MODULUS 5, REMAINDER {i});" for i in range(5))
LOG = """CREATE TABLE ddl_log (tag text);
    CREATE FUNCTION log_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO public.ddl_log SELECT coalesce(tg_tag, 'login'); END $$;"""


@dataclass(frozen=True)
class Proven:
    """What makes the database, what a note says of it, and from which version on."""

    sql: str
    note: str = ""
    since: int = 0


PROVEN = {
    "hash partitions by an enum": Proven(
        f"{COLOURS} CREATE TABLE h (k c, v int) PARTITION BY HASH (k); {FIVE}"
        " INSERT INTO h SELECT (enum_range(NULL::c))[1 + g % 8], g FROM generate_series(1, 400) g"
    ),
    "hash partitions by an array of a domain over an enum": Proven(
        f"{COLOURS} CREATE DOMAIN d AS c; CREATE TABLE h (k d[], v int) PARTITION BY HASH (k); {FIVE}"
        " INSERT INTO h SELECT ARRAY[(enum_range(NULL::c))[1 + g % 8]], g FROM generate_series(1, 400) g"
    ),
    "hash partitions by an enum below a range": Proven(
        f"{COLOURS} CREATE TABLE r (k c, at date) PARTITION BY RANGE (at);"
        " CREATE TABLE h PARTITION OF r FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY HASH (k);"
        f" {FIVE} INSERT INTO r SELECT (enum_range(NULL::c))[1 + g % 8], '2024-06-01' FROM generate_series(1, 99) g"
    ),
    "the schema public, dropped and made again": Proven(
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public; COMMENT ON SCHEMA public IS 'standard public schema';"
        " CREATE TABLE public.t (id int)"
    ),
    "the schema public, made again without its comment": Proven("DROP SCHEMA public; CREATE SCHEMA public"),
    "the schema public with a comment of its own": Proven("COMMENT ON SCHEMA public IS 'ours'"),
    "no plpgsql": Proven("DROP EXTENSION plpgsql; CREATE TABLE t (id int)"),
    "a large object with a small number and a comment": Proven(
        "SELECT lo_from_bytea(42, 'x'); COMMENT ON LARGE OBJECT 42 IS 'answer'"
    ),
    "a comment whose object is gone": Proven(
        "SET allow_system_table_mods = on; INSERT INTO pg_description VALUES (99999, 'pg_class'::regclass, 0, 'lost')",
        r"comment of nothing \(its object in pg_class with OID 99999 is gone\): lost before, absent after",
    ),
    "a column added to the parent of INHERITS": Proven(
        "CREATE TABLE doc (id int); CREATE TABLE letter (sender text) INHERITS (doc);"
        " INSERT INTO letter VALUES (1, 'ada'); ALTER TABLE doc ADD COLUMN made date DEFAULT '2024-01-01'",
        r"table public\.letter: the order of its columns is another in a copy: pg_dump",
    ),
    "a column of INHERITS made before its parent": Proven(
        "CREATE TABLE doc (id int); CREATE TABLE letter (sender text, id int); ALTER TABLE letter INHERIT doc",
        r"table public\.letter: the order of its columns",
    ),
    "foreign keys of partitions, renamed": Proven(
        "CREATE TABLE o (id int PRIMARY KEY); CREATE TABLE p (id int REFERENCES o) PARTITION BY RANGE (id);"
        " CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9);"
        " ALTER TABLE p1 RENAME CONSTRAINT p_id_fkey TO by_hand; COMMENT ON CONSTRAINT by_hand ON p1 IS 'x'",
        r"constraint public\.p1\.by_hand is called p1\.p_id_fkey in a copy: pg_dump leaves it to ATTACH PARTITION",
    ),
    "a subscription with a comment": Proven(
        "CREATE SUBSCRIPTION s CONNECTION 'host=nowhere.invalid' PUBLICATION p WITH (connect = false, enabled = false,"
        " create_slot = false, slot_name = NONE); COMMENT ON SUBSCRIPTION s IS 'ours'",
        r"comment subscription s is in no dump: a copy gets no subscription.* subscription s: disabled before, absent",
    ),
    "an operator that is only a shell": Proven(
        "CREATE OPERATOR public.@# (FUNCTION = int4pl, LEFTARG = int, RIGHTARG = int, COMMUTATOR = OPERATOR(public.#@));"
        " DROP OPERATOR public.@# (int, int)",
        r"object public\.operator .*#@.* is in no dump: pg_dump leaves out operators that are only a shell",
    ),
    "triggers of a foreign key, switched off": Proven(
        "CREATE TABLE o (id int PRIMARY KEY); CREATE TABLE p (id int REFERENCES o); ALTER TABLE p DISABLE TRIGGER ALL",
        r"triggers of foreign keys on public\.p: switched off before, absent after: pg_dump makes a foreign key with",
    ),
    "NOT NULL by name, not valid and not inherited": Proven(
        "CREATE TABLE p (a int CONSTRAINT mine NOT NULL NO INHERIT, b int, c int NOT NULL); CREATE TABLE q () INHERITS"
        " (p); INSERT INTO p VALUES (1, NULL, 2); ALTER TABLE p ADD CONSTRAINT later NOT NULL b NOT VALID;"
        " COMMENT ON CONSTRAINT later ON q IS 'of a child'",
        since=18,
    ),
    "NOT NULL by a name that the server chooses anew": Proven(
        "CREATE TABLE z (k int PRIMARY KEY) PARTITION BY RANGE (k); CREATE TABLE a PARTITION OF z DEFAULT;"
        " ALTER TABLE z DETACH PARTITION a",
        r"column public\.z\.k: its constraint z_k_not_null is called z_k_not_null1 in a copy: pg_dump leaves out names",
        since=18,
    ),
    "what was never checked, or cannot be used": Proven(
        "CREATE DOMAIN d AS int; CREATE TABLE p (a d, b int) PARTITION BY LIST (b); INSERT INTO p SELECT WHERE false;"
        " ALTER DOMAIN d ADD CONSTRAINT c CHECK (VALUE > 0) NOT VALID; CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);"
        " ALTER TABLE ONLY p ADD CONSTRAINT u UNIQUE (a, b); CREATE TABLE t (a int CHECK (a > 0));"
        " CREATE UNIQUE INDEX i ON t (a); SET allow_system_table_mods = on;"
        " UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'i'::regclass",
        r"invalid index public\.i: .* before, absent after: pg_dump leaves out invalid indexes \(pg_dump\.c",
    ),
    "privileges spelled out as they are anyway": Proven(
        "GRANT USAGE ON LANGUAGE sql TO PUBLIC; REVOKE EXECUTE ON FUNCTION pg_catalog.version() FROM PUBLIC"
    ),
    "comments that no dump carries": Proven(
        "CREATE TABLE t (id int); CREATE INDEX i ON t (id); COMMENT ON INDEX i IS 'of a failed build';"
        " CREATE VIEW v AS SELECT 1 AS a; COMMENT ON RULE \"_RETURN\" ON v IS 'of a view';"
        " SET allow_system_table_mods = on; UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'i'::regclass",
        r"comment .*is in no dump: pg_dump leaves out invalid indexes",
    ),
    "an event trigger and a materialized view": Proven(
        f"CREATE MATERIALIZED VIEW mv AS SELECT 1 AS a; {LOG} CREATE EVENT TRIGGER log_ddl ON ddl_command_end EXECUTE"
        " FUNCTION log_ddl(); COMMENT ON EVENT TRIGGER log_ddl IS 'logs'"
    ),
    "an event trigger that fires always": Proven(
        f"CREATE MATERIALIZED VIEW mv AS SELECT 1 AS a; {LOG} CREATE EVENT TRIGGER log_ddl ON ddl_command_end EXECUTE"
        " FUNCTION log_ddl(); ALTER EVENT TRIGGER log_ddl ENABLE ALWAYS"
    ),
    "an event trigger that fires in replicas": Proven(
        f"CREATE MATERIALIZED VIEW mv AS SELECT 1 AS a; {LOG} CREATE EVENT TRIGGER log_ddl ON ddl_command_end EXECUTE"
        " FUNCTION log_ddl(); ALTER EVENT TRIGGER log_ddl ENABLE REPLICA"
    ),
    "built in, and changed": Proven(
        "ALTER TEXT SEARCH CONFIGURATION english DROP MAPPING FOR url; ALTER FUNCTION pg_catalog.upper(text) COST 9;"
        " COMMENT ON FUNCTION pg_catalog.lower(text) IS 'mine'; CREATE FUNCTION less(int, text) RETURNS bool LANGUAGE sql"
        " IMMUTABLE AS 'SELECT $1 < length($2)'; CREATE OPERATOR <<< (FUNCTION = less, LEFTARG = int, RIGHTARG = text);"
        " ALTER OPERATOR FAMILY integer_ops USING btree ADD OPERATOR 1 <<< (int, text)",
        r"built in was changed, and a copy has it as the server made it \(text search configuration pg_catalog.english\).*selectDump"
        r".*operator family pg_catalog.integer_ops USING btree|operator family pg_catalog.integer_ops",
    ),
    "privileges on what is built in, which a dump carries": Proven(
        "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_sleep(float8) FROM PUBLIC; GRANT SELECT ON pg_catalog.pg_authid TO"
        " pg_monitor; REVOKE USAGE ON TYPE pg_catalog.xml FROM PUBLIC"
    ),
    "in a schema of the system, and not needed": Proven(
        "CREATE FUNCTION pg_catalog.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        r"in a schema of the system: function pg_catalog.mine\(\): there before, absent after: pg_dump leaves out",
    ),
    "members of an extension, and changed": Proven(
        "CREATE EXTENSION vector; ALTER FUNCTION l2_distance(vector, vector) COST 77;"
        " COMMENT ON FUNCTION vector_dims(vector) IS 'mine'",
        r"members of extension vector were changed by hand, .*\(function public.l2_distance.*: pg_dump carries no member",
    ),
    "a partition that is being detached": Proven(
        "CREATE TABLE p (k int) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);"
        " INSERT INTO p VALUES (1); SET allow_system_table_mods = on; UPDATE pg_inherits SET inhdetachpending = true",
        r"partition public.p1 of public.p: being detached before, absent after: .* FINALIZE",
    ),
    "a default of a type that was on the path": Proven(
        "CREATE TYPE e AS ENUM ('a', 'b'); CREATE DOMAIN d AS e DEFAULT 'a'; CREATE TABLE t (v d); INSERT INTO t DEFAULT"
        " VALUES"
    ),
    "foreign tables among partitions and children": Proven(
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE TABLE p (k int) PARTITION BY LIST"
        " (k); CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2) PARTITION BY LIST (k); CREATE FOREIGN TABLE f PARTITION OF"
        " p2 FOR VALUES IN (2) SERVER s; CREATE TABLE q (k int); CREATE FOREIGN TABLE g (k int) INHERITS (q) SERVER s"
    ),
    "casts to text that a person made implicit": Proven(
        " ".join(
            f"CREATE CAST ({name} AS text) WITH INOUT AS IMPLICIT;"
            for name in ("int2", "int4", "int8", "oid", "numeric", "date", "regclass", "regproc", "float8", "jsonb")
        )
        + " CREATE TABLE t (id serial PRIMARY KEY, v int CHECK (v > 0)); INSERT INTO t (v) VALUES (1); SELECT lo_create(7);"
        " CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (password 'x');"
        " CREATE MATERIALIZED VIEW m AS SELECT * FROM public.t; CREATE INDEX ON t (v)"
    ),
    "an event trigger on login": Proven(f"{LOG} CREATE EVENT TRIGGER l ON login EXECUTE FUNCTION log_ddl()", since=17),
    "functions with a search path of their own": Proven(
        "CREATE FUNCTION plus(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';"
        " CREATE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE SET search_path = public AS 'SELECT plus($1)';"
        " CREATE TABLE t (id int CHECK (f(id) > 0)); INSERT INTO t VALUES (1); CREATE INDEX i ON t (f(id))"
    ),
}


@pytest.mark.parametrize("case", PROVEN)
def test_proven(server: Server, database: str, tmp_path: Path, case: str) -> None:
    wanted = PROVEN[case]
    if server.major < wanted.since:
        pytest.skip(f"PostgreSQL {server.major} has no such thing")
    target = database_of(server, database)
    as_app(target).execute(wanted.sql)
    taken = backup.take(target, tmp_path / "b", stack="st", release="r1")
    notes = " ".join(taken.manifest.notes)
    assert re.search(wanted.note, notes) if wanted.note else notes == "", notes
    restored = backup.restore(target, taken.path, release="r1", kind="restored")
    if "subscription" in case:  # which no database is dropped with
        target.execute("DROP SUBSCRIPTION s")
    elif "login" not in case:  # our sessions there are logins as well
        assert content_digest.compare(taken.digest, content_digest.take(target)) == [], (
            "what the manifest says is what is there"
        )
    server.sql(f"ALTER DATABASE {restored.database.conninfo.dbname} ALLOW_CONNECTIONS true")
    before, after = _described(server, database), _described(server, restored.database.conninfo.dbname)
    assert [str(item) for item in schema.drift(before, after)] == [], "a rollback finds the schema of before"
    assert [item for item in schema.compare(before, after, schema.CheckOptions()) if item.severity == "error"] == []
    forget(server, restored.database.conninfo.dbname)


def _described(server: Server, database: str) -> schema.Catalog:
    engine = sqlalchemy.create_engine(server.url(database), poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        return schema.describe(connection)


ENCODINGS = {
    "SQL_ASCII": b"caf\xe9 gr\xc3\xb6\xc3\x9fe \xff\xfe",
    "LATIN1": "café größe".encode("latin-1"),
    "WIN1252": b"caf\xe9 \x81 has no equivalent in UTF8",
    "EUC_JP": "日本語".encode("euc_jp"),
    "EUC_TW": b"\xc4\xe3\xc5\xc6",
    "KOI8R": "привет".encode("koi8_r"),
    "MULE_INTERNAL": b"\x81\xe9 and more",
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_is_kept_in_its_own_bytes(server: Server, database: str, tmp_path: Path, encoding: str) -> None:
    name = f"{database}_enc"
    server.sql(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'")
    value = ENCODINGS[encoding]
    sql = (
        b"CREATE TABLE public.\"t %s\" (id int, v text DEFAULT '%s'); INSERT INTO public.\"t %s\" VALUES (1, '%s');"
        b"COMMENT ON TABLE public.\"t %s\" IS '%s'; CREATE TYPE public.e AS ENUM ('%s');"
        b"CREATE VIEW public.w AS SELECT '%s'::text AS c; CREATE SEQUENCE public.\"s %s\"" % ((value,) * 9)
    )
    target = database_of(server, name)
    try:
        environment = {**target.environment(), "PGCLIENTENCODING": "SQL_ASCII"}
        target.site.run(target.tool("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1"), env=environment, input=sql)
        taken = backup.take(target, tmp_path / "b", stack="st", release="r1")
        assert taken.manifest.rows == 1
        backup.restore(target, taken.path, release="r1")
        listed = [target.program("pg_restore"), "--file=-", str(taken.path)]
        assert target.site.run(listed).stdout.count(value) >= 9, "the dump has the bytes as they are stored"
    finally:
        forget(server, name)


@dataclass(frozen=True)
class Held(queries.RowsDigest):
    """And the locks that its reader held."""

    held: int


def test_a_database_with_more_tables_than_locks_names_the_setting(
    server: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In groups of one snapshot the reading never holds many locks; pg_dump holds one for each table."""
    target = database_of(server, database)
    as_app(target).execute(
        "SELECT format('CREATE TABLE t%s (id int PRIMARY KEY, v text)', g) FROM generate_series(1, 120) g \\gexec"
    )
    most = 0
    real = content_digest.read.queries.rows_query

    def watched(table: queries.DataTable) -> str:
        return real(table).replace("count(*) AS rows", "count(*) + 0 * (SELECT count(*) FROM pg_locks WHERE pid ="
            " pg_backend_pid()) AS rows, (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()) AS held")  # fmt: skip

    held = content_digest.read._counted

    def counted(rows: Iterator[Held]) -> TableDigests:
        nonlocal most
        seen = list(rows)
        most = max([most, *(row.held for row in seen)])
        return held(seen)

    monkeypatch.setattr(content_digest.read, "RowsDigest", Held)
    monkeypatch.setattr(content_digest.read.queries, "rows_query", watched)
    monkeypatch.setattr(content_digest.read, "_counted", counted)
    assert content_digest.take(target).table_count == 120
    assert 40 <= most < 120, most
    hint = backup.restore_errors.next_step(target, "pg_dump: error: query failed: ERROR:  out of shared memory")
    assert "120 tables and the like: set max_locks_per_transaction of the server to 128 (now 64)" in hint


@dataclass(frozen=True)
class Blocked:
    """``sql`` makes the database for ``role`` (``{me}``), which owns it and may create databases; ``other`` is a second
    role. What the refusal ``says`` and what its ``hint`` does."""

    sql: str
    says: str
    hint: str


BLOCKED = {
    "row-level security that is forced": Blocked(
        "SET ROLE {me}; CREATE TABLE public.sec (id int); ALTER TABLE public.sec ENABLE ROW LEVEL SECURITY;"
        " ALTER TABLE public.sec FORCE ROW LEVEL SECURITY",
        r"table public\.sec: its row-level security would hide rows",
        r"ALTER ROLE {me} BYPASSRLS",
    ),
    "a table that it may not read": Blocked(
        "CREATE TABLE public.hidden (id int)", r"table public\.hidden: no SELECT on it", "GRANT USAGE and SELECT"
    ),
    "a schema that it may not use": Blocked("CREATE SCHEMA s", r"schema s: no USAGE on it", "GRANT USAGE and SELECT"),
    "a readable table of another": Blocked(
        "CREATE TABLE public.notes (id int); GRANT SELECT ON public.notes TO {me}",
        r"cannot give objects to their owners: table public\.notes belongs to postgres",
        "GRANT postgres TO {me}, give those objects to {me}",
    ),
    "a function of another": Blocked(
        "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql RETURN 1",
        r"function public\.f\(\) belongs to postgres",
        "",
    ),
    "many tables of another": Blocked(
        " ".join(f"CREATE TABLE public.t{i:02} (); GRANT SELECT ON public.t{i:02} TO {{me}};" for i in range(13)),
        r"table public\.t09 belongs to postgres; and 3 more objects\.",
        "",
    ),
    "an owner that it cannot become": Blocked(
        "ALTER DATABASE {db} OWNER TO {other}; GRANT USAGE ON SCHEMA public TO {me}",
        r"may not give it its owner {other} \(needs GRANT {other} TO it\)",
        "grant {me} what is named",
    ),
    "settings of another role here": Blocked(
        "ALTER ROLE {other} IN DATABASE {db} SET work_mem = '9MB'",
        r"may not give it the settings of role {other} in this database \(needs CREATEROLE",
        r"ALTER ROLE … IN DATABASE … RESET ALL",
    ),
    "a setting for superusers": Blocked(
        "ALTER DATABASE {db} SET log_statement = 'all'",
        r"may not give it its setting log_statement \(needs ",
        "set pap_db_admin_user to a superuser",
    ),
    "rights by the setting role alone": Blocked(
        "ALTER ROLE {me} NOINHERIT; GRANT {other} TO {me}; ALTER DATABASE {db} OWNER TO {other};"
        " ALTER ROLE {me} SET role = '{other}'",
        r"has the rights of {other} only by its setting role={other}",
        "GRANT {other} TO {me} with INHERIT",
    ),
}


@pytest.mark.parametrize("case", BLOCKED)
def test_a_missing_right_is_named_before_anything_is_made(
    server: Server, database: str, tmp_path: Path, case: str
) -> None:
    wanted, name = BLOCKED[case], {"me": f"{database}_me", "other": f"{database}_other", "db": database}
    server.sql(f"CREATE ROLE {name['me']} LOGIN CREATEDB PASSWORD 'pw'; CREATE ROLE {name['other']}")
    try:
        server.sql(f"ALTER DATABASE {database} OWNER TO {name['me']}")
        target = database_of(server, database)
        target.execute(wanted.sql.format(**name))
        mine = replace(target, conninfo=replace(target.conninfo, user=name["me"], password="pw"))
        before = names(server)
        with pytest.raises(Refused, match=wanted.says.format(**name)) as refused:
            backup.take(mine, tmp_path / "b", stack="st", release="r1")
        assert re.search(wanted.hint.format(**name), refused.value.hint)
        assert names(server) == before
        assert list((tmp_path / "b").iterdir()) == []
    finally:
        server.drop(database)
        server.sql(f"DROP ROLE {name['me']}; DROP ROLE {name['other']}")


C = "CREATE FUNCTION {name}() RETURNS int LANGUAGE c AS '$libdir/dict_snowball', 'dsnowball_init';"
UNRESTORABLE = {
    "a rule called _RETURN": (
        "CREATE TABLE t (id int); CREATE RULE r AS ON UPDATE TO t DO ALSO NOTHING; SET allow_system_table_mods = on;"
        " UPDATE pg_rewrite SET rulename = '_RETURN' WHERE rulename = 'r'",
        r'rule "_RETURN" on public\.t',
        'ALTER RULE "_RETURN" ON public.t RENAME TO "return";',
        'ALTER RULE "_RETURN" ON public.t RENAME TO "return"',
    ),
    "an extension without its files": (
        "SET allow_system_table_mods = on; INSERT INTO pg_extension VALUES (99999, 'lost', 10, 2200, true, '1')",
        "extension lost",
        "install the package of lost, or DROP EXTENSION lost;",
        "SET allow_system_table_mods = on; DELETE FROM pg_extension WHERE oid = 99999",
    ),
    "a table in a schema of the system": (
        "CREATE TABLE information_schema.mine (id int); INSERT INTO information_schema.mine VALUES (1)",
        r"table information_schema\.mine \(pg_dump leaves out what is in a schema of the system\)",
        "ALTER TABLE information_schema.mine SET SCHEMA public;",
        "ALTER TABLE information_schema.mine SET SCHEMA public",
    ),
    "a function in a schema of the system": (
        "CREATE FUNCTION pg_catalog.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TABLE t (id int DEFAULT mine())",
        r"function pg_catalog\.mine\(\)",
        "ALTER FUNCTION pg_catalog.mine() SET SCHEMA public;",
        "ALTER FUNCTION pg_catalog.mine() SET SCHEMA public",
    ),
    "functions of a library that is gone": (
        C.format(name="f") + C.format(name="g") + "SET allow_system_table_mods = on;"
        " UPDATE pg_proc SET probin = '$libdir/gone' WHERE probin = '$libdir/dict_snowball' AND oid >= 16384",
        r"function public\.f\(\) and 1 more function \(library \$libdir/gone cannot be loaded\)",
        "DROP FUNCTION public.f()",
        "DROP FUNCTION f(), g()",
    ),
}


@pytest.mark.parametrize("case", UNRESTORABLE)
def test_what_postgresql_cannot_restore_is_named_before_anything_is_made(
    server: Server, database: str, tmp_path: Path, case: str
) -> None:
    sql, says, hint, mended = UNRESTORABLE[case]
    server.sql(sql, database)
    target, before = database_of(server, database), names(server)
    with pytest.raises(Refused, match=f"PostgreSQL cannot restore what it dumps of this database: {says}") as refused:
        backup.take(target, tmp_path / "b", stack="st", release="r1")
    assert hint in refused.value.hint and names(server) == before
    server.sql(mended, database)
    assert backup.take(target, tmp_path / "b", stack="st", release="r1").manifest.notes == ()


PATHS = {
    "an index": "CREATE INDEX i ON t (f(id))",
    "a check": "ALTER TABLE t ADD CHECK (f(id) > 0)",
    "a generated column": "ALTER TABLE t ADD g int GENERATED ALWAYS AS (f(id)) STORED",
    "a materialized view over a view": "CREATE VIEW v AS SELECT f(id) FROM t; CREATE MATERIALIZED VIEW m AS TABLE v",
}


@pytest.mark.parametrize("user", PATHS)
def test_a_function_that_needs_a_search_path_is_found_with_what_mends_it(
    server: Server, database: str, tmp_path: Path, user: str
) -> None:
    target = database_of(server, database)
    make = "CREATE OR REPLACE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS"
    server.sql(  # in this order, because since 17 an index on such a function can only come from an older server
        "CREATE SCHEMA tools; CREATE FUNCTION tools.plus(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';"
        f" {make} 'SELECT tools.plus($1)'; CREATE TABLE t (id int); INSERT INTO t VALUES (1); {PATHS[user]};"
        f" SET search_path = public, tools; {make} 'SELECT plus($1)'",
        database,
    )
    before = names(server)
    with pytest.raises(Refused, match=r"public\.f\(integer\) \(used by") as refused:
        backup.take(target, tmp_path / "b", stack="st", release="r1")
    assert names(server) == before
    assert refused.value.data["statements"] == ["ALTER FUNCTION public.f(integer) SET search_path = tools, pg_catalog;"]
    target.execute(refused.value.data["statements"])
    assert backup.take(target, tmp_path / "b", stack="st", release="r1").manifest.rows == 1


def test_a_function_in_plpgsql_is_named_when_the_restore_stumbles(
    server: Server, database: str, tmp_path: Path
) -> None:
    target = database_of(server, database)
    as_app(target).execute(
        "CREATE FUNCTION plus(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';"
        " CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN plus($1); END';"
        " CREATE TABLE t (id int CHECK (f(id) > 0)); INSERT INTO t VALUES (1)"
    )
    with pytest.raises(CommandFailed, match=r'table "t".* function plus.* does not exist') as failed:
        backup.take(target, tmp_path / "b", stack="st", release="r1")
    assert "ALTER FUNCTION public.f(integer) SET search_path = public, pg_catalog;" in failed.value.hint


BROKEN = {
    "a foreign key": (
        'CREATE TABLE o (id int PRIMARY KEY); CREATE TABLE t (id int CONSTRAINT "f k" REFERENCES o);'
        " ALTER TABLE t DISABLE TRIGGER ALL; INSERT INTO t VALUES (1)",
        'violates foreign key constraint "f k"',
        'DROP CONSTRAINT "f k", ADD CONSTRAINT "f k" … NOT VALID',
    ),
    "a check": (
        "CREATE TABLE t (id int);"
        " CREATE FUNCTION f(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END';"
        " ALTER TABLE t ADD CONSTRAINT d CHECK (f(id)); INSERT INTO t VALUES (1);"
        " CREATE OR REPLACE FUNCTION f(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN false; END'",
        'violates check constraint "d"',
        'DROP CONSTRAINT "d", ADD CONSTRAINT "d" … NOT VALID',
    ),
    "a check that reads another table": (
        "CREATE TABLE z (id int); INSERT INTO z VALUES (1); CREATE FUNCTION f(int) RETURNS boolean LANGUAGE sql STABLE AS"
        " 'SELECT EXISTS (SELECT FROM public.z WHERE id = $1)'; CREATE TABLE a (id int CHECK (f(id)));"
        " INSERT INTO a VALUES (1)",
        'violates check constraint "a_id_check"',
        "reads another table, which a restore fills later",
    ),
    "what a function reads is gone": (
        "CREATE TABLE t (id int); CREATE FUNCTION f() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN count(*) FROM"
        " public.t; END'; CREATE MATERIALIZED VIEW m AS SELECT f() AS n; ALTER TABLE t RENAME TO u",
        'relation "public.t" does not exist',
        'relation "public.t" is not in the live database either, so what uses public.f() cannot be built',
    ),
    "a unique index": (
        "CREATE TABLE t (id int); CREATE UNIQUE INDEX u ON t (id); INSERT INTO t VALUES (1); SET"
        " allow_system_table_mods = on; UPDATE pg_index SET indisready = false WHERE indexrelid = 'u'::regclass;"
        " INSERT INTO t VALUES (1); UPDATE pg_index SET indisready = true WHERE indexrelid = 'u'::regclass",
        'could not create unique index "u"',
        'REINDEX INDEX "u"',
    ),
    "a partition of other rows": (
        "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1'; CREATE TABLE p (k int) PARTITION BY"
        " LIST (f(k)); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); INSERT INTO p VALUES (1); CREATE OR REPLACE"
        " FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1'",
        "violates partition constraint",
        "an UPDATE of its key in every row",
    ),
    "a function that was added to an extension": (
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER EXTENSION plpgsql ADD FUNCTION f();"
        " CREATE TABLE t (v int DEFAULT f())",
        r"function public\.f\(\) does not exist",
        "ALTER EXTENSION plpgsql DROP FUNCTION public.f();",
    ),
    "a function that was taken out of an extension": (
        "CREATE EXTENSION vector; ALTER EXTENSION vector DROP FUNCTION l2_distance(vector, vector)",
        "already exists",
        "put it back (ALTER EXTENSION … ADD …)",
    ),
    "a view on a column that is gone": (
        "CREATE TABLE t (a int); CREATE VIEW v AS SELECT a FROM t; SET allow_system_table_mods = on; UPDATE pg_attribute"
        " SET attisdropped = true WHERE attrelid = 't'::regclass AND attname = 'a'",
        "does not exist",
        "Make it anew in the live database, or drop it",
    ),
    "a partition without its parent": (
        "CREATE TABLE t (a int); SET allow_system_table_mods = on; UPDATE pg_class SET relispartition = true"
        " WHERE oid = 't'::regclass",
        "invalid number of parents",
        "mend or drop what the error names",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_rows_that_break_a_constraint_are_told_with_what_mends_them(
    server: Server, database: str, tmp_path: Path, case: str
) -> None:
    sql, says, hint = BROKEN[case]
    as_app(database_of(server, database)).execute(sql)
    before = names(server)
    with pytest.raises(CommandFailed, match=says) as failed:
        backup.take(database_of(server, database), tmp_path / "b", stack="st", release="r1")
    assert hint in failed.value.hint and names(server) == before


def test_rows_that_only_an_extension_claims_are_no_note(server: Server, database: str, tmp_path: Path) -> None:
    """No dump carries them, and no CREATE EXTENSION makes the table: a rollback would lose them."""
    server.sql("CREATE TABLE t (v int); INSERT INTO t VALUES (1); ALTER EXTENSION plpgsql ADD TABLE t", database)
    target = database_of(server, database)
    with pytest.raises(
        PapError, match=r"not equal to the database: extension members plpgsql.*table public.t"
    ) as failed:
        backup.take(target, tmp_path / "b", stack="st", release="r1")
    (difference,) = failed.value.data["differences"]
    with pytest.raises(PapError, match="not equal"):
        known = {"difference": difference[-13:-1], "reason": "r", "until": "2999-01-01"}
        backup.take(target, tmp_path / "b", stack="st", release="r1", accept=acceptance.of([known]))
    server.sql("ALTER EXTENSION plpgsql DROP TABLE t", database)
    assert backup.take(target, tmp_path / "b", stack="st", release="r1").manifest.rows == 1


def test_a_stored_column_of_an_older_function_is_told(server: Server, database: str, tmp_path: Path) -> None:
    target = database_of(server, database)
    twice = "CREATE OR REPLACE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2'"
    as_app(target).execute(
        f"{twice}; CREATE TABLE t (id int, n int GENERATED ALWAYS AS (f(id)) STORED); INSERT INTO t VALUES (1);"
        f" {twice.replace('2', '3')}"
    )
    with pytest.raises(PapError, match=r"computes n anew, by a function that may have been changed.* an UPDATE of"):
        backup.take(target, tmp_path / "b", stack="st", release="r1")
    as_app(target).execute("UPDATE t SET id = id")
    assert backup.take(target, tmp_path / "b", stack="st", release="r1").manifest.rows == 1


def test_a_ledger_of_another_program_is_told(server: Server, database: str, tmp_path: Path) -> None:
    target = database_of(server, database)
    target.execute("CREATE SCHEMA pap_deploy; CREATE TABLE pap_deploy.ledger (booked date)")
    with pytest.raises(PapError, match="a table without id, event, identity, release, not the table that") as failed:
        backup.take(target, tmp_path / "b", stack="st", release="r1")
    assert "rename what is there" in failed.value.hint


def test_a_check_without_rows_stops_no_backup(server: Server, database: str, tmp_path: Path) -> None:
    target = database_of(server, database)
    as_app(target).execute(
        "CREATE FUNCTION plus(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';"
        " CREATE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT plus($1)';"
        " CREATE TABLE t (id int CHECK (f(id) > 0))"
    )
    backup.take(target, tmp_path / "b", stack="st", release="r1")


def test_differences_are_listed_and_a_known_one_can_be_accepted(
    server: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies are spoiled on purpose: what a dump loses otherwise is a note already."""
    target = database_of(server, database)
    as_app(target).execute(" ".join(f"CREATE TABLE t{i:02} (id int DEFAULT 1);" for i in range(13)))
    spoil = "ALTER TABLE public.t00 ALTER id SET DEFAULT 2"
    real = backup.pipeline.Pipeline.finish

    def finish(self: Any, copy: Database, path: Path) -> float:
        took = real(self, copy, path)
        copy.execute(spoil)
        return took

    monkeypatch.setattr(backup.pipeline.Pipeline, "finish", finish)
    with pytest.raises(PapError, match=r"database: column public\.t00\.id: default is") as unequal:
        backup.take(target, tmp_path / "b", stack="st", release="r1")
    (printed,) = unequal.value.data["differences"]
    found = re.fullmatch(r'column public\.t00\.id: default is "2", "1" before\. \[([0-9a-f]{12})\]', printed)
    assert found, printed
    entry = {"difference": found[1], "reason": "known since 2020", "until": "2999-12-31"}
    taken = backup.take(target, tmp_path / "b", stack="st", release="r1", accept=acceptance.of([entry]))
    (noted,) = taken.manifest.accepted
    assert noted == acceptance.Accepted(**entry, sentence='column public.t00.id: default is "2", "1" before.')
    assert f"accepted until 2999-12-31: {noted.sentence} (known since 2020)" in taken.lines()
    assert content_digest.compare(taken.digest, content_digest.take(target), accepted=[found[1]]) == [], (
        "in either direction"
    )

    with pytest.raises(PapError, match=r"database: column public\.t01"):
        spoil += "; ALTER TABLE public.t01 ALTER id SET DEFAULT 2"
        backup.take(target, tmp_path / "b", stack="st", release="r1", accept=acceptance.of([entry]))
    spoil = "INSERT INTO public.t02 VALUES (1); ALTER TABLE public.t00 ALTER id SET DEFAULT 2"
    with pytest.raises(PapError, match=r"table public\.t02") as lost:
        backup.take(target, tmp_path / "b", stack="st", release="r1", accept=acceptance.of([entry]))
    rows = re.findall(r"\[([0-9a-f]{12})\]", lost.value.data["differences"][0])
    with pytest.raises(PapError, match=r"table public\.t02") as lost:
        backup.take(target, tmp_path / "b", stack="st", release="r1",
                    accept=acceptance.of([entry, {**entry, "difference": rows[0]}]))  # fmt: skip
    assert "cannot be accepted: rows or values are lost by it" in lost.value.hint
    spoil = "SELECT 1"
    with pytest.raises(Refused, match="which is not there"):
        backup.take(target, tmp_path / "b", stack="st", release="r1", accept=acceptance.of([entry]))
    spoil = " ".join(f"ALTER TABLE public.t{i:02} ALTER id SET DEFAULT 2;" for i in range(13))
    with pytest.raises(PapError, match=r"13 differences\.") as many:
        backup.take(target, tmp_path / "b", stack="st", release="r1")
    assert len(many.value.data["differences"]) == 13
    assert [line.split(":")[0] for line in many.value.data["lines"]][9:] == [
        "column public.t09.id",
        "… and 3 more differences.",
    ]


YESTERDAY = str(datetime.date.today() - datetime.timedelta(days=2))


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"difference": "x", "reason": "y"}, "has difference, reason"),
        ({"difference": "x", "reason": " ", "until": "2999-01-01"}, "has difference, reason, until"),
        ({"difference": "x", "reason": "y", "until": "soon"}, "'soon', which is no day"),
        ({"difference": "x", "reason": "y", "until": YESTERDAY}, f"accepted until {YESTERDAY}"),
    ],
)
def test_an_acceptance_is_whole_and_in_time(entry: dict[str, str], says: str) -> None:
    with pytest.raises(Refused, match=says):
        acceptance.of([entry])


EXTENSION = {
    "papref.control": "comment = 'rows of an extension'\ndefault_version = '1.0'\nrelocatable = false\nschema = geo\n",
    "papref--1.0.sql": """
        CREATE TABLE ref_sys (id int PRIMARY KEY, def text); INSERT INTO ref_sys VALUES (4326, 'built in'), (4327, 'too');
        CREATE TABLE jobs (id serial, cmd text); CREATE TABLE internal (v text); INSERT INTO internal VALUES ('made');
        SELECT pg_catalog.pg_extension_config_dump('ref_sys', 'WHERE id > 900000');
        SELECT pg_catalog.pg_extension_config_dump('jobs', '');
        SELECT pg_catalog.pg_extension_config_dump('jobs_id_seq', '');
    """,
}


@pytest.fixture
def extension(server: Server) -> Iterator[None]:
    """An extension with a table of configuration, one that is so in part, and one that is not, where the server looks
    for them."""
    config = subprocess.run([server.bin_dir / "pg_config", "--sharedir"], capture_output=True, text=True, check=True)
    folder = Path(config.stdout.strip()) / "extension"
    for name, text in EXTENSION.items():
        (folder / name).write_text(text)
    yield
    for name in EXTENSION:
        (folder / name).unlink()


def test_rows_of_an_extension_that_no_dump_holds_are_noted(
    server: Server, database: str, tmp_path: Path, extension: None
) -> None:
    target = database_of(server, database)
    target.execute("CREATE SCHEMA geo; CREATE EXTENSION papref")
    taken = backup.take(target, tmp_path / "a", stack="st", release="r1")
    assert taken.manifest.notes == (), "as the extension makes it"
    target.execute(
        "INSERT INTO geo.ref_sys VALUES (900913, 'ours'); INSERT INTO geo.jobs (cmd) VALUES ('x');"
        " UPDATE geo.ref_sys SET def = 'by hand' WHERE id = 4326; INSERT INTO geo.internal VALUES ('ours')"
    )
    taken = backup.take(target, tmp_path / "b", stack="st", release="r1")
    assert taken.manifest.rows == 2, "what the extension calls its configuration is in the dump"
    internal, reference = taken.manifest.notes
    assert re.match(r"rows that no dump holds \(extension papref, geo\.internal\): 2 .* before, 1 .* after", internal)
    assert re.match(r"rows that no dump holds \(extension papref, geo\.ref_sys\): 2 .* before, 2 .* after", reference)


@pytest.mark.every_version
@pytest.mark.parametrize("case", [name for name in PROVEN if "event trigger" in name])
@pytest.mark.parametrize("owner", ["postgres", "pap_owner"])
def test_no_event_trigger_fires_in_a_copy_that_is_restored_in_one_stream(
    server: Server, database: str, tmp_path: Path, case: str, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if server.major < PROVEN[case].since:
        pytest.skip(f"PostgreSQL {server.major} has no such thing")
    monkeypatch.setattr(backup.archive, "in_parts", lambda target, encryption: False)
    make_roles(server.sql)
    target = database_of(server, database)
    as_app(target).execute(
        f"{PROVEN[case].sql}; ALTER DATABASE {database} OWNER TO {owner};"
        f" CREATE SCHEMA lent; CREATE TABLE lent.t (id int); ALTER TABLE lent.t OWNER TO {owner};"
        f" GRANT USAGE ON SCHEMA lent TO {owner}"
    )
    taken = backup.take(target, tmp_path / "b", stack="st", release="r1")
    assert backup.verify(target, taken.path, release="r2").seconds > 0
    if "login" in case:
        return  # our sessions in the original are logins as well
    with contextlib.ExitStack() as stack:
        stack.callback(forget, server, f"{database}__scratch_r3")
        copy = database_of(server, lifecycle.create_empty(target, "r3", "scratch").conninfo.dbname)
        copies.transfer(target, copy, [], time.monotonic() + 60)
        assert content_digest.compare(taken.digest, content_digest.take(copy)) == [], "a copy without a backup"
