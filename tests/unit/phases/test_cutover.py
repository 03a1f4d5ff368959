"""Who activates the new release: the module that has migrated, unless a hook of the inventory stands in between."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import pytest
from papdeploy.app.stack import Stack
from papdeploy.core.errors import Refused, TakenOver
from papdeploy.core.processes import boot_id
from papdeploy.phases import activate
from papdeploy.releases.journal import State
from papdeploy.releases.run import Run
from support.deploy_playbook import steps_of_a_deploy
from support.journals import entries

ME = Run(user="me", host=socket.gethostname(), pid=os.getpid(), boot=boot_id())
UNUSED: Any = None  # neither the database nor the API may be asked


@pytest.mark.parametrize(
    ("hooks", "takes_over"),
    [
        ({}, "True"),
        ({"pap_hook_before_migrate": "a.yml", "pap_hook_after_activate": "b.yml"}, "True"),
        ({"pap_hook_after_migrate": "a.yml"}, "False"),
        ({"pap_hook_before_activate": "a.yml"}, "False"),
    ],
)
def test_a_hook_between_migrate_and_activate_is_run_there(hooks: dict[str, str], takes_over: str) -> None:
    variables = next(task["vars"] for task in steps_of_a_deploy() if task["name"].startswith("Migrate"))
    assert jinja2.Environment(autoescape=False).from_string(variables["migrate_take_over"]).render(hooks) == takes_over


def stack(folder: Path) -> Stack:
    return Stack(
        name="s", environment="staging", state=State(folder), database=UNUSED, api=UNUSED, models=(), smoke_settings={}
    )


def test_what_the_migration_has_activated_is_not_activated_again(tmp_path: Path) -> None:
    made = stack(tmp_path / "state")
    journal = made.state.begin(ME, **{"from": {"label": "old"}, "to": {"label": "new"}})
    with journal.checkpoint("activate") as done:
        done.update({"from": {"label": "old"}, "to": {"label": "new"}, "healthy_after_s": 1.25})
    found = activate.run(made, journal.release)
    assert found.changed is False
    assert found.pap.lines == ["old → new, healthy after 1.2 s"]


def test_a_run_whose_controller_is_gone_leaves_the_fence_up(tmp_path: Path) -> None:
    made = stack(tmp_path / "state")
    journal = made.state.begin(replace(ME, pid=2**22 + 1), **{"from": {"label": "old"}, "to": {"label": "new"}})
    with pytest.raises(Refused, match=r"me@.* is gone: nothing more is changed here"):
        activate.run(made, journal.release)
    assert not [entry for entry in entries(journal) if entry["phase"] in ("unfence", "activate")]


def test_a_run_that_was_taken_over_activates_nothing(tmp_path: Path) -> None:
    made = stack(tmp_path / "state")
    journal = made.state.begin(ME, **{"from": {"label": "old"}, "to": {"label": "new"}})
    other = State(made.state.folder).lock.by(Run(user="bob", host="elsewhere", pid=7))
    other.take(journal.release, take_over=True)
    with pytest.raises(TakenOver, match=rf"{journal.release} was taken over by bob@elsewhere \(process 7\)"):
        activate.run(made, journal.release)
    assert not [entry for entry in entries(journal) if entry["phase"] in ("unfence", "activate")]
