"""PostgreSQL's own regression database through whole deploys: backed up, proven, rehearsed on, and rolled back by restore
and by swap. Skipped where neither this machine nor PAP_POSTGRES_SOURCE has PostgreSQL's source."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from papdeploy.databases import content_digest
from support import regression_database
from support.backup import database_of
from support.postgres_servers import Server
from support.sandbox_playbooks import LOGIN_WRITES, Place, sandbox_place

DATABASE = "control_core_db"
# Where PostgreSQL says that a dump does not keep something.
SOURCE = re.compile(r"\((?:pg_dump\.c, \w+|PostgreSQL documentation, [A-Z])")
OWN = re.compile(rf"\bpap_deploy\b|\bpublic\.(?:{'|'.join(LOGIN_WRITES)})\b|_id_seq stands at")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("major", [16, 18])
def test_it_is_deployed_on_and_taken_back(major: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAP_SANDBOX_PG", str(major))
    with sandbox_place("regression") as place:
        server = _filled(place, major)
        target = database_of(server, DATABASE)
        before = content_digest.take(target)
        assert before.table_count > 400
        for strategy, restore_point in (("restore", "auto"), ("swap", "snapshot")):
            _play(place, "deploy.yml", pap_rehearse=True, migrate_restore_point=restore_point)
            # The first backup is proven; one under the fence, if anything was written since, need not be.
            manifests = Path(place.stack.state["deploy_dir"]).rglob("*.manifest.json")
            notes = [note for path in manifests for note in json.loads(path.read_text(encoding="utf-8"))["notes"]]
            assert notes and [note for note in notes if not SOURCE.search(note)] == []
            _play(place, "rollback.yml", rollback_strategy=strategy, rollback_accept_data_loss=True)
            assert place.running() == "previous"
            differences = content_digest.compare(before, content_digest.take(target))
            assert [said for said in differences if not OWN.search(said)] == [], strategy


def _filled(place: Place, major: int) -> Server:
    postgres = place.stack.state["postgres"]
    password = (place.stack.base / "secrets" / "password-postgres").read_text(encoding="utf-8")
    home = place.sandbox.home / "regression"
    home.mkdir()
    server = Server(major, Path(postgres["bin_dir"]), int(postgres["port"]), password, home / "data")
    server.sql("ALTER SYSTEM SET fsync = off")
    server.sql("SELECT pg_reload_conf()")
    try:
        made = regression_database.make(server, DATABASE, home)
    except regression_database.NoSource as error:
        pytest.skip(str(error))
    assert made.scripts > 200
    # Allowed by servers before the source's minor version, and refused by every restore.
    for (table,) in server.sql(
        "SELECT ev_class::regclass::text FROM pg_rewrite w JOIN pg_class c ON c.oid = ev_class"
        " WHERE rulename = '_RETURN' AND relkind = 'r'",
        DATABASE,
    ):
        server.sql(f'ALTER RULE "_RETURN" ON {table} RENAME TO renamed', DATABASE)
    return server


def _play(place: Place, playbook: str, **variables: object) -> str:
    """As a superuser: there are event triggers, functions in C, and owners that only such a role can give to."""
    password = (place.stack.base / "secrets" / "password-postgres").read_text(encoding="utf-8")
    extra = place.sandbox.home / "extra.json"
    given = {"pap_db_admin_user": "postgres", "pap_db_admin_password": password, **variables}
    extra.write_text(json.dumps(given), encoding="utf-8")
    return place.play(playbook, "-e", f"@{extra}")
