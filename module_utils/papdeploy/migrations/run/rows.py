"""The tuple classes of rows."""

from __future__ import annotations

from collections import namedtuple
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=256)
def row_type(columns: tuple[str, ...]) -> Any:
    """The tuple class for rows of these columns; what is no Python name can be read by index only."""
    return namedtuple("Row", columns, rename=True)
