"""Retention: the rule against a reference model of its own, on generated worlds; then on real files, case by case."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from papdeploy.backup import retention
from papdeploy.backup.retention import Owner, Pins, Release, Settings, Thing

DAY = 86400.0
NOW = 1_800_000_000.0
MINE = Owner("pap", "app", "7001")
NO_PINS = Pins()


@dataclass(frozen=True)
class World:
    """What one run of retention sees."""

    things: Sequence[Thing]
    pins: Pins
    fresh: Sequence[str]
    said: Mapping[str, float]
    settings: Settings

    def decide(self) -> dict[str, retention.Decision]:
        decisions = retention.decide(
            self.things, owner=MINE, pins=self.pins, fresh=self.fresh, said=self.said, settings=self.settings, now=NOW
        )
        return {decision.thing.name: decision for decision in decisions}


def some_thing(draw: random.Random, number: int) -> Thing:
    kind = draw.choice(["backup"] * 5 + ["failed", "failed", "snap", "file", "rest"])
    age = draw.choice([0.0, 0.5, 3, 13.9, 14, 15, 100, 4000, -0.001, -1, -900]) * DAY
    trouble = draw.choice([""] * 5 + ["its archive is damaged", "a copy or renamed by hand"])
    thing = Thing(
        kind,
        f"/b/{number}" if kind in ("backup", "file", "rest") else f"app__{kind}_{number}",
        release=f"r{draw.randrange(6)}",
        at=NOW - age,
        number=number,
        trouble=trouble,
        hold=draw.choice([""] * 6 + [".hold"]),
        obstacle=draw.choice([""] * 4 + ["a session is connected to it"]),
        sha256=f"sha{number}",
    )
    if kind == "backup":
        owners = [MINE] * 8 + [
            replace(MINE, stack="other"),
            replace(MINE, database="b"),
            replace(MINE, system_identifier="2"),
        ]
        return replace(thing, owner=draw.choice(owners), proof=draw.choice(["full", "full", "schema", "none"]))
    if kind == "failed":
        return replace(thing, rows=draw.choice([0, 0, 0, 1, 4711, None]))
    return replace(thing, trouble="not from pap-deploy") if kind == "file" else thing


def some_world(seed: int) -> World:
    draw = random.Random(seed)
    things = [some_thing(draw, number) for number in range(1, draw.randrange(2, 14))]
    draw.shuffle(things)
    some = [thing for thing in things if draw.random() < 0.15]
    pinned = {draw.choice([t.name, t.sha256, t.release]): "a release needs it" for t in some}
    offered = {t.release: t.release for t in things if draw.random() < 0.2}
    said = {t.key: NOW + draw.choice([-DAY, -DAY, 0.0, DAY]) for t in things if draw.random() < 0.8}
    fresh = [t.name for t in things if draw.random() < 0.08]
    settings = Settings(
        keep=draw.choice([0, 1, 1, 2, 3, 10]),
        keep_days=draw.choice([0, 0, 1, 14]),
        keep_failed_days=draw.choice([0, 1, 14]),
        proof=draw.choice(["full", "full", "none", "schema", ""]),
        asked=draw.choice(["", "", "", "all", "r1", "r2"]),
        finished=draw.random() < 0.3,
    )
    return World(things, Pins(pinned, offered), fresh, said, settings)


def expected(world: World) -> dict[str, str]:
    """The reference model: what goes is what is left when all that has a reason to stay has been taken away."""
    settings = world.settings
    going = {t.name: t for t in world.things if t.kind != "file"}

    def stays(reason: Sequence[Thing]) -> None:
        for thing in reason:
            going.pop(thing.name, None)

    ours = [t for t in world.things if t.kind == "backup" and t.owner == MINE and not t.trouble and (t.at or 0) <= NOW]
    stays([t for t in world.things if t.trouble and t.kind != "rest"])
    stays([t for t in world.things if t.kind == "backup" and t not in ours])
    for proofs in (("full",), ("full", "schema"), ("full", "schema", "none")):
        best = sorted((t for t in ours if t.proof in proofs), key=lambda t: -t.number)[: settings.keep or 1]
        stays([t for t in best if t.proof == proofs[-1]])
    stays([t for t in ours if NOW - (t.at or 0) < settings.keep_days * DAY])
    names = {name: {t.name, t.name.split("/")[-1], t.sha256, t.release} for t in world.things for name in [t.name]}
    stays(
        [t for t in world.things if t.kind != "rest" and (t.hold or names[t.name] & {*world.fresh, *world.pins.pinned})]
    )
    for thing in [t for t in world.things if t.kind == "failed"]:
        named = settings.asked == thing.release
        by_days = (
            not settings.asked
            and settings.keep_failed_days
            and 0 <= NOW - (thing.at or 0) >= settings.keep_failed_days * DAY
        )
        if not (named or (thing.rows == 0 and (settings.asked == "all" or by_days))):
            stays([thing])
    for thing in [t for t in world.things if t.kind == "snap"]:
        if settings.asked not in ("all", thing.release) and (settings.asked or not settings.finished):
            stays([thing])
    stays([t for t in world.things if t.kind != "rest" and t.obstacle])
    by_itself = [t for t in world.things if t.kind == "backup" or (t.kind == "failed" and not settings.asked)]
    stays([t for t in by_itself if world.said.get(t.key, NOW + 1) > NOW])
    return dict.fromkeys(going, "remove")


@pytest.mark.parametrize("part", range(8))
def test_generated_worlds_against_a_second_implementation(part: int) -> None:
    removed = 0
    for seed in range(part * 500, part * 500 + 500):
        world = some_world(seed)
        decisions = world.decide()
        gone = {name: "remove" for name, decision in decisions.items() if decision.action == "remove"}
        assert gone == expected(world), f"seed {seed}: {world}"
        assert len(decisions) == len(world.things) and all(d.why for d in decisions.values())
        removed += len(gone)
        hold_what_must_hold(world, decisions)
    assert removed > 100, "the worlds are such that something goes"


def hold_what_must_hold(world: World, decisions: Mapping[str, retention.Decision]) -> None:
    """What is true of every run, in words of the promise and not of the rule."""
    left = [t for t in world.things if decisions[t.name].action != "remove"]
    for decision in decisions.values():
        thing = decision.thing
        if thing.kind == "file":
            assert decision.action == "report"
        if decision.action != "remove" or thing.kind != "backup":
            continue
        better = [
            t for t in left
            if t.kind == "backup" and t.owner == thing.owner and not t.trouble and t.number > thing.number
            and retention.PROOFS.index(t.proof) >= retention.PROOFS.index(thing.proof)
        ]  # fmt: skip
        assert len(better) >= max(world.settings.keep, 1), (
            "what replaces it is newer, whole, has proven as much, and stays"
        )


@pytest.mark.parametrize("part", range(4))
def test_what_goes_next_is_what_was_announced(part: int) -> None:
    """A run announces; the next one, with one more backup and the same settings, removes nothing else."""
    for seed in range(10_000 + part * 250, 10_000 + part * 250 + 250):
        world = some_world(seed)
        if not world.settings.proof:
            continue
        decisions = world.decide()
        said = {d.thing.key: d.when for d in decisions.values() if d.when is not None}
        left = [t for t in world.things if decisions[t.name].action != "remove"]
        new = Thing("backup", "/b/new", owner=MINE, at=NOW, number=99, proof=world.settings.proof, sha256="new")
        following = World([*left, new], world.pins, ["/b/new"], said, world.settings).decide()
        gone = {
            d.thing.key for d in following.values() if d.action == "remove" and d.thing.kind in ("backup", "failed")
        }
        if not world.settings.asked:
            assert gone <= set(said), f"seed {seed}"
        now_due = {
            key for key, when in said.items() if when <= NOW and "backup" in key
            and decisions[key.split()[1]].thing.name not in world.fresh
        }  # fmt: skip
        assert now_due <= gone | {t.key for t in left if t.obstacle}, (
            f"seed {seed}: announced, and stays without a reason"
        )


def backup(number: int, **changes: Any) -> Thing:
    age = float(changes.pop("age", 100 - number))
    return replace(
        Thing(
            "backup", f"/b/{number}", owner=MINE, at=NOW - age * DAY, number=number, proof="full", sha256=f"s{number}"
        ),
        **changes,
    )


def gone(*things: Thing, pins: Pins = NO_PINS, fresh: Sequence[str] = (), **settings: Any) -> list[str]:
    """The names of what goes if all was announced."""
    said = {thing.key: NOW - DAY for thing in things}
    options = Settings(**{"keep": 1, "keep_days": 0, **settings})
    found = retention.decide(things, owner=MINE, pins=pins, fresh=fresh, said=said, settings=options, now=NOW)
    return [d.thing.name for d in found if d.action == "remove"]


def test_a_backup_that_proved_less_replaces_none_that_proved_more() -> None:
    """Before: the newest one stayed, whatever it had proven."""
    full, schema, none = backup(1), backup(2, proof="schema"), backup(3, proof="none")
    assert gone(full, schema, none) == []
    assert gone(full, schema, none, backup(4, proof="none")) == ["/b/3"]
    assert gone(full, schema, none, backup(4)) == ["/b/1", "/b/2", "/b/3"]


def test_a_date_in_the_future_gains_nothing_and_what_was_just_taken_stays() -> None:
    """Before: the manifest from the future was the newest, and the run removed what it had just taken."""
    ahead = backup(1, age=-400)
    assert gone(ahead, backup(2), backup(3), fresh=["/b/3"]) == ["/b/2"]
    assert gone(backup(1), ahead) == [], "nor does it replace one that is certain"
    said = retention.decide(
        [ahead], owner=MINE, pins=Pins(), said={ahead.key: 0.0}, settings=Settings(keep=1, keep_days=0), now=NOW
    )
    assert said[0].action == "report" and "still to come" in said[0].why


@pytest.mark.parametrize("other", [{"stack": "b"}, {"database": "b"}, {"system_identifier": "b"}])
def test_others_are_neither_counted_nor_removed(other: dict[str, str]) -> None:
    theirs = [backup(number, owner=replace(MINE, **other)) for number in (2, 3, 4)]
    assert gone(backup(1), *theirs) == []


def test_what_is_not_whole_takes_no_place() -> None:
    assert gone(backup(1), backup(2, trouble="its archive is damaged"), backup(3, trouble="its archive is gone")) == []


def test_what_was_not_announced_stays_once_more() -> None:
    things = [backup(number) for number in range(1, 5)]
    settings = Settings(keep=1, keep_days=0)
    first = retention.decide(things, owner=MINE, pins=Pins(), said={}, settings=settings, now=NOW)
    assert [d.action for d in first] == ["keep"] * 4
    assert [d.when for d in first] == [NOW] * 4, "all may go with the next backup"
    said = {d.thing.key: d.when for d in first if d.when is not None}
    later = retention.decide([*things, backup(5)], owner=MINE, pins=Pins(), said=said, settings=settings, now=NOW + 1)
    assert [d.action for d in later] == ["remove"] * 4 + ["keep"]


def test_an_announcement_holds_until_its_date_although_the_days_became_fewer() -> None:
    things = [backup(1, age=1), backup(2, age=0.5)]
    first = retention.decide(things, owner=MINE, pins=Pins(), said={}, settings=Settings(keep=1, keep_days=14), now=NOW)
    said = {d.thing.key: d.when for d in first if d.when is not None}
    assert said[things[0].key] == pytest.approx(NOW + 13 * DAY)
    fewer = Settings(keep=1, keep_days=0)
    assert retention.decide(things, owner=MINE, pins=Pins(), said=said, settings=fewer, now=NOW)[0].action == "keep"


def failed(**changes: Any) -> Thing:
    thing = Thing("failed", "app__failed_r1", release="r1", at=NOW - 30 * DAY)
    return replace(thing, **changes)


@pytest.mark.parametrize("rows", [1, 4711, None])
def test_rows_that_are_nowhere_else_go_only_by_name(rows: int | None) -> None:
    """Before: a number of days was enough, and rollback_drop_failed=true dropped them with all others."""
    assert gone(failed(rows=rows), keep_failed_days=1) == []
    assert gone(failed(rows=rows), asked="all") == []
    assert gone(failed(rows=rows), asked="r2") == []
    assert gone(failed(rows=rows), asked="r1") == ["app__failed_r1"]
    assert gone(failed(rows=0), keep_failed_days=1) == ["app__failed_r1"]
    (decision,) = retention.decide(
        [failed(rows=rows)], owner=MINE, pins=Pins(), said={}, settings=Settings(keep_failed_days=1), now=NOW
    )
    said = "an unknown number of rows" if rows is None else "1 row or other change" if rows == 1 else "4,711 rows"
    assert said in decision.why and "-e rollback_release=r1" in decision.why


def test_a_hold_is_respected() -> None:
    held = backup(1, hold="held by a person")
    assert gone(held, backup(2)) == []
    assert gone(failed(hold="IS_TEMPLATE"), keep_failed_days=1) == gone(failed(hold="IS_TEMPLATE"), asked="r1") == []


RELEASES = [
    Release("r1", "finished", needs=("/b/1", "s1")),
    Release("r2", "finished", needs=("/b/2", "app__snap_r2")),
    Release("r3", "rolled_back", needs=("/b/3",)),
    Release("r4", "rolled_back", kept_schema=True, needs=("/b/4", "app__snap_r4")),
    Release("r5", "", needs=("/b/5",)),
]


@pytest.mark.parametrize(
    ("count", "pinned", "offered"),
    [
        (0, "", ""),
        (1, "1", ""),
        (2, "2", "1"),
        (3, "2", "1"),
        (4, "24", "1"),
        (5, "245", "1"),
    ],
)
def test_pinned_is_what_a_rollback_could_need(count: int, pinned: str, offered: str) -> None:
    found = retention.pins(RELEASES[:count])
    assert {key for key in found.pinned if key.startswith("/b/")} == {f"/b/{n}" for n in pinned}
    assert {key for key in found.offered if key.startswith("/b/")} == {f"/b/{n}" for n in offered}
    assert ("app__snap_r2" in found.pinned) is ("2" in pinned)
    assert ("app__snap_r4" in found.pinned) is ("4" in pinned), "after an image rollback its schema is still there"


def test_after_the_next_release_the_restore_point_of_an_image_rollback_goes() -> None:
    snap = Thing("snap", "app__snap_r4", release="r4")
    done = [*RELEASES[:4], Release("r5", "finished", needs=("/b/5",))]
    assert gone(snap, pins=retention.pins(RELEASES[:4]), finished=True) == []
    assert gone(snap, pins=retention.pins(done), finished=True) == ["app__snap_r4"]
    assert gone(snap, pins=retention.pins(done)) == [], "only the end of a release drops a restore point"


def test_it_is_said_which_rollback_ends() -> None:
    pins = retention.pins(RELEASES[:2])
    things = [backup(1), backup(2), backup(3)]
    said = {thing.key: 0.0 for thing in things}
    decisions = retention.decide(
        things, owner=MINE, pins=pins, said=said, settings=Settings(keep=1, keep_days=0), now=NOW
    )
    assert [d.action for d in decisions] == ["remove", "keep", "keep"]
    assert "release r1 can then no longer be rolled back by a restore" in decisions[0].why
    assert "release r2, which is in force" in decisions[1].why
