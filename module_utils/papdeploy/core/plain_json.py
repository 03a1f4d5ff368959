"""JSON: its types, and a reader for what other programs wrote, whatever that is: a value or a ValueError."""

from __future__ import annotations

import json
from typing import Any, Union

Json = Union[None, bool, int, float, str, "list[Json]", "dict[str, Json]"]
JsonObject = dict[str, Json]


def parse(text: str | bytes) -> Any:
    """As ``json.loads``, which raises RecursionError for a few kilobytes of brackets. Raises ValueError."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
