"""The schema check against Alembic's compare_metadata: time, memory, statements, locks.

    python benchmarks/schema_check.py                       # 50 and 200 tables on an embedded server
    python benchmarks/schema_check.py --tables 50 200 1000 --repeat 3 --markdown docs/benchmarks/schema-check.md

Each measurement is a process of its own (memory is that of the process above its imports). Both sides start from the
same MetaData in memory and the same database, which matches it; both must find no difference, and the same planted one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "module_utils"), str(ROOT / "tests")]

# The server's files are kept in memory: ext4 searches past the numbers of files that were deleted minutes ago, which
# makes each scratch database after the first one three times as slow as one that is made once, as people do.
IN_MEMORY = Path("/dev/shm")
PLANTED = "ALTER TABLE table_0007 ALTER COLUMN name DROP NOT NULL"


def metadata(tables: int) -> Any:
    """Tables of ten columns as an application has them: keys, references, unique, checks, defaults, two indexes."""
    import sqlalchemy as sa
    import sqlalchemy.orm  # as every application with models has it
    from sqlalchemy.dialects.postgresql import JSONB

    found = sa.MetaData()
    for number in range(tables):
        sa.Table(
            f"table_{number:04}",
            found,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("name", sa.String(100), nullable=False, index=True),
            sa.Column("code", sa.String(20), unique=True),
            sa.Column("amount", sa.Numeric(10, 2), sa.CheckConstraint("amount >= 0"), server_default="0"),
            sa.Column("active", sa.Boolean, server_default=sa.text("true"), nullable=False),
            sa.Column("kind", sa.Enum("a", "b", "c", name="kind")),
            sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
            sa.Column("note", sa.Text),
            sa.Column("data", JSONB),
            sa.Column("parent_id", sa.ForeignKey(f"table_{number // 2:04}.id", ondelete="CASCADE"), index=True),
        )
    return found


def memory_kib() -> int:
    """The process's peak so far; ru_maxrss would count what the parent had when it forked."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def forget_peak() -> int:
    """Start the peak anew and return what is in use."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory_kib()


@dataclass
class Start:
    """Where a measurement begins: memory in KiB, seconds of the clock, seconds of this process's CPU."""

    memory: int
    seconds: float
    cpu: float

    @classmethod
    def now(cls) -> Start:
        return cls(forget_peak(), time.perf_counter(), time.process_time())

    def until_now(self) -> dict[str, Any]:
        seconds, cpu = time.perf_counter() - self.seconds, time.process_time() - self.cpu
        return {"seconds": seconds, "cpu": cpu, "memory": memory_kib() - self.memory}


def server_cpu(server: Any) -> float:
    """Seconds of CPU of all sessions of the server that are over: what its postmaster has waited for."""
    time.sleep(0.3)  # for the last session to end
    pid = (server.data / "postmaster.pid").read_text().split()[0]
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


class Counted:
    """Statements that reach the driver, counted by wrapping the DBAPI connection's cursors."""

    def __init__(self) -> None:
        self.statements = 0

    def engine(self, url: str) -> Any:
        import sqlalchemy as sa

        engine = sa.create_engine(url, poolclass=sa.pool.NullPool)

        @sa.event.listens_for(engine, "before_cursor_execute")
        def count(*_: Any) -> None:
            self.statements += 1

        return engine


def held_locks(connection: Any, url: str) -> int:
    """Relation locks that the connection's open transaction still holds, seen from another session."""
    import psycopg2

    pid = connection.connection.dbapi_connection.info.backend_pid
    other = psycopg2.connect(url.replace("+psycopg2", ""))
    with other, other.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE pid = %s AND locktype = 'relation'", (pid,))
        number = int(cursor.fetchone()[0])
    other.close()
    return number


def measure_alembic(url: str, tables: int, extra: dict[str, Any]) -> dict[str, Any]:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    models = metadata(tables)
    counted = Counted()
    start = Start.now()
    with counted.engine(url).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        found = len(compare_metadata(context, models))
        used = start.until_now()
        return {**used, **result(counted.statements, held_locks(connection, url), found)}


def measure_snapshot(url: str, tables: int, extra: dict[str, Any]) -> dict[str, Any]:
    """With a snapshot: the database is compared while the models are compiled for its digest."""
    from papdeploy.schema import CheckOptions, ModelSet
    from papdeploy.schema.catalog.connect import open_session
    from papdeploy.schema.cli.command import check_by_snapshot, collect_seldom

    models = ModelSet([metadata(tables)])
    collect_seldom()
    start = Start.now()
    with open_session(url) as session:
        found = check_by_snapshot(session, models, extra["snapshot"], CheckOptions())
        return {**start.until_now(), **result(session.messages, 0, len(found.differences))}


def measure_scratch(url: str, tables: int, extra: dict[str, Any]) -> dict[str, Any]:
    """Without one: a scratch database is created, filled, described and dropped first."""
    from papdeploy.schema import CheckOptions, ModelSet, check
    from papdeploy.schema.catalog.connect import open_session
    from papdeploy.schema.cli.command import collect_seldom
    from papdeploy.schema.models.scratch_database import expected_on

    models = ModelSet([metadata(tables)])
    collect_seldom()
    start = Start.now()
    expected, messages = expected_on(models, url)
    with open_session(url) as session:
        found = check(session, expected, CheckOptions())
        return {**start.until_now(), **result(messages + session.messages, 0, len(found.differences))}


def result(statements: int, locks: int, found: int) -> dict[str, Any]:
    return {"statements": statements, "locks": locks, "differences": found}


MEASURES = {"alembic": measure_alembic, "snapshot": measure_snapshot, "scratch": measure_scratch}


def child(name: str, url: str, tables: int, extra: dict[str, Any]) -> dict[str, Any]:
    """One measurement in a process of its own."""
    command = [sys.executable, __file__, "--child", name, "--url", url, "--tables", str(tables)]
    done = subprocess.run(
        command, input=json.dumps(extra), capture_output=True, text=True, timeout=600, env={**os.environ}, check=False
    )
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def prepare(server: Any, tables: int, folder: Path) -> tuple[str, str]:
    """(URL of a database that has the models, snapshot file)."""
    import sqlalchemy as sa
    from papdeploy.schema import ModelSet
    from papdeploy.schema.models.scratch_database import expected_on
    from papdeploy.schema.models.snapshot_file import write_snapshot

    url = server.url(server.create(f"bench{tables}"))
    models = metadata(tables)
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    models.create_all(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()
    expected, _ = expected_on(ModelSet([models]), url)
    snapshot = folder / f"snapshot-{tables}.json"
    write_snapshot(snapshot, expected)
    return url, str(snapshot)


def run(sizes: list[int], repeat: int, major: int) -> list[str]:
    from support import postgres_servers

    lines = [
        "| tables | what | CPU s | against Alembic | elapsed s | against Alembic | memory MiB | statements | locks held |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory(prefix="pap-bench-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = postgres_servers.start_server(major, folder / "server")
        try:
            for tables in sizes:
                url, snapshot = prepare(server, tables, folder)
                extra = {"snapshot": snapshot}
                found: dict[str, list[dict[str, Any]]] = {name: [] for name in MEASURES}
                for _ in range(repeat):
                    for name in MEASURES:  # in turn, so that a busy moment of the machine meets all of them
                        before = server_cpu(server)
                        measured = child(name, url, tables, extra)
                        measured["cpu"] += server_cpu(server) - before
                        found[name].append(measured)
                bases = {key: statistics.median(item[key] for item in found["alembic"]) for key in ("seconds", "cpu")}
                for name, items in found.items():
                    seconds, cpu, memory = (
                        statistics.median(item[key] for item in items) for key in ("seconds", "cpu", "memory")
                    )
                    if any(item["differences"] for item in items):
                        raise SystemExit(f"{name} found {items[0]['differences']} differences where there is none")
                    lines.append(
                        f"| {tables} | {TITLES[name]} | {cpu:.2f} | {bases['cpu'] / cpu:.1f}x | {seconds:.2f} | "
                        f"{bases['seconds'] / seconds:.1f}x | {memory / 1024:.0f} | "
                        f"{items[0]['statements']} | {items[0]['locks']} |"
                    )
                    print(lines[-1], flush=True)
                server.sql(PLANTED, url.rsplit("/", 1)[1])
                for name in MEASURES:
                    if child(name, url, tables, extra)["differences"] != 1:
                        raise SystemExit(f"{name} does not find the planted difference")
        finally:
            postgres_servers.stop_server(server)
    return lines


TITLES = {
    "alembic": "Alembic compare_metadata (types and defaults)",
    "snapshot": "schema check with a snapshot",
    "scratch": "schema check with a scratch database",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--major", type=int, default=16)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--child", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        extra = json.loads(sys.stdin.read() or "{}")
        print(json.dumps(MEASURES[arguments.child](arguments.url, arguments.tables[0], extra)))
        return
    import alembic
    import sqlalchemy

    lines = run(arguments.tables, arguments.repeat, arguments.major)
    if arguments.markdown:
        arguments.markdown.write_text(
            "# Benchmark: schema check\n\n"
            f"`python benchmarks/schema_check.py --tables {' '.join(map(str, arguments.tables))} "
            f"--repeat {arguments.repeat}` on {os.cpu_count()} cores, "
            f"Python {platform.python_version()}, PostgreSQL {arguments.major}, SQLAlchemy "
            f"{sqlalchemy.__version__}, Alembic {alembic.__version__}. Printed by the run, not edited.\n\n"
            + "\n".join(lines)
            + "\n\nMedians. CPU is that of the process and of its sessions on the server together, which a "
            "busy machine disturbs less than the clock. Statements are messages to the server. Locks are relation locks still held when the check is over; "
            "the schema check holds none, in an open transaction either (a test says so).\n"
            "Memory is the peak above what was in use before. Each run also changed one column and made sure that "
            "each of the three finds exactly that. The server's files are in memory (/dev/shm): on ext4 each scratch "
            "database after the first one would take three times as long as one that is made once.\n"
        )


if __name__ == "__main__":
    main()
