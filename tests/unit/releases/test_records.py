"""What a journal says, as records: of this version, of earlier ones, and of whoever wrote something else."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, get_type_hints

import pytest
from papdeploy.databases.relation_losses import Loss
from papdeploy.releases import parts, records, rehearsed
from papdeploy.releases.journal import State
from papdeploy.releases.records import Backup, Begun, Ended, Entry, Failed, Preflight, Rehearsed, SmokeTested, entry_of
from papdeploy.releases.run import Run
from papdeploy.releases.version import Container, Version

AT = "2026-11-30T07:00:00Z"
KINDS = [kind for kind in vars(records).values() if isinstance(kind, type) and issubclass(kind, Entry)]
PARTS: list[Any] = [
    part
    for module in (parts, rehearsed)
    for part in vars(module).values()
    if dataclasses.is_dataclass(part) and getattr(part, "__module__", "") == module.__name__
]


def entry(phase: str, event: str = "done", **data: Any) -> Entry:
    return entry_of(json.loads(json.dumps({"at": AT, "phase": phase, "event": event, **data})))


def test_each_kind_is_read_by_its_phase_and_event() -> None:
    begun = entry(
        "release", "begin", number=3, who={"user": "u", "host": "h", "pid": 1}, pending=["a"], server_version=180003,
        **{"from": {"label": "1", "identity": "/1", "path": "/1"}, "to": {"label": "2", "identity": "i", "containers": [
            {"name": "api", "id": "c", "image": "i", "reference": "x:2", "policy": {"Name": "always"}}]}},
    )  # fmt: skip
    assert isinstance(begun, Begun)
    assert (begun.by, begun.number, begun.pending, begun.old) == ("u@h", 3, ("a",), Version("1", "/1", "/1"))
    assert begun.new.containers == (Container("api", "c", "i", "x:2", {"Name": "always"}),)
    taken = entry("backup", path="/b", proof={"kind": "full", "seconds": 2}, seconds={"dump": 1.5, "total": 4})
    assert isinstance(taken, Backup) and taken.is_proven
    assert (taken.seconds, taken.times) == (None, parts.Times(dump=1.5, total=4))
    tried = entry(
        "rehearse", reversible=False, seconds=3.5, candidate={"works": True, "start_s": 1}, own_writes=[{"t": 1}]
    )
    assert isinstance(tried, Rehearsed)
    assert (tried.reversible, tried.seconds, tried.candidate.start_s, tried.own_writes) == (False, 3.5, 1, ({"t": 1},))


def test_a_failure_tells_what_was_lost_and_what_the_phase_had_found() -> None:
    lost = {"table": "public.t", "what": "deleted", "rows": 2}
    failed = entry(
        "data_check", "failed", error="DataLost", message="m", hint="h", data={"lost": [lost]}, own_numbers={"s": 1}
    )
    assert isinstance(failed, Failed)
    assert (failed.data.lost, failed.own_numbers, failed.message) == (
        (Loss("public.t", "deleted", rows=2),),
        {"s": 1},
        "m",
    )


def test_journals_of_earlier_versions_have_defaults() -> None:
    assert entry("release", "begin") == Begun(AT, "release", "begin")
    looked = entry("preflight", baseline=[{"path": "/p", "status": 200, "ms": 3, "shape": {}}])
    assert isinstance(looked, Preflight) and looked.content is None
    assert looked.baseline == (parts.Endpoint("/p", 200, 3, {}),)
    tested = entry("login_smoke_test", endpoints=[{"path": "/p", "status": 200}])
    assert isinstance(tested, SmokeTested) and tested.endpoints[0].status == 200


@pytest.mark.parametrize("value", [None, 7, "text", [], ["x"], {}, {"x": 1}, True], ids=repr)
def test_whatever_a_field_holds_is_no_error(value: Any) -> None:
    for (phase, event), kind in records._KINDS.items():
        names = [field.name for field in dataclasses.fields(kind) if field.name not in ("at", "phase", "event")]
        found = entry(phase, event, **dict.fromkeys(names, value))
        assert type(found) is kind and found.at == AT


def test_every_field_has_a_default_and_a_type_that_is_read() -> None:
    assert len(KINDS) > 25 and len(PARTS) > 20
    for kind in (*KINDS, *PARTS):
        assert kind() == kind() and get_type_hints(kind)


def test_a_journal_gives_its_newest_record(tmp_path: Any) -> None:
    journal = State(tmp_path / "state").begin(Run(user="u", host="h", pid=1), **{"from": Version("1", "i")})
    assert journal.opening().old == Version("1", "i") and journal.ended() is None
    journal.append("backup", "done", path="/a")
    journal.append("backup", "failed", message="no")
    journal.append("backup", "done", path="/b")
    assert (journal.newest(Backup) or Backup()).path == "/b" and journal.newest(Rehearsed) is None
    assert journal.has("backup", "failed") and not journal.has("backup", "begin")
    journal.append("release", "finished", seconds=2)
    journal.append("rollback", "begin")
    assert journal.ended() is None
    journal.append("rollback.restart", "done")
    end = journal.ended()
    assert isinstance(end, Ended) and (end.event, end.seconds) == ("finished", 2)
