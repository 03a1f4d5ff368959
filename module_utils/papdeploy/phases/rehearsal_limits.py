"""What the rehearsal of a release means for its cutover: limits, the leave to go online, predicted against actual."""

from __future__ import annotations

from typing import Optional

from ..core.errors import DeadlineExceeded, Refused
from ..core.text import seconds
from ..rehearsal import verdict as verdicts
from ..releases.journal import Journal
from ..releases.records import Rehearsed
from ..releases.rehearsed import Rehearsal

# Under traffic every statement that waits for a lock makes others wait behind it.
ONLINE_LOCK_TIMEOUT_S = 1.0

Verdict = Optional[Rehearsal]


def verdict_of(journal: Journal) -> Verdict:
    """What the rehearsal of this release found; None if there was none."""
    return journal.newest(Rehearsed)


def refuse_unsafe(verdict: Verdict) -> None:
    """Without a fence only what was rehearsed and found safe under traffic may run."""
    if verdict is None:
        raise Refused(
            "pap_mode is online, and this release was not rehearsed: its effect on traffic is unknown.",
            hint="Deploy with pap_rehearse=true, or with pap_mode=standard.",
        )
    if not verdict.online.safe:
        why = verdict.online.why or ["the rehearsal has not shown that it can"]
        raise Refused(
            f"This deploy cannot run online: {'; '.join(why)}.",
            hint="Deploy it with pap_mode=standard.",
        )


def limit_s(verdict: Verdict, configured_s: float) -> float:
    """Seconds after which the migration is ended: the stated multiple of the rehearsed time, or what is configured."""
    return min(configured_s, verdict.deadline_s) if verdict and verdict.deadline_s else configured_s


def lock_timeout_s(configured_s: float, *, online: bool) -> float:
    return min(configured_s, ONLINE_LOCK_TIMEOUT_S) if online else configured_s


def explain_deadline(error: DeadlineExceeded, verdict: Verdict, limit: float) -> None:
    """Say in the error how long the rehearsal took."""
    predicted = verdict.phases.get("migrate") if verdict else None
    if predicted is not None:
        error.hint = (
            f"The rehearsal took {seconds(predicted)}; {limit:g} s is the limit that follows from it. Something was in"
            f" the way that the copy did not have. {error.hint}"
        ).strip()


def expected(verdict: Verdict, actual_s: Optional[float]) -> str:
    """What the rehearsal predicted of the API's absence, in brackets, and whether the real one was much longer."""
    predicted = verdict.expected_unavailable_s if verdict else None
    if predicted is None:
        return ""
    much = ": much longer, find out why" if actual_s is not None and verdicts.strays(predicted, actual_s) else ""
    return f" ({seconds(predicted)} expected{much})"


def against(verdict: Verdict, actual_s: float) -> tuple[list[str], bool]:
    """Predicted against actual, as lines, and whether the real run strayed from the rehearsal."""
    predicted = verdict.phases.get("migrate") if verdict else None
    if predicted is None:
        return [], False
    if verdicts.strays(predicted, actual_s):
        return [
            f"took {seconds(actual_s)}, much longer than the {seconds(predicted)} of the rehearsal: find out why"
        ], True
    return [f"took {seconds(actual_s)}, rehearsed in {seconds(predicted)}"], False
