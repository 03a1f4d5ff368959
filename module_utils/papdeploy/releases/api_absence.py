"""What a journal says of an API that was gone before the fence: it was not stopped, so its downtime began by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from .records import ApiLook, Entry

_KNOWN_BY = {
    "container": "its container ended at {at}",
    "last answer": "it answered last at {at}",
    "first look": "it did not answer when this deploy began, at {at}",
}


def absence(entries: Sequence[Entry]) -> Optional[ApiLook]:
    """The last look at the API before it was stopped or switched, if it did not answer: ``since``, ``known_by``."""
    last: Optional[ApiLook] = None
    for entry in entries:
        if entry.event == "begin" and entry.phase in ("fence", "activate"):
            break
        if isinstance(entry, ApiLook):
            last = entry
    return None if last is None or last.answers else last


def sentence(found: ApiLook) -> str:
    at = f"{found.since[:19].replace('T', ' ')} UTC"
    how = _KNOWN_BY.get(found.known_by, "since {at}").format(at=at)
    return f"the API was gone before it was stopped: {how}; its downtime counts from then"
