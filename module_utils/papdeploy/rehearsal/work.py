"""A rehearsal at work: what is rehearsed, until when, on which copy; its steps, each timed and named if it fails."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from ..app.migration_request import MigrationRequest
from ..app.stack import Stack
from ..backup import Encryption
from ..backup.pipeline import Emit, silent
from ..core.errors import DeadlineExceeded, PapError
from ..core.records import recorded
from ..environment.copy_environment import CopyEnvironment
from ..migrations.server_wide import LeftOut
from ..releases.parts import Endpoint
from ..releases.records import Backup
from ..releases.rehearsed import Outward
from ..releases.version import Version
from . import verdict
from .copies import Copy
from .observe import Observed
from .options import Options, RehearsalFailed


@dataclass(frozen=True)
class Subject:
    """What is rehearsed. ``running`` and ``candidate`` are versions of the API; ``baseline`` what the endpoints
    answered before; ``backup`` the release's; ``measured`` seconds of earlier deploys."""

    release: str
    sources: Mapping[str, str]
    who: str
    expected: Mapping[str, Any]
    running: Version
    candidate: Version
    pending: Sequence[str]
    baseline: Optional[Sequence[Endpoint]] = None
    backup: Optional[Backup] = None
    encryption: Optional[Encryption] = None
    measured: Mapping[str, float] = field(default_factory=dict)


# The steps as a person reads them while they run.
_STEPS = {
    "copy": "making the copy ready",
    "migrate": "migrating the copy",
    "compare": "comparing the copy with its start",
    "revert": "reverting the migrations on the copy",
    "migrate_again": "migrating the copy again",
    "candidate": "trying the new API on the copy",
    "old_api": "trying the API that runs now on the copy",
    "revert_after_use": "reverting once more, after both APIs have written",
}


@dataclass(frozen=True)
class Ran:
    """What the runner answers to a run of migrations. ``left_out``: statements that act on the whole server and did not
    run; ``outward``: what was reached beyond the session. ``check``: of the migrated schema, as JSON has it."""

    applied: tuple[Observed, ...] = ()
    transactions: tuple[verdict.Transaction, ...] = ()
    seconds: float = 0.0
    check: Any = None
    left_out: tuple[LeftOut, ...] = ()
    outward: tuple[Outward, ...] = ()


@dataclass
class Work:
    stack: Stack
    subject: Subject
    options: Options
    deadline: float
    emit: Emit = silent
    environments: dict[str, CopyEnvironment] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    copy: Optional[Copy] = None
    left_out: list[LeftOut] = field(default_factory=list)
    outward: list[Outward] = field(default_factory=list)

    def noted(self, answer: object) -> Ran:
        """What a run of migrations answers; what it left out and what it reached beyond its session is kept."""
        ran = recorded(Ran, answer)
        self.left_out += [item for item in ran.left_out if item not in self.left_out]
        self.outward += [item for item in ran.outward if item not in self.outward]
        self.stack.seen_on_live.started = [f"{item.identity} {item.what}" for item in self.outward]
        return ran

    def left(self) -> float:
        """Seconds until the deadline of the rehearsal; raises DeadlineExceeded when it has passed."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(
                f"The rehearsal did not end within {self.options.deadline_s:g} s.", hint="Raise rehearse_deadline_s."
            )
        return left

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One step: timed; what fails in it fails the rehearsal and says where."""
        started = time.monotonic()
        self.left()
        self.emit({"event": "step", "step": _STEPS[name]})
        try:
            yield
            self._refuse_lost(name)
        except RehearsalFailed:
            self._refuse_lost(name)
            raise
        except PapError as error:
            self._refuse_lost(name)
            raise _failed(name, error) from error
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - started, 3)

    def _refuse_lost(self, name: str) -> None:
        """Raise if the copy is not there any more: what then failed on it says nothing of the deploy."""
        if self.copy is None or name == "copy":
            return
        try:
            self.copy.database.prove()
        except PapError as error:
            raise RehearsalFailed(
                f"The copy {self.copy.name} was lost while it was rehearsed on: {error.message}",
                hint="Find out who dropped or renamed it, or why the server went away; then deploy again.",
                step=name,
            ) from error

    def request(self) -> MigrationRequest:
        """What the runner gets: the same as in the deploy, and the wish to be watched."""
        return MigrationRequest(
            sources=dict(self.subject.sources),
            release=self.subject.release,
            who=self.subject.who,
            expected=self.subject.expected,
            schema_options=dict(self.options.schema),
            options={
                "lock_timeout_s": self.options.lock_timeout_s,
                "deadline_s": self.migrate_s(),
                "allow_out_of_order": self.options.allow_out_of_order,
                "observe": True,
            },
        )

    def migrate_s(self) -> float:
        """Seconds that the migrations may take now."""
        return min(self.options.migrate_deadline_s, self.left())


@dataclass(frozen=True)
class _Differing:
    severity: str = ""
    object: str = ""
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.severity}: {self.object}: {self.kind}"


@dataclass(frozen=True)
class _Checked:
    differences: tuple[Any, ...] = ()


@dataclass(frozen=True)
class _Failure:
    """What an error carries, as far as it is shown: the statement, and what of the schema is not as the models say."""

    statement: str = ""
    check: _Checked = field(default_factory=_Checked)
    differences: tuple[Any, ...] = ()


def _failed(step: str, error: PapError) -> RehearsalFailed:
    """The same failure, as that of the rehearsal: what would have happened to production."""
    words = {
        "copy": "The copy for the rehearsal could not be made",
        "migrate": "The rehearsal on the copy failed",
        "migrate_again": "Migrating a second time, after the downgrades, failed",
    }
    failure = recorded(_Failure, error.data)
    lines = [line for line in failure.statement.strip().splitlines()[:8] if line.strip()]
    differences = list(failure.check.differences or failure.differences)
    lines += [_shown(item) for item in differences[:10]]
    data = {**error.data, "differences": differences, "lines": lines, "step": step}
    what = words.get(step, "The rehearsal failed")
    return RehearsalFailed(f"{what}: {error.message}", hint=error.hint, **data)


def _shown(item: object) -> str:
    return str(recorded(_Differing, item) if isinstance(item, Mapping) else item)
