"""What a migration says must hold before and after it, and what must hold after every deploy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from papdeploy.cli.command import main
from papdeploy.core.errors import PapError, Refused
from papdeploy.migrations import files, handlers, invariants
from papdeploy.migrations.run import apply
from support import ROOT
from support.migration_runner import Bench
from support.postgres_servers import Server

pytestmark = pytest.mark.every_version

UNIQUE = '''"""Names are unique."""
def check_before(db):
    return db.rows("SELECT name, count(*) AS count FROM users GROUP BY name HAVING count(*) > 1 ORDER BY 1")

def upgrade(db):
    db.execute("ALTER TABLE users ADD CONSTRAINT users_name UNIQUE (name)")
'''
FILL = '''"""Everybody has a plan."""
def upgrade(db):
    db.execute("ALTER TABLE users ADD COLUMN plan text")
    db.execute("UPDATE users SET plan = 'free' WHERE id < {below}")

def check_after(db):
    return db.rows("SELECT id, name, password FROM users WHERE plan IS NULL ORDER BY id")
'''
NOBODY = {"invariants/names.sql": "-- Nobody is called root.\nSELECT id, name FROM users WHERE name = 'root';\n"}


@pytest.fixture
def bench(server: Server, database: str) -> Bench:
    made = Bench(server, database)
    made.sql("CREATE TABLE users (id int PRIMARY KEY, name text, password text)")
    made.sql("INSERT INTO users SELECT g, 'name ' || g, 'hunter2-' || g FROM generate_series(1, 30) AS g")
    return made


def run(bench: Bench, sources: dict[str, str], what: str = "apply", **options: Any) -> dict[str, Any]:
    request = {"url": bench.url, "sources": sources, "options": options}
    return handlers.CALLS[f"migrations.{what}"](request, lambda _: None)


def test_before(bench: Bench) -> None:
    sources = {"2026_01_01_unique.py": UNIQUE}
    assert run(bench, sources, "plan")["problems"] == []
    bench.sql("UPDATE users SET name = 'name 2' WHERE id < 5")
    said = "check_before() does not hold: 1 row, the first is name=name 2, count=4."
    (problem,) = run(bench, sources, "plan")["problems"]
    assert problem["kind"] == "check" and said in problem["message"]
    with pytest.raises(PapError) as caught:
        run(bench, sources)
    assert said in caught.value.message and caught.value.data["identity"] == "2026_01_01_unique"
    assert bench.applied() == []
    bench.sql("UPDATE users SET name = id::text")
    assert len(run(bench, sources)["applied"]) == 1


@pytest.mark.parametrize("head", ["", "transactional = False\n"])
def test_after(bench: Bench, head: str) -> None:
    def source(below: int) -> dict[str, str]:
        return {"2026_01_01_fill.py": FILL.format(below=below).replace("ADD COLUMN", "ADD COLUMN IF NOT EXISTS")
                .replace("def upgrade", head + "def upgrade", 1)}  # fmt: skip

    with pytest.raises(PapError) as caught:
        run(bench, source(17))
    error = caught.value
    assert (
        "check_after() does not hold: more than 10 rows, the first is id=17, name=********, password=" in error.message
    )
    assert "hunter2" not in str(error.as_dict()) and len(error.data["rows"].splitlines()) == 11
    assert bench.applied() == [] and bench.columns("users") == ["id", "name", "password", *(["plan"] if head else [])]
    assert len(run(bench, source(99))["applied"]) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    {
        "raises": (
            "raise ValueError('three of them')",
            r"check_before\(\) failed \(line 3\): ValueError: three of them",
        ),
        "writes": ("db.execute('DELETE FROM users')", r"check_before\(\) failed \(line 3\): ReadOnlySqlTransaction"),
        "writes by a function": ("db.scalar('SELECT clean()')", "ReadOnlySqlTransaction"),
        "wants to write": ("db.execute('SET transaction_read_only = off')", "cannot set transaction read-write mode"),
        "swallows": (
            "try:\n        db.execute('DELETE FROM users')\n    except Exception:\n        pass",
            "an error of the database was caught and passed over",
        ),
        "ends the transaction": ("db.execute('COMMIT')", "COMMIT was sent"),
        "returns no rows": ("return True", "returned something that is no rows"),
        "a generator": ("yield from db.rows('SELECT id FROM users WHERE id = 3')", "1 row, the first is id=3"),
        "SQLAlchemy": (
            "import sqlalchemy as sa\n    return db.connection.execute(sa.text('SELECT 1 AS x, 2 AS y')).fetchall()",
            "the first is x=1, y=2",
        ),
        "values": ("return [7, 8]", "2 rows, the first is 7"),
        "another connection": (
            "import psycopg2\n    psycopg2.connect('host=127.0.0.1')",
            "(opened a second connection|opens a connection|starts a program|OperationalError)",
        ),
    }.values(),
)
@pytest.mark.parametrize("what", ["plan", "apply"])
def test_what_a_check_may_get_up_to(bench: Bench, body: str, said: str, what: str) -> None:
    bench.sql("CREATE FUNCTION clean() RETURNS int LANGUAGE sql AS 'DELETE FROM users; SELECT 1'")
    sources = {"2026_01_01_a.py": f'"""A."""\ndef check_before(db):\n    {body}\ndef upgrade(db):\n    pass\n'}
    if what == "plan":
        (problem,) = run(bench, sources, "plan")["problems"]
        assert re.search(said, problem["message"])
    else:
        with pytest.raises(PapError, match=said):
            run(bench, sources)
    assert bench.scalar("SELECT count(*) FROM users") == 30 and bench.applied() == []


@pytest.mark.parametrize("head", ["", "transactional = False\n"])
def test_a_check_leaves_nothing_and_the_migration_writes_after_it(bench: Bench, head: str) -> None:
    body = (
        "    db.execute('SET search_path = pg_catalog')\n    db.execute('PREPARE q AS SELECT 1')\n"
        "    return db.rows('SELECT 1 WHERE false')\n"
    )
    source = (
        f"{head}def check_before(db):\n{body}def upgrade(db):\n    db.execute('UPDATE users SET name = upper(name)')\n"
    )
    run(bench, {"2026_01_01_a.py": source + f"def check_after(db):\n{body}"})
    assert bench.scalar("SELECT count(*) FROM users WHERE name LIKE 'NAME%'") == 30


def test_what_an_earlier_one_brings_is_not_known_yet(bench: Bench) -> None:
    later = 'def check_before(db):\n    return db.rows("SELECT 1 FROM users WHERE plan IS NULL")\ndef upgrade(db):\n    pass\n'
    sources = {"2026_01_01_fill.py": FILL.format(below=99), "2026_01_02_use.py": later}
    answer = run(bench, sources, "plan")
    assert answer["problems"] == [] and "2026_01_02_use: what it checks is not there before" in answer["text"]
    assert len(run(bench, sources)["applied"]) == 2


def test_invariants_hold_after_every_deploy(bench: Bench) -> None:
    rename = {"2026_01_01_a.py": "def upgrade(db):\n    db.execute(\"UPDATE users SET name = 'root' WHERE id = 7\")\n"}
    with pytest.raises(PapError, match=r"invariants/names.sql does not hold: 1 row, the first is id=7, name=root"):
        run(bench, {**rename, **NOBODY})
    assert bench.applied() == [] and bench.scalar("SELECT name FROM users WHERE id = 7") == "name 7"
    bench.sql("UPDATE users SET name = 'root' WHERE id = 9")
    with pytest.raises(PapError, match="id=9"):
        run(bench, NOBODY)  # nothing is pending
    assert [p["identity"] for p in run(bench, NOBODY, "plan")["problems"]] == ["invariants/names.sql"]
    mend = {"2026_01_01_a.sql": "UPDATE users SET name = 'r' WHERE name = 'root'", **NOBODY}
    plan = run(bench, mend, "plan")  # the deploy is to mend it
    assert plan["problems"] == [] and "now, before this deploy: The invariant invariants/names.sql" in plan["text"]
    assert len(run(bench, mend)["applied"]) == 1
    with pytest.raises(PapError, match=r"invariants/x.sql cannot be asked: .*\"nothing\" does not exist"):
        run(bench, {**mend, "invariants/x.sql": "SELECT 1 FROM nothing"})
    with pytest.raises(PapError, match="cannot be asked: WITH clause containing a data-modifying"):
        run(bench, {**mend, "invariants/x.sql": "WITH x AS (DELETE FROM users RETURNING 1) TABLE x"})


HIDDEN = {
    "under another name": "SELECT id, name AS n FROM (SELECT id, password AS name FROM users) u WHERE id = 7",
    "in an expression": "SELECT id, 'it is ' || upper(password) AS told FROM users WHERE id = 7",
    "as JSON": "SELECT id, jsonb_build_object('p', password) AS told FROM users WHERE id = 7",
    "as an array": "SELECT id, ARRAY[password] AS told FROM users WHERE id = 7",
}


@pytest.mark.parametrize("query", HIDDEN.values(), ids=[*HIDDEN])
def test_a_secret_is_not_shown_by_another_name(bench: Bench, query: str) -> None:
    bench.sql("UPDATE users SET password = 'plain words'")
    check = f"def check_before(db):\n    return db.rows({query!r})\n\n\ndef upgrade(db):\n    pass\n"
    for sources in ({"invariants/x.sql": query}, {"2026_01_01_a.py": check}):
        with pytest.raises(PapError, match=r"the first is id=7, \w+=\*+") as refused:
            run(bench, sources)
        assert "plain words" not in repr(refused.value.as_dict()).lower()


@pytest.mark.parametrize("text", ["", "DELETE FROM users", "SELECT 1; SELECT 2", "\\d users\nSELECT 1"])
def test_an_invariant_is_one_query(text: str) -> None:
    with pytest.raises(Refused, match="an invariant is one query"):
        invariants.load_sources({"invariants/x.sql": text})


def test_a_downgrade_is_not_held_to_them(bench: Bench) -> None:
    source = {
        "2026_01_01_fill.py": FILL.format(below=99)
        + "\ndef downgrade(db):\n    db.execute('ALTER TABLE users DROP plan')\n"
    }
    run(bench, source)
    assert len(bench.revert(source, count=1).reverted) == 1


def test_the_console_shows_the_rows(bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "2026_01_01_unique.py").write_text(UNIQUE)
    (tmp_path / "invariants").mkdir()
    (tmp_path / "invariants" / "names.sql").write_text(NOBODY["invariants/names.sql"])
    place = ["--migrations", str(tmp_path), "--database-url", bench.url]
    bench.sql("UPDATE users SET name = 'root' WHERE id IN (3, 5)")
    assert main(["plan", *place]) == 1
    assert "check_before() does not hold: 1 row, the first is name=root, count=2" in capsys.readouterr().out
    assert main(["migrate", *place]) == 1
    assert "  rows:\n    name=root, count=2" in capsys.readouterr().err
    bench.sql("UPDATE users SET name = 'x' WHERE id = 3")
    assert main(["migrate", *place]) == 1
    assert "  rows:\n    id=5, name=root" in capsys.readouterr().err and bench.applied() == []


def test_nothing_is_asked_where_nothing_is_to_hold(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("papdeploy.core.alone.os.fork", lambda: asked.append("fork"))
    loaded = files.load_sources({"2026_01_01_a.py": "def upgrade(db):\n    pass\n"})
    assert apply.apply(bench.url, loaded).applied and asked == []


PAGE = (ROOT / "docs" / "migrations.md").read_text()


def test_the_examples_of_the_page_run(bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What docs/migrations.md shows is written into a folder and taken through the commands that it shows."""

    def block(kind: str, after: str) -> str:
        return PAGE.split(after)[1].split(f"```{kind}\n")[1].split("```")[0]

    bench.sql("ALTER TABLE users ADD email text")
    place = ["--migrations", str(tmp_path), "--database-url", bench.url]
    (tmp_path / "2026_01_31_add_api_key.py").write_text(block("python", "## Write one"))
    (tmp_path / "2026_02_01_orders.sql").write_text(block("sql", "### In plain SQL"))
    (tmp_path / "2026_02_02_email.py").write_text(block("python", "### What must hold"))
    assert main(["lint", "--offline", *place]) == 0
    assert main(["plan", *place]) == 1
    assert "check_before() does not hold: 1 row, the first is email=None, count=30." in capsys.readouterr().out
    bench.sql("UPDATE users SET email = id::text WHERE id > 1")
    assert main(["plan", *place]) == 0 and main(["migrate", *place]) == 1
    assert "check_after() does not hold: 1 row, the first is id=1." in capsys.readouterr().err
    bench.sql("UPDATE users SET email = id::text")
    for line in ("plan", "migrate", "status"):
        assert main([line, *place]) == 0
    assert bench.applied() == ["2026_01_31_add_api_key", "2026_02_01_orders", "2026_02_02_email"]
    bench.sql("DROP SCHEMA pap_deploy CASCADE")
    commands = block("", "### Adopt a database")
    for line in commands.strip().splitlines():
        assert main([*line.partition("#")[0].split()[3:], *place]) == 0
    assert bench.applied() == ["2026_01_31_add_api_key", "2026_02_01_orders", "2026_02_02_email"]
    assert main(["revert", *place, "2026_02_01_orders"]) == 0 and "orders" not in bench.tables()


def test_checks_of_a_sql_file(bench: Bench) -> None:
    source = """-- migrate: up
ALTER TABLE users ADD COLUMN plan text;
UPDATE users SET plan = 'free' WHERE id < 30;
-- migrate: down
ALTER TABLE users DROP COLUMN plan;
-- migrate: check_before
SELECT 1 WHERE false;
SELECT id, name FROM users WHERE id > {above} ORDER BY id;
-- migrate: check_after
SELECT id, password FROM users WHERE plan IS NULL;
"""
    refused = {"2026_01_01_plan.sql": source.format(above=28)}
    (problem,) = run(bench, refused, "plan")["problems"]
    assert "check_before() does not hold: 2 rows, the first is id=29, name=name 29." in problem["message"]
    with pytest.raises(PapError, match=r"check_after\(\) does not hold: 1 row, the first is id=30") as caught:
        run(bench, {"2026_01_01_plan.sql": source.format(above=30)})
    assert "hunter2" not in str(caught.value.data)
    assert bench.sql("SELECT count(*) FROM information_schema.columns WHERE column_name = 'plan'") == [(0,)]
    bench.sql("DELETE FROM users WHERE id = 30")
    right = {"2026_01_01_plan.sql": source.format(above=30)}
    assert run(bench, right)["changed"]
    assert len(bench.revert(right, count=1).reverted) == 1


def test_a_check_of_a_sql_file_only_reads(bench: Bench) -> None:
    source = "SELECT 1;\n-- migrate: check_after\nDELETE FROM users RETURNING id;\n"
    with pytest.raises(PapError, match=r"read-only"):
        run(bench, {"2026_01_01_plan.sql": source})
    assert bench.scalar("SELECT count(*) FROM users") == 30
