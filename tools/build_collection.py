"""Build the Ansible collection ``pap.deploy``: ``python tools/build_collection.py [FOLDER]`` (default: .artifacts).

A collection keeps modules, module_utils and plugins elsewhere than a project of playbooks does, and names them in full.
Those are the only differences: the files are copied, and these names are written out.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[1]
NAME = "pap.deploy"
ANSIBLE = ">=2.19.0,<2.22"  # what the tests run with; the progress uses more of it than is promised
FOLDERS = {"library": "plugins/modules", "module_utils": "plugins/module_utils", "plugins": "plugins", "roles": "roles",
           "playbooks": "playbooks", "docs": "docs", "monitoring": "monitoring"}  # fmt: skip
FILES = ("README.md", "LICENSE", "CHANGELOG.rst")
RENAMED = (
    (r"\bansible\.module_utils\.(?=pap_(module|options)\b)", f"ansible_collections.{NAME}.plugins.module_utils."),
    (r"\b(lookup|query)\('(?=pap_)", rf"\1('{NAME}."),
    (r"(?<=action_loader\.get\(\")(?=pap_)", f"{NAME}."),
    (r"(?m)^  - (?=pap_(stack|options)($|\.))", f"  - {NAME}."),
    (r"(?<=\.\./)module_utils", "plugins/module_utils"),
    (r'parents\[2\] / "module_utils"', 'parents[1] / "module_utils"'),
)


def assemble(target: Path) -> None:
    """The collection's tree in ``target``."""
    skipped = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for source, place in FOLDERS.items():
        shutil.copytree(ROOT / source, target / place, dirs_exist_ok=True, ignore=skipped)
    for name in FILES:
        shutil.copy(ROOT / name, target / name)
    (target / "galaxy.yml").write_text(json.dumps(metadata()))
    (target / "meta").mkdir()
    (target / "meta" / "runtime.yml").write_text(json.dumps(runtime()))
    for path in target.rglob("*"):
        if path.suffix in (".py", ".yml") and "papdeploy" not in path.parts:
            text = path.read_text(encoding="utf-8")
            for old, new in RENAMED:
                text = re.sub(old, new, text)
            path.write_text(text, encoding="utf-8")


def runtime() -> dict[str, object]:
    """What ``meta/runtime.yml`` says; JSON is YAML. ``module_defaults`` of the group are for what works on a stack."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "library").glob("pap_*.py"))}
    of_a_stack = [name for name, text in texts.items() if "\n  - pap_stack" in text]
    return {"requires_ansible": ANSIBLE, "action_groups": {"pap": of_a_stack}}


def metadata() -> dict[str, object]:
    """What ``galaxy.yml`` says; JSON is YAML."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    namespace, name = NAME.split(".")
    return {
        "namespace": namespace,
        "name": name,
        "version": project["version"],
        "description": project["description"],
        "authors": ["pap-deploy authors"],
        "readme": "README.md",
        "license_file": "LICENSE",
        "tags": ["postgresql", "deployment", "migration", "backup", "database"],
        "dependencies": {},
    }


def main(arguments: list[str]) -> int:
    output = Path(arguments[0] if arguments else ROOT / ".artifacts").resolve()
    output.mkdir(parents=True, exist_ok=True)
    galaxy = Path(sys.executable).parent / "ansible-galaxy"
    with tempfile.TemporaryDirectory() as name:
        assemble(Path(name))
        return subprocess.run([galaxy, "collection", "build", "--force", "--output-path", output, name]).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
