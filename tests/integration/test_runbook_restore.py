"""The runbook's commands for a restore by hand, run as they stand there, on a real backup."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from papdeploy import backup
from papdeploy.postgres import Conninfo, Database
from papdeploy.sites import HostSite
from postgres_servers import Server

RUNBOOK = Path(__file__).resolve().parents[2] / "docs" / "runbook.md"


def blocks() -> list[str]:
    """The shell blocks of the page that are marked to be run, without the indentation of their list."""
    text = RUNBOOK.read_text(encoding="utf-8")
    found = re.findall(r"<!-- run: restore -->\n( *)```sh\n(.*?)\n *```", text, re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def test_restore_by_hand(server: Server, tmp_path: Path) -> None:
    live = server.create("hand")
    role = f"{live}_app"
    server.sql(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    server.sql(f"ALTER DATABASE {live} OWNER TO {role}; ALTER DATABASE {live} SET work_mem TO '7MB'")
    server.sql("CREATE TABLE notes (id serial PRIMARY KEY, text text); ALTER TABLE notes OWNER TO " + role, live)
    server.sql("INSERT INTO notes (text) SELECT 'grün ' || n FROM generate_series(1, 5000) AS n", live)
    database = Database(
        HostSite(),
        Conninfo(live, server.host, server.port, server.user, server.password),
        str(server.bin_dir),
    )
    folder = tmp_path / "backups"
    folder.mkdir(mode=0o700)
    made = backup.take(database, folder, stack="pap", release="20250101T000000Z-abcd")
    before = server.sql("SELECT md5(string_agg(text, ',' ORDER BY id)), max(id) FROM notes", live)
    server.sql(
        "UPDATE notes SET text = 'damaged'; DELETE FROM notes WHERE id > 100; DROP SEQUENCE notes_id_seq CASCADE", live
    )

    environment = {
        **os.environ, "PATH": f"{server.bin_dir}:{os.environ['PATH']}", "PGHOST": server.host, "PGPORT": str(server.port),
        "PGUSER": server.user, "PGPASSWORD": server.password, "LIVE": live, "DUMP": str(made.path),
    }  # fmt: skip
    commands = blocks()
    assert len(commands) == 3
    said = ""
    for block in commands:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        said += done.stdout
    try:
        assert "whole" in said
        assert server.sql("SELECT md5(string_agg(text, ',' ORDER BY id)), max(id) FROM notes", live) == before
        assert server.sql("INSERT INTO notes (text) VALUES ('next') RETURNING id", live) == [(5001,)]
        owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = "
        assert server.sql(f"{owner}'{live}'") == [(role,)]
        assert server.sql("SHOW work_mem", live) == [("7MB",)]
        kept = server.sql(f"SELECT datallowconn FROM pg_database WHERE datname = '{live}_broken'")
        assert kept == [(False,)], "what was there is kept, closed"
    finally:
        server.drop(f"{live}_broken")


def test_a_damaged_file_is_seen(tmp_path: Path) -> None:
    dump = tmp_path / "x.dump"
    dump.write_bytes(b"not what was proven")
    (tmp_path / "x.dump.manifest.json").write_text('{\n "sha256": "00",\n "x": 1\n}')
    done = subprocess.run(["bash", "-c", blocks()[0]], env={**os.environ, "DUMP": str(dump)}, capture_output=True)
    assert done.returncode != 0 and b"whole" not in done.stdout
