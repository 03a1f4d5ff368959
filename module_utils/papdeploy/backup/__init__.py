"""Backups: taken in one stream, proven by restoring them, recognised by their manifest."""

from __future__ import annotations

from .by_hand import Rebuilt, rebuild
from .encryption import Encryption
from .manifest import Backup, Expected, check_identity, inspect, load_manifest
from .restore import Restored, must_open, restore, verify
from .take import Limits, take

__all__ = [
    "Backup",
    "Encryption",
    "Expected",
    "Limits",
    "Rebuilt",
    "Restored",
    "check_identity",
    "inspect",
    "load_manifest",
    "must_open",
    "rebuild",
    "restore",
    "take",
    "verify",
]
