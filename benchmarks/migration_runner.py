"""The migration runner against Alembic, dbmate and the floor: N migrations applied, then nothing to do.

    python benchmarks/migration_runner.py [--sizes 10 100 1000] [--rounds 3] [--server 16]

Every tool runs as its users run it: a command of its own, start of the interpreter included, against a server on
loopback, one new database per run. The floor is one psycopg2 connection that sends the same statements and the same
number of ledger rows in one transaction. dbmate (npm package ``dbmate``) is used where ``npx`` or --dbmate gives one.
Rounds are interleaved and the best of each is taken, so that the noise of a shared machine hits all alike; the CPU time
of the client (user and system) is printed beside the time, because other work disturbs it far less.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def statements(n: int) -> tuple[list[str], list[str]]:
    """The n-th migration, up and down: what small real ones do. Every tenth makes a table with 100 rows."""
    table, kind = f"t{n // 10}", n % 10
    if kind == 0:
        return [
            f"CREATE TABLE {table} (id int PRIMARY KEY, name text NOT NULL UNIQUE, at timestamptz DEFAULT now())",
            f"INSERT INTO {table} (id, name) SELECT g, 'name ' || g FROM generate_series(1, 100) AS g",
        ], [f"DROP TABLE {table}"]
    if kind in (3, 6):
        return [f"CREATE INDEX ix_{n} ON {table} (name, at)", f"COMMENT ON INDEX ix_{n} IS 'step {n}'"], [
            f"DROP INDEX ix_{n}"
        ]
    if kind == 9:
        return [
            f"ALTER TABLE {table} ADD CONSTRAINT ck_{n} CHECK (id > 0) NOT VALID",
            f"ALTER TABLE {table} VALIDATE CONSTRAINT ck_{n}",
        ], [f"ALTER TABLE {table} DROP CONSTRAINT ck_{n}"]
    return [f"ALTER TABLE {table} ADD COLUMN c{n} int", f"UPDATE {table} SET c{n} = id"], [
        f"ALTER TABLE {table} DROP COLUMN c{n}"
    ]


def calls(before: str, texts: list[str]) -> str:
    return "".join(f'    {before}("{text}")\n' for text in texts)


def name(n: int) -> str:
    year, rest = divmod(n, 336)
    month, day = divmod(rest, 28)
    return f"{2000 + year}_{month + 1:02}_{day + 1:02}_step_{n:05}"


def write_ours(folder: Path, count: int) -> None:
    for n in range(count):
        up, down = statements(n)
        (folder / f"{name(n)}.py").write_text(
            f'"""Step {n}.\n\nAuthor: bench\n"""\n\n\ndef upgrade(db):\n{calls("db.execute", up)}\n\n'
            f"def downgrade(db):\n{calls('db.execute', down)}"
        )


ON_TREE = "papdeploy on Alembic's tree"


def write_alembic(folder: Path, count: int) -> None:
    (folder / "versions").mkdir()
    (folder / "env.py").write_text(
        "import os\nfrom alembic import context\nfrom sqlalchemy import create_engine, pool\n"
        "if context.is_offline_mode():\n"
        "    context.configure(url=os.environ['DATABASE_URL'], literal_binds=True)\n"
        "    with context.begin_transaction():\n        context.run_migrations()\n"
        "else:\n"
        "    engine = create_engine(os.environ['DATABASE_URL'], poolclass=pool.NullPool)\n"
        "    with engine.connect() as connection:\n"
        "        context.configure(connection=connection)\n"
        "        with context.begin_transaction():\n            context.run_migrations()\n"
    )
    (folder / "alembic.ini").write_text(f"[alembic]\nscript_location = {folder}\n")
    for n in range(count):
        up, down = statements(n)
        before = f'"r{n - 1:05}"' if n else "None"
        (folder / "versions" / f"r{n:05}.py").write_text(
            f'"""Step {n}."""\n\nfrom alembic import op\n\nrevision = "r{n:05}"\ndown_revision = {before}\n'
            f"branch_labels = None\ndepends_on = None\n\n\ndef upgrade():\n{calls('op.execute', up)}\n\n"
            f"def downgrade():\n{calls('op.execute', down)}"
        )


def write_dbmate(folder: Path, count: int) -> None:
    for n in range(count):
        up, down = (";\n".join(texts) for texts in statements(n))
        (folder / f"{20000101000000 + n}_step.sql").write_text(f"-- migrate:up\n{up};\n\n-- migrate:down\n{down};\n")


FLOOR = """
import os, sys, psycopg2
from pathlib import Path
connection = psycopg2.connect(os.environ["DATABASE_URL"])
cursor = connection.cursor()
cursor.execute("CREATE TABLE IF NOT EXISTS ledger (id serial PRIMARY KEY, name text, at timestamptz DEFAULT now())")
cursor.execute("SELECT name FROM ledger")
done = {row[0] for row in cursor.fetchall()}
for path in sorted(Path(sys.argv[1]).iterdir()):
    if path.name not in done:
        for statement in path.read_text().splitlines():
            cursor.execute(statement)
        cursor.execute("INSERT INTO ledger (name) VALUES (%s)", (path.name,))
connection.commit()
"""


def write_floor(folder: Path, count: int) -> None:
    for n in range(count):
        (folder / f"{n:05}.sql").write_text("\n".join(statements(n)[0]))


def find_dbmate(given: str, work: Path) -> str:
    if given:
        return given
    if shutil.which("dbmate"):
        return str(shutil.which("dbmate"))
    if not shutil.which("npm"):
        return ""
    ran = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(work), "dbmate"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if ran.returncode:
        return ""
    return next(
        (str(path) for path in work.glob("node_modules/@dbmate/*/bin/dbmate")), str(work / "node_modules/.bin/dbmate")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--server", type=int, default=16, choices=(16, 18))
    parser.add_argument("--dbmate", default="", help="path of the program")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    from support import postgres_servers as servers

    work = Path(tempfile.mkdtemp(prefix="pap-bench-"))
    work.chmod(0o755)
    server = servers.start_server(arguments.server, work / "pg")
    try:
        run(arguments, server, work)
    finally:
        servers.stop_server(server)
        shutil.rmtree(work, ignore_errors=True)


def run(arguments: argparse.Namespace, server: object, work: Path) -> None:
    dbmate = find_dbmate(arguments.dbmate, work)
    writers = {"papdeploy": write_ours, ON_TREE: write_alembic, "alembic": write_alembic, "floor": write_floor}
    versions = {"papdeploy": "this checkout", "floor": "psycopg2"}
    ran = subprocess.run([sys.executable, "-m", "alembic", "--version"], capture_output=True, text=True, check=True)
    versions["alembic"] = ran.stdout.strip().replace("alembic ", "")
    if dbmate:
        writers["dbmate"] = write_dbmate
        said = subprocess.run([dbmate, "--version"], capture_output=True, text=True, check=True).stdout
        versions["dbmate"] = said.strip().replace("dbmate version ", "")
    else:
        print("dbmate: not there and npm cannot install it; left out")
    print(f"PostgreSQL {arguments.server}, Python {platform.python_version()}, {os.cpu_count()} CPUs;"
          f" best of {arguments.rounds}; " + ", ".join(f"{k} {v}" for k, v in versions.items()))  # fmt: skip
    print()
    print("| migrations | tool | apply, s | of the floor | CPU, s | nothing to do, s | of Alembic's | CPU, s |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for count in arguments.sizes:
        best = measure(arguments, server, work, dbmate, writers, count)
        for tool, (applied, applied_cpu, nothing, nothing_cpu) in best.items():
            print(f"| {count} | {tool} | {applied:.2f} | {applied / best['floor'][0]:.2f}x | {applied_cpu:.2f} |"
                  f" {nothing:.3f} | {nothing / best['alembic'][2]:.2f}x | {nothing_cpu:.3f} |", flush=True)  # fmt: skip


def measure(
    arguments: argparse.Namespace, server: Any, work: Path, dbmate: str, writers: dict[str, Any], count: int
) -> dict[str, tuple[float, ...]]:
    """Of each tool the least seconds and CPU seconds to apply all, and the same to find nothing to do."""
    folders = {}
    for tool, write in writers.items():
        folders[tool] = work / f"{tool.replace(' ', '_').replace(chr(39), '')}_{count}"
        folders[tool].mkdir()
        write(folders[tool], count)
    times: dict[str, list[tuple[float, ...]]] = {tool: [] for tool in writers}
    for _ in range(arguments.rounds):
        for tool in writers:
            database = server.create("bench")
            argv, env = command(tool, folders[tool], server, database, dbmate)
            measured = [timed(argv, env), *(timed(argv, env) for _ in range(3))]
            tables = server.sql("SELECT count(*) FROM pg_class WHERE relname ~ '^t[0-9]+$'", database)[0][0]
            assert tables == (count + 9) // 10, f"{tool} made {tables} tables of {(count + 9) // 10}"
            times[tool].append((*measured[0], *map(min, zip(*measured[1:]))))
            server.drop(database)
    return {tool: tuple(map(min, zip(*runs))) for tool, runs in times.items()}


def command(tool: str, folder: Path, server: Any, database: str, dbmate: str) -> tuple[list[str], dict[str, str]]:
    env = {**os.environ, "DATABASE_URL": server.url(database, "postgresql"), "PYTHONPATH": str(ROOT / "module_utils")}
    if tool == "papdeploy":
        return [sys.executable, "-m", "papdeploy", "migrate", "--migrations", str(folder)], env
    if tool == ON_TREE:
        return [sys.executable, "-m", "papdeploy", "migrate", "--alembic", str(folder / "alembic.ini")], env
    if tool == "alembic":
        env["DATABASE_URL"] = server.url(database, "postgresql+psycopg2")
        return [sys.executable, "-m", "alembic", "-c", str(folder / "alembic.ini"), "upgrade", "head"], env
    if tool == "dbmate":
        env["DATABASE_URL"] += "?sslmode=disable"
        return [dbmate, "--migrations-dir", str(folder), "--no-dump-schema", "migrate"], env
    return [sys.executable, "-c", FLOOR, str(folder)], env


def timed(argv: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Seconds and CPU seconds of the command."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ran = subprocess.run(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    seconds = time.perf_counter() - began
    if ran.returncode:
        raise SystemExit(f"{argv[:4]} failed: {ran.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
