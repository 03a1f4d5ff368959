"""Where pgBackRest is the engine: its backup is taken, recorded, verified, and what the label names restores equal."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from papdeploy import rollback
from papdeploy.app.stack import Stack
from papdeploy.backup import pgbackrest
from papdeploy.core.errors import CommandFailed, PapError, Refused, Unavailable
from papdeploy.core.records import as_object
from papdeploy.databases import content_digest
from papdeploy.databases.psql import Conninfo, Database
from papdeploy.phases import backup
from papdeploy.releases.journal import State
from papdeploy.releases.records import Backup
from papdeploy.releases.run import Run
from papdeploy.report.build import build
from papdeploy.report.page import render
from papdeploy.rollback import restore_point
from papdeploy.sites.host import HostSite
from support import ROOT
from support.app_session import as_app
from support.backup import FakeApi
from support.journals import last

BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=Path("/nowhere"))
pytestmark = pytest.mark.skipif(
    not (BIN / "postgres").exists() or not shutil.which("pgbackrest") or not shutil.which("setpriv"),
    reason="needs Debian's postgresql and pgbackrest",
)


def step_down() -> list[str]:
    if os.geteuid() != 0:
        return []
    nobody = pwd.getpwnam("nobody")
    return ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]


@dataclass
class Cluster:
    home: Path
    port: int

    @property
    def config(self) -> str:
        return str(self.home / "pgbackrest.conf")

    def run(self, *argv: Any) -> None:
        subprocess.run([*step_down(), *map(str, argv)], check=True, cwd="/", timeout=90, stdout=subprocess.DEVNULL)

    def database(self, dbname: str = "app") -> Database:
        site = HostSite(become=tuple(step_down()))
        return Database(site, Conninfo(dbname, str(self.home), self.port, "postgres"), str(BIN))

    def start(self, data: str = "data") -> None:
        self.run(BIN / "pg_ctl", "-D", self.home / data, "-l", self.home / "log", "-w", "start")

    def stop(self, data: str = "data") -> None:
        self.run(BIN / "pg_ctl", "-D", self.home / data, "-m", "immediate", "-w", "stop")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    home = Path(tempfile.mkdtemp(prefix="pap-rest-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        made = Cluster(home, probe.getsockname()[1])
    (home / "pgbackrest.conf").write_text(
        f"[global]\nrepo1-path={home}/repo\nlock-path={home}/lock\nlog-path={home}/logs\nspool-path={home}/spool\n"
        f"start-fast=y\ncompress-type=gz\n[main]\npg1-path={home}/data\npg1-port={made.port}\npg1-user=postgres\npg1-socket-path={home}\n"
    )
    home.chmod(0o755)
    (home / "logs").mkdir()
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for path in (home, *home.iterdir()):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    made.run(BIN / "initdb", "-D", home / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
    with (home / "data" / "postgresql.conf").open("a") as file:
        file.write(
            f"\nlisten_addresses=''\nport={made.port}\nunix_socket_directories='{home}'\narchive_mode=on\nwal_level=replica\n"
            f"archive_command='pgbackrest --config={home}/pgbackrest.conf --stanza=main archive-push %p'\n"
        )
    made.start()
    try:
        made.run("pgbackrest", f"--config={home}/pgbackrest.conf", "--stanza=main", "stanza-create")
        postgres = made.database("postgres")
        as_app(postgres).execute("CREATE DATABASE app")
        as_app(made.database()).execute(
            "CREATE TABLE t AS SELECT g, md5(g::text) AS v FROM generate_series(1, 20000) g"
        )
        yield made
    finally:
        made.stop()
        shutil.rmtree(home, ignore_errors=True)


def test_backup_is_recorded_and_restores_equal(cluster: Cluster) -> None:
    tool = pgbackrest.PgBackRest("main", config=cluster.config)
    database = cluster.database()
    before = content_digest.take(database)
    taken = pgbackrest.take(database, tool, release="20250101T000000Z-aa")
    assert taken.kind == "full", "the first one is, whatever was asked for"
    assert taken.verified
    assert taken.system_identifier == database.facts().identifier
    assert pgbackrest.find(database, tool, taken.label)
    assert not pgbackrest.find(database, tool, "20200101-000000F")
    shown: Any = taken.as_dict()
    assert taken.label in shown["lines"][0]
    as_app(database).execute("INSERT INTO t VALUES (0, 'later')")
    second = pgbackrest.take(database, tool, release="20250102T000000Z-bb")
    assert second.kind == "incr"
    assert second.label.startswith(taken.label)

    # The recorded command, with only the place to restore to changed, gives back what was there.
    command = taken.restore_command.split()
    elsewhere = (f"--pg1-path={cluster.home}/again", "--type=immediate", "--target-action=promote")
    cluster.run(*command[:-1], *elsewhere, command[-1])
    cluster.stop()
    try:
        cluster.start("again")
        try:
            assert content_digest.compare(before, content_digest.take(database)) == []
        finally:
            cluster.stop("again")
    finally:
        cluster.start()


def test_the_phase_notes_the_label_and_nothing_takes_it_for_a_dump(cluster: Cluster, tmp_path: Path) -> None:
    stack = Stack("st", "staging", State(tmp_path / "state"), cluster.database(), FakeApi(), (), {})
    journal = stack.state.begin(Run(user="u", host="h", pid=os.getpid()))
    options = backup.Options(engine="pgbackrest", pgbackrest={"stanza": "main", "config": cluster.config})
    made = backup.run(stack, journal.release, Run(), options)
    noted = last(journal, "backup")
    assert noted is not None
    assert noted["label"] == made.backup["label"]
    assert "pgBackRest" in made.pap.lines[0]
    with pytest.raises(Refused, match="needs a backup by pg_dump"):
        restore_point.refuse_unproven(noted.get("path", ""), "migrate_restore_point=backup")
    taken = journal.newest(Backup)
    facts = rollback.Facts(journal.release, backup=taken, switched=True)
    plan = rollback.choose(stack.database, facts)
    assert plan.strategy == "image"
    assert "is impossible from here" in rollback.choose(stack.database, facts, strategy="restore").refused


def test_wrong_places_are_refused(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    database = cluster.database()
    with pytest.raises((Unavailable, CommandFailed), match=r"stanza|pgbackrest"):
        pgbackrest.take(database, pgbackrest.PgBackRest("other", config=cluster.config), release="r")
    with pytest.raises(Unavailable, match=r"cannot be started|failed"):
        pgbackrest.take(
            replace(database, site=HostSite()),
            pgbackrest.PgBackRest("main", config=cluster.config, program="/nonexistent/pgbackrest"),
            release="r",
        )
    with pytest.raises(Refused, match="is not known"):
        pgbackrest.take(database, pgbackrest.PgBackRest("main", config=cluster.config, type="some"), release="r")
    facts = database.facts()
    monkeypatch.setattr(Database, "facts", lambda self: replace(facts, identifier="1"))
    with pytest.raises(Refused, match="backs up another cluster"):
        pgbackrest.take(database, pgbackrest.PgBackRest("main", config=cluster.config), release="r")


def test_damaged_repository_is_noticed(cluster: Cluster) -> None:
    tool = pgbackrest.PgBackRest("main", config=cluster.config, type="full")
    database = cluster.database()
    taken = pgbackrest.take(database, tool, release="20250103T000000Z-cc")
    files = sorted((cluster.home / "repo" / "backup" / "main" / taken.label / "pg_data" / "base").rglob("*.gz"))
    whole = files[0].read_bytes()
    data = bytearray(whole)
    data[len(data) // 2] ^= 0xFF
    files[0].write_bytes(data)
    try:
        with pytest.raises(PapError, match="verify"):
            pgbackrest._verify(database, tool, taken.label)
    finally:
        files[0].write_bytes(whole)


@pytest.mark.nightly
def test_the_playbooks_on_a_stack_of_pgbackrest(cluster: Cluster, tmp_path: Path) -> None:
    """backup.yml by itself, then as a phase of a release: its journal, its report and the plan of its rollback."""
    inventory = tmp_path / "hosts.yml"
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "pap_environment": "staging",
        "pap_state_dir": str(tmp_path / "state"),
        "pap_db_name": "app",
        "pap_db_host": str(cluster.home),
        "pap_db_port": cluster.port,
        "pap_db_admin_user": "postgres",
        "pap_db_bin_dir": str(BIN),
        "pap_db_become": step_down(),
        **dict.fromkeys(("pap_api_dir", "pap_api_python"), "/nowhere"),
        **{f"pap_api_{verb}_command": ["false"] for verb in ("start", "stop", "restart")},
        "pap_models": ["none"],
        "pap_smoke_username": "none",
        "pap_smoke_password": "none",
        "backup_engine": "pgbackrest",
        "backup_pgbackrest": {"stanza": "main", "config": cluster.config},
    }
    inventory.write_text(json.dumps({"all": {"hosts": {"pap": variables}}}))

    def play(playbook: str, *extra: str) -> str:
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", "-i", inventory, playbook, *extra],
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"},
            cwd=ROOT, capture_output=True, text=True, timeout=150,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    tool = pgbackrest.PgBackRest("main", config=cluster.config)
    said = play("backup.yml")
    label = re.search(r"pgBackRest \w+ backup (\S+) of the whole cluster: .* verified in the repository", said)
    assert label, said
    assert pgbackrest.find(cluster.database(), tool, label[1])
    assert f"--set={label[1]}" in said, "the command that restores it"

    state = State(tmp_path / "state")
    assert state.lock.holder() is None
    version = {"label": "old", "identity": "old"}
    header = {"stack": "pap", "environment": "staging", "from": version, "to": {"label": "new", "identity": "new"}}
    who = Run(user="u", host="elsewhere", pid=1)
    journal = state.begin(who, **header, pending=["m1"], server_version=150000)
    play("backup.yml", "-e", json.dumps({"pap_release": journal.release, "pap_who": as_object(who)}))
    noted = last(journal, "backup")
    assert noted is not None
    assert noted["label"] != label[1]
    assert pgbackrest.find(cluster.database(), tool, noted["label"])
    journal.append("activate", "begin", **{"from": version, "to": header["to"]})
    state.lock.release(journal.release)

    said = play("rollback.yml", "--check")
    assert "rollback strategy: image (no migration of it is committed; the API was switched)" in said
    said = play("rollback.yml", "--check", "-e", "rollback_strategy=restore")
    assert "refused: the strategy 'restore' is impossible from here" in said
    report = render(build(journal))
    assert noted["label"] in report
    assert f"--set={noted['label']}" in report
