"""Production's demand: a receipt for exactly what it would deploy, or a decision to go on without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ..core import text
from ..core.clock import epoch, now, seconds_between, utc_minute
from ..core.errors import Refused
from ..core.reasons import stated
from ..core.visible import visible
from .folder import Shelf
from .statements import HOLDS, Statement
from .subject import Subject, differences

_SKEW_S = 300.0
_NAMED = 3


@dataclass(frozen=True)
class Terms:
    """What production asks of a receipt: whose, how old at most (seconds), which words of ``HOLDS`` it must hold, and
    which variables, as patterns, only one of the two environments has to have."""

    environment: str = "staging"
    max_age_s: float = 168 * 3600.0
    holds: Sequence[str] = ()
    may_differ: Sequence[str] = ()

    def refuse_unknown(self) -> None:
        unknown = sorted({*self.holds} - {*HOLDS})
        if unknown:
            raise Refused(
                f"receipt_demand names what no receipt holds: {visible(', '.join(unknown)[:200])}.",
                hint=f"It is a list of {', '.join(HOLDS)}.",
            )


def demand(
    shelf: Shelf,
    wanted: Subject,
    *,
    environment: str = "staging",
    max_age_s: float,
    holds: Sequence[str] = (),
    may_differ: Sequence[str] = (),
    at: str = "",
) -> Statement:
    """As :func:`demanded`, with the terms one by one."""
    return demanded(shelf, wanted, Terms(environment, max_age_s, holds, may_differ), at)


def demanded(shelf: Shelf, wanted: Subject, terms: Terms, at: str = "") -> Statement:
    """The receipt for exactly ``wanted`` that fits the terms and was not revoked.

    Raises Refused; its message names what is wrong with the one that comes closest, or what differs from it.
    """
    return _Demand(shelf, wanted, terms, at or now()).receipt()


@dataclass(frozen=True)
class _Demand:
    shelf: Shelf
    wanted: Subject
    terms: Terms
    at: str

    def receipt(self) -> Statement:
        self.terms.refuse_unknown()
        compared = [(self._differences(receipt), receipt) for receipt in self._of_there(self.shelf.receipts)]
        exact = [(receipt, self._objection(receipt)) for found, receipt in compared if not found]
        for receipt, objection in exact:
            if not objection:
                return receipt
        where = self.terms.environment
        if exact:
            newest, objection = exact[0]
            raise self._refused(
                f"The receipt of {where} for this deploy ({_which(newest)}) {objection}",
                f"Deploy to {where} again",
                newest,
            )
        if taken_back := self._taken_back():
            raise self._refused(
                f"{where.capitalize()} passed with exactly this, and then took it back: {_which(taken_back)} was rolled"
                f" back, {_minute(taken_back.revoked_at)}",
                f"Find out why. If it was not the release, deploy it to {where} again",
                taken_back,
            )
        if compared:
            found, nearest = min(compared, key=lambda item: len(item[0]))
            raise self._refused(
                f"{where.capitalize()} has no receipt for this deploy. Against its {_which(nearest)}:"
                f" {'; '.join(found)}",
                f"Deploy exactly this to {where}",
                nearest,
                found,
            )
        raise self._refused(f"There is no receipt of {where} at all", f"Deploy to {where}")

    def _of_there(self, statements: Sequence[Statement]) -> list[Statement]:
        return [statement for statement in statements if statement.environment == self.terms.environment]

    def _differences(self, statement: Statement) -> list[str]:
        return differences(statement.subject, self.wanted, self.terms.environment, self.terms.may_differ)

    def _taken_back(self) -> Optional[Statement]:
        """The last word that exactly this was rolled back."""
        found = [each for each in self._of_there(self.shelf.revocations) if not self._differences(each)]
        return max(found, key=lambda each: epoch(each.revoked_at or each.at), default=None)

    def _objection(self, receipt: Statement) -> str:
        """Why a receipt for exactly this does not do, as the end of a sentence; empty if it does."""
        own = next((each for each in self.shelf.revocations if each.identity == receipt.identity), None)
        last = self._taken_back()
        later = last if last and epoch(last.revoked_at or last.at) >= epoch(receipt.at) else None
        if taken_back := own or later:
            of = "its release" if taken_back is own else f"the same, as {_which(taken_back)},"
            return f"was revoked: {of} was rolled back, {_minute(taken_back.revoked_at)}"
        age = seconds_between(receipt.at, self.at)
        if age < -_SKEW_S:
            return "has a time in the future"
        if age > self.terms.max_age_s:
            return f"is {text.age(age)} old and may be at most {text.age(self.terms.max_age_s)}"
        lacking = [word for word in dict.fromkeys(self.terms.holds) if word not in receipt.holds]
        said = "; ".join(
            f"{word}: it does not state that {HOLDS[word][0]} (there, {HOLDS[word][1]})" for word in lacking
        )
        return f"does not hold what receipt_demand asks for. {said[:1].upper()}{said[1:]}" if lacking else ""

    def _refused(
        self, message: str, hint: str, nearest: Optional[Statement] = None, differs: Optional[list[str]] = None
    ) -> Refused:
        where = self.terms.environment
        return Refused(
            f"{message}.{_also(self.shelf)}",
            hint=f"{hint}, then here: ansible-playbook deploy.yml -l {where}",
            receipt=nearest.release if nearest else "",
            differs=differs or [],
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


def _which(receipt: Statement) -> str:
    return f"release {visible(receipt.release)} of {_minute(receipt.at)}"


def _minute(at: Optional[str]) -> str:
    return utc_minute(epoch(at)) if at else ""


@dataclass(frozen=True)
class Override:
    """A decision to go on without a receipt: whose, why, and what was said ``instead_of`` a receipt."""

    reason: str
    who: Mapping[str, Any]
    at: str
    instead_of: str


def override(reason: str, refused: Refused, who: Mapping[str, Any]) -> Override:
    """The record of going on without a receipt. Raises Refused if the reason is none."""
    what, hint = f"{refused.message} Going on without it", "-e 'receipt_override=\"…\"': it is recorded."
    return Override(stated(reason, what, hint, words=3), dict(who), now(), refused.message)
