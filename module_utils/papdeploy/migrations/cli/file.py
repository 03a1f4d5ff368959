"""``python migrations/FILE.py``: apply just this migration, with what it requires, to DATABASE_URL."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from ...core.errors import Refused
from ...core.records import read_known
from ..files import TEMPLATE, load_folder
from ..options import RunOptions
from . import console
from .results import RunResult, State


def main(file: str, argv: Optional[Sequence[str]] = None) -> int:
    """Apply the migration in ``file``; returns the exit code (0 done, 1 refused or failed, 2 no database)."""
    path = Path(file).resolve()
    parser = argparse.ArgumentParser(
        prog=path.name, description="Apply this migration (with what it requires) to DATABASE_URL."
    )
    parser.add_argument("--plan", action="store_true", help="print the SQL; change nothing")
    parser.add_argument("--revert", action="store_true", help="run its downgrade() instead")
    parser.add_argument("--database-url", help="instead of the environment's DATABASE_URL")
    parser.add_argument("--release", default="cli", help="recorded in the ledger (default: cli)")
    parser.add_argument("--allow-out-of-order", action="store_true", help="although a newer one is applied already")
    parser.add_argument(
        "--assume-applied", action="store_true", help="take a legacy script's word, the catalog does not change"
    )
    arguments = parser.parse_args(argv)

    def action() -> int:
        from .. import handlers

        if path.stem == TEMPLATE:
            raise Refused(
                "This is the template, not a migration.",
                hint=f"cp {path.name} YYYY_MM_DD_description.py, and run that.",
            )
        request = {"folders": [str(path.parent)], "url": arguments.database_url, "release": arguments.release}
        options = {"allow_out_of_order": arguments.allow_out_of_order}
        if arguments.assume_applied:
            options["assume_applied"] = [path.stem]
        if arguments.revert:
            reverted = handlers.revert({**request, "options": options, "identities": [path.stem]}, console.progress)
            print(console.result_text(read_known(RunResult, reverted)))
            return console.OK
        request["options"] = {**options, "only": [path.stem]}
        if arguments.plan:
            plan = read_known(State, handlers.plan(request, console.progress))
            print(plan.text or "Nothing to do.")
            return console.OK
        result = read_known(RunResult, handlers.apply(request, console.progress))
        print(console.result_text(result))
        if result.applied:
            _tell_of_others(path, request)
        return console.OK

    return console.run(action)


def _tell_of_others(path: Path, request: dict[str, object]) -> None:
    """Earlier migrations that are still pending would be out of order from now on: say so."""
    from .. import handlers

    options = RunOptions(allow_out_of_order=True).as_dict()
    everything = read_known(State, handlers.status({**request, "options": options}, lambda _: None))
    order = [migration.identity for migration in load_folder(path.parent)]
    earlier = [m.identity for m in everything.pending if order.index(m.identity) < order.index(path.stem)]
    if earlier:
        print(
            f"note: still pending although earlier: {', '.join(earlier)}; apply them with --allow-out-of-order",
            file=sys.stderr,
        )
