"""Which rollback strategy. Read from the journal's facts and the database itself; nothing is changed here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Optional

from ..backup import Encryption
from ..core import text
from ..core.errors import Refused
from ..core.plain_json import JsonObject
from ..core.records import as_object, plain
from ..databases import loss_rules
from ..databases.psql import Database
from ..databases.relation_losses import Loss
from . import losses, strategies
from .facts import Facts
from .state import State, read_state
from .strategies import Cost, Situation, Strategy


@dataclass(frozen=True)
class RollbackPlan:
    """The chosen ``strategy``, ``why``, what it would lose (``cost``; of a strategy that is refused it may not have
    been measured), the ``steps`` in words, and ``refused``: why it cannot be gone (then nothing may be changed).
    ``lost`` is what the release lost of the live database, which is said first. ``closed``: of each impossible
    strategy, why."""

    release: str
    strategy: str
    why: str
    state: State
    steps: tuple[str, ...] = ()
    cost: Cost = field(default_factory=Cost)
    lost: tuple[Loss, ...] = ()
    refused: str = ""
    hint: str = ""
    closed: dict[str, str] = field(default_factory=dict)

    @property
    def loses(self) -> bool:
        return bool(self.cost.tables or self.cost.besides)

    def as_dict(self) -> JsonObject:
        return {
            "release": self.release,
            "strategy": self.strategy,
            "why": self.why,
            "steps": list(self.steps),
            **as_object(self.cost.counted),
            "cost_sentence": self.cost.sentence,
            "lost": plain(self.lost),
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
        said = [f"cost: {self.cost.sentence}"] if self.cost.sentence and (self.loses or not self.refused) else []
        steps = [f"  {step}" for step in self.steps]
        none = [f"no {strategy}: {why}" for strategy, why in self.closed.items() if self.strategy != strategies.NOTHING]
        return [*lost, head, *said, *steps, *none, *tail]


def choose(
    database: Database,
    facts: Facts,
    *,
    accept_data_loss: bool = False,
    strategy: str = "",
    skip: Sequence[str] = (),
    deep: bool = True,
    encryption: Optional[Encryption] = None,
) -> RollbackPlan:
    """The cheapest safe rollback strategy from the release that ``facts`` describe; ``strategy`` asks for a certain
    one.

    What the release lost, only a restore (or swap) brings back: then these come first, and another strategy is chosen
    only if it is asked for or neither of them can be gone. Within the deploy they need no leave to lose what was
    written since: that is little, and stays readable in the database that is quarantined.

    Reads everything it needs, changes nothing, and raises only if the database does not answer. ``deep`` also reads the
    whole backup, and opens it with ``encryption`` if need be. ``skip`` leaves out strategies that have failed already.
    """
    asked = strategies.named(strategy) if strategy else None
    state = read_state(database, facts.release)
    kept = losses.kept(database, facts, state)
    accept_data_loss = accept_data_loss or bool(kept.lost and facts.deploying)
    plan = _cheapest(Situation(database, facts, state, kept, encryption, deep), asked, skip, accept_data_loss)
    return replace(plan, closed={} if state.swapped else strategies.closed(state, facts))


def _cheapest(at: Situation, asked: Optional[Strategy], skip: Sequence[str], accept_data_loss: bool) -> RollbackPlan:
    candidates = [strategy for strategy in strategies.possible(at.state, at.facts) if strategy.name not in skip]
    if at.kept.lost:
        candidates.sort(key=lambda strategy: not strategy.brings_back)
    if asked and not at.state.swapped:  # else it has happened: what is left is the API
        candidates = [strategy for strategy in candidates if strategy is asked]
    plans: list[RollbackPlan] = []
    for strategy in candidates:
        plan = _assessed(strategy, at)
        # Numbers that no row holds: a login that failed took them. In the deploy itself no person can be asked about
        # them.
        slight = at.facts.deploying and plan.cost.only_numbers and plan.cost.certain
        possible, plan = plan, _mind_loss(plan, accept_data_loss or slight)
        # A more expensive strategy is not assessed: that may take as long as the database is large. Nor is one that
        # leaves lost what this one would bring back, for want of a yes.
        if not plan.refused or (at.kept.lost and not possible.refused):
            return plan
        plans.append(plan)
    if not plans:
        return _none_left(at, asked)
    refusals = "; ".join(f"{plan.strategy}: {plan.refused}" for plan in plans)
    return replace(plans[0], refused=refusals if len(plans) > 1 else plans[0].refused)


def _none_left(at: Situation, asked: Optional[Strategy]) -> RollbackPlan:
    if asked:
        refused = f"the strategy {asked.name!r} is impossible from here: {asked.why_not(at.state, at.facts)}"
    else:
        closed = strategies.ALL[1:]
        reasons = "; ".join(f"{strategy.name}: {strategy.why_not(at.state, at.facts)}" for strategy in closed)
        refused = f"no rollback strategy is possible ({reasons})"
    left = ", ".join(strategy.name for strategy in strategies.possible(at.state, at.facts))
    return RollbackPlan(
        at.facts.release,
        asked.name if asked else strategies.NOTHING,
        "no strategy is left",
        at.state,
        lost=tuple(at.kept.lost),
        refused=refused,
        hint=f"Possible: {left} (-e rollback_strategy=…)." if left else "The runbook restores another backup.",
    )


def _assessed(strategy: Strategy, at: Situation) -> RollbackPlan:
    plan = RollbackPlan(
        at.facts.release,
        strategy.name,
        strategy.why(at.state),
        at.state,
        steps=_steps(strategy, at),
        lost=tuple(at.kept.lost),
    )
    try:
        strategy.check(at)
    except Refused as error:
        plan = replace(plan, refused=error.message, hint=error.hint)
    else:
        plan = replace(plan, cost=strategy.cost(at))
    if at.facts.api_problem:
        plan = replace(plan, refused=at.facts.api_problem, hint="Bring the old release back first.")
    return plan


def _mind_loss(plan: RollbackPlan, accept_data_loss: bool) -> RollbackPlan:
    if plan.refused or accept_data_loss or (not plan.loses and plan.cost.certain):
        return plan
    reason = f"it {plan.cost.sentence}" if plan.loses else "what was written since the restore point cannot be counted"
    hint = "All of it would stay in the database that is quarantined. To go on: -e rollback_accept_data_loss=true"
    if plan.lost:
        hint += ". To take the API back alone, and leave lost what the release lost: -e rollback_strategy=image"
    return replace(plan, refused=reason, hint=hint)


def _steps(strategy: Strategy, at: Situation) -> tuple[str, ...]:
    steps: list[str] = []
    if at.state.running:
        steps.append(f"end {text.plural(len(at.state.running), 'session')} of it still at work")
    if strategy.under_fence:
        fence = "" if at.state.fence else ", raise the fence"
        steps.append(f"stop the API{fence}, count again what would be lost")
    steps += strategy.steps(at)
    if at.state.fence:
        steps.append("lift the fence")
    steps.append("start the old release of the API, check the schema against its models, log in")
    return tuple(steps)
