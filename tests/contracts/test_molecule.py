"""Every molecule scenario changes something and looks at the outcome; molecule itself passes over a missing file silently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support import ROOT

SCENARIOS = sorted(path.parent for path in (ROOT / "molecule").glob("*/molecule.yml"))
# The playbook of each step where the scenario does not name another (molecule, "Provisioner", playbooks).
DEFAULTS = {"check": "converge", "idempotence": "converge", "syntax": "converge"}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(scenario: Path) -> list[str]:
    return list(load(scenario / "molecule.yml")["scenario"]["test_sequence"])


def playbook(scenario: Path, step: str) -> Path:
    """The file that a step plays: named with the step, in the scenario, or by default."""
    verb, _, given = step.partition(" ")
    verb = DEFAULTS.get(verb, verb)
    named = ((load(scenario / "molecule.yml").get("ansible") or {}).get("playbooks") or {}).get(verb)
    return (scenario / (given or named or f"{verb}.yml")).resolve()


def tasks(path: Path) -> list[dict[str, Any]]:
    """The tasks of a playbook or task file, those that it includes too."""
    found: list[dict[str, Any]] = []
    for play in load(path) or []:
        for task in play.get("tasks", [play] if "hosts" not in play else []):
            included = task.get("ansible.builtin.include_tasks") or task.get("ansible.builtin.import_tasks")
            found += tasks((path.parent / included).resolve()) if included else [task]
    return found


def test_the_scenarios_of_both_kinds_of_sites_are_there() -> None:
    names = {scenario.name for scenario in SCENARIOS}
    assert {"docker-deploy", "docker-failures", "docker-rollback", "docker-drop-tables", "rollback"} <= names


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name)
def test_every_step_has_its_file(scenario: Path) -> None:
    missing = [step for step in steps(scenario) if not playbook(scenario, step).is_file()]
    assert missing == [], "molecule would skip these and call the scenario successful"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name)
def test_it_converges_verifies_and_cleans_up(scenario: Path) -> None:
    sequence = [step.split(" ")[0] for step in steps(scenario)]
    assert "converge" in sequence
    assert "verify" in sequence[sequence.index("converge") :], "nothing is looked at after the change"
    # The plain step, because `verify other.yml` is passed over without a word where verify.yml itself is missing.
    assert "verify" in steps(scenario)
    assert sequence[0] == sequence[-1] == "destroy"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name)
def test_every_verification_asserts_something(scenario: Path) -> None:
    for step in steps(scenario):
        if step.startswith("verify"):
            text = playbook(scenario, step).read_text()
            assert "ansible.builtin.assert:" in text or "import_playbook:" in text or "include_tasks:" in text, step


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name)
def test_its_verification_looks_into_the_database(scenario: Path) -> None:
    """It reads tables by means of its own and asserts something of them."""
    done = tasks(playbook(scenario, "verify"))
    text = repr(done)
    assert any("ansible.builtin.assert" in task for task in done)
    assert "look.py" in text or "content.py" in text or "psql" in text, "no look at the tables"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name)
def test_no_file_is_left_unused(scenario: Path) -> None:
    """A playbook in the folder that no step plays is a test that never runs."""
    played = {playbook(scenario, step) for step in steps(scenario)}
    there = {path.resolve() for path in scenario.glob("*.yml")} - {(scenario / "molecule.yml").resolve()}
    assert there <= played
