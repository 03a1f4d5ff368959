"""Write docs/reference.md from what the code says of itself: argument specs of roles, DOCUMENTATION of modules.

``python tools/generate_reference.py`` writes it, ``--check`` fails (exit code 1) if it is not current.
"""

from __future__ import annotations

import ast
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "reference.md"
# In the order in which a deploy meets them; others follow by name.
ORDER = ["stack", "preflight", "receipt", "backup", "rehearse", "migrate", "activate", "login_smoke_test", "validate",
         "watch", "finish", "rollback", "report", "notify"]  # fmt: skip

HOOKS = """\
### Hooks

A task file of yours before or after a phase: `pap_hook_before_<phase>` and `pap_hook_after_<phase>` name it, for the
phases `preflight`, `backup`, `rehearse`, `migrate`, `activate`, `login_smoke_test`, `validate` and `finish`. Its tasks
run on the target host with all variables of the deploy (`pap_release` is the release's id). A hook that fails, fails
the deploy, which is then rolled back; put `ignore_errors: true` on what must not. After `migrate` and before `activate`
the API is down: users wait for a hook there, and for Ansible to come to it.
"""


def main(arguments: list[str]) -> int:
    text = reference()
    if arguments == ["--check"]:
        if not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
            print(f"{TARGET.relative_to(ROOT)} is not current: python tools/generate_reference.py", file=sys.stderr)
            return 1
        return 0
    if arguments:
        print("usage: generate_reference.py [--check]", file=sys.stderr)
        return 2
    TARGET.write_text(text, encoding="utf-8")
    return 0


def reference() -> str:
    """The page."""
    lines = [
        "# Reference",
        "",
        "Made by `python tools/generate_reference.py` from the argument specs of the roles and the documentation of",
        "the modules; do not edit it. `ansible-doc -t module -M library pap_backup` shows a module in the terminal.",
        "",
        "- [Playbooks](#playbooks)",
        "- [Variables](#variables)",
        "- [Modules](#modules)",
        "",
        "## Playbooks",
        "",
        "| command | what it does |",
        "| --- | --- |",
        *playbooks(),
        "",
        "## Variables",
        "",
        "Set them in the inventory, or with `-e`. *required* has no default, because none is safe.",
        "",
    ]
    for role in roles():
        lines += variables(role)
    lines += [*HOOKS.splitlines(), ""]
    lines += ["## Modules", ""]
    for path in sorted((ROOT / "library").glob("pap_*.py")):
        lines += module(path)
    return "\n".join(lines).rstrip() + "\n"


def playbooks() -> Iterator[str]:
    for path in sorted(ROOT.glob("*.yml")):
        real = ROOT / "playbooks" / path.name
        if not real.exists():
            continue
        text = real.read_text(encoding="utf-8").split("\n- name:", 1)[0]
        comment = " ".join(line.lstrip("# ").strip() for line in text.splitlines() if line.startswith("#"))
        yield f"| `ansible-playbook {path.name} -l staging` | {cell(comment)} |"


def roles() -> list[Path]:
    found = {path.name: path for path in (ROOT / "roles").iterdir() if (path / "meta" / "argument_specs.yml").exists()}
    return [found[name] for name in [*(n for n in ORDER if n in found), *sorted(set(found) - set(ORDER))]]


def variables(role: Path) -> list[str]:
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    lines = [f"### {role.name}", "", f"{sentence(specs['main']['short_description'])}", ""]
    options = {name: option for spec in specs.values() for name, option in (spec.get("options") or {}).items()}
    if not options:
        return [*lines, "It has no variables of its own.", ""]
    lines += ["| variable | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, option in options.items():
        lines.append(f"| `{name}` | {kind(option)} | {default(option)} | {meaning(option)} |")
    return [*lines, ""]


def module(path: Path) -> list[str]:
    constants = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in ("DOCUMENTATION", "EXAMPLES", "RETURN")
    }
    doc = yaml.safe_load(constants["DOCUMENTATION"])
    lines = [f"### {doc['module']}", "", f"{sentence(doc['short_description'])}", ""]
    lines += [f"- {markup(text)}" for text in doc["description"]]
    lines += [f"- {markup(text)}" for text in doc.get("notes", [])]
    lines.append(f"- Check mode: {markup(doc['attributes']['check_mode']['description'])}")
    related = [each["module"].removeprefix("pap.deploy.") for each in doc.get("seealso", [])]
    lines.append(f"- See also {', '.join(f'[{name}](#{name})' for name in related)}.")
    lines.append("")
    options = {**phase_options(doc), **(doc.get("options") or {})}
    if "pap_stack" in str(doc.get("extends_documentation_fragment", "")):
        stack = "Takes `stack`, the dictionary that the role `stack` makes of the inventory"
        lines += [f"{stack}, and:" if options else f"{stack}.", ""]
    if options:
        lines += ["| option | type | default | meaning |", "| --- | --- | --- | --- |"]
        lines += [f"| `{n}` | {kind(o)} | {default(o)} | {meaning(o)} |" for n, o in options.items()]
        lines.append("")
    lines += ["| returns | type | meaning |", "| --- | --- | --- |"]
    for name, value in yaml.safe_load(constants["RETURN"]).items():
        when = value.get("returned", "success")
        note = "" if when == "success" else f" ({markup(when)})"
        lines.append(f"| `{name}` | {value.get('type', '')} | {meaning(value)}{note} |")
    return [*lines, "", "```yaml", constants["EXAMPLES"].strip(), "```", ""]


def phase_options(doc: dict[str, Any]) -> dict[str, Any]:
    """Those of the module's phase, which tools/generate_options.py writes."""
    names = [name for name in doc.get("extends_documentation_fragment", []) if name.startswith("pap_options.")]
    if not names:
        return {}
    fragment = runpy.run_path(str(ROOT / "plugins" / "doc_fragments" / "pap_options.py"))["ModuleDocFragment"]
    found: dict[str, Any] = yaml.safe_load(getattr(fragment, names[0].removeprefix("pap_options.").upper()))["options"]
    return found


def kind(option: dict[str, Any]) -> str:
    name = str(option.get("type", "str"))
    if option.get("elements"):
        name += f" of {option['elements']}"
    if option.get("choices"):
        name += ": " + ", ".join(f"`{choice}`" for choice in option["choices"])
    return name


def default(option: dict[str, Any]) -> str:
    if option.get("required"):
        return "*required*"
    value = option.get("default")
    if value is None:
        return ""
    if value == "":
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{cell(str(value))}`"


def meaning(option: dict[str, Any]) -> str:
    text = option.get("description", "")
    return cell(markup(" ".join(text) if isinstance(text, list) else text))


def markup(text: str) -> str:
    """Ansible's own markup as Markdown: C(x), O(x), V(x), RV(x), M(x), P(x#lookup), and O(x#module:y) as y of x."""
    text = text.replace("(pap.deploy.", "(")  # the names of a project, in which this page is read
    text = re.sub(r"\b(?:O|RV)\(([^()#]*)#module:([^()]*)\)", r"`\2` of `\1`", text)
    return re.sub(r"\b(?:RV|[COMVP])\(([^()#]*)(?:#[^()]*)?\)", r"`\1`", text)


def cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def sentence(text: str) -> str:
    return text if text.endswith(".") else text + "."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
