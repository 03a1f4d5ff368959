"""What is pending, run for a plan: on a scratch copy, up to what has to be run for real to be known."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

from ...core import alone
from ...core.errors import PapError, RemoteError, from_dict
from ...core.records import read, read_known
from ...core.redact import Redactor
from ..files import MigrationFile
from ..options import RunOptions
from . import apply as runner
from .apply import ApplyResult
from .way_out import WayOut

_MORE_S = 30.0


@dataclass(frozen=True)
class _Answer:
    """Of the process of the plan: a result, or an error."""

    failed: Optional[dict[str, Any]] = None
    result: Optional[dict[str, Any]] = None


def apply(
    url_or_engine: Any, files: Sequence[MigrationFile], *, options: Optional[RunOptions] = None, **common: Any
) -> ApplyResult:
    """As :func:`runner.apply`, in a process that reaches nothing but the scratch copy, and up to the first migration
    that needs more: a legacy script, or one that fails for a program or a connection of its own. ``pending`` has the
    names of those that did not run; ``outward`` what was tried.
    """
    options = replace(options or RunOptions(), stop_at_scripts=True)

    def work() -> Any:
        try:
            found = runner.apply(url_or_engine, files, options=options, way_out=WayOut(), **common)
        except PapError as error:
            failed = error
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller hears of it
            failed = RemoteError(f"{type(error).__name__}: {error}")
        else:
            return {"result": json.loads(json.dumps(found.as_json(), default=str))}
        masked = Redactor(environment=os.environ).record(failed.as_dict())
        return {"failed": json.loads(json.dumps(masked, default=str))}

    answer = read(_Answer, alone.run(work, options.deadline_s + _MORE_S, confined=False))
    if answer.failed is not None:
        raise from_dict(answer.failed)
    return read_known(ApplyResult, answer.result)
