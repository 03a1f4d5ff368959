"""What a release deploys besides its migrations: measured by the preflight, and the same when it takes over.

The receipt is demanded for what was measured; hours may lie between that and the switch, and code that was exchanged
meanwhile has passed nothing. An image is known by its identity, which the switch itself looks at.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Optional

from ..app.content import Content
from ..app.stack import AppSession, Stack
from ..core.durable import write_durably
from ..core.errors import VerificationFailed
from ..core.records import recorded
from ..core.visible import visible
from ..receipts.subject import runtime_differences
from ..releases import parts
from ..releases.journal import Journal
from ..releases.records import Preflight
from ..releases.version import Version

FILE = "content.json"
_SHOWN = 5


@dataclass(frozen=True)
class Measured:
    """``files``: of the release folder, where there is one. ``runtime``: Python, packages, names of variables."""

    files: Optional[Content]
    runtime: parts.Runtime

    @property
    def noted(self) -> parts.Content:
        """For the journal."""
        return parts.Content(self.files.checksum if self.files else "", self.runtime)


def measure(stack: Stack, version: Version, app_session: AppSession) -> Measured:
    """What ``version`` consists of now. ``beside`` runs with its Python."""
    files = stack.api.content(version)
    environments = [*stack.api.environments(version).values(), *stack.api.declared(version).values()]
    names = {name for each in environments for name in each}.union(files.variables if files else ())
    # What an image has installed is in its identity.
    installed = app_session.call("environment.installed", {}, deadline_s=60) if files else {}
    return Measured(files, replace(recorded(parts.Runtime, installed), variables=tuple(sorted(names))))


def keep(journal: Journal, measured: Measured) -> None:
    """Keep the list of files with the release, so that a change can be named."""
    if measured.files:
        write_durably(journal.folder / FILE, json.dumps(dict(measured.files.files)).encode(), vital=False)


def refuse_changed(stack: Stack, journal: Journal, when: str, app_session: AppSession) -> None:
    """Raise VerificationFailed unless everything is as the preflight measured it. ``when``: since then, as a clause."""
    noted = _noted(journal)
    if not noted:
        return
    measured = measure(stack, journal.opening().new, app_session)
    changes = _file_changes(journal, measured.files)
    changes += runtime_differences(noted.runtime, measured.runtime, "the preflight")
    if changes:
        raise _changed(journal, when, changes)


def refuse_changed_files(stack: Stack, journal: Journal, when: str) -> None:
    """The same for the files alone, which takes no other process: what users wait for, or what has just started."""
    changes = _file_changes(journal, stack.api.content(journal.opening().new)) if _noted(journal) else []
    if changes:
        raise _changed(journal, when, changes)


def _file_changes(journal: Journal, found: Optional[Content]) -> list[str]:
    """Against the list that the preflight kept; an image has none."""
    kept = journal.folder / FILE
    return Content(json.loads(kept.read_text(encoding="utf-8"))).changes_to(found) if found else []


def _noted(journal: Journal) -> Optional[parts.Content]:
    """What the preflight noted; nothing in the journal of an earlier version."""
    return (journal.newest(Preflight) or Preflight()).content


def _changed(journal: Journal, when: str, changes: list[str]) -> VerificationFailed:
    header = journal.opening()
    runs = header.old.identity == header.new.identity
    more = f", and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
    return VerificationFailed(
        f"{header.new.label} is not what the preflight of this deploy looked at: {when},"
        f" {visible('; '.join(changes[:_SHOWN]))}{more}.",
        hint="No test speaks for it. Find out who changed it, and deploy again; what the API itself writes into"
        " its release folder belongs into pap_api_release_ignore."
        + (" This release ran before as well: a rollback starts it as it is there now." if runs else ""),
        changes=changes[:100],
    )
