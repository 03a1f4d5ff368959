"""A folder that this user has no right to is told with the user, the folder and what gives the right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from papdeploy.core.errors import Refused
from papdeploy.core.private import refuse_without_right


def asked(path: Path) -> str:
    """What another user than root is told; root has every right."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        told = ""
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            refuse_without_right(path)
        except BaseException as error:  # noqa: BLE001
            told = f"{error} | {getattr(error, 'hint', '')}"
        os.write(writing, told.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as answer:
        return answer.read()


def test_it_passes_where_the_folder_can_be_written_or_made(tmp_path: Path) -> None:
    refuse_without_right(tmp_path)
    refuse_without_right(tmp_path / "not" / "there" / "yet")
    assert asked(Path("/tmp")) == asked(Path("/tmp/pap-deploy-not-there/state")) == ""


@pytest.mark.parametrize("place", ["/etc", "/etc/pap-deploy/state", "/root/.ssh/pap", "/proc/pap-deploy"])
def test_it_is_refused_with_the_user_and_the_next_step(place: str) -> None:
    told = asked(Path(place))
    assert told.startswith("User ") and "has no right to " in told and place in told
    assert "sudo install -d -m 0700 -o " in told and "ansible_become" in told
    assert ("write in" in told) is (place == "/etc")


def test_a_folder_below_a_file_is_told_like_one_without_right(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "file").chmod(0o600)
    with pytest.raises(Refused, match="no right to create"):
        refuse_without_right(tmp_path / "file" / "state")
