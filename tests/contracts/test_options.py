"""An option is described once, in tools/options.yml; what repeats it is written from there, and the phase takes it."""

from __future__ import annotations

import dataclasses
import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from papdeploy.backup.acceptance import Acceptance
from papdeploy.backup.encryption import Encryption
from papdeploy.backup.pgbackrest import PgBackRest
from papdeploy.logwatch.promql import Query
from papdeploy.logwatch.state import Rules
from papdeploy.migrations.alembic.declaration import Declaration
from papdeploy.phases.deadlines import DEFAULTS
from papdeploy.schema.differences.options import CheckOptions
from support import ROOT

SOURCE = yaml.safe_load((ROOT / "tools" / "options.yml").read_text())
# Fields that the module sets from what is no variable of the role, and options that it hands over by themselves.
COMMON = {"mode", "schema", "only_unfinished", "plan_only", "planned"}
BESIDE = {"rehearse": {"alone", "encrypt"}, "rollback": {"release", "drop_failed", "hold"}}


def generate(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program: list[str | Path] = [sys.executable, root / "tools" / "generate_options.py", *arguments]
    return subprocess.run(program, capture_output=True, text=True, timeout=60)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for folder in ("tools", "roles", "plugins"):
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True)
    (tmp_path / "module_utils").mkdir()
    shutil.copy(ROOT / "module_utils" / "pap_options.py", tmp_path / "module_utils")
    return tmp_path


def test_what_repeats_an_option_is_current() -> None:
    done = generate(ROOT, "--check")
    assert done.returncode == 0, done.stderr


def test_every_role_with_variables_has_them_there() -> None:
    files = (ROOT / "roles").glob("*/defaults/main.yml")
    described = {path.parents[1].name for path in files if yaml.safe_load(path.read_text())}
    assert described == {"stack", *SOURCE["roles"]}, "describe the variables of that role in tools/options.yml"


def test_an_edit_in_a_made_file_is_found(copy: Path) -> None:
    defaults = copy / "roles" / "backup" / "defaults" / "main.yml"
    defaults.write_text(defaults.read_text().replace("backup_keep: 10", "backup_keep: 11"))
    done = generate(copy, "--check")
    assert done.returncode == 1 and "roles/backup/defaults/main.yml is not current" in done.stderr


def test_a_new_option_is_written_once_and_reaches_every_place(copy: Path) -> None:
    source = copy / "tools" / "options.yml"
    text = source.read_text()
    new = "      speed:\n        type: int\n        default: 3\n        description: How fast, beside O(keep).\n"
    before = "      keep:\n"
    backup = text.index("  backup:\n")
    source.write_text(text[:backup] + text[backup:].replace(before, new + before, 1))
    assert generate(copy).returncode == 0
    role = copy / "roles" / "backup"
    assert "backup_speed: 3\n" in (role / "defaults" / "main.yml").read_text()
    assert "How fast, beside O(backup_keep)." in (role / "meta" / "argument_specs.yml").read_text()
    assert '    speed: "{{ backup_speed }}"\n' in (role / "tasks" / "main.yml").read_text()
    assert '"speed": {"type": "int", "default": 3},' in (copy / "module_utils" / "pap_options.py").read_text()
    assert "How fast, beside O(keep)." in (copy / "plugins" / "doc_fragments" / "pap_options.py").read_text()


READ = {
    "pap_alembic": {field.name for field in dataclasses.fields(Declaration)} - {"target"},  # pap_target
    "pap_phase_deadlines_s": set(DEFAULTS),
    "pap_schema_options": {field.name for field in dataclasses.fields(CheckOptions)},
    **{
        f"{role}_encrypt": {field.name for field in dataclasses.fields(Encryption)}
        for role in ("backup", "rehearse", "migrate", "rollback")
    },
    "backup_accept": {field.name for field in dataclasses.fields(Acceptance)},
    "backup_pgbackrest": {field.name for field in dataclasses.fields(PgBackRest)},
    "preflight_watch": {"runner", "rules", "promql", "prometheus_url", "promql_unmeasured"},  # of the role watch
    "watch_rules": {field.name for field in dataclasses.fields(Rules)},
    "watch_promql": {field.name for field in dataclasses.fields(Query)},
}
# Dictionaries whose keys are the user's own.
FREE = {
    "pap_api_trial_env",
    "pap_smoke_headers",
    "pap_smoke_login_fields",
    "watch_alert_headers",
    "notify_webhook_headers",
}


def test_the_keys_of_a_dictionary_are_those_that_are_read() -> None:
    found: dict[str, set[str]] = {}
    for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
            for name, option in (entry.get("options") or {}).items():
                if "dict" in (option["type"], option.get("elements")):
                    found[name] = set(option.get("options", ()))
    assert {name for name, keys in found.items() if not keys} == FREE, "describe its keys in tools/options.yml"
    assert {name: keys for name, keys in found.items() if keys} == READ


def test_every_rule_of_the_watch_is_described_with_its_default() -> None:
    described = " ".join(SOURCE["roles"]["watch"]["options"]["rules"]["description"].split())
    for name, default in dataclasses.asdict(Rules()).items():
        assert f"C({name}) {default:g}" in described


OF_PHASES = ["preflight", "backup", "rehearse", "migrate", "watch", "rollback"]


@pytest.mark.parametrize("name", OF_PHASES)
def test_the_phase_takes_what_its_module_offers(name: str) -> None:
    """The fields of ``Options`` are the options, and their defaults the same."""
    module = importlib.import_module(f"papdeploy.phases.{name}")
    offered = {key: its for key, its in SOURCE["roles"][name]["options"].items() if its.get("option", True)}
    fields = {field.name: field for field in dataclasses.fields(module.Options)}
    missing = set(offered) - BESIDE.get(name, set()) - set(fields)
    assert not missing, (
        f"add to Options in phases/{name}.py (or to BESIDE, if the module passes it on its own): {missing}"
    )
    extra = set(fields) - COMMON - set(offered)
    assert not extra, f"describe in tools/options.yml under {name}, then run tools/generate_options.py: {extra}"
    defaults = module.Options()
    for key in set(offered) & set(fields):
        value = getattr(defaults, key)
        assert (list(value) if isinstance(value, tuple) else value) == offered[key]["default"], (
            f"{key}: the default in phases/{name}.py is not that of tools/options.yml"
        )
