"""Names that releases before 0.2 wrote into files that are still read."""

from __future__ import annotations

from typing import Any

_MANIFEST = {"oracle": "content_digest", "oracle_digest": "content_hash"}


def entry(value: object) -> object:
    """An entry of a journal with the names of this version; of a backup, ``times`` are several ``seconds``. What a
    rollback cost was once a sentence."""
    if not isinstance(value, dict):
        return value
    current = manifest(value) if value.get("phase") == "backup" else value
    if "way" in current:
        current = {**current, "strategy": current["way"]}
    if isinstance(cost := current.get("cost"), str):
        current = {**current, "cost": {}, "besides": [cost] if cost else []}
    seconds = current.get("seconds")
    return {**current, "times": seconds} if isinstance(seconds, dict) else current


def manifest(value: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a backup, or what a journal keeps of it, with the names of this version."""
    current = {_MANIFEST.get(key, key): found for key, found in value.items()}
    if isinstance(current.get("seconds"), dict):
        current["seconds"] = {_MANIFEST.get(key, key): found for key, found in current["seconds"].items()}
    return current
