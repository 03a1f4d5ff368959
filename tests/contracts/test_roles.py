"""Every role documents itself: argument specs and defaults agree in keys, types and values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import ROOT

ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "path": str,
    "raw": object,
    "bool": bool,
    "int": int,
    "list": list,
    "dict": dict,
    "float": (int, float),
}


def load(path: Path) -> dict[str, Any]:
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_specs_and_defaults_agree(role: Path) -> None:
    specs = load(role / "meta" / "argument_specs.yml")["argument_specs"]
    defaults = load(role / "defaults" / "main.yml")
    entry_points = {path.stem for path in (role / "tasks").glob("*.yml") if not path.stem.startswith("_")}
    assert "main" in specs
    assert set(specs) <= entry_points | {"main"}, "an entry point without a file in tasks/"
    described = options(role)
    with_default = {name for name, option in described.items() if "default" in option}
    assert with_default == set(defaults), (
        "argument spec and defaults differ: edit tools/options.yml, run tools/generate_options.py"
    )
    for name, option in described.items():
        assert option.get("description"), name
        if "default" in option:
            assert option["default"] == defaults[name], name
            if not (isinstance(defaults[name], str) and "{{" in defaults[name]):
                assert isinstance(defaults[name], TYPES[option["type"]]), name


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_names_and_sizes(role: Path) -> None:
    own = ("pap_",) if role.name == "stack" else (f"{role.name}_", "pap_")
    for name in load(role / "defaults" / "main.yml"):
        assert name.startswith(own), name
    for path in (role / "tasks").glob("*.yml"):
        assert len(path.read_text().splitlines()) <= 100, path


def counted(name: str, texts: list[str]) -> int:
    return sum(len(re.findall(rf"\b{name}\b", text)) for text in texts)


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_every_default_and_register_is_read(role: Path) -> None:
    """A variable that nothing reads is a broken promise."""
    readers = [*(ROOT / "playbooks").rglob("*.yml"), *(ROOT / "roles").glob("*/vars/*.yml")]
    readers += [path for folder in ("tasks", "templates") for path in (ROOT / "roles").glob(f"*/{folder}/*")]
    texts = [path.read_text() for path in readers]
    unread = [name for name in load(role / "defaults" / "main.yml") if not counted(name, texts)]
    for path in (role / "tasks").glob("*.yml"):
        unread += [name for name in re.findall(r"register: (\w+)", path.read_text()) if counted(name, texts) < 2]
    assert unread == [], "no task, template or playbook reads these: use them in the role, or remove them"


@pytest.mark.parametrize("path", sorted((ROOT / "inventory").glob("*/group_vars/*.yml")), ids=lambda path: path.stem)
def test_inventories_set_what_something_reads(path: Path) -> None:
    described = {name for role in ROLES for name in options(role)}
    texts = [reader.read_text() for reader in [*(ROOT / "playbooks").rglob("*.yml"), path]]
    unread = [name for name in load(path) if name not in described and counted(name, texts) < 2]
    assert [name for name in unread if not name.startswith("ansible_")] == [], "no role has such a variable"


def options(role: Path) -> dict[str, Any]:
    specs = load(role / "meta" / "argument_specs.yml")["argument_specs"]
    return {name: option for spec in specs.values() for name, option in (spec.get("options") or {}).items()}


@pytest.mark.parametrize("path", sorted((ROOT / "playbooks").rglob("*.yml")), ids=lambda path: path.name)
def test_a_playbook_knows_no_default_of_a_role(path: Path) -> None:
    """Defaults of the role stack end with it: outside, such a name is undefined unless an inventory happens to set it."""
    text = path.read_text()
    if "- role: stack" not in text:
        templates = " ".join(re.findall(r"\{\{.*?\}\}|when: .*", text, re.DOTALL))
        used = set(re.findall(r"\b(pap_[a-z_]+)\b(?! *\| *default)", templates))
        known = used & set(load(ROOT / "roles" / "stack" / "defaults" / "main.yml"))
        assert not known, f"{sorted(known)}: add | default(…), or run the role stack first"


def test_a_repository_that_does_not_answer_ends_its_step() -> None:
    asked = []
    for path in sorted((ROOT / "roles").glob("*/tasks/*.yml")):
        for task in yaml.safe_load(path.read_text(encoding="utf-8")):
            command = str((task.get("ansible.builtin.shell") or {}).get("cmd", ""))
            if "ansible.builtin.git" in task or any(f"git {verb} " in command for verb in ("fetch", "pull", "push")):
                asked.append(task["name"])
                assert task.get("timeout"), task["name"]
    assert len(asked) >= 3
