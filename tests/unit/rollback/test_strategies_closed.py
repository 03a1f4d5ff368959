"""Why each impossible rollback strategy is impossible, in the words of the deploy that ruled it out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from papdeploy.rollback import Facts, RestorePoint, TakenBackup, strategies
from papdeploy.rollback.state import State

SNAPSHOT, DUMP = RestorePoint("snapshot"), RestorePoint("backup", "/b")
BACKUP = TakenBackup("/b")
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
    ("restore", {"backup": TakenBackup(engine="pgbackrest")}, state(), "the backup is one of pgBackRest"),
    ("restore", {}, state(swapped=True), "the content of before is in place already"),
]  # fmt: skip


@pytest.mark.parametrize(("strategy", "facts", "now", "said"), CLOSED)
def test_why_not(strategy: str, facts: dict[str, Any], now: State, said: str) -> None:
    assert said in strategies.named(strategy).why_not(now, replace(OPEN, **facts))
