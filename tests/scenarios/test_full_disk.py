"""The disk of the state folder is full: before the fence the deploy stops, under it the rollback is open; nothing is lost."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from papdeploy.core import storage
from papdeploy.releases.journal import State
from support import ROOT
from support.full_disk import FILLER, fill, make_room, small_disk
from support.interrupted_deploys import Interrupted

sys.path.insert(0, str(ROOT))

FULL = f"dd if=/dev/zero of={{disk}}/{FILLER} bs=4k 2>/dev/null || true"
# Another program writes on, into what has just been given up.
GREEDY = f"rm -f {{disk}}/state/{storage.FOR_NOTES}; {FULL}"


class Deploy:
    """Deploys of a sandbox whose state folder is on a small disk, which a hook fills."""

    def __init__(self, stack: Interrupted, disk: Path, folder: Path) -> None:
        self.stack, self.disk, self.folder = stack, disk, folder
        self.state = State(disk / "state")

    def filled(self, *, stopping: str = "", **hooks: str) -> str:
        """What a deploy says whose disk is filled by its hooks, each in its way, or while the API is ``stopping``;
        afterwards there is room again."""
        variables: dict[str, Any] = {"pap_state_dir": self.state.folder, "report_folder": self.folder / "reports"}
        variables |= {"watch_first_s": 1, "watch_hours": 0.1}
        if stopping:
            stop = json.loads((self.stack.home / "staging" / "state.json").read_text())["api"]["stop"]
            script = f'{stopping.format(disk=self.disk)}; exec "$@"'
            variables["pap_api_stop_command"] = ["sh", "-c", script, "sh", *stop]
        for hook, how in hooks.items():
            tasks = self.folder / f"{hook}.yml"
            task = {"ansible.builtin.shell": {"cmd": how.format(disk=self.disk)}, "changed_when": False}
            tasks.write_text(yaml.safe_dump([{"name": "Fill the disk", **task}]))
            variables[f"pap_hook_{hook}"] = tasks
        played = self.stack.run("deploy.yml", "-e", json.dumps(variables, default=str))
        make_room(self.disk)
        said = " ".join((played.stdout + played.stderr).split())
        assert "ENOSPC" in said, said
        for bad in ("Unexpected", "defect", "THE ROLLBACK FAILED", "Traceback"):
            assert bad not in said, said
        self.code = played.returncode
        return said

    def ended(self) -> str:
        end = self.state.releases()[-1].ended()
        return str(end.event) if end else "unfinished"


@pytest.fixture
def deploy(tmp_path: Path) -> Iterator[Deploy]:
    stack = Interrupted(ROOT / ".artifacts" / "full-disk")
    with small_disk(tmp_path / "disk", 340) as disk:
        try:
            yield Deploy(stack, disk, tmp_path)
        finally:
            stack.command("down")
            shutil.rmtree(stack.home, ignore_errors=True)


@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("before_the_fence", "under_it"),
    [("before_migrate", "stopping"), ("before_backup", "before_activate")],
)
def test_phase_by_phase(deploy: Deploy, before_the_fence: str, under_it: str) -> None:
    stack = deploy.stack
    stack.command("up", "staging")
    before = stack.content()
    said = deploy.filled(**{before_the_fence: FULL})
    assert deploy.code == 2 and deploy.ended() == "refused", said
    assert (
        "df -h" in said
        and "The API had not been stopped and no migration had begun; the release has ended." in said
        and "rolled back" not in said
    )
    assert deploy.state.lock.holder() is None
    assert stack.content() == before
    # Before anything is committed or after it.
    said = deploy.filled(**{under_it: GREEDY})
    assert deploy.code == 2 and deploy.ended() == "rolled_back", said
    assert "was rolled back and runs previous again" in said
    assert stack.content() == before
    # A release that is live goes on to its end.
    said = deploy.filled(before_activate=FULL, before_finish=GREEDY)
    assert deploy.code == 0 and deploy.ended() == "finished", said
    assert f"the disk of {deploy.state.folder} is full, or was (ENOSPC)" in said
    assert stack.content() != before


def test_the_filler_fills(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        fill(disk)
        with pytest.raises(OSError, match="No space"):
            (disk / "more").write_bytes(b"x" * 4096)
