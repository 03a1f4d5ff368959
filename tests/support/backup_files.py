"""Backups as files in a folder, of three bytes and with a whole manifest; and manifests of all kinds."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from papdeploy.backup import files, manifest

DAY = 86400.0
SERVER = "7001"

MARK = {
    "xmin": "7",
    "xmax": "9",
    "xip": ["8"],
    "counters": {"counting": True, "started": "s", "reset": None},
    "tables": {},
}
TRAITS = {
    "owner": "app", "connection_limit": -1, "allow_connections": True, "privileges": [], "grants": None,
    "settings": [[None, ["work_mem=7MB"]]], "encoding": "UTF8", "lc_collate": "C", "lc_ctype": "C", "provider": "c",
    "locale": None, "icu_rules": None, "tablespace": "pg_default", "comment": None,
}  # fmt: skip
ROLE = {
    "rolname": "app", "rolsuper": False, "rolinherit": True, "rolcreaterole": False, "rolcreatedb": False,
    "rolcanlogin": True, "rolbypassrls": False, "member_of": [], "settings": None,
}  # fmt: skip
SECONDS = {"dump": 0.1, "restore": 0.2, "content_digest": 0.3, "total": 0.6}
CONTENT = {"format": 4, "tables": {}, "sequences": {}, "large_objects": {}, "catalog": {}, "notes": {}, "seconds": 0.5}


def example(**changes: Any) -> dict[str, Any]:
    """A whole one with ``changes``, without its digest; of a superuser and two roles that are none."""
    return {
        "format": manifest.FORMAT, "stack": "st", "database": "app", "release": "r1",
        "started": "2026-01-02T03:04:05Z", "ended": "2026-01-02T03:04:06Z", "file": "x.dump", "bytes": 2,
        "sha256": "0" * 64, "compression": "zstd:1", "encryption": None, "system_identifier": "7", "database_oid": 16384,
        "database_bytes": 8_000_000, "server_version": 180001, "tool_version": 18, "ledger_head": None, "mark": MARK,
        "properties": TRAITS, "roles": [{**ROLE, "rolname": "root", "rolsuper": True}, ROLE], "tables": 3, "rows": 5,
        "content_hash": "1" * 64, "content_digest": CONTENT, "sequences_after": {}, "notes": [], "needs_superuser": [],
        "owners": ["app"], "accepted": [], "proof": {"kind": "full", "seconds": 0.25},
        "seconds": SECONDS, "scratch": None, **changes,
    }  # fmt: skip


def text(value: dict[str, Any]) -> str:
    """``value`` as a file with the digest that fits it."""
    return json.dumps({**value, "digest": manifest.digest_of(value)})


def write(archive: Path, value: dict[str, Any]) -> Path:
    """The manifest beside ``archive``."""
    manifest.manifest_path(archive).write_text(text(value))
    return archive


def put(folder: Path, release: str, age_days: float, proof: str = "full", **changes: Any) -> Path:
    """One that was taken so many days ago."""
    at = time.time() - age_days * DAY
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(at)) + ".123Z"
    value = {
        "stack": "pap", "database": "app", "release": release, "bytes": 3, "sha256": f"sha-{release}-{age_days}",
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)), "system_identifier": SERVER,
        "proof": {"kind": proof, "seconds": 0.0}, **changes,
    }  # fmt: skip
    name = files.stem(value["stack"], value["database"], release, stamp) + ".dump"
    path = folder / name
    path.write_bytes(b"xyz")
    path.with_name(name + manifest.GLOBALS).write_text("")
    return write(path, example(**{"file": name, **value}))
