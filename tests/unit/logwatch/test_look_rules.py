"""Alarms of looks: what a release did not do takes no release back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from papdeploy.core.errors import Unavailable
from papdeploy.core.redact import Redactor
from papdeploy.logwatch import data_rules, look_rules, looking
from papdeploy.logwatch.confidential import Confidential
from papdeploy.logwatch.look_api import ApiAddress, Before
from papdeploy.logwatch.looks import UNREACHABLE, Asked, Look, Replica, Server, Slot
from papdeploy.logwatch.state import Rules
from papdeploy.releases.journal import State
from papdeploy.releases.parts import Endpoint
from papdeploy.releases.run import Run
from support import report_samples

USUAL = Server(4, 100, longest_wait_s=0.0, longest_idle_s=100.0, idle="psql (process 7, role bob)")
BEFORE = Look("2026-03-01T10:00:00.000Z", server=USUAL)


def bad(look: Look, before: Look = BEFORE) -> list[str]:
    return [each.kind for each in look_rules.judge([look], before, Rules()) if each.bad]


@pytest.mark.parametrize(
    ("status", "kinds"), [(401, ["login"]), (403, ["login"]), (408, []), (429, []), (404, []), (500, []), (0, [])]
)
def test_one_login_that_is_not_refused_is_no_alarm_yet(status: int, kinds: list[str]) -> None:
    login = Asked("/auth/login", status, 5.0, worse=f"status {status}")
    assert bad(Look("2026-03-01T10:01:00.000Z", login=login)) == kinds


@pytest.mark.parametrize(
    ("who", "kinds"), [("psql (process 7, role bob)", []), ("psql (process 8, role bob)", ["idle"])]
)
def test_a_session_that_was_there_before_is_not_the_release_s(who: str, kinds: list[str]) -> None:
    server = replace(USUAL, longest_idle_s=400.0, idle=who)
    assert bad(Look("2026-03-01T10:05:00.000Z", server=server)) == kinds


def test_a_timeout_before_the_deploy_is_no_p95() -> None:
    usual = Before(
        health=Endpoint("/health", 200, 4.0), endpoints=(Endpoint("/slow", 0, 10000.0, problem="timed out"),)
    )
    look = usual.as_look("2026-03-01T10:00:00.000Z")
    assert look.health and look.health.p95_ms == 4.0 and look.endpoints[0].p95_ms is None


def test_a_container_that_is_away_is_said_and_ends_no_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> Any:
        raise Unavailable("The Docker engine does not answer.")

    monkeypatch.setattr(data_rules, "database_of", away)
    journal = State(tmp_path / "state").begin(Run(user="u", host="h", pid=1))
    (journal.folder / "data.json").write_text("{}")
    spec = data_rules.DatabaseSpec(dbname="app", container="db", compared=True)
    found = looking.look(
        journal.folder, ApiAddress(), spec, report_samples.watch(), Confidential(), report_samples.at(0)
    )
    assert found is not None and (UNREACHABLE, "The Docker engine does not answer") in [
        (each.what, each.why) for each in found.look.not_looked
    ]
    assert found.data is not None and found.data.error == "The Docker engine does not answer."


def test_names_that_clients_gave_themselves_hold_no_secret() -> None:
    said = "job --password=hunter2secret"
    server = Server(1, 9, 1.0, 1.0, said, said, (Replica(said),), (Slot(said, False, 0),))
    shown = looking._masked(Look("2026-03-01T10:00:00.000Z", server=server), Redactor(["hunter2secret"]))
    assert "hunter2secret" not in repr(shown)
