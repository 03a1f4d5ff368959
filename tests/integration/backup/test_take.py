"""Backups are taken whole, private and proven, or not at all."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest
from papdeploy import backup, databases
from papdeploy.app.stack import Stack
from papdeploy.backup import files, manifest, pipeline
from papdeploy.core.errors import CommandFailed, DeadlineExceeded, PapError, Refused, Unavailable
from papdeploy.databases import content_digest
from papdeploy.databases.psql import Conninfo, Database
from papdeploy.phases import backup as backup_phase
from papdeploy.releases.journal import State
from papdeploy.releases.run import Run
from papdeploy.sites.host import HostSite, Process
from support.app_session import as_app
from support.backup import FakeApi, database_of, fill, forget, make_roles, names

if TYPE_CHECKING:
    from support.postgres_servers import Server


@pytest.fixture(scope="module")
def hostile(server: Server) -> Iterator[Database]:
    name = server.create("hostile")
    yield fill(server, name)
    forget(server, name)


def small(server: Server, name: str, rows: int = 1000) -> Database:
    database = database_of(server, name)
    as_app(database).execute(
        "CREATE TABLE t (id serial PRIMARY KEY, v text);"
        f"INSERT INTO t (v) SELECT md5(g::text) FROM generate_series(1, {rows}) g"
    )
    return database


@pytest.mark.every_version
def test_full_proof(hostile: Database, server: Server, tmp_path: Path) -> None:
    said: list[dict[str, Any]] = []
    before = names(server)
    taken = backup.take(hostile, tmp_path / "new" / "backups", stack="st", release="r1", emit=said.append)
    manifest = taken.manifest
    assert names(server) == before, "the scratch database is gone"
    assert manifest.proof.kind == "full"
    assert manifest.rows == 763
    assert manifest.database == hostile.conninfo.dbname
    assert manifest.major == server.major
    assert manifest.system_identifier == hostile.facts().identifier
    assert (
        manifest.sha256
        == subprocess.run(["sha256sum", taken.path], capture_output=True, text=True, check=True).stdout.split()[0]
    )
    assert content_digest.compare(taken.digest, content_digest.take(hostile)) == []
    assert taken.digest.digest == manifest.content_hash
    assert backup.load_manifest(taken.path).manifest == manifest
    assert said[-1]["step"] == "hashing 763 rows of the copy to compare them"
    assert "restored and compared: 10 tables, 763 rows" in taken.sentence()
    assert json.dumps(taken.as_dict())


def test_files_are_private(hostile: Database, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    old = os.umask(0)
    try:
        backup.take(hostile, folder, stack="st", release="r1", proof="none")
    finally:
        os.umask(old)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert set(found.values()) == {0o600}
    assert len(found) == 3, found


@pytest.mark.parametrize("kind", ["link", "group", "world", "file"])
def test_unsafe_folder_is_refused(hostile: Database, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "backups"
    if kind == "link":
        (tmp_path / "real").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "real")
    elif kind == "file":
        folder.write_text("x")
    else:
        folder.mkdir()
        folder.chmod(0o750 if kind == "group" else 0o701)
    with pytest.raises(Refused, match="The backup folder"):
        backup.take(hostile, folder, stack="st", release="r1")


@pytest.mark.every_version
def test_what_pg_dump_leaves_out(server: Server, database: str, tmp_path: Path) -> None:
    make_roles(server.sql)
    target = small(server, database)
    server.sql(f'ALTER DATABASE "{database}" OWNER TO pap_owner')
    server.sql(f'ALTER DATABASE "{database}" SET search_path = public, "Odd One"')
    server.sql(f'ALTER DATABASE "{database}" CONNECTION LIMIT 17')
    server.sql(f"ALTER ROLE pap_reader IN DATABASE \"{database}\" SET work_mem = '7MB'")
    server.sql(f'REVOKE CONNECT ON DATABASE "{database}" FROM PUBLIC')
    server.sql(f'GRANT CONNECT ON DATABASE "{database}" TO pap_reader WITH GRANT OPTION')
    taken = backup.take(target, tmp_path / "b", stack="st", release="r1")
    traits = taken.manifest.properties
    assert traits.owner == "pap_owner"
    assert traits.settings == ((None, ('search_path=public, "Odd One"',)), ("pap_reader", ("work_mem=7MB",)))
    assert "pap_reader=CONNECT*/pap_owner" in traits.privileges
    assert not any(entry.startswith("PUBLIC=CONNECT") for entry in traits.privileges)
    roles = {role.rolname: role for role in taken.manifest.roles}
    assert roles["pap_reader"].rolcanlogin is True
    sql = Path(str(taken.path) + ".globals.sql").read_text()
    assert 'CREATE ROLE "pap_owner"' in sql
    assert "PASSWORD" not in sql.upper().replace("PASSWORDS AGAIN", "")
    # By hand, with nothing but the two files: the runbook's way.
    server.sql(f'ALTER DATABASE "{database}" RENAME TO "{database}__by_hand_old"')
    there = ("CREATE ROLE", 'ALTER ROLE "postgres"')  # this server has them
    rest = "".join(line for line in sql.splitlines(True) if not line.startswith(there))
    as_app(database_of(server, "postgres")).execute(rest.split(";\n")[:-1])
    target.site.run(target.tool("pg_restore", "-e"), env=target.environment(), input=taken.path.read_bytes())
    assert content_digest.compare(taken.digest, content_digest.take(target)) == []
    assert server.sql("SHOW search_path", database) == [('public, "Odd One"',)]
    forget(server, database + "__by_hand_old")


@pytest.mark.parametrize(
    "name",
    ['it\'s "quoted"', "with space", "-dash", "dbname=postgres", "ünïcödé 数据", "a\\b", "50% %s", "x" * 63, ":USER"],
)
def test_awkward_names(servers: dict[int, Server], tmp_path: Path, name: str) -> None:
    server = servers[18]
    quoted = '"' + name.replace('"', '""') + '"'
    server.sql(f"CREATE DATABASE {quoted}")
    try:
        target = small(server, name, rows=7)
        taken = backup.take(target, tmp_path / "b", stack="stack: 'odd'", release="r 1")
        assert taken.manifest.database == name
        assert taken.manifest.rows == 7
        assert content_digest.compare(taken.digest, content_digest.take(target)) == []
        assert "-" not in taken.path.name[0]
        fenced = databases.fence(target, "r 1")
        behind = databases.must_be_fenced(target, "r 1")
        assert as_app(behind).scalar("SELECT count(*) AS n FROM t") == 7
        assert len(fenced.database.encode()) <= 63
        snapshot = databases.snapshot(behind, "r 1", live=name)
        as_app(behind).execute("DELETE FROM t")
        databases.swap(target, "r 1", snapshot.database)
        assert content_digest.compare(taken.digest, content_digest.take(target)) == []
    finally:
        for other in databases.existing(target):
            databases.drop_created(target, other.release, [other.kind])
        server.sql(f"DROP DATABASE {quoted} WITH (FORCE)")


def test_name_with_nul_or_too_long_is_refused(server: Server, tmp_path: Path) -> None:
    for name in ("x" * 64, "a\0b", ""):
        with pytest.raises((Refused, Unavailable, ValueError)):
            backup.take(database_of(server, name), tmp_path / "b", stack="st", release="r1")


def test_database_without_public_schema(server: Server, database: str, tmp_path: Path) -> None:
    target = database_of(server, database)
    as_app(target).execute(
        "DROP SCHEMA public; CREATE SCHEMA app; CREATE TABLE app.t (a int); INSERT INTO app.t VALUES (1)"
    )
    taken = backup.take(target, tmp_path / "b", stack="st", release="r1")
    restored = backup.restore(target, taken.path, release="r1")
    assert content_digest.compare(taken.digest, content_digest.take(target)) == []
    assert restored.database.conninfo.dbname == f"{database}__restored_r1"
    assert databases.drop_created(target, "r1", ["restored"]) == [f"{database}__restored_r1"]


def test_schema_proof_and_no_proof(hostile: Database, tmp_path: Path) -> None:
    schema = backup.take(hostile, tmp_path / "a", stack="st", release="r1", proof="schema")
    none = backup.take(hostile, tmp_path / "b", stack="st", release="r1", proof="none")
    assert "rows not restored" in schema.sentence()
    assert "not restored" in none.sentence()
    for taken in (schema, none):
        assert backup.verify(hostile, taken.path).seconds > 0
    with pytest.raises(Refused, match="is not known"):
        backup.take(hostile, tmp_path / "c", stack="st", release="r1", proof="perhaps")


def test_a_schema_proof_reads_all_of_an_archive_that_fills_every_pipe(
    server: Server, database: str, tmp_path: Path
) -> None:
    """Who restores the schema only is done after the table of contents, long before the rows have come."""
    target = small(server, database)
    server.sql(
        "CREATE TABLE large AS SELECT g, md5(g::text) || md5((-g)::text) AS v FROM generate_series(1, 300000) g",
        database,
    )
    taken = backup.take(target, tmp_path / "b", stack="st", release="r1", proof="schema")
    assert taken.path.stat().st_size > 5_000_000 and taken.manifest.proof.kind == "schema"
    assert backup.verify(target, taken.path).backup.manifest.sha256 == taken.manifest.sha256


def test_scratch_is_kept_for_the_rehearsal(server: Server, database: str, tmp_path: Path) -> None:
    target = small(server, database)
    server.sql(f"ALTER DATABASE \"{database}\" SET work_mem = '5MB'")
    taken = backup.take(target, tmp_path / "b", stack="st", release="r1", keep_scratch=True)
    assert taken.manifest.scratch == f"{database}__scratch_r1"
    copy = target.named(taken.manifest.scratch)
    assert content_digest.compare(taken.digest, content_digest.take(copy)) == []
    databases.ready_for_rehearsal(target, copy)
    assert as_app(copy).scalar("SELECT current_setting('work_mem') AS v") == "5MB"
    again = backup.take(target, tmp_path / "b2", stack="st", release="r1", keep_scratch=True)
    assert again.manifest.scratch == taken.manifest.scratch, "a leftover of ours is replaced"
    assert databases.cleanup_leftovers(target) == [taken.manifest.scratch]


def test_a_foreign_database_is_never_touched(server: Server, database: str, tmp_path: Path) -> None:
    target = small(server, database)
    foreign = f"{database}__scratch_r1"
    server.sql(f'CREATE DATABASE "{foreign}"')
    server.sql("CREATE TABLE precious (a int)", foreign)
    with pytest.raises(Refused, match="pap-deploy did not make it"):
        backup.take(target, tmp_path / "b", stack="st", release="r1")
    assert databases.cleanup_leftovers(target) == []
    assert server.sql("SELECT count(*) FROM precious", foreign) == [(0,)]
    assert list((tmp_path / "b").iterdir()) == []
    server.drop(foreign)


def test_writers_during_the_dump(server: Server, database: str, tmp_path: Path) -> None:
    """The dump and the content digest see one snapshot, whatever is written meanwhile; sequences may only have moved on."""
    target = small(server, database, rows=60_000)
    stop = threading.Event()
    count = [0]

    def write(number: int) -> None:
        connection = server.connect(database)
        cursor = connection.cursor()
        while not stop.is_set():
            cursor.execute("INSERT INTO t (v) VALUES ('new')")
            cursor.execute("UPDATE t SET v = v || 'x' WHERE id = %s", (count[0] % 5000 * 2 + number,))
            cursor.execute("DELETE FROM t WHERE id = %s", (20_000 + count[0] % 1000 * 2 + number,))
            count[0] += 1
        connection.close()

    writers = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for writer in writers:
        writer.start()
    try:
        time.sleep(0.2)
        taken = backup.take(target, tmp_path / "b", stack="st", release="r1")
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert count[0] > 10
    assert taken.manifest.proof.kind == "full"
    assert content_digest.compare(taken.digest, content_digest.take(target)) != []
    assert backup.verify(target, taken.path).backup.manifest.rows == taken.manifest.rows


class Broken(HostSite):
    """A site where one program misbehaves: its output is cut, or changed, or it is slow."""

    def __init__(self, program: str, script: str) -> None:
        super().__init__()
        self.program, self.script = program, script

    def popen(self, argv: Any, **options: Any) -> Process:
        if Path(argv[0]).name == self.program and "--version" not in argv:
            argv = ["sh", "-c", self.script, *argv]
        return super().popen(argv, **options)


FAILURES = {
    "dump dies halfway": ("pg_dump", '"$0" "$@" | head -c 20000; exit 3', "pg_dump failed"),
    "dump is cut and says nothing": ("pg_dump", '"$0" "$@" | head -c 20000', "pg_restore failed"),
    "dump is empty": ("pg_dump", "exit 0", "pg_restore failed"),
    "a bit flips on the way": ("pg_dump", '"$0" "$@" | (head -c 9000; tr "a" "b")', "pg_restore failed|not equal"),
    "restore dies": (
        "pg_restore", "head -c 100000 >/dev/null; echo 'pg_restore: error: no memory' >&2; exit 1", "no memory"
    ),
    "restore does nothing": ("pg_restore", "cat >/dev/null", "not equal to the database"),
    "restore loses a table": ("pg_restore", '"$0" "$@" --exclude-schema=other', "other"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILURES)
def test_failure_leaves_nothing(server: Server, database: str, tmp_path: Path, case: str) -> None:
    program, script, said = FAILURES[case]
    good = small(server, database, rows=20_000)
    as_app(good).execute("CREATE SCHEMA other; CREATE TABLE other.o (a int)")
    before = names(server)
    bad = Database(Broken(program, script), good.conninfo, good.bin_dir)
    with pytest.raises(PapError) as caught:
        backup.take(bad, tmp_path / "b", stack="st", release="r1")
    assert re.search(said, "\n".join([caught.value.message, *map(str, caught.value.data.get("differences", []))]))
    assert names(server) == before
    assert list((tmp_path / "b").iterdir()) == []
    backup.take(good, tmp_path / "b", stack="st", release="r1")


def _is_archive(stream: Any) -> bool:
    return Path(f"/proc/self/fd/{stream.fileno()}").readlink().name.endswith(".dump")


def test_disk_that_changes_bytes_is_noticed(server: Server, database: str, tmp_path: Path, monkeypatch: Any) -> None:
    """What was streamed and what lies on disk are hashed both."""
    target = small(server, database, rows=50_000)
    real = pipeline.write_all

    def lying(stream: Any, data: bytes) -> None:
        if _is_archive(stream) and len(data) > 100:
            data = data[:50] + bytes([data[50] ^ 1]) + data[51:]
        real(stream, data)

    monkeypatch.setattr(pipeline, "write_all", lying)
    with pytest.raises(PapError, match=r"SHA-256 differ|pg_restore failed|not equal"):
        backup.take(target, tmp_path / "b", stack="st", release="r1", proof="full")
    with pytest.raises(PapError, match=r"SHA-256 differ|pg_restore failed"):
        backup.take(target, tmp_path / "b", stack="st", release="r1", proof="none")
    assert list((tmp_path / "b").iterdir()) == []


def test_full_disk_says_so(server: Server, database: str, tmp_path: Path, monkeypatch: Any) -> None:
    target = small(server, database, rows=20_000)
    real = pipeline.write_all

    def full(stream: Any, data: bytes) -> None:
        if _is_archive(stream):
            raise OSError(28, "No space left on device")
        real(stream, data)

    monkeypatch.setattr(pipeline, "write_all", full)
    with pytest.raises(PapError, match="No space left on device"):
        backup.take(target, tmp_path / "b", stack="st", release="r1")
    assert list((tmp_path / "b").iterdir()) == []


def test_locked_table_does_not_hang(server: Server, database: str, tmp_path: Path) -> None:
    target = small(server, database)
    limits = backup.Limits(lock_wait_s=0.5)
    with as_app(target).session() as session:
        session.execute("BEGIN; LOCK TABLE t")
        with pytest.raises(CommandFailed, match=r"A table stayed locked.* public\.t by process \d+ \(role "):
            backup.take(target, tmp_path / "b", stack="st", release="r1", limits=limits)
    assert list((tmp_path / "b").iterdir()) == []


def test_deadline_ends_it(server: Server, database: str, tmp_path: Path) -> None:
    good = small(server, database)
    slow = Database(Broken("pg_dump", "sleep 60"), good.conninfo, good.bin_dir)
    with pytest.raises(DeadlineExceeded, match="did not end within its time"):
        limits = backup.Limits(deadline_s=1.0)
        backup.take(slow, tmp_path / "b", stack="st", release="r1", compression="gzip:1", limits=limits)
    assert list((tmp_path / "b").iterdir()) == []
    assert names(server).isdisjoint({f"{database}__scratch_r1"})


def test_too_large_asks_for_a_choice(server: Server, database: str, tmp_path: Path) -> None:
    target = small(server, database)
    limits = backup.Limits(ask_above_bytes=1000)
    with pytest.raises(Refused, match="as a proof takes that much disk and time"):
        backup.take(target, tmp_path / "b", stack="st", release="r1", limits=limits)
    taken = backup.take(target, tmp_path / "b", stack="st", release="r1", limits=limits, chosen=True)
    assert taken.manifest.rows == 1000


def test_too_little_disk_is_refused_before_the_first_byte(
    server: Server, database: str, tmp_path: Path, monkeypatch: Any
) -> None:
    target = small(server, database)
    monkeypatch.setattr("papdeploy.databases.disk.free_here", lambda path: 1000)
    with pytest.raises(Refused, match="Too little disk for the dump"):
        backup.take(target, tmp_path / "b", stack="st", release="r1")
    assert list((tmp_path / "b").iterdir()) == []


def test_old_tools_are_refused(servers: dict[int, Server], tmp_path: Path) -> None:
    new, old = servers[18], servers[16]
    name = new.create()
    target = Database(HostSite(), database_of(new, name).conninfo, str(old.bin_dir))
    with pytest.raises(Refused, match="is version 16, older than the server \\(18\\)"):
        backup.take(target, tmp_path / "b", stack="st", release="r1")
    new.drop(name)


def test_kill_leaves_what_the_next_run_clears(server: Server, database: str, tmp_path: Path) -> None:
    """SIGKILL in the middle: no backup is to be seen, and the next one removes what is left."""
    target = small(server, database, rows=100_000)
    program = (
        "import sys; sys.path[:0] = sys.argv[1:4]\n"
        "from pathlib import Path; from papdeploy.core.registry import Registry\n"
        "from papdeploy import backup; from papdeploy.databases.psql import *; from papdeploy.sites.host import HostSite\n"
        "c = Conninfo(*sys.argv[4:6], int(sys.argv[6]), *sys.argv[7:9])\n"
        "registry = Registry(Path(sys.argv[11]), name='st', database=c.dbname)\n"
        "d = Database(HostSite(), c, sys.argv[9], registry=registry)\n"
        "print('go', flush=True)\n"
        "backup.take(d, sys.argv[10], stack='st', release='r1')\n"
    )
    conninfo = target.conninfo
    root = Path(__file__).resolve().parents[3]
    argv = [
        str(root / ".venv/bin/python") if (root / ".venv").exists() else "python3", "-c", program,
        str(root / "module_utils"), "", "", conninfo.dbname, conninfo.host, str(conninfo.port), conninfo.user,
        conninfo.password, target.bin_dir, str(tmp_path / "b"), str(target.registry.folder),
    ]  # fmt: skip
    left: set[str] = set()
    for delay in (0.15, 0.25, 0.35, 0.45, 0.6):
        run = subprocess.Popen(argv, stdout=subprocess.PIPE)
        assert run.stdout is not None
        run.stdout.readline()
        time.sleep(delay)
        run.kill()
        run.wait()
        run.stdout.close()
        left |= {path.name for path in (tmp_path / "b").glob(".partial*")}
        for path in (tmp_path / "b").glob("[!.]*.manifest.json"):
            backup.inspect(path)  # whatever is visible is whole
    assert left, "at least one kill came in the middle"
    taken = backup.take(target, tmp_path / "b", stack="st", release="r1")
    assert not list((tmp_path / "b").glob(".partial*"))
    assert taken.manifest.rows == 100_000
    assert names(server).isdisjoint({f"{database}__scratch_r1"})


@pytest.mark.parametrize("named", [0, 1, 2])
def test_killed_between_its_names(servers: dict[int, Server], tmp_path: Path, named: int) -> None:
    """SIGKILL when so many of the three files have their names: what was proven is finished by the next run."""
    target, folder = small(servers[18], servers[18].create()), tmp_path / "b"
    child = os.fork()
    if child == 0:
        done: list[Path] = []
        real = files.commit

        def commit(path: Path, file: IO[bytes], final: Path) -> None:
            if len(done) == named:
                os.kill(os.getpid(), signal.SIGKILL)
            real(path, file, final)
            done.append(final)

        files.commit = commit
        try:
            backup.take(target, folder, stack="st", release="r1")
        finally:
            os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    archives = list(folder.glob("[!.]*.dump"))
    assert len(archives) == min(named, 1)
    expected = {backup.take(target, folder, stack="st", release="r2").path, *archives}
    assert set(folder.iterdir()) == {
        path.with_name(path.name + suffix) for path in expected for suffix in ("", manifest.GLOBALS, manifest.SUFFIX)
    }
    for path in archives:
        assert backup.verify(target, path, expected=backup.Expected(release="r1")).backup.path == path
    servers[18].drop(target.conninfo.dbname)


def test_a_backup_by_itself_and_a_deploy_exclude_each_other(
    server: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deploy drops the copies that others left, so the copy of a backup at work must not meet one."""
    state = State(tmp_path / "state")
    stack = Stack("st", "staging", state, small(server, database), FakeApi(), (), {})
    me = Run(user="me", host="here", pid=1)
    other_run = State(state.folder)
    deploy = other_run.begin(Run(user="you", host="elsewhere", pid=1))
    for options in (backup_phase.Options(), backup_phase.Options(verify=str(tmp_path / "any.dump"))):
        with pytest.raises(Refused, match="started by you@elsewhere"):
            backup_phase.run(stack, "", me, options)
    assert not state.backups_folder.exists()
    assert not [name for name in names(server) if name.startswith(f"{database}__")]
    other_run.lock.release(deploy.release)

    refused: list[str] = []
    real = backup.take

    def take(*given: Any, **options: Any) -> backup.Backup:
        for other in (lambda: state.begin(me), lambda: backup_phase.run(stack, "", me, backup_phase.Options())):
            with pytest.raises(Refused, match="manual-") as caught:
                other()
            refused.append(caught.value.message)
        return real(*given, **options)

    monkeypatch.setattr(backup, "take", take)
    made = backup_phase.run(stack, "", me, backup_phase.Options())
    assert len(refused) == 2
    assert made.backup is not None
    assert backup.inspect(made.backup["path"]).manifest.rows == 1000
    assert state.lock.holder() is None


def test_an_owner_without_a_right_to_its_own_table(servers: dict[int, Server], tmp_path: Path) -> None:
    """Privileges come last, also where a copy is restored in two parts and by a role that is no superuser."""
    server = servers[18]
    server.sql("CREATE ROLE pap_plain LOGIN CREATEDB PASSWORD 'pw'; GRANT pg_read_all_stats TO pap_plain")
    server.sql("CREATE DATABASE plain OWNER pap_plain")
    conninfo = Conninfo("plain", server.host, server.port, "pap_plain", "pw")
    target = Database(HostSite(), conninfo, str(server.bin_dir))
    try:
        as_app(target).execute(
            "CREATE TABLE ledger (id int PRIMARY KEY); INSERT INTO ledger SELECT generate_series(1, 50)"
        )
        as_app(target).execute(
            "CREATE TABLE line (ledger int REFERENCES ledger); REVOKE INSERT, REFERENCES ON ledger FROM pap_plain"
        )
        taken = backup.take(target, tmp_path / "b", stack="st", release="r1")
        assert (taken.manifest.rows, taken.manifest.proof.kind) == (50, "full")
    finally:
        forget(server, "plain")
        server.sql("DROP ROLE pap_plain")
