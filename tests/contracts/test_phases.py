"""A phase has one name: its role, its module, its file, its report heading and its row in the documents."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Every phase, once. deploy.yml does not run the last two.
PHASES = (
    "preflight", "receipt", "backup", "rehearse", "migrate", "activate", "login_smoke_test", "validate", "watch", "finish",
    "rollback", "report",
)  # fmt: skip


def missing(root: Path, phase: str) -> list[str]:
    """The places where ``phase`` does not have its own name."""
    role = root / "roles" / phase / "tasks"
    module = root / "library" / f"pap_{phase}.py"
    used = any(f"pap_{phase}:" in path.read_text() for path in role.glob("*.yml"))
    architecture = (root / "docs" / "architecture.md").read_text()
    places = {
        f"roles/{phase}": role.is_dir(),
        f"library/pap_{phase}.py": module.is_file(),
        f"the module pap_{phase} in its role": used,
        f"phases/{phase}.py": (root / "module_utils" / "papdeploy" / "phases" / f"{phase}.py").is_file(),
        "docs/architecture.md": f"| `{phase}` | `pap_{phase}`" in architecture
        and f"`phases/{phase}.py`" in architecture,
    }
    return [place for place, there in places.items() if not there]


@pytest.mark.parametrize("phase", PHASES)
def test_a_phase_has_one_name(phase: str) -> None:
    assert missing(ROOT, phase) == [], f"{phase} is missing there, or has another name"


def test_a_phase_that_has_another_name_somewhere_is_found(tmp_path: Path) -> None:
    for folder in ("roles/backup/tasks", "library", "module_utils/papdeploy/phases", "docs"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "roles/backup/tasks/main.yml").write_text("- name: Take the backup\n  pap_backup:\n")
    (tmp_path / "library/pap_backup.py").touch()
    (tmp_path / "module_utils/papdeploy/phases/backing_up.py").touch()
    (tmp_path / "docs/architecture.md").write_text("| backup | `backup` | `pap_backup` | `phases/backing_up.py` |")
    assert missing(tmp_path, "backup") == ["phases/backup.py", "docs/architecture.md"]


def test_each_step_of_the_deploy_is_a_phase() -> None:
    deploy = (ROOT / "playbooks" / "deploy.yml").read_text()
    places = [deploy.find(f"pap_phase: {phase}") for phase in PHASES]
    steps = [place for place in places if place >= 0]
    assert len(steps) >= 8 and steps == sorted(steps), "playbooks/deploy.yml runs them in another order than PHASES"
