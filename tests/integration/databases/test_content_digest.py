"""The content digest: equal for a restored copy of the most awkward content, and never equal when something is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from papdeploy.core.errors import CommandFailed, Refused
from papdeploy.databases import content_digest
from papdeploy.databases.content_digest import Position
from papdeploy.databases.psql import Database
from papdeploy.sql.quoting import quote_ident
from support.app_session import as_app
from support.backup import database_of, fill, forget

if TYPE_CHECKING:
    from support.postgres_servers import Server

pytestmark = pytest.mark.every_version(sample=3)


@pytest.fixture(scope="module")
def original(server: Server) -> Iterator[Database]:
    name = server.create("content_digest")
    yield fill(server, name)
    forget(server, name)


@pytest.fixture(scope="module")
def copy(original: Database, server: Server) -> Iterator[Database]:
    """Dumped and restored by hand, without any code of the product but the content digest."""
    name = server.create("copy")
    target = database_of(server, name)
    dump = original.site.run(original.tool("pg_dump", "-Fc"), env=original.environment(), timeout=60)
    target.site.run(target.tool("pg_restore", "-e"), env=target.environment(), input=dump.stdout, timeout=60)
    yield target
    forget(server, name)


@pytest.fixture(scope="module")
def reference(original: Database) -> content_digest.ContentDigest:
    return content_digest.take(original)


def test_restored_copy_is_equal(reference: content_digest.ContentDigest, copy: Database) -> None:
    again = content_digest.take(copy)
    assert content_digest.compare(reference, again) == []
    assert again.digest == reference.digest
    assert reference.table_count == 10
    assert reference.rows == 506 + 50 + 200 + 2 + 2 + 1 + 2
    assert reference.large_objects.count == 2
    assert reference.sequences["public"]["never_used"] == Position("42", is_called=False)
    assert reference.sequences["public"]["down"] == Position("-4", is_called=True)


def test_survives_json(reference: content_digest.ContentDigest) -> None:
    assert content_digest.ContentDigest.from_dict(reference.as_dict()) == reference


KEPT_CONTENT = """
CREATE TYPE mood AS ENUM ('sad', 'fine');
CREATE DOMAIN short AS text CHECK (length(VALUE) < 9);
CREATE TABLE kept (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name short NOT NULL, mood mood DEFAULT 'fine',
  amount numeric(9, 2), at timestamptz, twice int GENERATED ALWAYS AS (length(name) * 2) STORED, data jsonb, bits bytea);
CREATE TABLE part (id int REFERENCES kept, day date) PARTITION BY RANGE (day);
CREATE TABLE part_2026 PARTITION OF part FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE parent (a int); CREATE TABLE child (b float8) INHERITS (parent);
CREATE INDEX kept_mood ON kept (mood) WHERE amount > 0;
CREATE VIEW seen AS SELECT id, name FROM kept WHERE mood = 'fine';
CREATE SEQUENCE apart START 7 INCREMENT -2 MINVALUE -100 MAXVALUE 100;
CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + 1';
CREATE RULE nothing AS ON DELETE TO child DO INSTEAD NOTHING;
ALTER TABLE kept ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON kept FOR SELECT TO PUBLIC USING (name = current_user);
COMMENT ON TABLE kept IS 'kept';
INSERT INTO kept (name, mood, amount, at, data, bits) SELECT 'n' || n, CASE n % 2 WHEN 0 THEN 'sad'::mood END, n / 4.0,
  '2026-01-01 00:00:00Z'::timestamptz + n * interval '1 hour', jsonb_build_object('n', n), decode('00ff', 'hex')
  FROM generate_series(1, 40) AS n;
INSERT INTO part VALUES (3, '2026-05-01'), (NULL, '2026-06-01'); INSERT INTO child VALUES (1, -0.5);
SELECT nextval('apart'); SELECT lo_from_bytea(4711, 'large');
"""
# What a release of before has said of it, by the major version of the server.
KEPT = {
    16: "cff2a58b673e562acabcc04772c72a5dda843d3c96a1861e6b3407c93b523412",
    18: "c08c9b59ed0d37bea9ac39e95f7e0e9b4c69200e80b6f718ad9278ac238467ba",
}


def test_the_digest_of_the_same_content_is_what_it_was(server: Server) -> None:
    """All but what the server brings itself: a minor version of it may bring something else."""
    if server.major not in KEPT:
        pytest.skip(f"no digest of PostgreSQL {server.major} is kept")
    name = server.create("kept")
    target = database_of(server, name)
    try:
        as_app(target).execute(KEPT_CONTENT)
        found = content_digest.take(target)
        theirs = {schema: objects for schema, objects in found.catalog.items() if schema}
        assert replace(found, catalog=theirs).digest == KEPT[server.major]
    finally:
        forget(server, name)


def test_a_content_digest_of_an_older_version_can_still_be_compared(
    reference: content_digest.ContentDigest, copy: Database
) -> None:
    for number in (1, 2, 3):
        older = content_digest.ContentDigest.from_dict(reference.in_format(number).as_dict())
        assert older.format == number and older.catalog != reference.catalog
        assert content_digest.compare(older, content_digest.take(copy)) == []
    with pytest.raises(Refused, match="format 5"):
        content_digest.ContentDigest.from_dict({**reference.as_dict(), "format": 5})


# Each fault and words that the content digest must say. Each is made in a transaction that is rolled back.
FAULTS: dict[str, tuple[str, str]] = {
    "row gone": ("""DELETE FROM "sel;ect '--" WHERE id = 1""", "505 rows, 506 before"),
    "row twice": ("INSERT INTO parent VALUES (1, 'up')", "table public.parent has 2 rows"),
    "one of equal rows replaced": ("""UPDATE "sel;ect '--" SET "we""ird 'col" = 'another'
        WHERE id = (SELECT max(id) FROM "sel;ect '--")""", "other content"),
    "two values exchanged between rows": ("UPDATE secret SET v = CASE v WHEN 'one' THEN 'two' ELSE 'one' END",
        "secret"),
    "null to empty": ("""UPDATE "sel;ect '--" SET "we""ird 'col" = '' WHERE id = 3""", "other content"),
    "text NULL to null": ("""UPDATE "sel;ect '--" SET arr = ARRAY['', 'NULL', 'NULL', '"'] WHERE id = 1""",
        "other content"),
    "numeric scale": ("""UPDATE "sel;ect '--" SET amount = 1.0 WHERE id = 2""", "other content"),
    "minus zero": ("""UPDATE "sel;ect '--" SET f8 = 0 WHERE id = 2""", "other content"),
    "interval of equal length": ("""UPDATE "sel;ect '--" SET iv = '1 mon' WHERE id = 2""", "other content"),
    "json spaces": ("""UPDATE "sel;ect '--" SET j = '{"a":1,"a":2}' WHERE id = 1""", "other content"),
    "infinity": ("""UPDATE "sel;ect '--" SET tz = '2024-01-01' WHERE id = 1""", "other content"),
    "enum label": ("""UPDATE "sel;ect '--" SET m = 'sad' WHERE id = 2""", "other content"),
    "boolean": ("""UPDATE "sel;ect '--" SET flag = NULL WHERE id = 2""", "other content"),
    "one bit of bytea": ("""UPDATE "sel;ect '--" SET raw = '\\x0001ff01' WHERE id = 1""", "other content"),
    "column values exchanged": ("""UPDATE "second ""schema"" x"."-dash" SET w = h, h = w""", "-dash"),
    "row in another partition": ("UPDATE parted SET at = at + 400 WHERE v = 'p1'", "parted_old has"),
    "unlogged table emptied": ("DELETE FROM unlogged", "unlogged has 0 rows, 1 before"),
    "zero-column table": ("INSERT INTO nothing DEFAULT VALUES", "table public.nothing has 3 rows"),
    "sequence ahead": ("SELECT setval('called_once', 2)", "sequence public.called_once stands at 2"),
    "sequence is_called": ("SELECT setval('never_used', 42, true)", "42 (not yet used) before"),
    "large object byte": ("SELECT lo_put(700001, 149999, '\\x11')", "large objects differ in their content"),
    "large object gone": ("SELECT lo_unlink(700002)", "number: 1, 2 before"),
    "large object longer": ("SELECT lo_put(700002, 6000000, '\\x00')", "total size"),
    "large object owner": ("ALTER LARGE OBJECT 700001 OWNER TO pap_owner", "owners"),
    "table gone": ("DROP TABLE secret", "table public.secret is missing"),
    "table new": ("CREATE TABLE extra (a int)", "table public.extra is new"),
    "column gone": ("ALTER TABLE secret DROP COLUMN owner_name CASCADE", "column public.secret.owner_name is missing"),
    "column type": ("ALTER TABLE parent ALTER note TYPE varchar(99)", "type is"),
    "not null": ("ALTER TABLE parted ALTER v SET NOT NULL", "not null is true"),
    "default": ("""ALTER TABLE "second ""schema"" x"."-dash" ALTER later SET DEFAULT 'e'""", "default is"),
    "identity": ("""ALTER TABLE "second ""schema"" x"."-dash" ALTER id SET GENERATED BY DEFAULT""", "identity is"),
    "constraint gone": ("""ALTER TABLE "sel;ect '--" DROP CONSTRAINT "v in\"""", "v in is missing"),
    "constraint value": ("""ALTER TABLE "sel;ect '--" DROP CONSTRAINT "v in"; ALTER TABLE "sel;ect '--" ADD CONSTRAINT
        "v in" CHECK (v IN ('a', 'b', E'c\\\\D'))""", "definition is"),
    "index gone": ("""DROP INDEX "second ""schema"" x"."an index\"""", "an index is missing"),
    "index column": ("""DROP INDEX "second ""schema"" x"."an index"; CREATE INDEX "an index" ON
        "second ""schema"" x"."-dash" (w, lower(later)) WHERE h > 3""", "an index: definition is"),
    "enum order": ("ALTER TYPE mood ADD VALUE 'glad' BEFORE 'sad'", "labels is"),
    "domain check": ("ALTER DOMAIN positive DROP CONSTRAINT positive_check", "is missing"),
    "view": ("CREATE OR REPLACE VIEW a_view AS SELECT id, \"we\"\"ird 'col\" FROM \"sel;ect '--\" WHERE p > 4",
        "view is"),
    "function body": ("CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "routine public.touch(): source is"),
    "aggregate": ("DROP AGGREGATE product(int)", "product(integer) is missing"),
    "trigger off": ("ALTER TABLE secret DISABLE TRIGGER touch", "enabled is"),
    "row security off": ("ALTER TABLE secret DISABLE ROW LEVEL SECURITY", "row security is"),
    "policy": ("ALTER POLICY own ON secret USING (true)", "policy public.secret.own: using is"),
    "owner": ("""ALTER TABLE "sel;ect '--" OWNER TO pap_reader""", "owner is"),
    "grant": ("""REVOKE GRANT OPTION FOR SELECT ON "sel;ect '--" FROM pap_reader""", "acl is"),
    "column grant": ("""REVOKE UPDATE (v) ON "sel;ect '--" FROM "pap ""quoted' role\"""", "acl is"),
    "function grant": ("GRANT EXECUTE ON FUNCTION plus TO PUBLIC", "plus(a integer, b integer): acl is"),
    "default privileges": ("ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM pap_reader",
        "default privileges"),
    "schema owner": ("""ALTER SCHEMA "second ""schema"" x" OWNER TO pap_reader""", "owner is"),
    "comment": ("COMMENT ON TABLE parted IS 'other'", "text is"),
    "sequence bounds": ("ALTER SEQUENCE never_used MAXVALUE 99", "maximum is 99"),
    "sequence owner column": ("""ALTER SEQUENCE "sel;ect '--_id_seq" OWNED BY NONE""", "owned by is absent"),
    "partition detached": ("ALTER TABLE parted DETACH PARTITION parted_old", "partition bound is absent"),
    "rule": ("DROP RULE quiet ON nothing", "rule public.nothing.quiet is missing"),
    "publication": ("ALTER PUBLICATION pub DROP TABLE parent", "publication pub: tables is"),
    "publication's rows": ("ALTER PUBLICATION pub SET TABLE parent WHERE (a > 1), parted", "publication pub: tables is"),
    "publication's columns": ("ALTER PUBLICATION pub SET TABLE parent (a), parted", "publication pub: tables is"),
    "publication's schemas": ("ALTER PUBLICATION pub ADD TABLES IN SCHEMA public", "publication pub: schemas is"),
    "publication through the root": ("ALTER PUBLICATION pub SET (publish_via_partition_root = true)", "root is"),
    "statistics": ("DROP STATISTICS two", "two is missing"),
    "option": ("ALTER TABLE parent SET (fillfactor = 50)", "options is"),
    "aggregate's sort operator": ("DROP AGGREGATE product(int); CREATE AGGREGATE product(int) (SFUNC = int4mul, STYPE ="
        " int, INITCOND = '1', SSPACE = 8)", "product(integer): aggregate details is"),
    "toast option": ("""ALTER TABLE "sel;ect '--" SET (toast.autovacuum_enabled = false)""", "toast options is"),
    "index statistics": ("""ALTER INDEX "second ""schema"" x"."an index" ALTER COLUMN 2 SET STATISTICS 7""",
        "an index: statistics is"),
    "statistics target": ("ALTER STATISTICS two SET STATISTICS 9", "two: target is 9"),
    "range's collation": ("DROP TYPE floats CASCADE; CREATE TYPE floats AS RANGE (subtype = float8, subtype_diff ="
        " float8mi)", "type public.floats: details is"),
    "cast context": ("CREATE CAST (pair AS text) WITH INOUT AS ASSIGNMENT", "cast (public.pair AS pg_catalog.text) is new"),
    "options of a foreign table": ("ALTER FOREIGN TABLE far OPTIONS (SET path '/b')", "far: foreign options is"),
    "options of a foreign column": ("ALTER FOREIGN TABLE far ALTER a OPTIONS (ADD name 'b')", "far.a: foreign options is"),
    "options of a server": ("ALTER SERVER nowhere OPTIONS (SET host 'b')", "server nowhere: what it is is"),
    "privileges on a server": ("REVOKE USAGE ON FOREIGN SERVER nowhere FROM pap_reader", "server nowhere: acl is"),
    "a user mapping": ("ALTER USER MAPPING FOR pap_reader SERVER nowhere OPTIONS (SET password 'other')",
        "user mapping nowhere pap_reader: options is"),
    "a dictionary's options": ("ALTER TEXT SEARCH DICTIONARY plain (accept = true)", "what it is is"),
    "a configuration's tokens": ("ALTER TEXT SEARCH CONFIGURATION ours DROP MAPPING FOR word", "ours: what it is is"),
    "privileges on what is built in": ("GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text) TO pap_reader",
        "privileges pg_catalog.function pg_catalog.pg_ls_dir("),
    "privileges on a column of a catalog": ("GRANT SELECT (rolpassword) ON pg_catalog.pg_authid TO pap_reader",
        "privileges pg_catalog.table column pg_catalog.pg_authid.rolpassword"),
    "privileges revoked of what is built in": ("REVOKE EXECUTE ON FUNCTION pg_catalog.lo_unlink(oid) FROM PUBLIC",
        "lo_unlink"),
    "matview emptied": ("REFRESH MATERIALIZED VIEW a_matview WITH NO DATA", "populated is false"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_catches(fault: str, reference: content_digest.ContentDigest, copy: Database) -> None:
    statement, word = FAULTS[fault]
    sequences = content_digest.read_sequences
    with copy.session() as session:
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        session.execute(f"SET LOCAL search_path = public; {statement}; SET LOCAL search_path = pg_catalog, pg_temp")
        wrong = content_digest.take(copy, session=session, itself=True)
        session.execute("ROLLBACK")
        if "setval" in statement:  # sequences do not roll back
            session.execute("SELECT setval('public.called_once', 1), setval('public.never_used', 42, false)")
        assert sequences(session)["public"] == reference.sequences["public"]
    said = content_digest.compare(reference, wrong)
    assert any(word in sentence for sentence in said), said
    assert wrong.digest != reference.digest


def test_dump_after_dump_is_stable(copy: Database, original: Database) -> None:
    """``CHECK (v IN (…))`` is deparsed otherwise after one round: that is the same constraint."""
    key = "constraint sel;ect '--.v in"
    left, right = (content_digest.take(db).catalog["public"][key]["definition"] for db in (original, copy))
    assert left != right, "PostgreSQL deparses it the same now: the normalisation can go"


def test_moving_sequences_are_accepted_only_between_the_readings(
    reference: content_digest.ContentDigest, copy: Database
) -> None:
    later = {"public": {**reference.sequences["public"], "called_once": Position("9", is_called=True)}}
    base = content_digest.take(copy)
    for value, good in (("1", True), ("5", True), ("9", True), ("10", False), ("0", False)):
        moved = {"public": {**base.sequences["public"], "called_once": Position(value, is_called=True)}}
        found = content_digest.ContentDigest(
            base.tables, {**base.sequences, **moved}, base.large_objects, base.catalog, base.notes
        )
        moving = {**reference.sequences, **later}
        assert (content_digest.compare(reference, found, moving=moving) == []) is good, value


def test_sees_one_snapshot(original: Database, reference: content_digest.ContentDigest) -> None:
    with as_app(original).session() as writer, content_digest.snapshot_session(original) as session:
        session.execute("SELECT 1")
        writer.execute("INSERT INTO parent VALUES (9, 'later')")
        try:
            inside = content_digest.take(original, session=session)
        finally:
            writer.execute("DELETE FROM ONLY parent WHERE a = 9")
    assert content_digest.compare(reference, inside) == []


def test_settings_of_the_database_do_not_matter(original: Database, reference: content_digest.ContentDigest) -> None:
    name = quote_ident(original.conninfo.dbname)
    for setting in (
        "TimeZone TO 'Asia/Tokyo'", "DateStyle TO 'German'", "extra_float_digits TO -5", "IntervalStyle TO iso_8601",
        "bytea_output TO escape", "search_path TO nowhere", "role TO pap_reader", "statement_timeout TO 1",
        "default_transaction_read_only TO on", "transform_null_equals TO on", "standard_conforming_strings TO off",
    ):  # fmt: skip
        original.execute(f"ALTER DATABASE {name} SET {setting}")
    try:
        assert content_digest.compare(reference, content_digest.take(original)) == []
    finally:
        original.execute(f"ALTER DATABASE {name} RESET ALL")


def test_schemas_can_be_ignored(original: Database, reference: content_digest.ContentDigest) -> None:
    as_app(original).execute(
        "CREATE SCHEMA ledger; CREATE TABLE ledger.l (id serial); INSERT INTO ledger.l DEFAULT VALUES"
    )
    try:
        grown = content_digest.take(original)
        assert content_digest.compare(reference, grown) != []
        assert content_digest.compare(reference, grown, ignore_schemas=("ledger",)) == []
        assert content_digest.compare(reference, content_digest.take(original, ignore_schemas=("ledger",))) == []
    finally:
        as_app(original).execute("DROP SCHEMA ledger CASCADE")


def test_refuses_what_it_may_not_read(original: Database) -> None:
    """A role that row security hides rows from gets an error, never a content digest of a part."""
    as_reader = Database(
        original.site,
        replace(original.conninfo, user="pap_reader", password="pw"),
        original.bin_dir,
    )
    with pytest.raises(CommandFailed):
        content_digest.take(as_reader)
