"""The end of a run over many stacks: one line and one verdict for each, also for those that it did not come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from ..core.records import plain, recorded
from ..report.overview import Line
from .result import Printed, Result

GOOD = ("finished", "nothing to deploy", "planned")
_NOTHING = "-"


@dataclass(frozen=True)
class Stack:
    """What the run knows of a stack. ``row``: of its release, where it began one; ``failed``: the task at which it
    failed; ``waiting``: it was left alone because another one had failed; ``idle``: there was nothing to deploy."""

    row: Optional[Line] = None
    failed: str = ""
    waiting: bool = False
    idle: bool = False


@dataclass(frozen=True)
class Verdicts(Result):
    verdicts: Mapping[str, str]


def known(told: object) -> Optional[Stack]:
    """What the run knows of a stack, from the play; None where no task came back from it."""
    return recorded(Stack, told) if told else None


def verdicts(stacks: Mapping[str, Optional[Stack]], refused: Sequence[str], *, planned: bool) -> Verdicts:
    """The verdict of each of ``stacks``, and their table. Nothing is known of one of ``refused``, whose variables are
    wrong, and of one that cannot be reached."""
    lines = [_line(name, stack, name in refused, planned) for name, stack in sorted(stacks.items())]
    status = "ok" if all(line.verdict in GOOD for line in lines) else "failed"
    return Verdicts(Printed("", table(lines), status), {line.stack: line.verdict for line in lines})


def _line(name: str, stack: Optional[Stack], refused: bool, planned: bool) -> Line:
    if stack is None:
        return _bare(name, "refused" if refused else "unreachable")
    if stack.row:
        return stack.row
    if stack.waiting:
        return _bare(name, "not deployed")
    if stack.failed:
        return _bare(name, "plan failed" if planned else "refused")
    return _bare(name, "nothing to deploy" if stack.idle else "planned" if planned else "unfinished")


def _bare(name: str, verdict: str) -> Line:
    return Line(name, _NOTHING, _NOTHING, verdict, _NOTHING, _NOTHING)


def table(lines: Sequence[Line]) -> list[str]:
    """The columns that say something, each as wide as it must be."""
    rows = [{key: str(value) for key, value in plain(line).items()} for line in lines]
    said = [key for key in rows[0] if any(row[key] != _NOTHING for row in rows)]
    widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in said}
    head = {key: key for key in said}
    return ["  ".join(row[key].ljust(widths[key]) for key in said).rstrip() for row in (head, *rows)]
