"""The schema check as the command line of the migrations uses it: the models' catalog, and what the database lacks."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Optional


def expected_catalog(specs: Sequence[str], url: str, scratch_url: Optional[str] = None) -> dict[str, Any]:
    """The catalog of the models ``specs`` (``app.models:Base``), made in a scratch database on ``scratch_url``.

    Without ``scratch_url`` the server of ``url`` is used; the scratch database is dropped again.
    """
    from ..schema import load_models
    from ..schema.scratch_database import expected_on

    catalog, _ = expected_on(load_models(list(specs)), scratch_url or url)
    return catalog


def differences(specs: Sequence[str], url: str, scratch_url: Optional[str] = None) -> tuple[list[Any], list[Any]]:
    """What the database at ``url`` lacks of the models, and the way back from there."""
    from ..schema import CheckOptions, compare, describe
    from ..schema.checker import scope
    from ..schema.opening import open_session

    expected = expected_catalog(specs, url, scratch_url)
    with open_session(url) as session:
        actual = describe(session, *scope(expected))
    return list(compare(expected, actual, CheckOptions())), list(compare(actual, _owned(expected), CheckOptions()))


def _owned(catalog: dict[str, Any]) -> dict[str, Any]:
    """The models' catalog in the place of a live one: of that, the comparison wants an owner with every object."""
    whole = copy.deepcopy(catalog)
    for rows in whole.values():
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, dict):
                row.setdefault("owner", "")
    return whole
