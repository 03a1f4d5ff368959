"""Every molecule scenario as a test of its own, so that a report names what failed or was skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

SCENARIOS = sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml"))

# By day: tests/integration/rehearsal, tests/integration/rollback, and on a host playbooks/test_destructive_release.py.
BY_NIGHT = ("docker-drop-tables", "docker-failures", "docker-rollback", "rehearse-fails", "rollback")


def marked(name: str) -> object:
    """Each has a stack of its own, so they may run side by side."""
    marks = [pytest.mark.xdist_group(name=f"molecule-{name}")]
    marks += [pytest.mark.docker] if name.startswith("docker") else []
    marks += [pytest.mark.nightly] if name in BY_NIGHT else []
    return pytest.param(name, marks=marks)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", [marked(name) for name in SCENARIOS])
def test_scenario(name: str) -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "molecule", "test", "--scenario-name", name],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1150,
    )
    assert done.returncode == 0, done.stdout[-12000:]
