"""One version of the API, as a journal keeps it and as the site's code restores it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Container:
    """A container of the API as it was: enough to come back to it. ``policy``: its restart policy."""

    name: str = ""
    id: str = ""
    image: str = ""
    reference: str = ""
    policy: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Version:
    """``label``: for a person; ``identity``: equal for equal content. On a host ``path``, its release directory; in
    containers ``containers``, those that run, or ``image`` with its ``reference``, to be activated. ``restart``: what
    runs is only started again."""

    label: str = ""
    identity: str = ""
    path: str = ""
    containers: tuple[Container, ...] = ()
    image: str = ""
    reference: str = ""
    digests: tuple[str, ...] = ()
    restart: bool = False
