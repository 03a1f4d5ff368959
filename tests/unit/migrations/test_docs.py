"""What the documentation of the migrations says is so."""

from __future__ import annotations

import re

from papdeploy.cli.command import parser
from papdeploy.migrations import files, ledger
from papdeploy.migrations.options import RunOptions
from papdeploy.migrations.run import db
from support import ROOT

PAGE = (ROOT / "docs" / "migrations.md").read_text()
TEMPLATE = (ROOT / "migrations" / "migration_template.py").read_text()


def _commands() -> dict[str, set[str]]:
    (choices,) = [action.choices for action in parser()._actions if isinstance(action.choices, dict)]
    return {name: {flag for a in sub._actions for flag in a.option_strings} for name, sub in choices.items()}


def test_the_commands_and_options_exist() -> None:
    commands = _commands()
    shown = re.findall(r"^python -m papdeploy (\w+)([^#\n]*)", PAGE, re.M)
    assert {name for name, _ in shown} >= {"new", "status", "plan", "migrate", "revert", "check", "lint"}
    for name, rest in shown:
        assert name in commands
        if name != "check":  # it has a command line of its own
            assert set(re.findall(r"--[a-z-]+", rest)) <= commands[name], name
    everywhere = set().union(*commands.values())
    assert set(re.findall(r"`(--[a-z-]+)", PAGE)) <= everywhere


def test_the_limits_are_the_defaults() -> None:
    limits = dict(re.findall(r"^\| `(--[a-z-]+)` \| ([^|]+?) \|", PAGE, re.M))
    options = RunOptions()
    assert limits == {
        "--lock-timeout": f"{options.lock_timeout_s:g} s", "--lock-retries": str(options.lock_retries),
        "--statement-timeout": "none", "--deadline": f"{options.deadline_s:g} s", "--lock-wait": f"{options.lock_wait_s:g} s",
    }  # fmt: skip


def test_the_ledger_is_as_described() -> None:
    section = PAGE.split("## The ledger")[1].split("## Lint")[0]
    named = [
        name for row in re.findall(r"^\| ((?:`\w+`,? ?)+) \|", section, re.M) for name in re.findall(r"`(\w+)`", row)
    ]
    created = re.search(r"CREATE TABLE pap_deploy\.ledger \((.*?)\n\);", ledger.CREATE, re.S)
    assert created is not None
    assert named == [line.split()[0] for line in created[1].strip().splitlines()]
    assert str(ledger.LOCK_KEY) in section
    for event in ledger.EVENTS:
        assert f"`{event}`" in section


def test_what_the_template_promises_db_has() -> None:
    for text in (PAGE, TEMPLATE):
        for name in set(re.findall(r"\bdb\.(\w+)", text)):
            assert hasattr(db.Db, name), name


def test_the_template_is_no_migration_and_its_copy_is() -> None:
    assert files.read("migration_template.py", TEMPLATE) is None
    assert files.read("2026_01_01_x.py", TEMPLATE) is not None
