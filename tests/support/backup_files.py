"""Backups as files in a folder, of three bytes and with a whole manifest."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from papdeploy.backup import files, manifest

DAY = 86400.0
SERVER = "7001"


def put(folder: Path, release: str, age_days: float, proof: str = "full", **changes: Any) -> Path:
    """One that was taken so many days ago."""
    at = time.time() - age_days * DAY
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(at)) + ".123Z"
    plain = {
        "format": manifest.FORMAT, "stack": "pap", "database": "app", "release": release, "bytes": 3,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)), "sha256": f"sha-{release}-{age_days}",
        "system_identifier": SERVER, "proof": {"kind": proof}, **changes,
    }  # fmt: skip
    name = files.stem(plain["stack"], plain["database"], release, stamp) + ".dump"
    plain = {"file": name, **plain}
    path = folder / name
    path.write_bytes(b"xyz")
    path.with_name(name + manifest.GLOBALS).write_text("")
    path.with_name(name + manifest.SUFFIX).write_text(json.dumps(manifest.body(plain)))
    return path
