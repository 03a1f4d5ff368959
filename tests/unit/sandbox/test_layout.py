"""Paths, secrets and ports of the sandbox."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from sandbox import layout
from sandbox.errors import SandboxError
from sandbox.layout import PORTS, Layout, entry, free_port, open_home, port_is_free, write


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_secret_is_made_once_and_is_private(tmp_path: Path) -> None:
    place = Layout(tmp_path, "staging")
    secret = place.secret("password-x")
    assert len(secret) >= 32
    assert place.secret("password-x") == secret
    assert place.secret("password-y") != secret
    assert mode(place.secrets) == 0o700
    assert mode(place.secrets / "password-x") == 0o600


def test_write_says_whether_it_changed_something(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert write(path, "a", 0o600)
    assert not write(path, "a", 0o600)
    assert write(path, "b", 0o600)
    assert path.read_text() == "b"
    assert mode(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_the_folder_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAP_SANDBOX_HOME", raising=False)
    assert entry() == layout.REPOSITORY / ".sandbox"
    monkeypatch.setenv("PAP_SANDBOX_HOME", str(tmp_path / "other"))
    assert entry() == tmp_path / "other"


def test_a_link_to_a_folder_that_is_gone_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.symlink_to(tmp_path / "gone")
    monkeypatch.setenv("PAP_SANDBOX_HOME", str(home))
    assert open_home(None) == home
    assert home.is_dir()
    assert not home.is_symlink()


def test_a_port_in_use_is_not_free() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not port_is_free(listener.getsockname()[1])


def test_a_free_port_is_none_of_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port(set())
    assert port in PORTS
    monkeypatch.setattr(layout, "PORTS", range(port, port + 1))
    with pytest.raises(SandboxError, match="No free port"):
        free_port({port})


def test_one_command_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "LOCK_SECONDS", 0.2)
    with layout.locked(tmp_path), pytest.raises(SandboxError, match="Another sandbox command"), layout.locked(tmp_path):
        pytest.fail("two at once")
    with layout.locked(tmp_path):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root steps down to another account")
def test_an_ordinary_user_needs_no_other_account() -> None:
    from sandbox.account import server_account

    assert server_account() is None
