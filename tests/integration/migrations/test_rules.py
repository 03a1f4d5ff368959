"""A migration that breaks a rule of the runner is found, named, and leaves nothing behind."""

from __future__ import annotations

import sys

import pytest
from papdeploy.core.errors import PapError
from support.migration_runner import ADD_X, CREATE_A, Bench, migration
from support.postgres_servers import Server

# What a migration may get up to after it has changed something -> what the message says.
MISDEEDS = {
    "COMMIT as text": ('db.execute("COMMIT")', "COMMIT was sent"),
    "commit in a longer text": ('db.execute("SELECT 1; /* x */ commit; SELECT 2")', "COMMIT was sent"),
    "END": ('db.execute("end transaction")', "END TRANSACTION was sent"),
    "ROLLBACK": ('db.execute("ROLLBACK")', "ROLLBACK was sent"),
    "BEGIN": ('db.execute("BEGIN")', "BEGIN was sent"),
    "PREPARE TRANSACTION": ("db.execute(\"PREPARE TRANSACTION 'x'\")", "PREPARE TRANSACTION was sent"),
    "SQLAlchemy commit": (
        "db.connection.exec_driver_sql('SELECT 1')\ndb.connection.commit()",
        r"commit\(\) was called",
    ),
    "SQLAlchemy rollback": (
        "db.connection.exec_driver_sql('SELECT 1')\ndb.connection.rollback()",
        r"rollback\(\) was called",
    ),
    "SQLAlchemy text": ('from sqlalchemy import text\ndb.connection.execute(text("COMMIT"))', "COMMIT was sent"),
    "driver commit": ("db.connection.connection.commit()", r"commit\(\) was called"),
    "driver rollback": ("db.connection.connection.rollback()", r"rollback\(\) was called"),
    "driver cursor": ("db.connection.connection.cursor().execute('COMMIT')", "COMMIT was sent"),
    "driver close": ("db.connection.connection.dbapi_connection.close()", r"close\(\) was called"),
    "autocommit": ("db.connection.connection.dbapi_connection.autocommit = False", "transaction mode was changed"),
    "commit, error swallowed": (
        "try:\n    db.connection.connection.commit()\nexcept Exception:\n    pass",
        r"commit\(\) was called",
    ),
    "COMMIT, error swallowed": ('try:\n    db.execute("COMMIT")\nexcept BaseException:\n    pass', "COMMIT was sent"),
    "error swallowed": (
        'try:\n    db.execute("SELECT 1/0")\nexcept Exception:\n    print("completed successfully")',
        "swallowed an error and went on: division by zero",
    ),
    "error swallowed, SQLAlchemy": (
        "try:\n    db.connection.exec_driver_sql('SELECT 1/0')\nexcept Exception:\n    pass",
        "swallowed an error and went on: division by zero",
    ),
    "sys.exit(0)": ("import sys\nsys.exit(0)", r"called sys.exit\(0\)"),
    "sys.exit(1)": ("import sys\nsys.exit(1)", r"called sys.exit\(1\)"),
    "os._exit(0)": ("import os\nos._exit(0)", r"os._exit\(0\) was called \(line 8\)"),
    "returns False": ("return False", r"upgrade\(\) returned False"),
    "raises": ("raise RuntimeError('no')", "RuntimeError: no"),
    "second connection, driver": (
        "import os, psycopg2\npsycopg2.connect(os.environ['TEST_URL'])",
        r"opened a second connection \(psycopg2.connect\) \(line 8\)",
    ),
    "second connection, engine": (
        "import os, sqlalchemy\nsqlalchemy.create_engine(os.environ['TEST_SA_URL']).connect()",
        "opened a second connection",
    ),
    "second connection, swallowed": (
        "import os, psycopg2\ntry:\n    psycopg2.connect(os.environ['TEST_URL'])\nexcept Exception:\n    pass",
        "opened a second connection",
    ),
    "second connection, thread": (
        "import os, psycopg2, threading\n"
        "t = threading.Thread(target=lambda: psycopg2.connect(os.environ['TEST_URL']))\nt.start()\nt.join()",
        "opened a second connection",
    ),
    "second connection, child process": (
        "import os, subprocess, sys\n"
        "code = 'import os, psycopg2; psycopg2.connect(os.environ[\"TEST_URL\"])'\n"
        "subprocess.run([sys.executable, '-c', code], check=True, stderr=subprocess.DEVNULL)",
        "CalledProcessError",
    ),
    "a thread that goes on": (
        "import threading\nover = threading.Event()\n"
        "t = threading.Thread(target=lambda: (over.wait(20), db.execute('SELECT 1')))\nt.start()\n"
        "import builtins\nbuiltins.pap_test_thread = (over, t)",
        "went on working after its function had returned",
    ),
    "a generator": ("def parts():\n    yield db.execute('SELECT 1')\nreturn parts()", "returned a generator"),
    "an exception outside of Exception": ("raise GeneratorExit('x')", "GeneratorExit: x"),
    "the runner's own tables": ('db.execute("DROP SCHEMA pap_deploy CASCADE")', "own schema pap_deploy was changed"),
    "the lock is released": ('db.execute("SELECT pg_advisory_unlock_all()")', "advisory lock is gone"),
    "unknown parameter": ('db.execute("SELECT 1", {"id": 1})', "no placeholder :id"),
    "not Python": ("undefined_name", "NameError"),
}


@pytest.fixture
def bench(server: Server, database: str, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("TEST_URL", server.url(database, "postgresql"))
    monkeypatch.setenv("TEST_SA_URL", server.url(database))
    return Bench(server, database)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("deed", MISDEEDS)
def test_misdeed_fails_the_whole_batch(bench: Bench, deed: str) -> None:
    code, message = MISDEEDS[deed]
    bad = migration('db.execute("ALTER TABLE a ADD COLUMN bad int")\n' + code)
    after = migration(
        """
        import builtins
        if hasattr(builtins, "pap_test_thread"):  # the thread of the migration before goes on only now
            over, thread = builtins.pap_test_thread
            over.set()
            thread.join()
            del builtins.pap_test_thread
        db.execute("ALTER TABLE a ADD COLUMN x text")
        """
    )
    with pytest.raises(PapError, match=message) as caught:
        bench.apply({"2025_01_01_a.py": CREATE_A, "2025_01_02_bad.py": bad, "2025_01_03_x.py": after})
    assert bench.tables() == []  # also the good one before it
    assert bench.applied() == []
    assert caught.value.hint
    # and a good file in its place goes through
    bench.apply({"2025_01_01_a.py": CREATE_A, "2025_01_02_bad.py": migration("pass"), "2025_01_03_x.py": ADD_X})
    assert bench.columns() == ["id", "n", "x"]


def test_the_server_itself_refuses_a_commit_that_no_hook_saw(bench: Bench) -> None:
    around = migration(
        """
        import psycopg2.extensions
        db.execute("CREATE TABLE bad (id int)")
        raw = db.connection.connection.dbapi_connection
        cursor = psycopg2.extensions.connection.cursor(raw, cursor_factory=psycopg2.extensions.cursor)
        cursor.execute("COMMIT")
        """
    )
    with pytest.raises(PapError, match="a migration tried to end the transaction that it runs in"):
        bench.apply({"2025_01_01_around.py": around})
    assert bench.tables() == []


def test_a_rollback_that_no_hook_saw_is_noticed(bench: Bench) -> None:
    around = migration(
        """
        import psycopg2.extensions
        raw = db.connection.connection.dbapi_connection
        cursor = psycopg2.extensions.connection.cursor(raw, cursor_factory=psycopg2.extensions.cursor)
        cursor.execute("ROLLBACK")
        cursor.execute("BEGIN")
        """
    )
    with pytest.raises(PapError, match="not the one that was begun"):
        bench.apply({"2025_01_01_a.py": CREATE_A, "2025_01_02_around.py": around})
    assert bench.tables() == []


def test_a_session_of_a_child_process_is_seen_before_commit(bench: Bench) -> None:
    child = migration(
        f"""
        import os, subprocess
        code = (
            "import os, sys, psycopg2; c = psycopg2.connect(os.environ['TEST_URL'], options='-c geqo=on');"
            "print('', flush=True); input()"
        )
        global process
        process = subprocess.Popen([{sys.executable!r}, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process.stdout.readline()
        import builtins
        builtins.pap_test_child = process
        """
    )
    import builtins

    try:
        with pytest.raises(PapError, match=r"left a program running \(python\S*, process \d+\), which was ended"):
            bench.apply({"2025_01_01_a.py": CREATE_A, "2025_01_02_child.py": child})
    finally:
        process = vars(builtins).pop("pap_test_child")
        process.stdin.close()
        process.wait(20)
        process.stdout.close()
    assert bench.tables() == []


ALLOWED = {
    "savepoint that fails": (
        'try:\n    with db.savepoint():\n        db.execute("SELECT 1/0")\nexcept Exception:\n    pass\n'
        'db.execute("CREATE TABLE good (id int)")'
    ),
    "SQLAlchemy savepoint": (
        "with db.connection.begin_nested():\n    db.connection.exec_driver_sql('CREATE TABLE good (id int)')"
    ),
    "words inside strings": "db.execute(\"CREATE TABLE good (id text DEFAULT 'commit; rollback')\")",
    "a function with BEGIN and END": (
        'db.execute("""CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$;'
        ' CREATE TABLE good (id int DEFAULT f())""")'
    ),
    "DO with an inner exception": (
        'db.execute("DO $$ BEGIN BEGIN PERFORM 1/0; EXCEPTION WHEN division_by_zero THEN NULL; END; END $$")\n'
        'db.execute("CREATE TABLE good (id int)")'
    ),
    "CASE … END": 'db.execute("CREATE TABLE good AS SELECT CASE WHEN true THEN 1 END AS id")',
    "constraints made immediate": (
        'db.execute("CREATE TABLE good (id int UNIQUE DEFERRABLE)")\n'
        'db.execute("SET CONSTRAINTS ALL DEFERRED")\ndb.execute("SET CONSTRAINTS ALL IMMEDIATE")'
    ),
    "SQLAlchemy constructs": (
        "from sqlalchemy import text\ndb.execute(text('CREATE TABLE good (id int)'))\n"
        "assert db.execute(text('INSERT INTO good VALUES (:id)'), {'id': 4}) == 1\n"
        "assert db.scalar(text('SELECT id FROM good')) == 4"
    ),
    "an ORM session": (
        "from sqlalchemy import text\nfrom sqlalchemy.orm import Session\n"
        "with Session(bind=db.connection, future=True) as session:\n"
        "    session.execute(text('CREATE TABLE good (id int)'))\n    session.commit()"
    ),
    "a fork that ends": (
        "import os\npid = os.fork()\nif not pid:\n    os._exit(0)\nassert os.waitpid(pid, 0)[1] == 0\n"
        "db.execute('CREATE TABLE good (id int)')"
    ),
    "a cursor of the server": (
        "db.execute('CREATE TABLE good (id int)')\n"
        "cursor = db.connection.connection.cursor('c')\ncursor.execute('SELECT 7')\nassert cursor.fetchall() == [(7,)]"
    ),
    "Alembic": (
        "import sqlalchemy as sa\ndb.op.create_table('good', sa.Column('id', sa.Integer))\n"
        "db.op.add_column('good', sa.Column('more', sa.Text))\nassert db.has_column('good', 'more')"
    ),
    "percent signs and colons": (
        "db.execute(\"CREATE TABLE good AS SELECT 'a%b'::text AS id, '12:30'::time AS t\")\n"
        "assert db.scalar(\"SELECT count(*) FROM good WHERE id LIKE 'a%' AND t = :t\", {'t': '12:30'}) == 1"
    ),
}  # fmt: skip


@pytest.mark.parametrize("deed", ALLOWED)
def test_what_is_allowed_goes_through(bench: Bench, deed: str) -> None:
    bench.apply({"2025_01_01_good.py": migration(ALLOWED[deed])})
    assert bench.tables() == ["good"] and bench.applied() == ["2025_01_01_good"]


DB_FACTS = {
    "has_table": ["db.has_table('t')", "db.has_table('Odd \"name')", "db.has_table('s.t')",
                  "db.has_table('t', schema='s')",
                  "not db.has_table('T')", "not db.has_table('v')", "not db.has_table('none')"],
    "has_column": ["db.has_column('t', 'id')", "not db.has_column('t', 'gone')", "not db.has_column('none', 'id')",
                   "db.has_column('s.t', 'Upper')", "not db.has_column('t', 'ctid')"],
    "has_index": ["db.has_index('t_pkey')", "db.has_index('t_pkey', 't')", "not db.has_index('t_pkey', 'p')",
                  "db.has_index('ix', schema='s')", "not db.has_index('t')"],
    "has_constraint": ["db.has_constraint('t', 't_pkey')", "not db.has_constraint('p', 't_pkey')"],
    "rows": ["db.rows('SELECT 1 AS one, 2 AS one, 3')[0] == (1, 2, 3)", "db.rows('SELECT 1 AS one')[0].one == 1",
             "db.rows('SELECT 1 WHERE false') == []"],
    "scalar": ["db.scalar('SELECT 7') == 7", "db.scalar('SELECT 7 WHERE false') is None",
               "db.scalar('SELECT :a::int + :b', {'a': '1', 'b': 2}) == 3"],
    "execute": ["db.execute('INSERT INTO t VALUES (5), (6)') == 2",
                "db.execute('UPDATE t SET id = :n WHERE id = :o', {'n': 7, 'o': 1}) == 1",
                "db.execute('INSERT INTO p VALUES (:id)', [{'id': 1}, {'id': 2}]) in (1, 2)",
                "db.scalar('SELECT count(*) FROM p') == 2"],
}  # fmt: skip


@pytest.mark.parametrize("topic", DB_FACTS)
def test_db(bench: Bench, topic: str) -> None:
    bench.sql(
        "CREATE SCHEMA s; CREATE TABLE t (id int PRIMARY KEY, gone int); ALTER TABLE t DROP COLUMN gone;"
        ' INSERT INTO t VALUES (1); CREATE TABLE "Odd ""name" (id int); CREATE TABLE s.t ("Upper" int);'
        ' CREATE INDEX ix ON s.t ("Upper"); CREATE VIEW v AS SELECT 1 AS one; CREATE TABLE p (id int)'
        " PARTITION BY LIST (id); CREATE TABLE p1 PARTITION OF p DEFAULT"
    )
    body = "\n".join(f"assert {fact}, {fact!r}" for fact in DB_FACTS[topic])
    bench.apply({"2025_01_01_facts.py": migration(body)})
