"""The collection that tools/build_collection.py makes installs, documents itself, and plays."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml
from support import ROOT
from support.collection import install, run

PHASES = "pap.deploy.pap_phases"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the collection in it, and nothing of this project's configuration."""
    folder = tmp_path_factory.mktemp("collection")
    install(folder)
    return folder


def test_modules_and_roles_document_themselves(installed: Path) -> None:
    modules = [f"pap.deploy.{path.stem}" for path in (ROOT / "library").glob("pap_*.py")]
    said = run(installed, "ansible-doc", "-t", "module", *modules)
    assert said.count("> MODULE") == len(modules)
    roles = run(installed, "ansible-doc", "-t", "role", "-l", "pap.deploy")
    assert {f"pap.deploy.{path.name}:" for path in (ROOT / "roles").iterdir()} <= set(roles.split())


@pytest.mark.parametrize("playbook", ["pap.deploy.deploy", "pap.deploy.rollback"])
def test_a_playbook_runs_from_it(installed: Path, playbook: str) -> None:
    """Lookups, roles, action plugins, modules, the package and the terminal's output are found, up to the first refusal."""
    stack = {
        "ansible_connection": "local", "ansible_python_interpreter": sys.executable, "pap_environment": "staging",
        "pap_state_dir": str(installed / "state"), "pap_models": ["none"], "pap_smoke_username": "none",
        "pap_smoke_password": "none",
    }  # fmt: skip
    (installed / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"pap": stack}}}))
    said = run(installed, "ansible-playbook", "-i", "hosts.yml", playbook, code=2, callback=PHASES)
    assert "Missing in the inventory: pap_db_name, pap_api_dir, pap_api_python, pap_api_start_command" in said
    assert "Next: Set what is missing" in said and "or name the containers of the stack" in said


def test_nothing_is_left_of_the_other_layout(installed: Path) -> None:
    """Names that only a project of playbooks knows."""
    place = installed / "collections" / "ansible_collections" / "pap" / "deploy"
    for path in [
        *place.rglob("*.yml"),
        *(place / "plugins").glob("[!m]*/*.py"),
        *(place / "plugins/modules").glob("*.py"),
    ]:
        text = path.read_text()
        for name in ("ansible.module_utils.pap_module", "lookup('pap_", "../module_utils", 'loader.get("pap_'):
            assert name not in text, f"{path.relative_to(place)}: {name}"
