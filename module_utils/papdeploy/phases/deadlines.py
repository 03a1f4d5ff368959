"""The time that a phase may take as a whole: what hangs, whatever it is, ends as a failure, and is rolled back."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Mapping

from ..core.errors import DeadlineExceeded, Refused
from ..core.text import age

_HOUR = 3600.0
# Seconds. How long a backup or a copy takes depends on the database: there the limit only ends what would never end.
DEFAULTS = {
    "preflight": _HOUR / 2,
    "backup": 24 * _HOUR,
    "rehearse": 24 * _HOUR,
    "migrate": 24 * _HOUR,
    "activate": _HOUR / 2,
    "login_smoke_test": _HOUR / 4,
    "validate": _HOUR / 4,
    "watch": 24 * _HOUR,
    "finish": _HOUR / 4,
    "rollback": 24 * _HOUR,
    "status": _HOUR / 4,
}
# Should what is cleared away after the first alarm hang as well.
_AGAIN_S = 300.0


@contextlib.contextmanager
def deadline(phase: str, configured: Mapping[str, float]) -> Iterator[None]:
    """Raise DeadlineExceeded in the block when the time of ``phase`` is up. ``configured`` goes before DEFAULTS.

    Needs the main thread of the process, and its alarm. Raises Refused for a phase that is none.
    """
    unknown = sorted(set(configured) - set(DEFAULTS))
    if unknown:
        raise Refused(
            f"pap_phase_deadlines_s names {unknown[0]!r}, which is no phase.",
            hint=f"The phases are {', '.join(DEFAULTS)}.",
        )
    seconds = float(configured.get(phase, DEFAULTS[phase]))

    def over(*_: object) -> None:
        raise DeadlineExceeded(
            f"The phase {phase.replace('_', ' ')} did not end within {age(seconds)}.",
            hint=f"Find out what it waited for. If it needs longer here, raise pap_phase_deadlines_s: {{{phase}: …}}.",
            seconds=seconds,
        )

    former = signal.signal(signal.SIGALRM, over)
    timer = signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001), _AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
        signal.setitimer(signal.ITIMER_REAL, *timer)
