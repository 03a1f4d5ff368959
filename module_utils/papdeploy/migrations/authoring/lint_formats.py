"""The lint report as text, JSON, SARIF 2.1.0 or GitHub annotations."""

from __future__ import annotations

import json
from typing import Any

from ...core.plain_json import JsonObject
from ...core.text import plural
from .lint import Finding, Report

_SARIF_LEVELS = {"error": "error", "warning": "warning", "note": "note"}
_GITHUB_LEVELS = {"error": "error", "warning": "warning", "note": "notice"}


def render(report: Report, form: str) -> str:
    """The report in one of the formats text, json, sarif, github."""
    return {"text": text, "json": as_json, "sarif": sarif, "github": github}[form](report)


def text(report: Report) -> str:
    """For a terminal."""
    lines: list[str] = []
    for finding in report.live:
        lines.append(f"{finding.file}:{finding.line}: {finding.severity}: {finding.message} [{finding.rule}]")
        if finding.help:
            lines.append(f"    instead: {finding.help}")
    counts = {level: sum(f.severity == level for f in report.live) for level in ("error", "warning", "note")}
    total = ", ".join(plural(number, level) for level, number in counts.items())
    suppressed = len(report.findings) - len(report.live)
    lines.append(
        f"{plural(report.files, 'migration')}: {total}" + (f", {suppressed} allowed by comments" if suppressed else "")
    )
    lines.append(f"squawk: {report.squawk}")
    if not report.sizes_known:
        lines.append("no database was asked: sizes are not known")
    return "\n".join(lines)


def as_json(report: Report) -> str:
    """The whole report, suppressed findings included."""
    return json.dumps(report.as_dict(), indent=2)


def sarif(report: Report) -> str:
    """SARIF 2.1.0 (OASIS), as code scanning services read it."""
    rules = sorted({finding.rule for finding in report.findings})
    return json.dumps(
        {
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [
                {
                    "tool": {"driver": {"name": "pap-deploy lint", "rules": [{"id": rule} for rule in rules]}},
                    "results": [_sarif_result(finding, rules) for finding in report.findings],
                }
            ],
        },
        indent=2,
    )


def _sarif_result(finding: Finding, rules: list[str]) -> JsonObject:
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": rules.index(finding.rule),
        "level": _SARIF_LEVELS[finding.severity],
        "message": {"text": _sentence(finding)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": finding.file},
                    "region": {"startLine": finding.line},
                }
            }
        ],
    }
    if finding.suppressed:
        result["suppressions"] = [{"kind": "inSource", "justification": finding.suppressed}]
    return result


def github(report: Report) -> str:
    """Workflow commands that GitHub Actions turns into annotations."""
    return "\n".join(
        f"::{_GITHUB_LEVELS[finding.severity]} file={_property(finding.file)},line={finding.line},"
        f"title={_property(finding.rule)}::{_data(_sentence(finding))}"
        for finding in report.live
    )


def _sentence(finding: Finding) -> str:
    return finding.message + (f" Instead: {finding.help.rstrip('.')}." if finding.help else "")


def _data(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _data(value).replace(":", "%3A").replace(",", "%2C")
