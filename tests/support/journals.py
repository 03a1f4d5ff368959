"""A journal as its file has it, for tests of what is written."""

from __future__ import annotations

import json
from typing import Any

from papdeploy.releases.journal import Journal


def entries(journal: Journal) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal.path.read_text(encoding="utf-8").split("\n") if line]


def last(journal: Journal, phase: str, event: str = "done") -> dict[str, Any]:
    """The newest entry of that phase and event; there must be one."""
    found = [entry for entry in entries(journal) if (entry["phase"], entry["event"]) == (phase, event)]
    assert found, f"{journal.path} has no {phase} {event}"
    return found[-1]
