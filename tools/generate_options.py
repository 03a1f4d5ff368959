"""Write everything that repeats an option from the one place where it is described, tools/options.yml.

``python tools/generate_options.py`` writes, ``--check`` fails (exit code 1) if a file is not current. What it makes:

* ``module_utils/pap_options.py``: the argument specs of the modules,
* ``plugins/doc_fragments/pap_stack.py`` and ``pap_options.py``: their documentation,
* of each role in it ``defaults/main.yml`` and ``meta/argument_specs.yml``, of the role stack ``vars/main.yml``,
* in the tasks of a role what stands between ``# options: begin`` and ``# options: end``.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
SOURCE = Path(__file__).with_name("options.yml")
MADE = "Made by tools/generate_options.py; edit tools/options.yml."
_PREFIX = {"database": "pap_db_", "api": "pap_api_", "smoke": "pap_smoke_"}
# What both Ansible's argument specs and its documentation say of an option, in this order.
_KEYS = ("type", "elements", "choices", "required", "default", "no_log")
_REGION = re.compile(r"(?m)^( *)# options: begin\n(?:.*\n)*?\1# options: end\n")
_WIDTH = 118

Option = dict[str, Any]
Options = Mapping[str, Option]


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: generate_options.py [--check]", file=sys.stderr)
        return 2
    made = files()
    stale = [path for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if arguments:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not current: python tools/generate_options.py", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(made[path], encoding="utf-8")
    return 0


def files() -> dict[Path, str]:
    """What each file is to hold."""
    source = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))
    stack, roles = source["stack"], source["roles"]
    paths = variables_of(stack)
    flat = {name: option for name, option, _ in paths} | source["variables"]
    fragments = ROOT / "plugins" / "doc_fragments"
    made = {
        ROOT / "module_utils" / "pap_options.py": specs(stack, roles),
        fragments / "pap_stack.py": stack_fragment(stack, {name: path for name, _, path in paths}),
        fragments / "pap_options.py": role_fragments(roles),
        ROOT / "roles" / "stack" / "vars" / "main.yml": stack_variables(stack),
        **role_files("stack", {"main": source["short_description"]}, flat),
    }
    for name, role in roles.items():
        own = {f"{name}_{option}": value for option, value in role["options"].items()}
        made |= role_files(name, role["entry_points"], own, f"{name}_")
        for path in sorted((ROOT / "roles" / name / "tasks").glob("*.yml")):
            text = path.read_text(encoding="utf-8")
            if _REGION.search(text):
                made[path] = filled(text, name, role, path.stem)
    return made


# The variables of the role stack, and the option ``stack``.


def variables_of(stack: Options) -> list[tuple[str, Option, str]]:
    """Each variable of the inventory with its option, and where the option is in ``stack``."""
    found = []
    for place, name, option in leaves(stack):
        if "value" not in option:
            prefix = _PREFIX.get(place, "pap_")
            found.append(
                (option.get("variable", prefix + name), option, ".".join(filter(None, ("stack", place, name))))
            )
    return found


def leaves(stack: Options) -> Iterator[tuple[str, str, Option]]:
    for name, option in stack.items():
        if "options" not in option:
            yield "", name, option
        for inner, its in option.get("options", {}).items():
            yield name, inner, its


def stack_variables(stack: Options) -> str:
    lines = [
        "---",
        f"# {MADE}",
        "# What the modules get: one dictionary, put together from the flat variables.",
        "pap_stack:",
    ]
    names = {path: name for name, _, path in variables_of(stack)}
    for name, option in stack.items():
        if "options" not in option:
            lines.append(f"  {name}: {json.dumps(option.get('value') or template(names[f'stack.{name}']))}")
            continue
        lines.append(f"  {name}:")
        for inner, its in option["options"].items():
            value_of = template(names[f"stack.{name}.{inner}"], its.get("module_default"))
            lines.append(f'    {inner}: "{value_of}"')
    return "\n".join([*lines, "pap_who: \"{{ lookup('pap_who') }}\"", ""])


def template(variable: str, otherwise: Any = None) -> str:
    return f"{{{{ {variable} }}}}" if otherwise is None else f"{{{{ {variable} | default({otherwise!r}) }}}}"


def stack_fragment(stack: Options, places: Mapping[str, str]) -> str:
    def marked(text: str) -> str:
        return re.sub(r"\bO\((pap_\w+)", lambda found: "O(" + places.get(found[1], found[1]), text)

    options: dict[str, Option] = {}
    for name, option in stack.items():
        inner = {key: of_module(value) for key, value in option.get("options", {}).items()}
        options[name] = {
            **({"description": option["description"]} if inner else of_module(option)),
            **({"type": "dict", "suboptions": inner} if inner else {}),
        }
    head = {
        "type": "dict",
        "required": True,
        "description": "The stack to work on. Give what the module needs of it, in the task or once for all tasks"
        " (C(module_defaults) of the group C(pap.deploy.pap)); what is missing is named. The role C(stack) puts all of"
        " it together, as C(pap_stack), from the C(pap_*) variables of the inventory.",
        "suboptions": options,
    }
    text = "\n".join(documented({"stack": head}, marked))
    return f'''"""The ``stack`` option that most modules share. {MADE}"""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
{text}
"""

    # Of a module that works on the controller as well, where there is no stack.
    OPTIONAL = DOCUMENTATION.replace("    required: true\\n", "", 1)
'''


# The options of a phase.


def role_fragments(roles: Mapping[str, Any]) -> str:
    parts = [
        f'"""The options of the phases, an attribute for each. {MADE}"""',
        "",
        "from __future__ import annotations",
        "",
        "",
    ]
    parts.append("class ModuleDocFragment:")
    for name, role in roles.items():
        options = {key: of_module(option) for key, option in taken(role).items()}
        if not options:
            continue
        parts += [f'    {name.upper()} = r"""', "options:", *documented(options, str), '"""', ""]
    return "\n".join(parts)


def taken(role: Mapping[str, Any]) -> dict[str, Option]:
    """The options that the role's module takes; the others are variables of the role only."""
    return {name: option for name, option in role["options"].items() if option.get("option", True)}


def places(option: Option) -> list[str]:
    """The task files that pass the option to the module."""
    return list(option["tasks"] if "tasks" in option else option.get("entry_points", ["main"]))


def filled(text: str, name: str, role: Mapping[str, Any], task_file: str) -> str:
    return _REGION.sub(lambda found: passed(found[1], name, role, task_file), text)


def passed(indent: str, name: str, role: Mapping[str, Any], task_file: str) -> str:
    """The lines of a task that hand the role's variables to its module."""
    lines = [
        f'{option}: "{template(f"{name}_{option}")}"' for option, its in taken(role).items() if task_file in places(its)
    ]
    return "".join(f"{indent}{line}\n" for line in ["# options: begin", *lines, "# options: end"])


def role_files(role: str, entry_points: Mapping[str, str], options: Options, prefix: str = "") -> dict[Path, str]:
    """``defaults/main.yml`` and ``meta/argument_specs.yml``. ``prefix``: what the variables have before the name that
    the descriptions use."""

    def marked(text: str) -> str:
        return re.sub(r"\bO\((?=\w)", f"O({prefix}", text)

    head = ["---", f"# {MADE}"]
    lines = [*head, "argument_specs:"]
    for entry, title in entry_points.items():
        own = {n: of_role(o) for n, o in options.items() if entry in o.get("entry_points", ["main"])}
        lines += [f"  {entry}:", f"    short_description: {title}", "    options:" + ("" if own else " {}")]
        lines += documented(own, marked, indent=6)
    plain = {name: of_role(option) for name, option in options.items()}
    defaults = [f"{name}: {value(its['default'])}" for name, its in plain.items() if "default" in its]
    folder = ROOT / "roles" / role
    return {
        folder / "meta" / "argument_specs.yml": "\n".join([*lines, ""]),
        folder / "defaults" / "main.yml": "\n".join([*head, *defaults, ""]),
    }


# One option, as it is written in each place.


def of_module(option: Option) -> Option:
    """As a module takes it: required where it has no default of its own."""
    its: Option = {
        key: option[key] for key in ("type", "elements", "choices", "default", "description") if key in option
    }
    if "module_default" in option:
        its["default"] = option["module_default"]
    return its if "default" in its else {**its, "required": True}


def of_role(option: Option) -> Option:
    """As a variable of the inventory: its default may come from other variables."""
    its: Option = {key: option[key] for key in ("type", "elements", "choices", "description") if key in option}
    if option.get("no_log"):
        its["no_log"] = True
    if "keys" in option:
        its["options"] = {name: key_of(key) for name, key in option["keys"].items()}
    if "variable_default" in option or "default" in option:
        return {**its, "default": option.get("variable_default", option.get("default"))}
    return its if "module_default" in option else {**its, "required": True}


def key_of(key: Option) -> Option:
    """What may stand at a key of a dictionary. None is required: what reads the dictionary says what is missing."""
    inner = key.get("keys", {})
    its = {name: value for name, value in key.items() if name != "keys"}
    return {**its, "options": {name: key_of(value) for name, value in inner.items()}} if inner else its


def documented(options: Options, marked: Any, indent: int = 2) -> list[str]:
    lines = []
    for name, option in options.items():
        lines.append(f"{' ' * indent}{name}:")
        inside = " " * (indent + 2)
        lines += [f"{inside}{key}: {value(option[key])}" for key in _KEYS if key in option]
        lines += described(marked(option["description"]), inside)
        for inner in ("suboptions", "options"):
            if inner in option:
                lines += [f"{inside}{inner}:", *documented(option[inner], marked, indent + 4)]
    return lines


def described(text: str, indent: str) -> list[str]:
    line = f"{indent}description: {text}"
    if len(line) <= _WIDTH and is_plain(text):
        return [line]
    wrapper = textwrap.TextWrapper(_WIDTH, break_long_words=False, break_on_hyphens=False)
    wrapper.initial_indent = wrapper.subsequent_indent = indent + "  "
    return [f"{indent}description: >-", *wrapper.wrap(text)]


def is_plain(text: str) -> bool:
    try:
        return bool(yaml.safe_load(f"description: {text}") == {"description": text})
    except yaml.YAMLError:
        return False


def value(of: Any) -> str:
    """A value in YAML on one line."""
    if isinstance(of, str):
        return of if of and is_plain(of) and "{" not in of else json.dumps(of, ensure_ascii=False)
    if isinstance(of, list):
        return "[" + ", ".join(value(item) for item in of) + "]"
    if isinstance(of, dict):
        return "{" + ", ".join(f"{key}: {value(item)}" for key, item in of.items()) + "}"
    return json.dumps(of)


def specs(stack: Options, roles: Mapping[str, Any]) -> str:
    """The argument specs, as Python."""
    lines = [
        f'"""The argument specs of the modules. {MADE}"""',
        "",
        "# fmt: off",
        "from __future__ import annotations",
        "",
    ]
    lines += ["from typing import Any", "", "STACK: dict[str, Any] = {", '    "type": "dict",', '    "required": True,']
    lines.append('    "options": {')
    for name, option in stack.items():
        if "options" not in option:
            lines.append(f"        {name!r}: {spec(option)},".replace("'", '"'))
            continue
        lines += [
            f'        "{name}": {{',
            '            "type": "dict",',
            '            "apply_defaults": True,',
            '            "options": {',
        ]
        lines += [f'                "{inner}": {spec(its)},' for inner, its in option["options"].items()]
        lines += ["            },", "        },"]
    lines += ["    },", "}", "", "# What each phase's module takes beside what says which stack and which release.", ""]
    lines.append("PHASE: dict[str, dict[str, dict[str, Any]]] = {")
    for name, role in roles.items():
        if not taken(role):
            continue
        lines += [
            f'    "{name}": {{',
            *(f'        "{key}": {spec(option)},' for key, option in taken(role).items()),
            "    },",
        ]
    return "\n".join([*lines, "}", ""])


def spec(option: Option) -> str:
    its = of_module(option)
    its.pop("description")
    if "no_log" in option:
        its["no_log"] = option["no_log"]
    return "{" + ", ".join(f'"{key}": {python(its[key])}' for key in _KEYS if key in its) + "}"


def python(of: Any) -> str:
    if isinstance(of, list):
        return "[" + ", ".join(python(item) for item in of) + "]"
    return json.dumps(of, ensure_ascii=False) if isinstance(of, str) else repr(of)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
