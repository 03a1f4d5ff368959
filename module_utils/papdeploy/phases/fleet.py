"""The end of a run over many stacks: one line and one verdict for each, also for those that it did not come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Optional

from ..core.records import plain, recorded
from ..report.overview import Line
from .result import Printed, Result

GOOD = ("finished", "nothing to deploy", "planned")
_NOTHING = "-"


@dataclass(frozen=True)
class Stack:
    """What the run knows of a stack. ``row``: of its release, where it began one and has a report; ``failed``: the task
    at which it failed; ``begun``: with a release open; ``finished``: all phases have passed, whatever failed after;
    ``waiting``: it was left alone because another one had failed; ``planned``: the plan has looked at it; ``idle``:
    there was nothing to deploy."""

    row: Optional[Line] = None
    failed: str = ""
    begun: bool = False
    finished: bool = False
    waiting: bool = False
    planned: bool = False
    idle: bool = False


@dataclass(frozen=True)
class Verdicts(Result):
    verdicts: Mapping[str, str]


def known(told: object) -> Optional[Stack]:
    """What the run knows of a stack, from the play; None where no task came back from it."""
    return recorded(Stack, told) if told else None


def verdicts(
    stacks: Mapping[str, Optional[Stack]], refused: Sequence[str], unreachable: Sequence[str], *, planned: bool
) -> Verdicts:
    """The verdict of each of ``stacks``, and their table. Nothing was begun with one of ``refused``, whose variables
    are wrong or were not checked, nor with one of ``unreachable``, which has never answered."""
    told = {**dict.fromkeys(unreachable, "unreachable"), **dict.fromkeys(refused, "refused")}
    lines = [_line(name, stack, told.get(name, ""), planned) for name, stack in sorted(stacks.items())]
    status = "ok" if all(line.verdict in GOOD for line in lines) else "failed"
    return Verdicts(Printed("", table(lines), status), {line.stack: line.verdict for line in lines})


def _line(name: str, stack: Optional[Stack], told: str, planned: bool) -> Line:
    """``told``: the verdict where nothing was begun. Another of which nothing is known was lost on the way."""
    row = stack.row if stack and stack.row else Line(name, _NOTHING, _NOTHING, "", _NOTHING, _NOTHING)
    return replace(row, verdict=told or (_verdict(stack, planned) if stack else "failed"))


def _verdict(stack: Stack, planned: bool) -> str:
    if stack.failed and stack.finished:
        return "finished, then failed"
    if stack.row:
        return stack.row.verdict
    if stack.waiting:
        return "not deployed"
    if stack.failed:
        return "plan failed" if planned else "failed" if stack.begun else "refused"
    if stack.idle:
        return "nothing to deploy"
    return "finished" if stack.finished else "planned" if stack.planned else "unfinished"


def table(lines: Sequence[Line]) -> list[str]:
    """The columns that say something, each as wide as it must be."""
    rows = [{key: str(value) for key, value in plain(line).items()} for line in lines]
    said = [key for key in rows[0] if any(row[key] != _NOTHING for row in rows)]
    widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in said}
    head = {key: key for key in said}
    return ["  ".join(row[key].ljust(widths[key]) for key in said).rstrip() for row in (head, *rows)]
