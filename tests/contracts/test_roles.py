"""Every role documents itself: argument specs and defaults agree in keys, types and values."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
TYPES = {"str": str, "path": str, "bool": bool, "int": int, "list": list, "dict": dict, "float": (int, float)}


def load(path: Path) -> dict:
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_specs_and_defaults_agree(role: Path) -> None:
    specs = load(role / "meta" / "argument_specs.yml")["argument_specs"]
    defaults = load(role / "defaults" / "main.yml")
    entry_points = {path.stem for path in (role / "tasks").glob("*.yml") if not path.stem.startswith("_")}
    assert "main" in specs
    assert set(specs) <= entry_points | {"main"}
    described = {name: option for spec in specs.values() for name, option in (spec.get("options") or {}).items()}
    assert {n for n, option in described.items() if "default" in option} == set(defaults)
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
