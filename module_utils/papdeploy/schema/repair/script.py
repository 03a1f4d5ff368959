"""All proposed repairs in an order in which they can run: what others depend on comes first."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..differences.comparison import Comparison
from ..differences.result import Difference
from .order import Step, in_order
from .planner import Planner
from .ranks import rank

_FUNCTION = re.compile(r"CREATE OR REPLACE (FUNCTION|PROCEDURE)")


def repair_script(differences: Sequence[Difference], work: Comparison | None = None) -> list[str]:
    """The statements of all ``differences``, each with the comment that belongs before it (lines with ``--``).

    ``work``: the comparison that found them, whose catalogs say what depends on what; without it, kinds alone decide.
    A proposal, never executed by this program. CONCURRENTLY cannot run in a transaction.
    """
    statements = [statement for step in repair_steps(differences, work) for statement in step.statements]
    if any(_FUNCTION.match(statement.rsplit("\n-- ", 1)[-1]) for statement in statements):
        statements.insert(0, "SET check_function_bodies = off; -- bodies may name what is made after them")
    return _comments_kept(statements)


def repair_steps(differences: Sequence[Difference], work: Comparison | None = None) -> list[Step]:
    """The same in steps, in an order in which they can run."""
    if work is None:
        return in_order([Step(rank(d.kind), d.object, list(d.repair), kind=d.kind) for d in differences], {}, {})
    return Planner(work, differences).steps()


def _comments_kept(statements: Sequence[str]) -> list[str]:
    """Each comment belongs to the statement after it, so equal comments must not be taken for one."""
    found: list[str] = []
    for statement in statements:
        if found and found[-1].rsplit("\n", 1)[-1].startswith("-- "):
            found[-1] = f"{found[-1]}\n{statement}"
        else:
            found.append(statement)
    return found
