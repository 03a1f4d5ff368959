"""One version of the API, as a journal keeps it and as the site's code restores it."""

from __future__ import annotations

from typing import Any, TypedDict


class _Version(TypedDict):
    label: str
    identity: str


class Version(_Version, total=False):
    """``label``: for a person; ``identity``: equal for equal content. On a host ``path``, its release directory; in
    containers ``containers``, a record for each, or ``image`` with its ``reference``, to be activated. ``restart``:
    what runs is only started again."""

    path: str
    containers: list[dict[str, Any]]
    image: str
    reference: str
    digests: list[str]
    restart: bool
