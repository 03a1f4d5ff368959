"""Squawk (PyPI ``squawk-cli``), a linter of PostgreSQL migrations: run it and map its remarks to our statements."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ...core.errors import CommandFailed, Refused
from ...core.records import recorded
from ..planned_sql import Located

EXCLUDED = {
    # The runner sets these limits itself, for every statement.
    "require-lock-timeout", "require-statement-timeout", "require-timeout-settings", "transaction-nesting",
    # The models decide the types, and the schema check holds the database to them.
    "prefer-bigint-over-int", "prefer-bigint-over-smallint", "prefer-big-int", "prefer-text-field", "prefer-identity",
    "prefer-timestamptz", "ban-char-field",
    # Our own rule cannot-run-again knows which migrations have to.
    "prefer-robust-stmts",
}  # fmt: skip
# Ours know the size of the table and what the statement really costs.
SAME_AS_OURS = {
    "require-concurrent-index-creation", "changing-column-type", "adding-field-with-default", "adding-required-field",
    "adding-not-nullable-field", "constraint-missing-not-valid", "adding-foreign-key-constraint",
    "adding-serial-primary-key-field", "disallowed-unique-constraint", "ban-drop-column", "ban-drop-table",
    "renaming-column", "renaming-table", "ban-truncate-cascade", "ban-drop-not-null",
}  # fmt: skip
ABOUT_EXISTING_TABLES = {*SAME_AS_OURS, "require-concurrent-index-deletion"}
STYLE = {"require-enum-value-ordering"}


@dataclass(frozen=True)
class Remark:
    """What squawk says of one statement."""

    item: Located
    rule: str
    level: str
    message: str
    help: str


def find(program: str = "") -> str:
    """The path of the squawk program, or an empty string. Raises Refused if a named one is not there."""
    if program:
        found = shutil.which(program)
        if not found:
            raise Refused(f"There is no program {program}.", hint="pip install squawk-cli, or leave --squawk out.")
        return found
    beside = Path(sys.executable).parent / "squawk"
    return shutil.which("squawk") or (str(beside) if os.access(beside, os.X_OK) else "")


def check(located: Sequence[Located], *, version: int = 0, program: str = "") -> tuple[list[Remark], str]:
    """Squawk's remarks on the statements, and its version (or a sentence that says why it was not asked)."""
    path = find(program)
    if not path:
        return [], "not installed: only the own rules were applied (pip install squawk-cli)"
    remarks: list[Remark] = []
    for transactional in (True, False):
        chosen = [item for item in located if item.migration.transactional == transactional]
        if chosen:
            remarks += _check(path, chosen, transactional, version)
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60, check=True)
    return remarks, answer.stdout.strip().replace("squawk ", "")


@dataclass(frozen=True)
class _Violation:
    """One of squawk's reporter json."""

    line: int
    rule_name: str
    level: str = "Warning"
    message: Optional[str] = None
    help: Optional[str] = None


@dataclass(frozen=True)
class _Report:
    violations: tuple[_Violation, ...] = ()


def _check(path: str, items: Sequence[Located], transactional: bool, version: int) -> list[Remark]:
    lines: list[int] = []
    text = ""
    for number, item in enumerate(items):
        body = item.statement.text.rstrip().rstrip(";") + "\n;\n"
        lines += [number] * body.count("\n")
        text += body
    with tempfile.TemporaryDirectory(prefix="pap-lint-") as folder:
        file = Path(folder) / "migrations.sql"
        file.write_text(text, encoding="utf-8")
        argv = [path, "--reporter", "json"]
        if transactional:
            argv.append("--assume-in-transaction")
        if version:
            argv.append(f"--pg-version={version // 10000}.0")
        argv.append(str(file))
        ran = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, cwd=folder)
    try:
        said = recorded(_Report, {"violations": json.loads(ran.stdout or "[]")}).violations
    except ValueError:
        said = ()
        ran.returncode = ran.returncode or 2
    if ran.returncode not in (0, 1) or (ran.returncode and not said):
        raise CommandFailed(
            f"squawk ended with exit code {ran.returncode}: {(ran.stderr or ran.stdout).strip()[:400]}",
            hint="Run with --squawk '' removed, or install a matching squawk-cli.",
            argv=argv, rc=ran.returncode, stderr=ran.stderr[-2000:],
        )  # fmt: skip
    return [
        Remark(
            items[lines[min(each.line, len(lines) - 1)]],
            each.rule_name,
            each.level,
            each.message or "",
            each.help or "",
        )
        for each in said
        if each.rule_name not in EXCLUDED  # not by option: squawk refuses names that its version does not know
    ]
