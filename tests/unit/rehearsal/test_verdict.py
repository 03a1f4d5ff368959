"""What the rehearsal concludes from what it saw: pure functions over plain data."""

from __future__ import annotations

from typing import Any

import pytest
from papdeploy.core.errors import DeadlineExceeded, Refused
from papdeploy.core.records import as_object, recorded
from papdeploy.phases import rehearsal_limits, rehearse
from papdeploy.rehearsal import Options, verdict
from papdeploy.rehearsal.expectations import Clock
from papdeploy.rehearsal.reverse import Reverted
from papdeploy.releases.parts import TableLock
from papdeploy.releases.rehearsed import BlockingLock, Online, Rehearsal, RehearsedMigration, Tried
from papdeploy.sites.docker import probe

EXISTING = {"public.users", "public.items"}


def step(
    identity: str = "m", locks: dict[str, str] | None = None, held_s: float = 0.0, **more: Any
) -> RehearsedMigration:
    listed = tuple(TableLock(table, mode, held_s) for table, mode in (locks or {}).items())
    return RehearsedMigration(identity, **{"flavour": "upgrade", "locks": listed, "rewritten": (), "rows": 0, **more})


def judge(steps: list[RehearsedMigration], seconds: float = 0.1, **changes: Any) -> Online:
    together = verdict.Transaction(tuple(item.identity for item in steps if not item.sampled), seconds)
    given: dict[str, Any] = {"old_api": Tried(works=True), **changes}
    return verdict.online(verdict.Batch(steps, [together], EXISTING, **given), max_lock_s=0.5)


SAFE: dict[str, Online] = {
    "nothing pending": judge([]),
    "a short exclusive lock": judge([step(locks={"public.users": "AccessExclusiveLock"})]),
    "a long lock on a new table": judge([step(locks={"public.fresh": "AccessExclusiveLock"})], seconds=9),
    "a long harmless lock": judge([step(locks={"public.users": "ShareUpdateExclusiveLock"})], seconds=9),
    "a rewrite of a new table": judge([step(rewritten=("public.fresh",))]),
    "a short backfill": judge([step(rows=10)]),
    "a long build outside of a transaction": judge(
        [step(locks={"public.users": "ShareUpdateExclusiveLock"}, held_s=60, sampled=True)]
    ),
}


@pytest.mark.parametrize("case", SAFE)
def test_safe_under_traffic(case: str) -> None:
    assert SAFE[case] == Online(True)


UNSAFE: dict[str, tuple[Online, str]] = {
    "a long exclusive lock": (
        judge([step(locks={"public.users": "AccessExclusiveLock"})], seconds=2),
        "m holds ACCESS EXCLUSIVE on public.users for up to 2.0 s: readers and writers would wait longer than 0.5 s",
    ),
    "a long share lock": (
        judge([step(locks={"public.users": "ShareLock"})], seconds=2),
        "m holds SHARE on public.users for up to 2.0 s: writers would wait longer than 0.5 s",
    ),
    "a lock outside of a transaction": (
        judge([step(locks={"public.users": "ShareLock"}, held_s=3.0, sampled=True)]),
        "m holds SHARE on public.users for up to 3.0 s: writers would wait longer than 0.5 s",
    ),
    "a rewrite": (judge([step(rewritten=("public.users",))]), "m rewrites public.users"),
    "a long backfill": (
        judge([step(rows=5000)], seconds=3),
        "m writes 5,000 rows in a transaction of 3.0 s: writers of the same rows would wait longer than 0.5 s",
    ),
    "an old API that breaks": (
        judge([step()], old_api=Tried(works=False, why="GET /x: status 500")),
        "the API that runs now does not work on the new schema (GET /x: status 500)",
    ),
    "an old API that was not tried": (
        judge([step()], old_api=Tried(why="pap_api_trial_command is not set")),
        "it is unknown whether the API that runs now works on the new schema (pap_api_trial_command is not set)",
    ),
    "a copy without rows": (judge([step()], data="schema"), "the rehearsal saw no rows, so no time is known"),
    "locks that were not watched": (judge([step()], watched=False), "the locks could not be watched to the end"),
    "a legacy script": (
        judge([step(flavour="script")]),
        "m is a legacy script: its locks are those of sessions of its own",
    ),
    "an entry that does not state its kind": (judge([RehearsedMigration("m")]), "nothing was seen of the locks of m"),
    "locks that were not observed": (
        judge([RehearsedMigration("m", flavour="upgrade")]),
        "nothing was seen of the locks of m",
    ),
}


@pytest.mark.parametrize("case", UNSAFE)
def test_not_safe_under_traffic(case: str) -> None:
    found, why = UNSAFE[case]
    assert found == Online(False, (why,))


def test_of_a_tables_locks_the_strongest_counts() -> None:
    steps = [
        step("a", {"public.users": "ShareLock", "public.items": "RowExclusiveLock"}, held_s=0.2),
        step("b", {"public.users": "AccessExclusiveLock"}, held_s=0.1),
    ]
    found = verdict.blocking_locks(steps, EXISTING)
    assert found == (BlockingLock("public.users", "AccessExclusiveLock", 0.2, "b"),)
    assert verdict.lock_words(found) == "ACCESS EXCLUSIVE on users (0.2 s)"
    assert verdict.lock_words([]) == "none that makes traffic wait"


def test_unavailability_is_the_sum_of_what_lies_between_stop_and_first_answer() -> None:
    phases = verdict.predicted_phases(
        verdict.usual(None, 0.0, {"fence": 0.4}), restore_point_s=1.0, migrate_s=2.0, start_s=3.0, mode="standard"
    )
    assert phases == verdict.Phases(migrate=2.0, fence=0.4, restore_point=1.0, unfence=0.2, activate=3.0)
    assert verdict.unavailable(phases, verdict.Usual(hand_over=0.5), "standard") == 7.1
    online = verdict.predicted_phases(verdict.Usual(), restore_point_s=1.0, migrate_s=2.0, start_s=3.0, mode="online")
    assert verdict.unavailable(online, verdict.Usual(), "online") == 3.0
    untried = verdict.predicted_phases(
        verdict.Usual(), restore_point_s=1.0, migrate_s=2.0, start_s=None, mode="standard"
    )
    assert verdict.unavailable(untried, verdict.Usual(), "standard") is None


@pytest.mark.parametrize(
    ("mode", "old_works", "reversible", "restore_s", "strategies"),
    [
        ("standard", True, True, 60.0, {"image", "downgrade", "swap", "restore"}),
        ("standard", False, True, 60.0, {"downgrade", "swap", "restore"}),
        ("standard", None, False, None, {"swap"}),
        ("online", True, False, 60.0, {"image", "restore"}),
    ],
)
def test_rollback_strategies_are_those_that_are_open(
    mode: str, old_works: bool | None, reversible: bool, restore_s: float | None, strategies: set[str]
) -> None:
    back, old_api = Reverted(reversible=reversible, seconds=1.0), Tried(works=old_works, start_s=2.0)
    found = verdict.recovery(back, old_api, verdict.Usual(), restore_s=restore_s, mode=mode)
    assert set(found) == strategies
    assert all(seconds >= 2.0 for seconds in found.values())
    if "restore" in found:
        assert found["restore"] >= 62.0


@pytest.mark.parametrize(("migrate_s", "limit_s"), [(0.1, 30.0), (10.0, 50.0), (1000.0, 900.0)])
def test_the_deadline_is_a_multiple_of_the_rehearsed_time(migrate_s: float, limit_s: float) -> None:
    assert verdict.deadline_s(migrate_s, 5.0, 900.0) == limit_s


@pytest.mark.parametrize(
    ("predicted", "actual", "strays"), [(0.1, 1.0, False), (0.1, 1.2, True), (10.0, 15.0, False), (10.0, 21.0, True)]
)
def test_what_strays_is_twice_as_long_and_a_second_more(predicted: float, actual: float, strays: bool) -> None:
    assert verdict.strays(predicted, actual) is strays
    lines, said = rehearsal_limits.against(Rehearsal(phases={"migrate": predicted}), actual)
    assert said is strays
    assert ("find out why" in lines[0]) is strays
    assert ("find out why" in rehearsal_limits.expected(Rehearsal(expected_unavailable_s=predicted), actual)) is strays


def test_without_a_rehearsal_the_configured_limits_hold_and_online_is_refused() -> None:
    assert rehearsal_limits.limit_s(None, 900.0) == 900.0
    assert rehearsal_limits.limit_s(Rehearsal(deadline_s=30.0), 900.0) == 30.0
    assert rehearsal_limits.against(None, 1.0) == ([], False)
    assert rehearsal_limits.lock_timeout_s(5.0, online=True) == 1.0
    assert rehearsal_limits.lock_timeout_s(5.0, online=False) == 5.0
    rehearsal_limits.refuse_unsafe(Rehearsal(online=Online(True)))
    with pytest.raises(Refused, match="was not rehearsed"):
        rehearsal_limits.refuse_unsafe(None)
    with pytest.raises(Refused, match="rewrites users"):
        rehearsal_limits.refuse_unsafe(Rehearsal(online=Online(False, ("m rewrites users",))))


def test_a_deadline_says_what_was_rehearsed() -> None:
    error = DeadlineExceeded("It did not end.", hint="Look.")
    rehearsal_limits.explain_deadline(error, Rehearsal(phases={"migrate": 0.4}), 30.0)
    assert "The rehearsal took 0.4 s; 30 s is the limit" in error.hint


@pytest.mark.parametrize("bad", [{"data": "some"}, {"mode": "offline"}, {"deadline_s": 0}, {"sample_rows": -1}])
def test_options_are_checked(bad: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        Options(**bad)


def test_the_verdict_reads_as_sentences() -> None:
    tried = {"label": "new", "works": True, "healthy_after_s": 1.0, "endpoints": [{}, {}]}
    found: dict[str, Any] = {
        "copy": "the copy that proved the backup",
        "data": "full",
        "mode": "standard",
        "migrate_s": 1.5,
        "schema": {"matches": True},
        "migrations": [
            {**as_object(step("m")), "statement_count": 2, "seconds": 0.5, "rows": 1200, "wal_bytes": 2_000_000}
        ],
        "locks": [{"table": "public.users", "mode": "ShareLock", "held_s": 0.5}],
        "reversible": True,
        "reversible_why": "",
        "downgrade_loses": "a downgrade drops 1 new column",
        "candidate": tried,
        "old_api": {"label": "old", "works": False, "why": "GET /x: status 500"},
        "online": {"safe": False, "why": ["m rewrites public.users", "another"]},
        "outward": [{"identity": "m", "what": "starts a program (psql)"}],
        "cannot_tell": [],
        "expected_unavailable_s": 4.2,
        "recovery_s": {"downgrade": 3.0, "restore": 61.0},
        "deadline_s": 30.0,
    }
    assert rehearse.lines_of(recorded(Rehearsal, found)) == [
        "on the copy that proved the backup: 1 migration in 1.5 s; schema matches the new models",
        "m: 2 statements in 0.5 s, 1,200 rows, 2.0 MB of WAL",
        "locks: SHARE on users (0.5 s)",
        "reversible: reverted, equal to the start, migrated again to the same schema; a downgrade drops 1 new column",
        "the new API (new) works on it: healthy after 1.0 s, login, no regressions in 2 endpoints",
        "the API that runs now (old) does NOT work on the new schema: GET /x: status 500; a rollback needs the old"
        " schema too",
        "not safe under traffic: m rewrites public.users (and 1 more)",
        "m starts a program (psql): a session there in the live database for a few ms is not measured",
        "expected: API unavailable for 4.2 s; a migration that takes more than 30 s is stopped; rollback options:"
        " downgrade 3 s, restore 61 s",
    ]


def test_what_a_cutover_does_besides_is_measured_in_the_rehearsal() -> None:
    """Through a container every session takes a tenth of a second and more, and an API may take its time to stop."""
    clock = Clock(session=0.2, looked=0.6, left=0.5)
    found = verdict.usual(clock, 1.5, {})
    assert [round(seconds, 3) for seconds in (found.fence, found.restore_point, found.unfence)] == [1.9, 0.6, 0.9]
    known = verdict.usual(clock, 1.5, {"fence": 4.0, "start_more": -0.3})
    assert known.fence == 4.0, "an earlier deploy knows better"
    phases = verdict.predicted_phases(known, restore_point_s=1.0, migrate_s=2.0, start_s=3.0, mode="standard")
    assert phases == verdict.Phases(migrate=2.0, fence=4.0, restore_point=1.6, unfence=0.9, activate=2.7)


@pytest.mark.parametrize(
    ("status", "signal", "heard"),
    [
        ("SigBlk:\t0000000000000000\nSigCgt:\t0000000000004002\n", "SIGTERM", True),  # uvicorn
        ("SigBlk:\t0000000000000000\nSigCgt:\t0000000000000002\n", "SIGTERM", False),  # a shell around it
        ("SigBlk:\t0000000000000000\nSigCgt:\t0000000000000002\n", "SIGINT", True),
        ("SigBlk:\tfffffffe7ffbfeff\nSigCgt:\t0000000000000000\n", "15", True),  # tini waits for what it blocks
        ("", "SIGTERM", True),
    ],
)
def test_who_hears_the_signal_to_stop(status: str, signal: str, heard: bool) -> None:
    assert probe.handles(status, signal) is heard
