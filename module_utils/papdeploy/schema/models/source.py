"""Where a model is written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """The class of a mapped table, and its place: ``file`` below the current folder, empty where that is not known."""

    name: str = ""
    file: str = ""
    line: int = 1
