"""For how long users were without the API, read from journals of every shape."""

from __future__ import annotations

from typing import Any, Union

import pytest
from papdeploy.core.clock import from_epoch
from papdeploy.releases import downtime
from papdeploy.releases.records import Entry, entry_of

Told = Union[tuple[float, str, str], tuple[float, str, str, dict[str, Any]]]


def entries(*told: Told) -> list[Entry]:
    return [
        entry_of(
            {"at": from_epoch(1e9 + each[0]), "phase": each[1], "event": each[2], **(each[3] if len(each) > 3 else {})}
        )
        for each in told
    ]


def at(seconds: float, **more: Any) -> dict[str, Any]:
    return {"healthy_at": from_epoch(1e9 + seconds), **more}


DEPLOYED = ((0, "fence", "begin"), (3, "activate", "begin"), (6, "activate", "done", at(4.5)))
FAILED_START = ((0, "fence", "begin"), (3, "activate", "begin"), (6, "activate", "failed"))
BACK = (
    (100, "rollback.fence", "begin"), (101, "rollback.fence", "done"), (104, "rollback.activate", "begin"),
    (108, "rollback.activate", "done", at(105.5, switched=True)),
)  # fmt: skip
UNHEALTHY = (*BACK[:3], (160, "rollback.activate", "done", {"switched": True, "unhealthy": "no answer"}))
IMAGE = ((100, "rollback.activate", "begin"), (103, "rollback.activate", "done", at(102.2, switched=True)))
UNTOUCHED = ((100, "rollback.activate", "begin"), (103, "rollback.activate", "done", at(102.2, switched=False)))

LATER = ((200, "rollback.activate", "begin"), (203, "rollback.activate", "done", at(202.2, switched=True)))

ROLLBACKS: dict[str, tuple[tuple[Told, ...], float | None]] = {
    "of a finished release": ((*DEPLOYED, *BACK), 5.5),
    "of a start that failed: down all the time": ((*FAILED_START, *BACK), 105.5),
    "image alone": ((*DEPLOYED, *IMAGE), 2.2),
    "nothing was stopped": (UNTOUCHED, None),
    "does not answer yet": ((*DEPLOYED, *UNHEALTHY), None),
    "unhealthy by the image, then by a swap": ((*DEPLOYED, *UNHEALTHY, *((t + 100, phase, event) for t, phase, event in BACK[:3]),
                                                (208, "rollback.activate", "done", at(205.5, switched=True))), 105.5),
    "killed, and run again": ((*DEPLOYED, *BACK[:2], *((t + 50, phase, event) for t, phase, event in BACK[:3]),
                               (158, "rollback.activate", "done", at(155.5, switched=True))), 55.5),
    "called off, then gone": ((*DEPLOYED, *BACK[:2], (110, "rollback.restart", "done"), *LATER), 2.2),
}  # fmt: skip


@pytest.mark.parametrize("case", ROLLBACKS)
def test_of_a_rollback(case: str) -> None:
    told, seconds = ROLLBACKS[case]
    assert downtime.of_rollback(entries(*told)) == seconds


def test_since_when_it_is_down() -> None:
    begun = from_epoch(1e9)
    assert downtime.down_since(entries(DEPLOYED[0])) == downtime.down_since(entries(*FAILED_START)) == begun
    assert downtime.down_since(entries(*DEPLOYED, *BACK[:2])) == from_epoch(1e9 + 100)
    assert downtime.down_since(entries(*DEPLOYED)) == downtime.down_since(entries(*DEPLOYED, *BACK)) == ""
    assert downtime.down_since(entries((0, "backup", "begin"))) == ""


def test_of_a_deploy() -> None:
    assert downtime.of_deploy(entries(*DEPLOYED)) == 4.5, "what is noted after the first answer is no downtime"
    old = (*DEPLOYED[:2], (6, "activate", "done"))
    assert downtime.of_deploy(entries(*old)) == 6.0, "a journal of an earlier version"
    assert downtime.of_deploy(entries(*FAILED_START)) is None
