"""The runbook's commands for a restore by hand, run as they stand there; and what the command behind them must never do."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from papdeploy import backup
from papdeploy.backup import by_hand
from papdeploy.core.errors import PapError, Refused
from papdeploy.databases import content_digest
from papdeploy.databases.psql import Conninfo, Database
from papdeploy.sites.host import HostSite
from papdeploy.sql.quoting import quote_ident, quote_literal
from support import ROOT, backup_files
from support.planted_rows import logins
from support.postgres_servers import Server

RUNBOOK = ROOT / "docs" / "runbook.md"
R = "20250101T000000Z-abcd"


def blocks() -> list[str]:
    """The shell blocks of the page that are marked to be run, without the indentation of their list."""
    text = RUNBOOK.read_text(encoding="utf-8")
    found = re.findall(r"<!-- run: restore -->\n( *)```sh\n(.*?)\n *```", text, re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def reach(server: Server, name: str) -> Database:
    conninfo = Conninfo(name, server.host, server.port, server.user, server.password)
    return Database(HostSite(), conninfo, str(server.bin_dir))


def environment(server: Server, **more: str) -> dict[str, str]:
    return {
        **os.environ, "PATH": f"{server.bin_dir}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PGHOST": server.host, "PGPORT": str(server.port), "PGUSER": server.user, "PGPASSWORD": server.password,
        "PYTHONPATH": str(ROOT / "module_utils"), **more,
    }  # fmt: skip


def command(server: Server, *arguments: Any) -> subprocess.CompletedProcess[str]:
    """``papdeploy restore`` by the system's way: no package but the standard library's."""
    argv = [sys.executable, "-S", "-m", "papdeploy", "restore", *map(str, arguments)]
    return subprocess.run(argv, env=environment(server), capture_output=True, text=True, timeout=120)


CONTENT = "SELECT md5(string_agg(text, ',' ORDER BY id)), max(id) FROM notes"


def make(server: Server, folder: Path, name: str, *more: str) -> backup.Backup:
    """A database with a role of its own, backed up."""
    server.sql(f"CREATE ROLE {name}_app LOGIN PASSWORD 'x'")
    server.sql(f"ALTER DATABASE {name} OWNER TO {name}_app; ALTER DATABASE {name} SET work_mem TO '7MB'")
    server.sql(f"CREATE TABLE notes (id serial PRIMARY KEY, text text); ALTER TABLE notes OWNER TO {name}_app", name)
    server.sql("INSERT INTO notes (text) SELECT 'grün ' || n FROM generate_series(1, 500) AS n", name)
    for statement in more:
        server.sql(statement)
    return backup.take(reach(server, name), folder / "backups", stack="pap", release=R)


@pytest.fixture
def made(servers: dict[int, Server]) -> Iterator[list[str]]:
    """Databases and roles that a test makes on the newest server, by name."""
    names: list[str] = []
    server = servers[18]
    before = {name for (name,) in server.sql("SELECT rolname FROM pg_roles")}
    yield names
    for (name,) in server.sql("SELECT datname FROM pg_database"):
        if name.startswith(tuple(names)):
            server.drop(name)
    for (name,) in server.sql("SELECT rolname FROM pg_roles"):
        if name not in before | logins(server):
            server.sql(f"DROP ROLE {quote_ident(name)}")


def test_restore_by_hand(server: Server, tmp_path: Path) -> None:
    live = server.create("hand")
    taken = make(server, tmp_path, live)
    before = server.sql(CONTENT, live)
    server.sql(
        "UPDATE notes SET text = 'damaged'; DELETE FROM notes WHERE id > 100; DROP SEQUENCE notes_id_seq CASCADE", live
    )
    commands = blocks()
    assert len(commands) == 2
    said = ""
    for block in commands:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], env=environment(server, LIVE=live, DUMP=str(taken.path)),
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        said += done.stdout
    try:
        assert "compared with the backup" in said and "stop the API, then swap the names" in said
        assert server.sql(CONTENT, live) == before
        assert server.sql("INSERT INTO notes (text) VALUES ('next') RETURNING id", live) == [(501,)]
        owner = (
            "SELECT pg_get_userbyid(datdba), shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = "
        )
        assert server.sql(f"{owner}'{live}'") == [(f"{live}_app", None)]
        assert server.sql("SHOW work_mem", live) == [("7MB",)]
        kept = server.sql(f"SELECT datallowconn FROM pg_database WHERE datname = '{live}_broken'")
        assert kept == [(False,)], "what was there is kept, closed"
    finally:
        server.drop(f"{live}_broken")


EVIL = "CREATE ROLE planted SUPERUSER LOGIN;"
HOSTILE = ["a'b", 'a"b', "a\\b", f"x\n{EVIL}", f"x';\n{EVIL}--", f"\\!\n{EVIL}", f"';{EVIL}--", "x\r" + EVIL]


def test_what_others_wrote_makes_no_role(servers: dict[int, Server], tmp_path: Path, made: list[str]) -> None:
    """A comment, settings and names with lines of SQL in them, restored on a server that has nothing of it."""
    server, other = servers[16], servers[18]
    live = server.create("evil")
    made.append(live)
    strange = f"{live} odd\n{EVIL}"[:60]
    comment = f"\n{EVIL}\n".join(HOSTILE)
    taken = make(
        server, tmp_path, live,
        f"CREATE ROLE {quote_ident(strange)} NOLOGIN BYPASSRLS",
        f"CREATE ROLE a_{live} NOLOGIN; CREATE ROLE z_{live} NOLOGIN; GRANT z_{live} TO a_{live}",
        f"CREATE ROLE boss_{live} SUPERUSER LOGIN; GRANT pg_monitor, postgres TO z_{live}",
        f"ALTER ROLE {live}_app SET \"my.words\" TO {quote_literal(HOSTILE[4])}",
        f"ALTER ROLE {live}_app IN DATABASE {live} SET \"my.words\" TO {quote_literal(HOSTILE[3])}",
        f"ALTER DATABASE {live} CONNECTION LIMIT 17",
        f"COMMENT ON DATABASE {live} IS {quote_literal(comment)}",
        f"REVOKE CONNECT ON DATABASE {live} FROM PUBLIC; GRANT CONNECT ON DATABASE {live} TO a_{live}",
    )  # fmt: skip
    try:
        text = taken.path.with_name(taken.path.name + ".globals.sql").read_text()
        assert not [line for line in text.split("\n") if line.startswith(("CREATE ROLE planted", "\\", "'"))]
        there = {name for (name,) in other.sql("SELECT rolname FROM pg_roles")}

        done = command(other, taken.path, "--into", live, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads(done.stdout)
        attributes = "SELECT rolname, rolsuper, rolcanlogin, rolbypassrls, rolpassword IS NULL FROM pg_authid"
        new = {row[0]: row[1:] for row in other.sql(attributes) if row[0] not in there}
        here = {name for (name,) in server.sql("SELECT rolname FROM pg_roles")}
        assert set(new) == set(told["roles"]) == here - there - logins(server) and "planted" not in new
        assert new[strange] == (False, False, True, True) and new[f"{live}_app"] == (False, True, False, True)
        assert not any(row[0] for row in new.values()), "a restore makes no superuser"
        assert f"role boss_{live} was a superuser; the new one is none" in told["notes"]
        assert f"role z_{live} was a member of the superuser postgres; the new one is none" in told["notes"]
        assert other.sql(f"SELECT pg_has_role('a_{live}', 'postgres', 'MEMBER')") == [(False,)]
        member = "SELECT pg_has_role('{0}', '{1}', 'MEMBER')"
        assert other.sql(member.format(f"a_{live}", f"z_{live}")) == [(True,)]
        assert other.sql(member.format(f"z_{live}", "pg_monitor")) == [(True,)]
        traits = (
            "SELECT pg_get_userbyid(datdba), datconnlimit, datallowconn, datacl::text,"
            " shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = "
        )
        assert other.sql(f"{traits}'{live}'") == server.sql(f"{traits}'{live}'")
        settings = (
            "SELECT setdatabase > 0, setconfig FROM pg_db_role_setting WHERE setrole = '{}_app'::regrole ORDER BY 1"
        )
        assert other.sql(settings.format(live)) == server.sql(settings.format(live))
        assert other.sql(CONTENT, live) == server.sql(CONTENT, live)
        assert "planted" not in " ".join(told["lines"]).replace("\\n", "\n").partition("\n")[0]
        assert all("\n" not in line for line in told["lines"])

        # What was there is left as it is, and nothing is restored over it.
        other.sql("UPDATE notes SET text = 'mine'", live)
        again = command(other, taken.path, "--into", live)
        assert again.returncode == 1 and f"There is a database {live} already" in again.stderr
        assert other.sql("SELECT DISTINCT text FROM notes", live) == [("mine",)]
        again = command(other, taken.path)
        assert again.returncode == 0 and f"{live}_restored: restored in" in again.stdout
        assert f'ALTER DATABASE "{live}_restored" RENAME TO "{live}";' in again.stdout
        assert "passwords" not in again.stdout, "no role was missing this time"
    finally:
        server.drop(live)
        for name in (strange, f"a_{live}", f"z_{live}", f"boss_{live}", f"{live}_app"):
            server.sql(f"DROP ROLE {quote_ident(name)}")


def damage_archive(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def damage_manifest(path: Path) -> None:
    manifest = path.with_name(path.name + ".manifest.json")
    manifest.write_text(manifest.read_text().replace('"rolsuper": false', '"rolsuper": true', 1))


def another_object(path: Path) -> None:
    """The same of an object that was described and is not in the archive."""
    rows = path.with_name(path.name + ".manifest.json")
    manifest = json.loads(rows.read_text())
    catalog = manifest["content_digest"]["catalog"]["public"]
    catalog["relation gone"] = next(iter(catalog.values()))
    rows.write_text(backup_files.text({**manifest, "server_version": 160000}))


def lose_manifest(path: Path) -> None:
    path.with_name(path.name + ".manifest.json").unlink()


def another_archive(path: Path) -> None:
    """Whole, and with a manifest that fits it: only that its rows are others than those that were counted."""
    rows = path.with_name(path.name + ".manifest.json")
    manifest = json.loads(rows.read_text())
    manifest["content_digest"]["tables"]["public"]["notes"]["rows"] += 1
    rows.write_text(backup_files.text(manifest))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (damage_archive, "is damaged: its SHA-256"),
        (cut, "is damaged: it has"),
        (damage_manifest, "its digest does not fit"),
        (lose_manifest, "does not exist"),
        (another_archive, "is not equal to the backup"),
        (another_object, "is not equal to the backup: relation public.gone"),
    ],
)
def test_what_is_damaged_leaves_nothing_behind(
    servers: dict[int, Server], tmp_path: Path, made: list[str], spoil: Any, says: str
) -> None:
    server = servers[18]
    live = server.create("hurt")
    made.append(live)
    taken = make(server, tmp_path, live)
    (tmp_path / "moved").mkdir()
    for path in taken.path.parent.iterdir():
        shutil.copy(path, tmp_path / "moved" / path.name)
    moved = tmp_path / "moved" / taken.path.name
    spoil(moved)
    databases = server.sql("SELECT oid, datname FROM pg_database ORDER BY 1")
    done = command(server, moved)
    assert done.returncode == 1 and says in done.stderr, done.stderr
    assert server.sql("SELECT oid, datname FROM pg_database ORDER BY 1") == databases


def test_a_restore_that_is_cut_off_is_known_as_one(server: Server, tmp_path: Path, monkeypatch: Any) -> None:
    live = server.create("cut")
    taken = make(server, tmp_path, live)
    reached = reach(server, "postgres")
    seen: list[tuple[Any, ...]] = []
    foreign_sessions = f"SELECT has_database_privilege('{live}_app', datname, 'CONNECT'), datacl::text FROM pg_database"

    def looking(target: Database, *_: Any, **__: Any) -> float:
        seen.extend(server.sql(f"{foreign_sessions} WHERE datname = {quote_literal(target.conninfo.dbname)}"))
        with pytest.raises(Refused, match="a restore into it was interrupted"):
            by_hand.rebuild(reached, taken.path)
        raise PapError("cut off")

    monkeypatch.setattr(by_hand, "fill", looking)
    with pytest.raises(PapError, match="cut off"):
        by_hand.rebuild(reached, taken.path)
    assert len(seen) == 1 and "=c" not in seen[0][1].split("/")[0], "open to everybody before it is proven"
    assert server.sql(f"SELECT datname FROM pg_database WHERE datname LIKE '{live}\\_%'") == []


def test_names_are_cut_where_they_end() -> None:
    assert by_hand.with_end("x" * 63, "_broken") == "x" * 56 + "_broken"
    assert by_hand.with_end("ü" * 31, "_restored") == "ü" * 27 + "_restored"
    swap = "\n".join(by_hand.swap_sql('a"b', "it's"))
    assert 'ALTER DATABASE "a""b" RENAME TO "a""b_broken";' in swap and "IN ('a\"b', 'it''s')" in swap


def test_the_restored_database_is_the_one_that_was_counted(server: Server, tmp_path: Path) -> None:
    live = server.create("same")
    taken = make(server, tmp_path, live)
    try:
        result = by_hand.rebuild(reach(server, "postgres"), taken.path, f"{live}_new")
        assert content_digest.compare(taken.digest, content_digest.take(reach(server, f"{live}_new"))) == []
        assert result.replaces == live and result.roles == []
    finally:
        server.drop(f"{live}_new")
