"""A launcher is a value: it means the same in the process that keeps the lock, which gets it by pickle."""

from __future__ import annotations

import pickle

import pytest
from papdeploy.sites.docker.launcher import LAUNCHERS, Launcher


@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda launcher: launcher.program)
def test_a_launcher_that_was_pickled_starts_and_ends_programs_in_the_same_way(launcher: Launcher) -> None:
    other = pickle.loads(pickle.dumps(launcher))
    assert other.argv(["psql"], True) == launcher.argv(["psql"], True)
    assert other.ending(7) == launcher.ending(7)
    assert other.idling() == launcher.idling()
