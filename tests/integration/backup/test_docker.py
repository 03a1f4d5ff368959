"""Backups of a database in a container: each compression of its pg_dump, and a whole deploy where pgBackRest is the engine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from papdeploy import backup
from papdeploy.app.discovery import database_at, discover
from papdeploy.backup import archive
from papdeploy.core.errors import PapError, Refused
from papdeploy.databases import content_digest
from papdeploy.databases.psql import Database
from papdeploy.releases.journal import State
from papdeploy.sites.docker.engine import Engine
from papdeploy.sites.docker.site import ContainerSite
from support import ROOT
from support.app_session import as_app
from support.backup import HOSTILE, ROLES, make_roles
from support.docker_stacks import Playbooks, pap_images, pap_stack, unique
from support.journals import last

AS_POSTGRES = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
CONFIG = (
    "[global]\\nrepo1-path=/repo\\nstart-fast=y\\ncompress-type=zst\\n"
    "[main]\\npg1-path=/var/lib/postgresql/data\\npg1-user=control_core\\npg1-database=control_core_db\\n"
)
pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def hostile(docker_engine: Engine, docker_stack: pap_stack.Stack) -> Iterator[Database]:
    stack = docker_stack
    found = discover(docker_engine, stack.db, stack.api).database
    database = database_at(docker_engine, stack.db, dbname=found.name, user=found.admin_user)
    make_roles(database.execute)
    as_app(database).execute("CREATE DATABASE hostile")
    try:
        made = database.named("hostile")
        as_app(made).execute(HOSTILE)
        yield made
    finally:
        as_app(database).execute("DROP DATABASE hostile")
        for role in ROLES:
            as_app(database).execute("DROP ROLE {}".format('"' + role.replace('"', '""') + '"'))


@pytest.mark.parametrize(
    "method", [archive.METHODS[0], *(pytest.param(each, marks=pytest.mark.nightly) for each in archive.METHODS[1:])]
)
def test_each_compression_is_proven_and_a_flipped_bit_in_it_noticed(
    hostile: Database, method: str, tmp_path: Path
) -> None:
    taken = backup.take(hostile, tmp_path / "b", stack="st", release="r1", compression=method)
    whole = taken.path.read_bytes()
    listed = hostile.site.run([hostile.program("pg_restore"), "--list"], input=whole).text
    assert f"Compression: {method.split(':')[0]}" in listed
    assert taken.manifest.proof.kind == "full" and taken.manifest.rows == 763
    assert backup.verify(hostile, taken.path).seconds > 0
    taken.path.write_bytes(
        whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 4]) + whole[len(whole) // 2 + 1 :]
    )
    with pytest.raises(Refused, match="is damaged: its SHA-256"):
        backup.verify(hostile, taken.path)


@pytest.mark.nightly
def test_by_hand_on_the_containers_host(hostile: Database, docker_stack: pap_stack.Stack, tmp_path: Path) -> None:
    taken = backup.take(hostile, tmp_path / "b", stack="st", release="r1")
    module = ["-m", "papdeploy", "restore", str(taken.path), "--container", docker_stack.db]
    done = subprocess.run(
        [sys.executable, *module], env={**os.environ, "PYTHONPATH": str(ROOT / "module_utils")},
        capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0 and "hostile_restored: restored in" in done.stdout, done.stdout + done.stderr
    assert content_digest.compare(taken.digest, content_digest.take(hostile.named("hostile_restored"))) == []
    hostile.named("postgres").execute("DROP DATABASE hostile_restored")


@pytest.mark.nightly
def test_the_best_compression_of_the_tools_is_chosen(hostile: Database, tmp_path: Path) -> None:
    taken = backup.take(hostile, tmp_path / "b", stack="st", release="r1")
    assert taken.manifest.compression == "zstd:1"
    with pytest.raises(PapError, match="compression"):
        backup.take(hostile, tmp_path / "b", stack="st", release="r2", compression="bzip2:1")
    assert [path for path in (tmp_path / "b").iterdir() if "r2" in path.name] == []


@pytest.fixture
def archived(docker_engine: Engine) -> Iterator[pap_stack.Stack]:
    """A stack whose cc-db sends its WAL to a pgBackRest repository."""
    lines = [f"RUN printf '{CONFIG}' > /etc/pgbackrest.conf && install -d -o postgres -g postgres -m 0750 /repo"]
    made = pap_stack.Stack(
        unique("rest"),
        db_image=pap_images.variant(docker_engine.api, pap_images.db_image(docker_engine.api), "cc-db-archived", lines),
        db_settings=("archive_mode=on", "archive_command=pgbackrest --stanza=main archive-push %p"),
    )
    try:
        made.up(percent=5)
        ContainerSite(docker_engine, made.db, AS_POSTGRES).run(["pgbackrest", "--stanza=main", "stanza-create"])
        yield made
    finally:
        made.down()


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_a_deploy_that_pgbackrest_backs_up_is_taken_back_by_the_image(
    archived: pap_stack.Stack, tmp_path: Path
) -> None:
    pap_images.api_image(archived.engine, "current")
    first = archived.engine.inspect_container(archived.api)["Id"]
    playbooks = Playbooks(
        archived, tmp_path, pap_db_become=AS_POSTGRES, backup_engine="pgbackrest",
        backup_pgbackrest={"stanza": "main"}, watch_enabled=False,
    )  # fmt: skip

    policies = "SELECT count(*), md5(string_agg(name, ',' ORDER BY id)) FROM policies"
    rows = archived.sql(policies)
    said = playbooks.run("deploy.yml")
    journal = State(tmp_path / "state").releases()[-1]
    noted = last(journal, "backup")
    assert noted is not None and noted["verified"] and f"pgBackRest full backup {noted['label']}" in said
    point = last(journal, "restore_point")
    assert point is not None and point["kind"] == "snapshot", (
        "a copy of the cluster is no rollback strategy of one database"
    )
    report = (tmp_path / "reports" / "shop" / f"{journal.release}.html").read_text()
    assert f"pgbackrest --stanza=main --log-level-console=warn --set={noted['label']} restore" in report
    assert '"release":"current"' in archived.get("/version")[1]

    # The rehearsal has shown that the old release works on the new schema: its own container runs on that.
    assert "rollback strategy: image" in playbooks.run("rollback.yml")
    assert '"release":"previous"' in archived.get("/version")[1] and archived.get("/policies/")[0] == 401
    assert archived.engine.inspect_container(archived.api)["Id"] == first
    assert archived.sql(policies) == rows and archived.sql("SELECT count(rego_code) FROM policies") == "0"
    left = archived.sql("SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY datname").split()
    snapshot = f"control_core_db__snap_{journal.release}"
    assert left == ["control_core_db", snapshot, "postgres"], "it stays until the next release has finished"
