"""The steps of playbooks/deploy.yml, read without Ansible."""

from __future__ import annotations

from typing import Any

import yaml

from support import ROOT


def steps_of_a_deploy() -> list[dict[str, Any]]:
    """The tasks of the block that has the phases."""
    plays = yaml.safe_load((ROOT / "playbooks" / "deploy.yml").read_text(encoding="utf-8"))
    tasks = next(play for play in plays if play["name"] == "Deploy")["tasks"]
    blocks = [task["block"] for task in tasks if "block" in task]
    return next(block for block in blocks if any(step["name"].startswith("Preflight") for step in block))
