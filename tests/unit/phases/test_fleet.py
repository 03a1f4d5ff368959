"""The end of a run over many stacks: each has its line and its verdict, whatever the run knows of it."""

from __future__ import annotations

from papdeploy.phases import fleet
from papdeploy.phases.fleet import Verdicts

ROW = {"stack": "pap-1", "from": "2.0", "to": "2.1", "verdict": "finished", "unavailable": "3.1 s", "took": "15 s"}


def verdicts(
    told: dict[str, object], refused: tuple[str, ...] = (), unreachable: tuple[str, ...] = (), *, planned: bool = False
) -> Verdicts:
    return fleet.verdicts(
        {name: fleet.known(each) for name, each in told.items()}, refused, unreachable, planned=planned
    )


def test_every_stack_has_a_verdict() -> None:
    found = verdicts(
        {
            "pap-6": {"row": None, "failed": "", "waiting": False, "idle": True},
            "pap-5": {},
            "pap-4": {},
            "pap-3": {"row": None, "failed": "", "waiting": True, "idle": False},
            "pap-2": {"row": None, "failed": "Preflight (1/9)", "waiting": False, "idle": False},
            "pap-1": {"row": ROW, "failed": "", "waiting": False, "idle": False},
        },
        ("pap-4",),
        ("pap-5",),
    )
    assert found.verdicts == {
        "pap-1": "finished", "pap-2": "refused", "pap-3": "not deployed", "pap-4": "refused", "pap-5": "unreachable",
        "pap-6": "nothing to deploy",
    }  # fmt: skip
    assert found.pap.status == "failed" and not found.pap.phase
    assert found.pap.lines[0] == "stack  from  to   verdict            unavailable  took"
    assert found.pap.lines[1] == "pap-1  2.0   2.1  finished           3.1 s        15 s"
    assert len(found.pap.lines) == 7 and all(len({*line.split()} & {"-"}) <= 1 for line in found.pap.lines)


def test_a_plan_has_verdicts_of_its_own_and_no_columns_without_a_word() -> None:
    idle = {"row": None, "failed": "", "waiting": False, "idle": False}
    looked = {**idle, "planned": True}
    found = verdicts({"a": looked, "b": {**idle, "failed": "x"}, "c": {**idle, "idle": True}}, planned=True)
    assert found.pap.lines == ["stack  verdict", "a      planned", "b      plan failed", "c      nothing to deploy"]
    assert verdicts({"a": looked, "c": {**idle, "idle": True}}, planned=True).pap.status == "ok"
    for planned in (True, False):
        assert verdicts({"a": idle}, planned=planned).verdicts == {"a": "unfinished"}, "nothing is good by default"


def test_a_stack_is_not_called_what_it_is_not() -> None:
    cases: dict[str, tuple[object, str]] = {
        "lost in the middle": ({}, "failed"),
        "failed after the report": (
            {"row": ROW, "failed": "Sign", "begun": True, "finished": True},
            "finished, then failed",
        ),
        "failed before the report": ({"failed": "Detach", "begun": True, "finished": True}, "finished, then failed"),
        "no report, all well": ({"finished": True}, "finished"),
        "no report, rolled back": ({"failed": "Migrate", "begun": True}, "failed"),
        "no release": ({"failed": "Preflight"}, "refused"),
    }
    for name, (told, verdict) in cases.items():
        found = verdicts({"pap": told})
        assert list(found.verdicts.values()) == [verdict], name
        assert found.pap.status == ("ok" if verdict == "finished" else "failed"), name
    unchecked: dict[str, object] = {"pap": {"row": None}}
    assert verdicts(unchecked, ("pap",), planned=True).verdicts == {"pap": "refused"}
