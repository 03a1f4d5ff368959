"""A rollback at work: what it changes, what lies outside of it, and its steps, each noted in the journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Optional, TypeVar

from .. import databases
from ..app.host_app import Api
from ..backup import Encryption
from ..backup.pipeline import Emit, silent
from ..core.errors import PapError
from ..core.records import as_object
from ..databases import Written
from ..databases.managed_names import admin_session, end_sessions
from ..databases.psql import Database
from ..sql.quoting import quote_literal
from .facts import Facts

R = TypeVar("R")
Checkpoint = Callable[[str, str, dict[str, Any]], None]


@dataclass(frozen=True)
class Answered:
    """The first healthy answer of the old API: when, and after how many seconds."""

    healthy_after_s: Optional[float] = None
    healthy_at: str = ""


@dataclass(frozen=True)
class Hooks:
    """What lies outside: ``revert(dbname)`` runs the downgrades of the release in database ``dbname``; ``healthy()``
    waits for the old API's first healthy answer and raises Unhealthy; ``agreed()`` waits for a health check that its
    supervisor has, says how long, and raises Unhealthy; ``validate(strategy)`` holds the schema against the old models
    and ``smoke()`` logs in, both raising what is wrong (Unhealthy: the old API runs and does not answer well);
    ``checkpoint(phase, event, data)`` writes to the journal, durably, also what ``revert``, ``validate`` and ``smoke``
    return (a record, or an object as JSON has it)."""

    revert: Callable[[str], object]
    validate: Callable[[str], object]
    smoke: Callable[[], object]
    checkpoint: Checkpoint
    healthy: Callable[[], Answered] = Answered
    agreed: Callable[[], str] = str
    emit: Emit = silent


@dataclass
class Work:
    """``database`` carries the live name. ``asked``: the strategy that a person named. ``facts`` change with what is
    done, and ``counted`` is what a downgrade counted before it began: if it fails, another strategy is chosen by them.
    """

    database: Database
    api: Api
    facts: Facts
    hooks: Hooks
    encryption: Optional[Encryption]
    accept_data_loss: bool
    asked: str = ""
    counted: Optional[Written] = None

    @property
    def release(self) -> str:
        return self.facts.release

    def step(self, name: str, work: Callable[[], R], render: Callable[[R], object] = lambda found: found) -> R:
        """One step with its checkpoints; ``render`` makes what the journal keeps of its result."""
        phase = f"rollback.{name}"
        self.hooks.checkpoint(phase, "begin", {})
        self.hooks.emit({"event": "step", "step": name.replace("_", " ")})
        try:
            found = work()
        except PapError as error:
            self.hooks.checkpoint(phase, "failed", error.as_dict())
            raise
        except BaseException as error:
            self.hooks.checkpoint(phase, "failed", {"error": type(error).__name__, "message": str(error)})
            raise
        self.hooks.checkpoint(phase, "done", as_object(render(found) or {}))
        return found

    def behind(self) -> Database:
        """The database behind the fence of the release."""
        return databases.must_be_fenced(self.database, self.release)

    def end_own(self) -> object:
        """End the sessions of the release itself: a migration whose deploy was killed may still be at work. Who they
        were, as the journal keeps it."""
        fence = databases.fence_state(self.database)
        name = fence.database if fence else self.database.conninfo.dbname
        with admin_session(self.database) as session:
            own = f"application_name = {quote_literal('pap-deploy:' + self.release)}"
            return end_sessions(session, name, seconds=20, only=own)
