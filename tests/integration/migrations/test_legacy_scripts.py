"""Legacy scripts: run in a process of their own, under the lock, and never taken at their word."""

from __future__ import annotations

from pathlib import Path

import pytest
from papdeploy.core.errors import DeadlineExceeded, PapError
from support.migration_runner import Bench, migration
from support.postgres_servers import Server

CORPUS = Path(__file__).resolve().parents[2] / "corpus" / "migrations" / "scripts"


@pytest.fixture
def bench(server: Server, database: str) -> Bench:
    bench = Bench(server, database)
    bench.sql("CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'ada')")
    return bench


def script(name: str) -> dict[str, str]:
    return {f"{name}.py": (CORPUS / f"{name}.py").read_text()}


def test_a_good_one_is_applied(bench: Bench) -> None:
    result = bench.apply(script("adds_column"))
    assert bench.columns("users") == ["id", "name", "api_key"]
    (entry,) = result.applied
    assert (entry.details or {})["changed"] == ["column public.users.api_key added"]
    assert entry.flavour == "script"  # of which a rehearsal knows that it did not see the locks
    assert bench.ledger() == [("started", "adds_column"), ("applied", "adds_column")]
    lines = [event["line"] for event in bench.events if event["event"] == "output"]
    assert lines[-1] == "Migration completed successfully"
    assert bench.server.password not in str(bench.events) + str(result.as_json())  # it prints its URL
    assert not bench.apply(script("adds_column")).changed


# script -> what the message says, what of users is changed all the same
FAILURES = {
    "claims_success": ("says that it succeeded, but the catalog of the database did not change", []),
    "fails_halfway": (r"returned False.* It did change the database before: column public.users.half added", ["half"]),
    "waits_for_itself": ("OperationalError|lock timeout", []),
    "exits": (r"sys.exit\(0\)", []),
    "does_not_import": ("ModuleNotFoundError: No module named 'no_such_module_anywhere'", []),
    "dies": ("ended with exit code -9 and no verdict", []),
    "data_only": ("the catalog of the database did not change", []),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_fails_is_said_and_stops_the_batch(bench: Bench, name: str) -> None:
    message, left = FAILURES[name]
    after = migration('db.execute("CREATE TABLE after_it (id int)")')
    with pytest.raises(PapError, match=message) as caught:
        bench.apply({**script(name), "2025_01_01_after.py": after}, lock_timeout_s=0.5)
    assert bench.applied() == [] and bench.tables() == ["users"]
    assert bench.columns("users") == ["id", "name", *left]
    assert bench.ledger() == [("started", name), ("failed", name)]
    assert caught.value.hint
    bench.sessions_end()


def test_its_output_is_shown_on_failure(bench: Bench) -> None:
    with pytest.raises(PapError) as caught:
        bench.apply(script("fails_halfway"))
    assert "Migration failed:" in caught.value.data["output"]


def test_the_operator_may_vouch_for_one_that_changes_data_only(bench: Bench) -> None:
    result = bench.apply(script("data_only"), assume_applied=("data_only",))
    assert bench.sql("SELECT name FROM users") == [("ADA",)]
    assert (result.applied[0].details or {})["believed"] is True
    assert bench.sql("SELECT details->>'believed' FROM pap_deploy.ledger WHERE event = 'applied'") == [("true",)]


def test_the_deadline_kills_it_and_its_sessions(bench: Bench) -> None:
    with pytest.raises(DeadlineExceeded, match="did not end within 2 s; its process was killed"):
        bench.apply(script("hangs"), script_deadline_s=2)
    bench.sessions_end(seconds=15)
    assert bench.columns("users") == ["id", "name"]
    bench.sql("ALTER TABLE users ADD COLUMN free int")  # no lock is left behind
