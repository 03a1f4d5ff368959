"""The schema check: does this database match these models?

Catalog against catalog: the server creates the models in a scratch database, and one query describes either side.
The functions are loaded when they are first used, so that importing this package needs no SQLAlchemy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .catalog import Catalog, describe
    from .checker import check, judge
    from .compare_catalogs import compare
    from .fingerprints import drift, fingerprint
    from .models import ModelSet, load_models
    from .options import Allowance, CheckOptions
    from .result import CheckResult, Difference
    from .scratch import expect
    from .script import repair_script

_HOMES = {
    "Allowance": "options",
    "Catalog": "catalog",
    "CheckOptions": "options",
    "CheckResult": "result",
    "Difference": "result",
    "ModelSet": "models",
    "check": "checker",
    "compare": "compare_catalogs",
    "describe": "catalog",
    "drift": "fingerprints",
    "expect": "scratch",
    "fingerprint": "fingerprints",
    "judge": "checker",
    "load_models": "models",
    "repair_script": "script",
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
