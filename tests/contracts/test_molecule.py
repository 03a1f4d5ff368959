"""Molecule passes over a playbook that is missing: every scenario must have what its sequence names."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = sorted(path.parent for path in (ROOT / "molecule").glob("*/molecule.yml"))
DEFAULTS = {"check": "converge.yml", "idempotence": "converge.yml"}


def playbooks(scenario: Path) -> dict[str, Path]:
    """The playbook behind every step of the scenario's sequence."""
    config = yaml.safe_load((scenario / "molecule.yml").read_text())
    named = (config.get("ansible") or config.get("provisioner") or {}).get("playbooks") or {}
    found = {}
    for step in config["scenario"]["test_sequence"]:
        verb, *given = step.split()
        default = named.get(verb) or DEFAULTS.get(verb) or f"{verb}.yml"
        if verb in DEFAULTS:
            default = named.get("converge") or default
        found[step] = scenario / (given[0] if given else default)
    return found


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name)
def test_every_step_has_its_playbook(scenario: Path) -> None:
    steps = playbooks(scenario)
    assert {"converge", "verify"} <= {step.split()[0] for step in steps}
    missing = [step for step, path in steps.items() if not path.is_file()]
    assert not missing, f"molecule would pass over {missing} without a word"
    # `verify other.yml` is passed over too where the default verify.yml does not exist.
    assert (scenario / "verify.yml").is_file() or steps["verify"].is_file()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name)
def test_a_verification_asserts_something(scenario: Path) -> None:
    verifications = {path for step, path in playbooks(scenario).items() if step.startswith("verify")}
    for path in verifications:
        text = path.read_text()
        assert "assert" in text or "import_playbook" in text or "include_tasks" in text, path
