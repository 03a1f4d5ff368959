"""Which rollback strategy. Read from the journal's facts and the database itself; nothing is changed here."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

from .. import backup as backups
from ..backup import Encryption
from ..core import text
from ..core.errors import CommandFailed, PapError, Refused
from ..databases import derived, disk, fence_state, lifecycle, loss_rules, write_snapshot
from ..databases.fence import obstacles
from ..databases.ledger_table import ledger_rows
from ..databases.lifecycle import bound
from ..databases.live_state import LEDGER_SCHEMA
from ..databases.managed_names import admin_session, our
from ..databases.psql import Database, bind
from ..databases.relation_losses import Loss
from . import cost, strategies
from .losses import Kept, by_write_snapshot, compared, without
from .strategies import BRING_BACK, STRATEGIES, State

# The names that a rollback strategy gives to databases, beside that of the fence.
_NAMES = {"downgrade": (), "swap": ("failed",), "restore": ("failed", "restored")}


@dataclass(frozen=True)
class RollbackPlan:
    """The chosen ``strategy``, ``why``, what it costs (``cost``: rows by table that it would lose; ``besides``: what
    else goes back, as sentences; ``only_numbers``: nothing but numbers that no row holds; ``cost_certain``), the
    ``steps`` in words, and ``refused``: why it cannot be gone (then nothing may be changed). ``lost`` is what the
    release lost of the live database, which is said first. ``closed``: of each impossible strategy, why."""

    release: str
    strategy: str
    why: str
    state: State
    steps: tuple[str, ...] = ()
    cost: dict[str, dict[str, Any]] = field(default_factory=dict)
    besides: tuple[str, ...] = ()
    only_numbers: bool = False
    cost_certain: bool = True
    cost_sentence: str = ""
    lost: tuple[Loss, ...] = ()
    refused: str = ""
    hint: str = ""
    closed: dict[str, str] = field(default_factory=dict)

    @property
    def loses(self) -> bool:
        return bool(self.cost or self.besides)

    @property
    def rows_lost(self) -> int:
        return sum(int(t["rows"]) + int(t["deleted"] or 0) for t in self.cost.values())

    def as_dict(self) -> dict[str, Any]:
        return {
            "release": self.release,
            "strategy": self.strategy,
            "why": self.why,
            "steps": list(self.steps),
            "cost": self.cost,
            "besides": list(self.besides),
            "rows_lost": self.rows_lost,
            "cost_certain": self.cost_certain,
            "cost_sentence": self.cost_sentence,
            "lost": [loss.as_dict() for loss in self.lost],
            "refused": self.refused,
            "hint": self.hint,
            "closed": self.closed,
            "lines": self.lines(),
        }

    def lines(self) -> list[str]:
        """What a person reads before it happens."""
        lost = [f"THE RELEASE LOST DATA: {loss_rules.listed(self.lost)}"] if self.lost else []
        head = f"rollback strategy: {self.strategy} ({self.why})"
        tail = [f"refused: {self.refused}"] if self.refused else []
        # The cost of an impossible strategy was not measured.
        said = [f"cost: {self.cost_sentence}"] if self.cost_sentence and (self.loses or not self.refused) else []
        steps = [f"  {step}" for step in self.steps]
        none = [f"no {strategy}: {why}" for strategy, why in self.closed.items() if self.strategy != "nothing"]
        return [*lost, head, *said, *steps, *none, *tail]


def read_state(database: Database, release: str) -> State:
    """What is true of ``release`` in the database now; ``database`` carries the live name."""
    live = database.conninfo.dbname
    fence = fence_state(database)
    with admin_session(database) as session:
        swapped = lifecycle.swapped(session, database, release)
        where = fence["database"] if fence else live
        running = session.rows(
            bind(
                "SELECT pid, state, xact_start::text AS since, left(query, 200) AS query FROM pg_stat_activity"
                " WHERE datname = %s AND application_name = %s AND state <> 'idle'",
                where,
                f"pap-deploy:{release}",
            )
        )
    applied: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    if not swapped:
        applied, partial = _ledger(database.named(where), release)
    return State(fence, swapped, applied, partial, tuple(running))


def _ledger(database: Database, release: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Migrations of ``release`` in force, newest first, and those that were left halfway."""
    with database.session() as session:
        rows = ledger_rows(
            session,
            bind(
                "SELECT DISTINCT ON (identity) identity, event, release, id FROM ledger"
                " WHERE identity IN (SELECT identity FROM ledger WHERE release = %s) ORDER BY identity, id DESC",
                release,
            ),
        )
    rows.sort(key=lambda row: -int(row["id"]))
    mine = [row for row in rows if row["release"] == release]
    in_force = tuple(str(row["identity"]) for row in mine if row["event"] in ("applied", "repaired"))
    return in_force, tuple(str(row["identity"]) for row in mine if row["event"] in ("started", "failed_outside"))


def choose(
    database: Database,
    facts: Mapping[str, Any],
    *,
    accept_data_loss: bool = False,
    strategy: str = "",
    skip: tuple[str, ...] = (),
    deep: bool = True,
    encryption: backups.Encryption | Mapping[str, Any] | None = None,
) -> RollbackPlan:
    """The cheapest safe rollback strategy from the release that ``facts`` describe; ``strategy`` asks for a certain
    one.

    Facts (of the journal; all but ``release`` may be missing): ``release``; ``restore_point`` and ``backup`` as their
    phases returned them; ``unfence`` (with its ``mark``) if the fence was lifted; ``reversible``: every migration of
    the release has a downgrade; ``old_works_on_new``: the rehearsal ran the old API on the new schema;
    ``rehearsed``: there was a rehearsal, ``reversible_why`` and ``old_api_why``: what it says of the two;
    ``switched``: the API was switched; ``own``: what our smoke tests wrote (``marks.Own``); ``definitions``: those of
    when the release had taken over; ``removed``: by path, when and why a backup of it was removed; ``identity``: what
    the backup must be of (``stack``); ``api_problem``: why the API could not go back; ``data``: the baseline from the
    end of the fence, ``may_delete``: tables in which the service deletes by itself, ``deploying``: the release has not
    finished.

    What the release lost, only a restore (or swap) brings back: then these come first, and another strategy is chosen
    only if it is asked for or neither of them can be gone. Within the deploy they need no leave to lose what was
    written since: that is little, and stays readable in the database that is quarantined.

    Reads everything it needs, changes nothing, and raises only if the database does not answer. ``deep`` also reads the
    whole backup, and opens it with ``encryption`` if need be. ``skip`` leaves out strategies that have failed already.
    """
    if strategy and strategy not in STRATEGIES:
        raise Refused(f"Unknown rollback strategy {strategy!r}.", hint=f"Choose one of {', '.join(STRATEGIES)}.")
    state = read_state(database, str(facts["release"]))
    kept = _kept(database, facts, state)
    accept_data_loss = accept_data_loss or bool(kept.lost and facts.get("deploying"))
    plan = _cheapest(database, facts, state, kept, accept_data_loss, strategy, skip, Encryption.of(encryption), deep)
    closed = {name: why for name in STRATEGIES[1:] if (why := strategies.why_not(state, facts, name))}
    return replace(plan, closed={} if state.swapped else closed)


def _cheapest(
    database: Database,
    facts: Mapping[str, Any],
    state: State,
    kept: Kept,
    accept_data_loss: bool,
    strategy: str,
    skip: tuple[str, ...],
    opened_by: Optional[Encryption],
    deep: bool,
) -> RollbackPlan:
    open_strategies = strategies.possible(state, facts)
    candidates = [name for name in open_strategies if name not in skip]
    if kept.lost:
        candidates.sort(key=lambda name: name not in BRING_BACK)
    if strategy and not state.swapped:  # else it has happened: what is left is the API
        candidates = [name for name in candidates if name == strategy]
    plans: list[RollbackPlan] = []
    for name in candidates:
        plan = replace(_assess(database, facts, state, name, opened_by, kept, deep=deep), lost=tuple(kept.lost))
        if facts.get("api_problem"):
            plan = replace(plan, refused=str(facts["api_problem"]), hint="Bring the old release back first.")
        # Numbers that no row holds: a login that failed took them. In the deploy itself no person can be asked about
        # them.
        slight = bool(facts.get("deploying")) and plan.only_numbers and plan.cost_certain
        possible, plan = plan, _mind_loss(plan, accept_data_loss or slight)
        # A more expensive strategy is not assessed: that may take as long as the database is large. Nor is one that
        # leaves lost what this one would bring back, for want of a yes.
        if not plan.refused or (kept.lost and not possible.refused):
            return plan
        plans.append(plan)
    if plans:
        said = "; ".join(f"{plan.strategy}: {plan.refused}" for plan in plans)
        return replace(plans[0], refused=said if len(plans) > 1 else plans[0].refused)
    why = f"the strategy {strategy!r} is impossible from here: {strategies.why_not(state, facts, strategy)}"
    reasons = "; ".join(f"{name}: {strategies.why_not(state, facts, name)}" for name in STRATEGIES[1:])
    there = ", ".join(open_strategies)
    hint = f"Possible: {there} (-e rollback_strategy=…)." if there else "The runbook restores another backup."
    return RollbackPlan(
        str(facts["release"]),
        strategy or "nothing",
        "no strategy is left",
        state,
        lost=tuple(kept.lost),
        refused=why if strategy else f"no rollback strategy is possible ({reasons})",
        hint=hint,
    )


def _kept(database: Database, facts: Mapping[str, Any], state: State) -> Kept:
    """What the release lost, and what a rollback strategy that leaves the database as it is can be said to keep."""
    where = database.named(state.fence["database"]) if state.fence else database
    if state.swapped:
        return Kept((), "the old content is in place")
    if facts.get("data"):
        try:
            return compared(where, facts, (LEDGER_SCHEMA,))
        except (CommandFailed, Refused) as error:  # a table is locked: what was found in the deploy is still known
            noted = [Loss.from_dict(loss) for loss in facts.get("noted") or []]
            return Kept(
                noted, f"keeps the database as it is; what it lost could not be compared ({error.message.rstrip('.')})"
            )
    if state.running:
        return Kept((), "keeps the database as it is, once the session that is still at work has ended")
    mark = (facts.get("unfence") or {}).get("mark") or (facts.get("restore_point") or {}).get("mark")
    if mark:
        return Kept((), by_write_snapshot(write_snapshot.written_since(where, mark, ignore_schemas=(LEDGER_SCHEMA,))))
    if not state.applied and not facts.get("switched"):
        return Kept((), "keeps the database as it is: the release had no restore point yet, and had changed nothing")
    return Kept((), "keeps the database as it is; what the release lost of it was not measured")


def count_before_downgrade(database: Database, facts: Mapping[str, Any]) -> Optional[dict[str, Any]]:
    """What a swap or restore would lose now, counted under the fence before a downgrade touches any row."""
    state = read_state(database, str(facts["release"]))
    back = [strategy for strategy in strategies.possible(state, facts) if strategy in BRING_BACK]
    if not back or not state.fence:
        return None
    return cost.written(database.named(state.fence["database"]), facts, state.fence, back[0]).as_dict()


def _assess(
    database: Database,
    facts: Mapping[str, Any],
    state: State,
    strategy: str,
    encryption: Optional[Encryption],
    kept: Kept,
    *,
    deep: bool,
) -> RollbackPlan:
    release = str(facts["release"])
    live = database.conninfo.dbname
    plan = RollbackPlan(
        release, strategy, strategies.why(state, facts, strategy), state, steps=_steps(database, facts, state, strategy)
    )
    if strategy in ("nothing", "image"):
        return replace(plan, cost_sentence=kept.sentence)
    where = database.named(state.fence["database"]) if state.fence else database
    with admin_session(database) as session:
        problems = obstacles(session, where.conninfo.dbname)
        if strategy != "downgrade":
            problems += bound(session, where.conninfo.dbname)
    if problems:
        return replace(plan, refused=problems[0], hint=" ".join(problems[1:]))
    try:
        with admin_session(database) as session:
            lifecycle.refuse_taken(
                session, database, release, [*_NAMES[strategy], *([] if state.fence else ["fenced"])]
            )
    except Refused as error:
        return replace(plan, refused=error.message, hint=error.hint)
    if strategy == "downgrade":
        loses = facts.get("downgrade_loses")
        said = str(loses) if loses else "keeps every row; what the new columns hold goes"
        return replace(plan, cost_sentence=f"{kept.sentence}; {said}" if facts.get("data") else said)
    try:
        if strategy == "restore":
            _restore_can_succeed(facts, live, where, encryption, deep=deep)
        else:
            _snapshot_is_there(database, facts, release)
    except PapError as error:
        return replace(plan, refused=error.message, hint=error.hint)
    written = cost.written(where, facts, state.fence, strategy)
    if kept.lost:
        left = tuple(change for change in written.besides if not change.back)
        written = replace(written, tables=without(written.tables, kept.lost), besides=left)
    return replace(
        plan,
        cost=written.tables,
        besides=tuple(change.sentence for change in written.besides),
        only_numbers=not written.tables and all(change.numbers for change in written.besides),
        cost_certain=written.certain,
        cost_sentence=cost.sentence(written) + cost.not_noted(facts, state.fence),
    )


def _mind_loss(plan: RollbackPlan, accept_data_loss: bool) -> RollbackPlan:
    if plan.refused or accept_data_loss or (not plan.loses and plan.cost_certain):
        return plan
    reason = f"it {plan.cost_sentence}" if plan.loses else "what was written since the restore point cannot be counted"
    hint = "All of it would stay in the database that is quarantined. To go on: -e rollback_accept_data_loss=true"
    if plan.lost:
        hint += ". To take the API back alone, and leave lost what the release lost: -e rollback_strategy=image"
    return replace(plan, refused=reason, hint=hint)


def _restore_can_succeed(
    facts: Mapping[str, Any], live: str, where: Database, encryption: Optional[Encryption], *, deep: bool
) -> None:
    path = backup_path(facts)
    gone = (facts.get("removed") or {}).get(str(path))
    if gone and not path.exists():
        raise Refused(f"its backup is not kept any more: {gone}", hint="The runbook restores another backup by hand.")
    identity = dict(facts.get("identity") or {})
    point = facts.get("restore_point") or {}
    taken = backups.load_manifest(path)
    oid = int(where.scalar("SELECT oid::int8 AS o FROM pg_database WHERE datname = current_database()"))
    taken_of = int(taken.manifest["database_oid"])  # perhaps before a rollback of ours put another in its place
    expected = backups.Expected(
        stack=str(identity.get("stack", "")),
        database=live,
        system_identifier=where.facts().identifier,
        database_oid=taken_of if taken_of in where.registry.live_oids(oid) else oid,
        release=str(facts["release"]),
        sha256=str(point.get("sha256") or ""),
    )
    if deep:
        taken = backups.inspect(path, expected)
        backups.must_open(taken, encryption)
    else:
        backups.check_identity(taken, expected)
    disk.check_copy(where, database_bytes=int(taken.manifest["database_bytes"]), purpose="the restored database")


def backup_path(facts: Mapping[str, Any]) -> Path:
    """The backup to restore: the restore point, or the release's backup where the restore point is a snapshot."""
    point = facts.get("restore_point") or {}
    path = point.get("path") if point.get("kind") == "backup" else (facts.get("backup") or {}).get("path")
    if not path:
        raise Refused("The journal names no backup of this release.")
    return Path(str(path))


def _snapshot_is_there(database: Database, facts: Mapping[str, Any], release: str) -> None:
    name = str((facts.get("restore_point") or {}).get("database", ""))
    with admin_session(database) as session:
        found = our(session, database, "snap", release)
    if found is None or found.name != name:
        raise Refused(f"The snapshot {name or '(unnamed)'} of release {release} is not there any more.")


def _steps(database: Database, facts: Mapping[str, Any], state: State, strategy: str) -> tuple[str, ...]:
    live = database.conninfo.dbname
    failed = derived(live, "failed", str(facts["release"]))
    steps: list[str] = []
    if state.running:
        steps.append(f"end {text.plural(len(state.running), 'session')} of it still at work")
    if strategy in ("downgrade", "swap", "restore"):
        steps.append("stop the API" + ("" if state.fence else ", raise the fence") + ", count again what would be lost")
    if strategy == "downgrade":
        steps.append("revert " + ", ".join(state.applied))
    if strategy == "restore":
        with contextlib.suppress(PapError):
            steps.append(f"restore {backup_path(facts).name} into a new database and compare it")
    if strategy in ("swap", "restore"):
        steps.append(f"put it in the place of {live}, keep the present one as {failed}")
    if state.fence or strategy == "downgrade":
        steps.append("lift the fence")
    steps.append("start the old release of the API, check the schema against its models, log in")
    return tuple(steps)
