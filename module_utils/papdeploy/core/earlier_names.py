"""Names that releases before 0.2 wrote into files that are still read."""

from __future__ import annotations

from typing import Any

_MANIFEST = {"oracle": "content_digest", "oracle_digest": "content_hash"}


def manifest(value: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a backup, or what a journal keeps of it, with the names of this version."""
    current = {_MANIFEST.get(key, key): found for key, found in value.items()}
    if isinstance(current.get("seconds"), dict):
        current["seconds"] = {_MANIFEST.get(key, key): found for key, found in current["seconds"].items()}
    return current
