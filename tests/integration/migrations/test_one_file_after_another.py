"""What one migration leaves behind neither fails nor changes the next one, and what fails is named by its file."""

from __future__ import annotations

import pytest
from papdeploy.core.errors import PapError
from support.migration_runner import Bench, migration
from support.postgres_servers import Server

pytestmark = pytest.mark.every_version

BASE = """
CREATE TABLE teams (id int PRIMARY KEY);
CREATE TABLE people (id int PRIMARY KEY, note text, place int, CONSTRAINT people_place UNIQUE (place) DEFERRABLE,
                     team_id int CONSTRAINT people_team REFERENCES teams DEFERRABLE INITIALLY DEFERRED);
INSERT INTO teams VALUES (1); INSERT INTO people VALUES (1, NULL, 1, 1), (2, NULL, 2, 1);
"""


@pytest.fixture
def bench(server: Server, database: str) -> Bench:
    made = Bench(server, database)
    made.sql(BASE)
    return made


def two(first: str, second: str) -> dict[str, str]:
    return {"2026_01_01_first.py": migration(first), "2026_01_02_second.py": migration(second)}


def test_rows_of_one_file_and_alter_of_the_next(bench: Bench) -> None:
    bench.apply(
        two(
            'db.execute("INSERT INTO people (id, team_id) VALUES (3, 7)")\n'  # before its team: deferred
            'db.execute("INSERT INTO teams VALUES (7)")\ndb.execute("UPDATE people SET note = coalesce(note, \'\')")',
            'db.execute("ALTER TABLE people ALTER note SET NOT NULL")\n'
            "db.execute(\"INSERT INTO people (id, note, team_id) VALUES (4, '', 8)\")\n"  # deferred in this one as well
            'db.execute("INSERT INTO teams VALUES (8)")',
        )
    )
    assert bench.scalar("SELECT count(*) FROM people") == 4


def test_the_file_that_broke_a_deferred_constraint_is_named(bench: Bench) -> None:
    sources = two('db.execute("UPDATE people SET team_id = 99")', 'db.execute("ALTER TABLE teams ADD n int")')
    with pytest.raises(PapError, match=r"2026_01_01_first failed at its end, .*people_team") as caught:
        bench.apply(sources)
    assert caught.value.data["sqlstate"] == "23503" and caught.value.data["identity"] == "2026_01_01_first"
    assert bench.scalar("SELECT max(team_id) FROM people") == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("SET CONSTRAINTS ALL DEFERRED", "UPDATE people SET place = 3 - place"),  # would pass if it were still deferred
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "UPDATE people SET place = 1"),
    ],
)
def test_a_constraint_is_checked_when_it_says_so(bench: Bench, first: str, second: str) -> None:
    bench.sql("ALTER TABLE people DROP CONSTRAINT people_place; ALTER TABLE people ADD CONSTRAINT people_place"
              " UNIQUE (place) DEFERRABLE INITIALLY IMMEDIATE")  # fmt: skip
    late = f'db.execute("{second}")\ndb.execute("UPDATE people SET place = id")'
    if "3 - place" in second:
        bench.apply(two(f'db.execute("{first}")', late))
        return
    with pytest.raises(PapError, match=r"2026_01_02_second failed \(line 6\): UniqueViolation"):
        bench.apply(two(f'db.execute("{first}")', late))


@pytest.mark.parametrize(
    ("leaves", "notices"),
    {
        "temporary table": ("CREATE TEMP TABLE teams AS SELECT 5 AS n", "SELECT id FROM teams"),
        "temporary table of a block": (
            "DO $$ BEGIN CREATE TEMP TABLE scratch (n int); END $$",
            "CREATE TEMP TABLE scratch (m int)",
        ),
        "temporary view": ("CREATE TEMP VIEW people AS SELECT 1 AS x", "SELECT team_id FROM people"),
        "prepared statement": ("PREPARE q AS SELECT 1", "PREPARE q AS SELECT 2"),
        "cursor": ("DECLARE c CURSOR FOR SELECT 1", "DECLARE c CURSOR FOR SELECT 2"),
        "held cursor": ("DECLARE c CURSOR WITH HOLD FOR SELECT id FROM teams", "DECLARE c CURSOR FOR SELECT 2"),
        "search path": ("SET search_path = pg_catalog", "SELECT id FROM teams"),
        "search path of a dump": ("SELECT pg_catalog.set_config('search_path', '', false)", "SELECT id FROM teams"),
    }.values(),
)
@pytest.mark.parametrize("head", ["", "transactional = False"])
def test_nothing_of_the_session_is_left(bench: Bench, leaves: str, notices: str, head: str) -> None:
    if head and leaves.startswith("DECLARE c CURSOR FOR"):
        pytest.skip("such a cursor is refused outside a transaction")
    sources = {
        "2026_01_01_first.py": migration(f'db.execute("""{leaves}""")', head=head),
        "2026_01_02_second.py": migration(f'db.execute("""{notices}""")'),
    }
    assert len(bench.apply(sources).applied) == 2


def test_a_new_enum_label_is_committed_first(bench: Bench) -> None:
    bench.sql("CREATE TYPE state AS ENUM ('open'); CREATE TABLE jobs (state state NOT NULL DEFAULT 'open')")
    sources = two(
        "db.execute(\"ALTER TYPE state ADD VALUE 'parked'\")",
        "db.execute(\"ALTER TABLE jobs ALTER state SET DEFAULT 'parked'\")",
    )
    with pytest.raises(PapError, match="2026_01_02_second failed") as caught:
        bench.apply(sources)
    assert "--transaction each" in caught.value.hint and "transactional = False" in caught.value.hint
    assert len(bench.apply(sources, transaction="each").applied) == 2


def test_rows_and_alter_in_one_file_say_what_helps(bench: Bench) -> None:
    body = 'db.execute("INSERT INTO people (id, team_id) VALUES (3, 1)")\n{}db.execute("ALTER TABLE people ADD x int")'
    with pytest.raises(PapError) as caught:
        bench.apply({"2026_01_01_a.py": migration(body.format(""))})
    assert "SET CONSTRAINTS ALL IMMEDIATE" in caught.value.hint
    checked = body.format('db.execute("SET CONSTRAINTS ALL IMMEDIATE")\n')
    assert bench.apply({"2026_01_01_a.py": migration(checked)}).changed


def test_a_dump_of_psql_is_named_as_such(bench: Bench) -> None:
    dump = "\\\\restrict x\nCREATE TABLE b (id int);\n"
    with pytest.raises(PapError, match=r"sends \\restrict, which only psql understands \(line 7\)") as caught:
        bench.apply({"2026_01_01_a.py": migration(f"try:\n    db.execute('''{dump}''')\nexcept Exception:\n    pass")})
    assert "statement" not in caught.value.data
    with pytest.raises(PapError) as caught:
        bench.apply({"2026_01_01_a.py": migration("db.execute('COPY teams FROM STDIN')")})
    assert "--inserts" in caught.value.hint


@pytest.mark.parametrize("head", ["", "transactional = False"])
def test_autocommit_block_of_alembic(bench: Bench, head: str) -> None:
    pytest.importorskip("alembic")
    bench.sql("CREATE TYPE kind AS ENUM ('x')")
    body = "with db.op.get_context().autocommit_block():\n    db.op.execute(\"ALTER TYPE kind ADD VALUE 'z'\")"
    assert bench.apply({"2026_01_01_a.py": migration(body, head=head)}).changed
    assert bench.scalar("SELECT count(*) FROM pg_enum") == 2
