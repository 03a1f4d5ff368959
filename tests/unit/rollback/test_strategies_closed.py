"""The table of the rollback strategies: which are possible and why not, what they do in which order, how long it takes."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from papdeploy.core.errors import Refused
from papdeploy.databases.fence import Fence
from papdeploy.releases.records import Backup, Ended, RestorePoint
from papdeploy.rollback import Facts, strategies
from papdeploy.rollback.losses import Kept
from papdeploy.rollback.plan import _steps
from papdeploy.rollback.state import State
from support import ROOT

SNAPSHOT, DUMP = RestorePoint(kind="snapshot"), RestorePoint(kind="backup", path="/b")
BACKUP = Backup(path="/b")
OPEN = Facts("r1", old_works_on_new=True, reversible=True, rehearsed=True, restore_point=SNAPSHOT, backup=BACKUP)


def state(applied: tuple[str, ...] = ("m1",), partial: tuple[str, ...] = (), swapped: bool = False) -> State:
    return State(None, swapped, applied, partial, ())


def _possible(now: State, facts: Facts) -> list[str]:
    return [strategy.name for strategy in strategies.possible(now, facts)]


def test_all_that_is_open() -> None:
    assert _possible(state(), replace(OPEN, switched=True)) == ["image", "downgrade", "swap", "restore"]
    assert _possible(state(()), replace(OPEN, switched=True)) == ["image", "swap", "restore"]
    assert _possible(state(()), OPEN) == ["nothing", "swap", "restore"]
    assert _possible(state(partial=("m1",)), OPEN) == ["swap", "restore"]
    assert _possible(state(swapped=True), OPEN) == ["nothing"]
    assert _possible(state(), Facts("r1")) == []


CLOSED = [
    ("nothing", {}, state(), "m1 of it is in force"),
    ("image", {"old_works_on_new": False}, state(), "the old release was not seen to work on the new schema"),
    ("image", {"old_works_on_new": False, "old_api_why": "login: status 500"}, state(), "new schema (login: status 500)"),
    ("image", {"old_works_on_new": False, "rehearsed": False}, state(), "the deploy was not rehearsed"),
    ("image", {}, state(()), "the API was not switched"),
    ("image", {}, state(partial=("m1",)), "m1 was left halfway outside a transaction"),
    ("downgrade", {"reversible": False, "reversible_why": "m1 has no downgrade."}, state(), "reverted: m1 has no downgrade"),
    ("downgrade", {}, state(()), "there is nothing to revert"),
    ("swap", {"restore_point": DUMP}, state(), "no snapshot was taken: the restore point is a backup (migrate_restore_point"),
    ("swap", {"restore_point": None}, state(), "no snapshot was taken: the deploy had not come to its restore point"),
    ("restore", {"backup": None}, state(), "no backup of it is noted, so there is no restore point"),
    ("restore", {"backup": Backup(engine="pgbackrest")}, state(), "the backup is one of pgBackRest"),
    ("restore", {}, state(swapped=True), "the content of before is in place already"),
]  # fmt: skip


@pytest.mark.parametrize(("strategy", "facts", "now", "said"), CLOSED)
def test_why_not(strategy: str, facts: dict[str, Any], now: State, said: str) -> None:
    assert said in strategies.named(strategy).why_not(now, replace(OPEN, **facts))


FIRST, CLOSE = "end 2 sessions of it still at work", "stop the API, raise the fence, count again what would be lost"
PUT = "put it in the place of app, keep the present one as app__failed_r1"
LIFT, LAST = "lift the fence", "start the old release of the API, check the schema against its models, log in"
STEPS = {
    "nothing": [LAST],
    "image": [LAST],
    "downgrade": [CLOSE, "revert m2, m1", LIFT, LAST],
    "swap": [CLOSE, PUT, LAST],
    "restore": [CLOSE, "restore b into a new database and compare it", PUT, LAST],
}


@pytest.mark.parametrize("name", STEPS)
def test_the_steps_and_their_order(name: str) -> None:
    database: Any = SimpleNamespace(conninfo=SimpleNamespace(dbname="app"))
    now = state(("m2", "m1"))
    at = strategies.Situation(database, OPEN, now, Kept())
    assert list(_steps(strategies.named(name), at)) == STEPS[name]
    # The fence is up already, and sessions of the release are at work: it is lifted whatever is done behind it.
    after_a_kill = replace(now, fence=Fence("app__fenced_r1", "app", "r1", "", None, None, 1), running=(7, 8))
    found = list(_steps(strategies.named(name), replace(at, state=after_a_kill)))
    behind = [step.replace(", raise the fence", "") for step in STEPS[name] if step not in (LIFT, LAST)]
    assert found == [FIRST, *behind, LIFT, LAST]


def test_the_table_is_what_a_person_can_choose_from() -> None:
    assert list(STEPS) == list(strategies.STRATEGIES), "STEPS lists every strategy of ALL, in its order"
    option = yaml.safe_load((ROOT / "tools/options.yml").read_text())["roles"]["rollback"]["options"]["strategy"]
    assert option["choices"] == ["", *strategies.STRATEGIES[1:]], "tools/options.yml: choices of rollback strategy"
    assert strategies.BRING_BACK == ("swap", "restore")
    with pytest.raises(Refused, match=r"Choose one of nothing, image, downgrade, swap, restore"):
        strategies.named("magic")


@pytest.mark.parametrize("strategy", strategies.ALL, ids=lambda strategy: strategy.name)
def test_the_journal_knows_which_strategy_keeps_the_schema(strategy: strategies.Strategy) -> None:
    ended = Ended(event="rolled_back", strategy=strategy.name)
    assert ended.kept_schema == strategy.keeps_schema, "name it in Ended.kept_schema (releases/records.py)"


KNOWN = strategies.Timings(
    start=3.0, closed=1.0, revert=2.0, restore=60.0, old_api_works=True, reversible=True, online=False
)
TIMES = [
    ({}, {"image": 3.0, "downgrade": 6.0, "swap": 4.5, "restore": 64.5}),
    ({"old_api_works": False, "reversible": False}, {"swap": 4.5, "restore": 64.5}),
    ({"revert": None, "restore": None}, {"image": 3.0, "swap": 4.5}),
    ({"online": True}, {"image": 3.0, "downgrade": 6.0, "restore": 64.5}),
]


@pytest.mark.parametrize(("changes", "expected"), TIMES)
def test_expected_seconds_of_those_that_are_open(changes: dict[str, Any], expected: dict[str, float]) -> None:
    assert strategies.expected_s(replace(KNOWN, **changes)) == expected
