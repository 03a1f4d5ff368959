"""Every module documents itself, and its documentation is its argument spec."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "library").glob("pap_*.py"))


@pytest.fixture(scope="module")
def documented() -> dict[str, Any]:
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-doc", "-t", "module", "-M", ROOT / "library", "--json"]
        + [path.stem for path in MODULES],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def specs() -> dict[str, Any]:
    """The spec that each module hands to AnsibleModule, taken by running its main() with a stand-in."""
    script = f"""
import importlib.util, json, sys
import ansible.module_utils.basic as basic

def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

class Stop(Exception):
    pass

class StandIn:
    def __init__(self, argument_spec, supports_check_mode=False):
        found[name] = {{"spec": argument_spec, "check": supports_check_mode}}
        raise Stop

load("ansible.module_utils.pap_module", {str(ROOT / "module_utils" / "pap_module.py")!r})
basic.AnsibleModule = StandIn
found = {{}}
for path in sys.argv[1:]:
    name = path.rpartition("/")[2].removesuffix(".py")
    try:
        load(name, path).main()
    except Stop:
        pass
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", script, *MODULES], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def flatten(options: dict[str, Any], inner: str, prefix: str = "") -> dict[str, dict[str, Any]]:
    found = {}
    for name, option in options.items():
        found[prefix + name] = option
        found.update(flatten(option.get(inner) or {}, inner, f"{prefix}{name}."))
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_documentation_is_the_argument_spec(path: Path, documented: dict[str, Any], specs: dict[str, Any]) -> None:
    doc = documented[path.stem]["doc"]
    real = specs[path.stem]
    ours = flatten(real["spec"], "options")
    theirs = flatten(doc["options"], "suboptions")
    assert set(ours) == set(theirs)
    for name, option in ours.items():
        said = theirs[name]
        assert said.get("type", "str") == option.get("type", "str"), name
        assert bool(said.get("required")) == bool(option.get("required")), name
        assert said.get("default") == option.get("default"), name
        assert said.get("choices") == option.get("choices"), name
        assert said.get("description"), name
    supports = doc["attributes"]["check_mode"]["support"]
    assert (supports != "none") == real["check"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_examples_are_tasks_and_main_is_short(path: Path, documented: dict[str, Any]) -> None:
    tasks = yaml.safe_load(documented[path.stem]["examples"])
    assert tasks
    for task in tasks:
        assert task.get("name")
        assert path.stem in task
        assert set(task[path.stem]) <= set(documented[path.stem]["doc"]["options"])
    main = next(n for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef) and n.name == "main")
    assert main.end_lineno is not None
    assert main.end_lineno - main.lineno + 1 <= 45
    assert documented[path.stem]["return"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_modules_do_not_make_ansible_ship_the_package_again(path: Path) -> None:
    """The package travels once (pap_package); an import of it here would be scanned, packed and sent for every task."""
    names = [
        node.module or "" if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    ]
    assert not [name for name in names if "papdeploy" in name]


def phase_of(path: Path) -> str:
    """The module of papdeploy that the Ansible module calls; empty for the one that brings the package."""
    found = re.search(r'run_phase\(\s*module,\s*"(\w+)"|"(?:phases\.)?(\w+)", (?:work|lambda)', path.read_text())
    return (found[1] or found[2]) if found else ""


def test_what_is_returned_is_documented(documented: dict[str, Any]) -> None:
    """Each key of a dictionary that a phase returns to its module is in that module's RETURN."""
    by_phase: dict[str, set[str]] = {}
    for path in MODULES:
        by_phase.setdefault(phase_of(path), set()).update(documented[path.stem]["return"])
    returned: dict[str, set[str]] = {}
    for phase in by_phase:
        source = ROOT / "module_utils" / "papdeploy" / "phases" / f"{phase}.py"
        tree = ast.parse(source.read_text()) if source.exists() else ast.Module([], [])
        for function in tree.body:
            if isinstance(function, ast.FunctionDef) and not function.name.startswith("_"):
                literals = [n.value for n in ast.walk(function) if isinstance(n, ast.Return)]
                found = {
                    key.value for d in literals if isinstance(d, ast.Dict) for key in d.keys if hasattr(key, "value")
                }
                returned.setdefault(phase, set()).update(found if "pap" in found or "changed" in found else ())
    assert len(returned) >= 10
    missing = {phase: found - by_phase[phase] - {"changed"} for phase, found in returned.items()}
    assert {phase: found for phase, found in missing.items() if found} == {}
