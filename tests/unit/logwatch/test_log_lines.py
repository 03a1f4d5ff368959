"""The table of log lines: what each format, level, language and prefix counts as."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from papdeploy.logwatch.classify import Known, Scan, scan
from papdeploy.logwatch.server_log import ServerLog

TABLE = json.loads((Path(__file__).parents[2] / "corpus" / "log-lines.json").read_text(encoding="utf-8"))
AT = "2026-01-01T10:00:00.000Z"
SOURCES = [(source, case) for source in ("api", "database") for case in TABLE[source]]


def counted(source: str, case: dict[str, Any]) -> Scan:
    server = ServerLog(
        prefix=case.get("prefix"), destination=case.get("destination", ""), database=case.get("watched_database", "")
    )
    return scan(case["text"], source, at=AT, final=True, known=Known(server))


@pytest.mark.parametrize(("source", "case"), SOURCES, ids=[f"{source}: {case['name']}" for source, case in SOURCES])
def test_line(source: str, case: dict[str, Any]) -> None:
    found = counted(source, case)
    kinds = [(finding.kind, finding.count) for finding in found.findings.values() if finding.kind != "restart"]
    assert bool(kinds) is case["error"], kinds
    if "kinds" in case:
        assert kinds == [tuple(kind) for kind in case["kinds"]]
    assert found.elsewhere == case.get("elsewhere", found.elsewhere)
