"""The schema check: does this database match these models?

Catalog against catalog: the server creates the models in a scratch database, and one query describes either side.
The functions are loaded when they are first used, so that importing this package needs no SQLAlchemy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .catalog.build import describe
    from .catalog.fingerprint import drift, fingerprint
    from .catalog.rows import Catalog
    from .checker import check, judge
    from .differences.catalogs import compare
    from .differences.options import Allowance, CheckOptions
    from .differences.result import CheckResult, Difference
    from .models.expected import expect
    from .models.load import ModelSet, load_models
    from .repair.script import repair_script

_HOMES = {
    "Allowance": "differences.options",
    "Catalog": "catalog.rows",
    "CheckOptions": "differences.options",
    "CheckResult": "differences.result",
    "Difference": "differences.result",
    "ModelSet": "models.load",
    "check": "checker",
    "compare": "differences.catalogs",
    "describe": "catalog.build",
    "drift": "catalog.fingerprint",
    "expect": "models.expected",
    "fingerprint": "catalog.fingerprint",
    "judge": "checker",
    "load_models": "models.load",
    "repair_script": "repair.script",
}

__all__ = [
    "Allowance",
    "Catalog",
    "CheckOptions",
    "CheckResult",
    "Difference",
    "ModelSet",
    "check",
    "compare",
    "describe",
    "drift",
    "expect",
    "fingerprint",
    "judge",
    "load_models",
    "repair_script",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f".{_HOMES[name]}", __name__)
    return getattr(module, name)
