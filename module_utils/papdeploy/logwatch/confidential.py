"""What a watcher must know and must not find on a disk: secrets to mask, and the webhook with its headers.

The watcher that outlives the deploy gets it over its standard input and keeps it in memory. The steps of a timer are
processes of their own, with no parent to hand them anything: for them alone it is a private file, as long as they run.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..core.durable import write_durably
from ..core.redact import Redactor
from ..environment import secret_sources

_FILE = "watch-confidential.json"


@dataclass(frozen=True)
class Confidential:
    """``secrets`` that stand nowhere on this host, ``places`` where the others do (:mod:`secret_sources`), and
    ``alert``: ``{"url", "format", "headers", "stack"}`` of a webhook, or nothing. ``database_password``: the one of the
    inventory; in a container it is found where it stands."""

    secrets: Sequence[str] = field(default=(), repr=False)
    places: Mapping[str, Sequence[str]] = field(default_factory=dict)
    alert: Mapping[str, Any] = field(default_factory=dict, repr=False)
    database_password: str = field(default="", repr=False)

    @classmethod
    def of(cls, params: Mapping[str, Any], alert: Mapping[str, Any]) -> Confidential:
        """For the stack that the ``stack`` option of the Ansible modules describes."""
        told = {**alert, "stack": params["name"]} if alert.get("url") else {}  # as every other notification has it
        password = str((params.get("database") or {}).get("admin_password") or "")
        return cls(secret_sources.inventory_secrets(params), secret_sources.places_of(params), told, password)

    def redactor(self) -> Redactor:
        """A redactor that knows the secrets as they are now: an API's environment may change with a restart."""
        made = Redactor(self.secrets)
        secret_sources.teach_environments(made, self.places)
        return made

    def text(self) -> str:
        return json.dumps(asdict(self))


NOTHING = Confidential()


def from_text(text: str) -> Confidential:
    """The inverse of :meth:`Confidential.text`; nothing is nothing."""
    return Confidential(**json.loads(text)) if text.strip() else NOTHING


def keep(folder: Path, confidential: Confidential) -> None:
    """Put it into a private file, for the steps of a timer."""
    write_durably(folder / _FILE, confidential.text().encode())


def kept(folder: Path) -> Confidential:
    """What :func:`keep` put there, or nothing."""
    try:
        return from_text((folder / _FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return NOTHING


def forget(folder: Path) -> None:
    """Remove the file: the watch is over."""
    with contextlib.suppress(FileNotFoundError):
        (folder / _FILE).unlink()
