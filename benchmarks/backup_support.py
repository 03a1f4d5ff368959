"""What the benchmarks of backup and rollback share: a real server with fsync on, and a database of a wanted size."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "module_utils"), str(ROOT / "tests")]

from papdeploy.databases.psql import Conninfo, Database  # noqa: E402
from papdeploy.sites.host import HostSite  # noqa: E402
from support import postgres_servers as servers  # noqa: E402

# About a third each: narrow rows with indexes, text and JSON of an audit log, random bytes that hardly compress.
FILL = """SET search_path = public;
CREATE TABLE users (id serial PRIMARY KEY, name text NOT NULL UNIQUE, email text, created timestamptz, active bool);
CREATE TABLE audit (id bigserial PRIMARY KEY, user_id int, at timestamptz, action text, detail jsonb);
CREATE TABLE policies (id uuid PRIMARY KEY, body text, hash bytea, version numeric);
INSERT INTO users (name, email, created, active)
 SELECT 'user ' || g, md5(g::text) || '@example.com', timestamptz '2024-01-01' + g * interval '7 s', g % 5 > 0
 FROM generate_series(1, {n} * 2) g;
INSERT INTO audit (user_id, at, action, detail)
 SELECT g % 1000, timestamptz '2024-01-01' + g * interval '1 s',
        (ARRAY['login', 'logout', 'update', 'überprüft'])[1 + g % 4],
        jsonb_build_object('path', '/policies/' || g, 'ip', '10.0.' || g % 256 || '.' || g % 251,
                           'agent', repeat('curl ', g % 12))
 FROM generate_series(1, {n} * 2) g;
INSERT INTO policies
 SELECT gen_random_uuid(), repeat('allow if input.user == "' || md5(g::text) || E'"\\n', 1 + g % 6),
        decode(md5(g::text) || md5((g * 7)::text) || md5((g * 11)::text), 'hex'), g * 1.01
 FROM generate_series(1, {n}) g;
CREATE INDEX ON audit (user_id, at); CREATE INDEX ON audit (action);
"""
ROWS_PER_GB = 1_180_000


@contextlib.contextmanager
def server(major: int) -> Iterator[servers.Server]:
    """An embedded server as a small machine runs it: fsync and full_page_writes on."""
    base = Path(tempfile.mkdtemp(prefix="pap-bench-"))
    base.chmod(0o755)
    unprivileged = servers._unprivileged()
    try:
        running = servers.start_server(major, base / "pg")
        servers.stop_server(running)
        options = (
            f"-c listen_addresses=127.0.0.1 -p {running.port} -k '' -c shared_buffers=256MB -c max_wal_size=4GB"
            " -c max_connections=50 -c log_min_messages=fatal"
        )
        subprocess.run(
            [running.bin_dir / "pg_ctl", "-D", running.data, "-l", base / "pg" / "log", "-w", "-t", "120", "-o",
             options, "start"],
            check=True, stdout=subprocess.DEVNULL, cwd="/", **unprivileged,
        )  # fmt: skip
        try:
            yield running
        finally:
            servers.stop_server(running)
    finally:
        shutil.rmtree(base, ignore_errors=True)


def with_clients(running: servers.Server, folder: str) -> servers.Server:
    """The same server, met by the client programs in ``folder`` (for pg_dump with zstd and lz4); empty: by its own."""
    return replace(running, bin_dir=Path(folder)) if folder else running


def database(running: servers.Server, name: str) -> Database:
    conninfo = Conninfo(name, running.host, running.port, running.user, running.password)
    return Database(HostSite(), conninfo, str(running.bin_dir))


def fill(running: servers.Server, gb: float, name: str = "bench") -> tuple[Database, int]:
    """A database of about ``gb`` gigabytes; and its true size in bytes."""
    running.sql(f'CREATE DATABASE "{name}"')
    target = database(running, name)
    target.execute(FILL.replace("{n}", str(int(ROWS_PER_GB * gb))))
    target.execute(["VACUUM ANALYZE", "CHECKPOINT"])
    return target, int(target.scalar("SELECT pg_database_size(current_database()) AS s"))


class Meter:
    """Seconds on the clock and seconds of CPU, of this process, its children and the whole server. On a machine that
    others use as well, the CPU is what can be compared."""

    def __init__(self, running: servers.Server) -> None:
        self._postmaster = int((running.data / "postmaster.pid").read_text().split()[0])
        self._cpu, self._clock = self._now(), time.monotonic()

    def _now(self) -> float:
        ours = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        tick = os.sysconf("SC_CLK_TCK")
        total = sum(self._times(self._postmaster)[:4])  # with the children that have ended
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError, IndexError):
                if self._fields(path)[1] == str(self._postmaster):
                    total += sum(self._times(int(path.parent.name))[:2])
        return ours + total / tick

    def _fields(self, path: Path) -> list[str]:
        return path.read_text().rsplit(")", 1)[1].split()

    def _times(self, pid: int) -> list[int]:
        return [int(value) for value in self._fields(Path(f"/proc/{pid}/stat"))[11:15]]

    def read(self) -> Cost:
        wall = time.monotonic() - self._clock
        time.sleep(0.5)  # the postmaster must have reaped the sessions that ended, or they count for the next one
        return Cost(wall, self._now() - self._cpu)


@dataclass(frozen=True)
class Cost:
    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:.1f} s ({self.cpu:.1f} s CPU)"

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.wall + other.wall, self.cpu + other.cpu)

    def ratio(self, other: Cost) -> str:
        return f"{self.wall / other.wall:.2f} by the clock, {self.cpu / other.cpu:.2f} by CPU"


def shell(running: servers.Server, command: str) -> Cost:
    """The cost of a command as a person types it, with the client programs on the path."""
    env = {
        **os.environ, "PATH": f"{running.bin_dir}:{os.environ['PATH']}", "PGHOST": running.host,
        "PGPORT": str(running.port), "PGUSER": running.user, "PGPASSWORD": running.password, "LC_ALL": "C.UTF-8",
    }  # fmt: skip
    meter = Meter(running)
    subprocess.run(["bash", "-c", command], check=True, env=env, stdout=subprocess.DEVNULL)
    return meter.read()


def timed(running: servers.Server, work: Callable[[], Any]) -> tuple[Cost, Any]:
    meter = Meter(running)
    result = work()
    return meter.read(), result


def machine() -> str:
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start"
