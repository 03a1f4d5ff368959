"""What an API does to the data of the copy by starting and by being logged in to. It may add; it may not lose."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from ..app.stack import Stack
from ..core.records import plain
from ..core.text import plural
from ..databases import loss_rules, other_losses, relation_baseline, relation_losses, write_snapshot
from ..databases.other_losses import Positions
from ..databases.relation_baseline import Baseline
from ..databases.relation_losses import Comparison, Loss
from ..releases.rehearsed import Effects, Wrote
from .copies import Copy
from .options import RehearsalFailed
from .reverse import IGNORED

_PATIENCE_S = 15.0  # until the sessions of a trial that was ended are gone, and have handed over their counters


@dataclass
class ApiEffects:
    """The copy before a trial, once it was healthy, and after it."""

    copy: Copy
    baseline: Baseline = field(init=False)
    positions: list[Positions] = field(default_factory=list)
    start: Optional[Comparison] = None
    whole: Comparison = field(default_factory=Comparison)

    def __post_init__(self) -> None:
        with self.copy.database.session() as session:
            self.baseline = relation_baseline.take(session, ignore_schemas=IGNORED)
            self.positions.append(other_losses.positions(session))

    def started(self) -> None:
        """Compare when it is healthy and before any other request."""
        self.start = relation_losses.compare(self.copy.database, self.baseline, ignore_schemas=IGNORED)
        with self.copy.database.session() as session:
            self.positions.append(other_losses.positions(session))

    def ended(self) -> None:
        """Compare when it has ended, and its sessions with it."""
        limit = time.monotonic() + _PATIENCE_S
        with self.copy.database.session() as session:
            while write_snapshot.others(session) and time.monotonic() < limit:
                time.sleep(0.05)
            self.positions.append(other_losses.positions(session))
        self.whole = relation_losses.compare(self.copy.database, self.baseline, ignore_schemas=IGNORED)

    def refuse_losses(self, stack: Stack, name: str, step: str) -> None:
        """Raise RehearsalFailed if it lost anything that is not declared. ``name``: "the new API (2.1)"."""
        lost = loss_rules.intolerable(self.whole.losses, self.baseline, stack.may_delete, loss_rules.TRIAL)
        if not lost or stack.environment == "development":  # where an application may reset its database
            return
        deleted = sorted({loss.table for loss in lost if loss.what in ("deleted", "truncated")})
        when = self._moment(stack, lost)
        raise RehearsalFailed(
            f"{name[0].upper()}{name[1:]} loses data of the copy {when}: {loss_rules.listed(lost)}.",
            hint="It would do the same to the live database."
            + (
                f" If it must delete there (expired sessions, say): pap_api_may_delete: [{', '.join(deleted)}]."
                if deleted
                else ""
            ),
            step=step,
            losses=plain(lost),
            lines=[loss.sentence() for loss in lost],
        )

    def _moment(self, stack: Stack, lost: Sequence[Loss]) -> str:
        """When it was: deletions whose counters came late may have been seen only after the login."""
        if self.start is None:  # it was never healthy
            return "at its start"
        if loss_rules.intolerable(self.start.losses, self.baseline, stack.may_delete, loss_rules.TRIAL):
            return "at its start"
        unclear = {*self.start.unexplained, *self.start.unread}.intersection(loss.table for loss in lost)
        return "between its start and the end of the smoke test" if unclear else "at a login"

    def wrote(self) -> Wrote:
        whole, start = self.whole, self.start
        return Wrote(
            tuple(whole.losses),
            whole.written,
            whole.tables,
            start=Effects(tuple(start.losses), start.written, start.tables) if start else None,
            numbers=self._numbers(),
        )

    def _numbers(self) -> dict[str, dict[str, int]]:
        """What the start and the smoke test took from each sequence."""
        if len(self.positions) != 3:  # it was never healthy
            return {}
        before, healthy, after = self.positions
        return {"start": other_losses.taken(before, healthy), "login": other_losses.taken(healthy, after)}


def lines(name: str, wrote: Wrote) -> list[str]:
    """What it wrote, for a person; nothing if it wrote nothing."""
    start = wrote.start.written if wrote.start else {}
    later = {
        table: {kind: count - start.get(table, {}).get(kind, 0) for kind, count in counts.items()}
        for table, counts in wrote.written.items()
    }
    parts = [
        f"{when}: {said}"
        for when, said in (("at its start", _written(start)), ("in the smoke test", _written(later)))
        if said
    ]
    found = [f"{name} wrote on the copy, {'; '.join(parts)}"] if parts else []
    deleted = "; ".join(loss.sentence() for loss in wrote.losses)
    return found + ([f"{name}, as declared in pap_api_may_delete: {deleted}"] if deleted else [])


def _written(tables: Mapping[str, Mapping[str, int]]) -> str:
    words = {"inserted": "inserted", "updated": "changed"}
    parts = [
        f"{table.removeprefix('public.')} "
        + ", ".join(f"{count:,} {words[kind]}" for kind, count in counts.items() if count > 0)
        for table, counts in sorted(tables.items())
        if any(count > 0 for count in counts.values())
    ]
    return "; ".join(parts[:8]) + (f"; and {plural(len(parts) - 8, 'more table')}" if len(parts) > 8 else "")
