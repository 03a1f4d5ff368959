"""Every module documents itself, and its documentation is its argument spec."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from support import ROOT

MODULES = sorted((ROOT / "library").glob("pap_*.py"))


@pytest.fixture(scope="module")
def documented() -> dict[str, Any]:
    program = Path(sys.executable).parent / "ansible-doc"
    done = subprocess.run(
        [program, "-t", "module", "-M", ROOT / "library", "--json", *(path.stem for path in MODULES)],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


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
    def __init__(self, argument_spec, supports_check_mode=False, **rules):
        found[name] = {{"spec": argument_spec, "check": supports_check_mode, "rules": rules}}
        raise Stop

for shared in ("pap_options", "pap_module"):
    load("ansible.module_utils." + shared, {str(ROOT / "module_utils")!r} + "/" + shared + ".py")
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
    found: dict[str, Any] = json.loads(done.stdout)
    return found


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
    assert set(ours) == set(theirs), f"argument spec and DOCUMENTATION of {path.name} differ"
    for name, option in ours.items():
        said = theirs[name]
        assert said.get("type", "str") == option.get("type", "str"), name
        assert bool(said.get("required")) == bool(option.get("required")), name
        assert said.get("default") == option.get("default"), name
        assert said.get("choices") == option.get("choices"), name
        assert said.get("description"), name
    supports = doc["attributes"]["check_mode"]["support"]
    assert (supports != "none") == real["check"], "attributes.check_mode and supports_check_mode contradict each other"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_examples_are_tasks_and_main_is_short(path: Path, documented: dict[str, Any]) -> None:
    tasks = yaml.safe_load(documented[path.stem]["examples"])
    assert tasks
    for task in tasks:
        assert task.get("name")
        options = task[f"pap.deploy.{path.stem}"]  # in full: the one name that the collection knows
        assert set(options) <= set(documented[path.stem]["doc"]["options"])
    main = next(n for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef) and n.name == "main")
    assert main.end_lineno is not None
    assert main.end_lineno - main.lineno + 1 <= 45, f"{path.name}: move what main() does into phases/"
    assert documented[path.stem]["return"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_documentation_is_whole(path: Path, documented: dict[str, Any]) -> None:
    """What a reader of ansible-doc looks for: what else there is, what to know, and what a result looks like."""
    doc, returned = documented[path.stem]["doc"], documented[path.stem]["return"]
    assert doc["notes"]
    for other in doc["seealso"]:
        assert (ROOT / "library" / f"{other['module'].removeprefix('pap.deploy.')}.py").exists(), other
        assert other["description"].endswith(".")
    assert [name for name, value in returned.items() if "sample" not in value] == [], "add a sample to RETURN"
    for name, value in returned.items():
        kind = RETURNED[value["type"]]
        assert isinstance(value["sample"], kind), f"{name}: the sample is no {value['type']}"


RETURNED: dict[str, type | tuple[type, ...]] = {
    "str": str, "bool": bool, "int": int, "float": (int, float), "list": list, "dict": dict,
}  # fmt: skip
SPECS = [*MODULES, ROOT / "plugins" / "doc_fragments" / "pap_stack.py"]
SPECS += sorted((ROOT / "roles").glob("*/meta/argument_specs.yml"))


@pytest.mark.parametrize("path", SPECS, ids=lambda path: str(path.relative_to(ROOT)))
def test_options_and_values_are_marked_as_such(path: Path, documented: dict[str, Any]) -> None:
    """O(option), V(value), RV(result): ansible-doc links them; C(…) is for what is none of these."""
    text = path.read_text()
    if path.parent.name == "library":
        doc = documented[path.stem]["doc"]
        own = flatten(doc["options"], "suboptions")
        values = {str(choice) for option in own.values() for choice in option.get("choices") or ()}
        names = set(own) | set(documented[path.stem]["return"])
        text = re.split(r'RETURN = r"""', text)[0]
    else:
        values = set(re.findall(r"choices: \[([^]]+)\]", text))
        values = {value.strip(" \"'") for found in values for value in found.split(",")}
        names = set(re.findall(r"(?m)^      ((?:pap|[a-z]+)_\w+):$", text))
    marked = re.findall(r"\bC\(([^()]*)\)", text)
    assert [word for word in marked if word in values - KEYS or word in names - KEYS] == [], (
        "mark an option as O(…), a choice as V(…), a result as RV(…)"
    )
    for full in re.findall(r"\b[MP]\(([^()#]*)", text):
        assert full.startswith("pap.deploy.") or "." in full, full


# Choices whose names are also keys of a dictionary, or parts of the product, which C() is for.
KEYS = {"backup", "image", "json", "release", "restore", "schema", "stack", "who"}


def valid(stem: str, params: dict[str, Any], specs: dict[str, Any]) -> list[str]:
    """What Ansible says against these options, with the spec and the rules of the module."""
    given = specs[stem]
    spec = {name: {"type": "dict"} if name == "stack" else option for name, option in given["spec"].items()}
    found = ArgumentSpecValidator(spec, **given["rules"]).validate(params)
    return list(found.error_messages)


CODE, WHO = {"code": "/code"}, {"who": {"user": "ada"}}
STACK: dict[str, Any] = {"stack": {}}
MAIL = {**CODE, "host": "h", "sender": "s", "to": ["t"], "subject": "s", "body": "b"}
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("pap_receipt", {**CODE, "state": "key"}, "private_key_file, public_key_files"),
    ("pap_receipt", {**CODE, "state": "key", "private_key_file": "/k"}, "public_key_files"),
    ("pap_receipt", {**CODE, "state": "signature"}, "folder"),
    ("pap_receipt", {**CODE, "state": "demand", "folder": "/f"}, "subject"),
    ("pap_receipt", {"state": "signature", "folder": "/f"}, "code"),
    ("pap_receipt", {"state": "record", "release": "r", "found": {}}, "stack"),
    ("pap_receipt", {**STACK, "state": "subject"}, "release"),
    ("pap_receipt", {**STACK, "state": "record", "release": "r"}, "found"),
    ("pap_receipt", {**STACK, "state": "refusal", "release": "r"}, "message"),
    ("pap_watch", {"state": "baseline"}, "release"),
    ("pap_watch", {"state": "first_minute"}, "release"),
    ("pap_watch", {"state": "acknowledgement"}, "reason"),
    ("pap_mail", {**MAIL, "username": "u"}, "password"),
    ("pap_rollback", {"drop_failed": True, "only_unfinished": True}, "drop_failed|only_unfinished"),
    ("pap_rollback", {"drop_failed": True, "strategy": "image"}, "drop_failed|strategy"),
    ("pap_rollback", {"drop_failed": True, "accept_data_loss": True}, "drop_failed|accept_data_loss"),
    ("pap_rollback", {"drop_failed": True, "take_over": True}, "drop_failed|take_over"),
    ("pap_rollback", {"plan_only": True, "planned": "image"}, "drop_failed|plan_only|planned"),
]  # fmt: skip


@pytest.mark.parametrize(("stem", "params", "said"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_combination_that_cannot_work_is_refused(
    stem: str, params: dict[str, Any], said: str, specs: dict[str, Any]
) -> None:
    (message,) = valid(stem, params, specs)
    assert said in message


def own_tasks(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tasks of a file that call a module of ours, in blocks too."""
    waiting = list(yaml.safe_load(path.read_text()) or [])
    while waiting:
        task = waiting.pop()
        for inner in ("block", "rescue", "always", "tasks"):
            waiting += task.get(inner) or []
        yield from ((key, value) for key, value in task.items() if (ROOT / "library" / f"{key}.py").exists())


PLACEHOLDERS = {"dict": {}, "list": [], "int": 1, "float": 1.0, "bool": False, "str": "x", "path": "/x"}


@pytest.mark.parametrize(
    "path",
    [*sorted((ROOT / "roles").glob("*/tasks/*.yml")), *sorted((ROOT / "playbooks").rglob("*.yml"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_no_task_gives_what_its_module_refuses(path: Path, specs: dict[str, Any]) -> None:
    """Whatever its templates give: the names of the options are enough to say so."""
    for stem, options in own_tasks(path):
        params = {}
        for name, value in options.items():
            option = specs[stem]["spec"][name]
            templated = isinstance(value, str) and "{{" in value
            stand_in = (option.get("choices") or [PLACEHOLDERS[option.get("type", "str")]])[0]
            params[name] = stand_in if templated and option.get("type") != "list" else [] if templated else value
        assert valid(stem, params, specs) == [], stem


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


def phases_of(path: Path) -> set[str]:
    """The modules of papdeploy that the Ansible module calls; none for the one that brings the package."""
    found = re.findall(r'run_phase\(\s*module,\s*"(\w+)"|"(?:phases\.)?(\w+)", (?:work|lambda)', path.read_text())
    return {one or other for one, other in found}


def returned_by(path: Path) -> dict[str, set[str]]:
    """By phase, the fields of the records that the Ansible module gets from it."""
    called = set(re.findall(r"\b(?:phase|desk)\.([a-z]\w+)\(", path.read_text()))
    found: dict[str, set[str]] = {}
    for name in phases_of(path):
        phase = importlib.import_module(f"papdeploy.phases.{name}")
        for function in filter(inspect.isfunction, (getattr(phase, each, None) for each in called)):
            result: type[Any] = get_type_hints(function)["return"]
            for record in (result, *result.__subclasses__()) if dataclasses.is_dataclass(result) else ():
                names = {item.metadata.get("json", item.name) for item in dataclasses.fields(record)}
                found[name] = found.get(name, set()) | names
    return found


def test_what_is_returned_is_documented(documented: dict[str, Any]) -> None:
    """Each field of what a phase returns to its module is in that module's RETURN."""
    returned = {(path.stem, phase): fields for path in MODULES for phase, fields in returned_by(path).items()}
    assert len(returned) >= 10
    missing = {key: fields - {*documented[key[0]]["return"], "changed", "diff"} for key, fields in returned.items()}
    assert {key: fields for key, fields in missing.items() if fields} == {}
