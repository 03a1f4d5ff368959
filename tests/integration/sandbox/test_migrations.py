"""The two shipped migrations, and those of the candidate releases, between the schemas of the releases' models."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
from support.postgres_servers import Server
from support.sandbox_stack import ROOT, run_migrations, shipped_migrations

from sandbox.build import build_all

CREATE_ALL = "import app.models, app.models_config, app.database as d; d.Base.metadata.create_all(d.engine)"
OWN = ROOT / "sandbox" / "migrations"
NEXT = OWN / "next" / "2025_11_10_add_audit_request_id.py"
BROKEN = OWN / "broken-migration" / "2025_11_12_add_display_name.py"

# One line per thing, as the server itself spells it. Written for this test; the schema check is not used here.
DESCRIBE = """
SELECT format('column %s.%s %s%s default %s identity %s', relname, attname, format_type(atttypid, atttypmod),
              CASE WHEN attnotnull THEN ' not null' ELSE '' END, pg_get_expr(adbin, adrelid), attidentity)
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT format('constraint %s %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid), convalidated)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT 'index ' || pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON oid = indexrelid
WHERE relnamespace = 'public'::regnamespace
UNION ALL
SELECT format('sequence %s %s of %s.%s', s.seqrelid::regclass, format_type(s.seqtypid, NULL), d.refobjid::regclass,
              (SELECT attname FROM pg_attribute WHERE attrelid = d.refobjid AND attnum = d.refobjsubid))
FROM pg_sequence AS s JOIN pg_depend AS d ON d.objid = s.seqrelid AND d.deptype IN ('a', 'i')
UNION ALL
SELECT format('label %s %s', enumtypid::regtype, enumlabel) FROM pg_enum
ORDER BY 1
"""
# Of the seeded tables: who changes seed.sql changes these.
DIGESTS = {
    "users": "6cc34930e2ff32d8a33a45550bed678a",
    "policies": "3bdadb3e5b775e4d937c0a1ebf231324",
    "audit_logs": "7a3cd1d7c91e165abc65afc832cbdb24",
}
CONTENT = "SELECT count(*), sum(hashtextextended(t::text, 0)::numeric) FROM (SELECT {columns} FROM {table}) AS t"


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("releases")
    build_all(folder)
    return folder


@pytest.fixture
def made(server: Server, releases: Path) -> Iterator[Any]:
    """Makes a database with the schema of a release; returns its name."""
    names = []

    def make(release: str) -> str:
        name = server.create("sandbox")
        names.append(name)
        environment = {**os.environ, "DATABASE_URL": server.url(name, "postgresql"), "PYTHONDONTWRITEBYTECODE": "1"}
        subprocess.run(
            [sys.executable, "-c", CREATE_ALL], cwd=releases / release, env=environment, check=True, timeout=60,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        return name

    yield make
    for name in names:
        server.drop(name)


@pytest.fixture
def seeded(server: Server, made: Any) -> str:
    """A database of the previous release with its data."""
    name = str(made("previous"))
    subprocess.run(
        [server.bin_dir / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", "password_hash=x",
         "-d", server.url(name, "postgresql"), "-f", ROOT / "sandbox" / "seed.sql"],
        check=True, timeout=60,
    )  # fmt: skip
    return name


def describe(server: Server, name: str) -> list[str]:
    return [line for (line,) in server.sql(DESCRIBE, name)]


def migrate(server: Server, name: str, paths: list[Path], function: str = "upgrade") -> None:
    connection = server.connect(name)
    try:
        connection.autocommit = False
        with connection, connection.cursor() as cursor:
            run_migrations(cursor, paths, function)
    finally:
        connection.close()


def contents(server: Server, name: str, columns: dict[str, list[str]]) -> dict[str, Any]:
    queries = {table: CONTENT.format(columns=", ".join(names), table=table) for table, names in columns.items()}
    return {table: server.sql(query, name)[0] for table, query in queries.items()}


def columns_of(server: Server, name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    rows = server.sql(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' "
        "ORDER BY table_name, ordinal_position", name)  # fmt: skip
    for table, column in rows:
        found.setdefault(table, []).append(column)
    return found


def test_the_shipped_migrations_lead_from_previous_to_current(server: Server, made: Any) -> None:
    database = made("previous")
    before = describe(server, database)
    expected = describe(server, made("current"))
    migrate(server, database, shipped_migrations())
    after = describe(server, database)
    assert after == expected
    assert set(before) < set(after)  # only additions: the previous API still works


def test_the_downgrades_lead_back(server: Server, made: Any) -> None:
    database = made("previous")
    before = describe(server, database)
    for step in shipped_migrations():
        migrate(server, database, [step])
    for step in reversed(shipped_migrations()):
        migrate(server, database, [step], "downgrade")
    assert describe(server, database) == before


def test_the_next_release_has_one_more_and_back(server: Server, made: Any) -> None:
    database = made("current")
    before = describe(server, database)
    expected = describe(server, made("next"))
    migrate(server, database, [NEXT])
    assert describe(server, database) == expected != before
    migrate(server, database, [NEXT], "downgrade")
    assert describe(server, database) == before


def test_real_rows_survive_and_no_table_is_rewritten(server: Server, seeded: str) -> None:
    columns = columns_of(server, seeded)
    before = contents(server, seeded, columns)
    assert {table: rows for table, (rows, _) in before.items()} == {
        "users": 3000, "user_sessions": 1500, "policies": 5000, "protected_resources": 4000, "peps": 300,
        "environments": 4, "audit_logs": 50000,
    }  # fmt: skip
    files = "SELECT relname, relfilenode FROM pg_class WHERE relkind = 'r' AND relname = ANY (ARRAY{}) ORDER BY 1"
    query = files.format(list(columns))
    relfilenodes = server.sql(query, seeded)
    migrate(server, seeded, shipped_migrations())
    assert contents(server, seeded, columns) == before
    assert server.sql(query, seeded) == relfilenodes
    marked = "SELECT count(*) FROM protected_resources WHERE NOT auto_discovered AND bouncer_id IS NULL"
    assert server.sql(marked, seeded) == [(4000,)]
    assert server.sql("SELECT count(*) FROM policies WHERE folder = 'enabled' AND rego_code IS NULL", seeded) == [
        (5000,)
    ]
    migrate(server, seeded, list(reversed(shipped_migrations())), "downgrade")
    assert contents(server, seeded, columns) == before


def test_the_data_is_not_all_ascii_and_the_same_each_time(server: Server, seeded: str) -> None:
    for table, column in (("users", "full_name"), ("policies", "conditions"), ("protected_resources", "attributes"),
                          ("audit_logs", "details"), ("peps", "configuration")):  # fmt: skip
        query = f"SELECT count(*) FROM {table} WHERE {column}::text ~ '[^\\x01-\\x7f]'"
        assert server.sql(query, seeded)[0][0] > 0, table
    query = "SET timezone = 'UTC'; SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM {} AS t"
    assert {table: server.sql(query.format(table), seeded)[0][0] for table in DIGESTS} == DIGESTS


def test_the_broken_migration_works_without_data_and_fails_with_it(server: Server, made: Any, seeded: str) -> None:
    empty = made("previous")
    migrate(server, empty, [*shipped_migrations(), BROKEN])
    assert describe(server, empty) == describe(server, made("broken-migration"))
    before = describe(server, seeded)
    with pytest.raises(psycopg2.errors.UniqueViolation, match="ix_users_display_name"):
        migrate(server, seeded, [*shipped_migrations(), BROKEN])
    assert describe(server, seeded) == before


def test_the_broken_model_has_what_no_migration_adds(server: Server, made: Any) -> None:
    database = made("previous")
    migrate(server, database, shipped_migrations())
    missing = set(describe(server, made("broken-model"))) - set(describe(server, database))
    assert len(missing) == 1
    assert missing.pop().startswith("column policies.review_due timestamp with time zone")
