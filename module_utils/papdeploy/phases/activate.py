"""Activate: the fence is lifted, and the new release of the API takes over."""

from __future__ import annotations

import time

from .. import databases
from ..app import smoke
from ..app.stack import Stack
from ..core.clock import now
from ..core.records import as_object
from ..core.text import seconds
from ..databases import other_losses
from ..databases.other_losses import Positions
from ..logwatch import process
from ..releases import smoke_test_logins
from ..releases.journal import Journal
from ..releases.records import Activated
from . import data_check, release_content, watch
from .result import Done, Printed


def run(stack: Stack, release: str) -> Done:
    """Lift the fence and let the new release of the API take over; if the migration has done so, only say it."""
    with stack.state.working(release) as journal:
        changed = journal.newest(Activated) is None
        if changed:
            take_over(stack, journal)
        done = journal.newest(Activated) or Activated()
    line = f"{done.old.label} → {done.new.label}, healthy after {seconds(done.healthy_after_s or 0.0)}"
    return Done(Printed("activate", [line]), changed)


def take_over(stack: Stack, journal: Journal) -> None:
    """Lift the fence, switch, and wait for the first healthy answer (``healthy_after_s``, from the switch on)."""
    header = journal.opening()
    stack.state.lock.confirm(journal.release)
    with journal.checkpoint("unfence") as done:
        lifted = databases.unfence(
            stack.database, journal.release, last=lambda inside: data_check.keep(journal, inside)
        )
        done.update(as_object(lifted))
        if data_check.kept(journal) is None:  # no fence was up: online
            with stack.database.session() as session:
                data_check.keep(journal, session)
        positions = (lifted.mark and lifted.mark.sequences) or _positions(stack)
    process.remark(journal.folder)  # what the logs say from here on, the new release says
    with journal.checkpoint("activate") as done:
        done.update({"from": header.old, "to": header.new})
        started = time.monotonic()
        release_content.refuse_changed_files(stack, journal, "right before it takes over")
        try:
            with data_check.after(stack, journal, data_check.AT_START), watch.explained(journal):
                stack.api.switch(header.new)
                smoke.wait_until_healthy(stack.smoke)
                done.update(healthy_after_s=round(time.monotonic() - started, 3), healthy_at=now())
        finally:  # also of a start that failed: a rollback must tell its doing from other people's
            done["own_numbers"] = smoke_test_logins.started(stack.database, journal, positions)
            data_check.keep_definitions(journal, stack)
        release_content.refuse_changed_files(stack, journal, "right after it took over")


def _positions(stack: Stack) -> Positions:
    with stack.database.session() as session:
        return other_losses.positions(session)
