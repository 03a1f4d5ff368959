"""docs/reference.md is what the code says of itself now."""

from __future__ import annotations

import subprocess
import sys

from support import ROOT


def test_the_reference_is_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "generate_reference.py", "--check"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_every_role_module_and_playbook_is_in_it() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    for path in [*(ROOT / "roles").iterdir(), *(ROOT / "library").glob("pap_*.py")]:
        assert f"### {path.stem}\n" in text, path
    for path in ROOT.glob("*.yml"):
        if (ROOT / "playbooks" / path.name).exists():
            assert f"ansible-playbook {path.name} " in text
    assert "| `backup_proof` |" in text and "| `watch_hours` | float | `24` |" in text
