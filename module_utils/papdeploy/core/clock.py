"""Times as journals write them."""

from __future__ import annotations

from datetime import datetime, timezone


def now() -> str:
    """The time as ISO 8601 in UTC, with milliseconds."""
    return _text(datetime.now(timezone.utc))


def seconds_between(start: str, end: str) -> float:
    """Seconds from one journal time to another."""
    return (_parse(end) - _parse(start)).total_seconds()


def _parse(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def epoch(text: str) -> float:
    """Seconds since 1970 of a time as journals and manifests write it. Raises ValueError."""
    return _parse(text).timestamp()


def from_epoch(at: float) -> str:
    """Seconds since 1970 as journals write a time."""
    return _text(datetime.fromtimestamp(at, timezone.utc))


def later(at: str, seconds: float) -> str:
    """A journal time so many seconds after ``at`` (before it, if negative)."""
    return from_epoch(epoch(at) + seconds)


def _text(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc_minute(at: float) -> str:
    """Seconds since 1970 as people read them: ``2026-01-03 10:00 UTC``."""
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
