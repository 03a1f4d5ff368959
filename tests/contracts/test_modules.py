"""Every module documents itself, and its documentation is its argument spec."""

from __future__ import annotations

import ast
import json
import os
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


def argument_spec(path: Path) -> dict[str, Any]:
    """The spec that the module hands to AnsibleModule, taken by running its main() with a stand-in."""
    script = f"""
import json, sys, types, importlib.util
sys.path.insert(0, {str(ROOT / "module_utils")!r})
import ansible.module_utils, papdeploy
sys.modules["ansible.module_utils.papdeploy"] = papdeploy
import importlib, pkgutil
for info in pkgutil.walk_packages(papdeploy.__path__, "papdeploy."):
    try:
        sys.modules["ansible.module_utils." + info.name] = importlib.import_module(info.name)
    except ImportError:
        pass
import ansible.module_utils.basic as basic
spec = importlib.util.spec_from_file_location("ansible.module_utils.pap_module", {str(ROOT / "module_utils" / "pap_module.py")!r})
module = importlib.util.module_from_spec(spec); sys.modules[spec.name] = module; spec.loader.exec_module(module)
class Stop(Exception): pass
class Stand:
    def __init__(self, argument_spec, **kw):
        print(json.dumps({{"spec": argument_spec, "check": kw.get("supports_check_mode", False)}})); raise Stop
basic.AnsibleModule = Stand
spec = importlib.util.spec_from_file_location("it", {str(path)!r})
it = importlib.util.module_from_spec(spec); spec.loader.exec_module(it)
try: it.main()
except Stop: pass
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def flatten(options: dict[str, Any], inner: str, prefix: str = "") -> dict[str, dict[str, Any]]:
    found = {}
    for name, option in options.items():
        found[prefix + name] = option
        found.update(flatten(option.get(inner) or {}, inner, f"{prefix}{name}."))
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_documentation_is_the_argument_spec(path: Path, documented: dict[str, Any]) -> None:
    doc = documented[path.stem]["doc"]
    real = argument_spec(path)
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


def test_what_ansible_ships_to_a_target_is_the_whole_package() -> None:
    """Ansible finds what to ship by reading import statements: a module imported by a computed name would be missing."""
    from ansible.executor.module_common import ModuleDepFinder  # noqa: F401 - the finder that decides

    package = ROOT / "module_utils" / "papdeploy"
    seen: set[str] = set()
    queue = [*list(MODULES), ROOT / "module_utils" / "pap_module.py"]

    def home(name: str) -> list[Path]:
        base = ROOT / "module_utils" / Path(*name.split("."))
        return [p for p in (base.with_suffix(".py"), base / "__init__.py") if p.exists()]

    while queue:
        path = queue.pop()
        if str(path) in seen:
            continue
        seen.add(str(path))
        if package in path.parents:
            parts = path.relative_to(ROOT / "module_utils").with_suffix("").parts
            own = list(parts[:-1])
            queue += [p for i in range(1, len(own) + 1) for p in home(".".join(own[:i]))]
        else:
            own = []
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom):
                if node.level:
                    base = own[: len(own) - node.level + 1]
                    head = ".".join([*base, *(node.module.split(".") if node.module else [])])
                else:
                    head = (node.module or "").removeprefix("ansible.module_utils.")
                names = [head, *[f"{head}.{alias.name}" for alias in node.names]]
            for name in names:
                if name.startswith("papdeploy"):
                    queue += home(name)
    everything = {str(path) for path in package.rglob("*.py")}
    # The command line and what only it needs stay on the controller.
    controller_only = {name for name in everything if "/cli" in name or name.endswith("__main__.py")}
    assert everything - seen - controller_only == set()
