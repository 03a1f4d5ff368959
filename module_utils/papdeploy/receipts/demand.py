"""Production's demand: a receipt for exactly what it would deploy, or a decision to go on without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core import text
from ..core.clock import epoch, now, seconds_between, utc_minute
from ..core.reasons import stated
from ..core.visible import visible
from ..errors import Refused
from .folder import Shelf
from .subject import differences

_SKEW_S = 300.0
_NAMED = 3


def demand(
    shelf: Shelf,
    wanted: Mapping[str, Any],
    *,
    environment: str = "staging",
    max_age_s: float,
    may_differ: Sequence[str] = (),
    at: str = "",
) -> dict[str, Any]:
    """The receipt for exactly ``wanted``, from ``environment``, younger than ``max_age_s`` seconds. ``may_differ``:
    patterns of variables that only one of the two environments has to have.

    Raises Refused; its message names what differs from the receipt that comes closest.
    """
    at = at or now()
    candidates = [receipt for receipt in shelf.receipts if receipt["environment"] == environment]
    compared = [(differences(receipt["subject"], wanted, environment, may_differ), receipt) for receipt in candidates]
    exact = [receipt for found, receipt in compared if not found]
    ages = [seconds_between(receipt["at"], at) for receipt in exact]
    for receipt, age in zip(exact, ages):
        if -_SKEW_S <= age <= max_age_s:
            return receipt
    if exact:
        raise _refused_for_its_age(shelf, exact[0], ages[0], max_age_s, environment)
    if compared:
        found, nearest = min(compared, key=lambda item: len(item[0]))
        raise Refused(
            f"{environment.capitalize()} has no receipt for this deploy. Against its {_which(nearest)}:"
            f" {'; '.join(found)}.{_also(shelf)}",
            hint=f"Deploy exactly this to {environment} first: ansible-playbook deploy.yml -l {environment}",
            receipt=nearest["release"],
            differs=found,
        )
    raise Refused(
        f"There is no receipt of {environment} at all.{_also(shelf)}",
        hint=f"Deploy to {environment} first: ansible-playbook deploy.yml -l {environment}",
        receipt="",
        differs=[],
    )


def _refused_for_its_age(
    shelf: Shelf, newest: Mapping[str, Any], age: float, max_age_s: float, environment: str
) -> Refused:
    old = f"is {text.age(age)} old and may be at most {text.age(max_age_s)}"
    why = old if age >= 0 else "has a time in the future"
    return Refused(
        f"The receipt of {environment} for this deploy ({_which(newest)}) {why}.{_also(shelf)}",
        hint=f"Deploy to {environment} again, then here.",
        receipt=newest["release"],
        differs=[],
    )


def passed_over(shelf: Shelf) -> str:
    """What lies in the folder and is no receipt, as a sentence; empty if there is nothing."""
    if not shelf.rejected:
        return ""
    more = len(shelf.rejected) - _NAMED
    named = "; ".join(line.rstrip(".") for line in shelf.rejected[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
    return f"Passed over in the folder of receipts: {text.plural(len(shelf.rejected), 'file')}: {named}."


def _also(shelf: Shelf) -> str:
    return f" {said}" if (said := passed_over(shelf)) else ""


def _which(receipt: Mapping[str, Any]) -> str:
    return f"release {visible(receipt['release'])} of {utc_minute(epoch(receipt['at']))}"


def override(reason: str, refused: Refused, who: Mapping[str, Any]) -> dict[str, Any]:
    """The record of going on without a receipt. Raises Refused if the reason is none."""
    what, hint = f"{refused.message} Going on without it", "-e 'receipt_override=\"…\"': it is recorded."
    return {
        "reason": stated(reason, what, hint, words=3),
        "who": dict(who),
        "at": now(),
        "instead_of": refused.message,
    }
