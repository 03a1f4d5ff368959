"""The account that PostgreSQL runs under: it refuses root, so root steps down to an unprivileged one."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.errors import SandboxError


@dataclass(frozen=True)
class Account:
    """An account by name and numbers. ``None`` in place of one means: the one we run as already."""

    name: str
    uid: int
    gid: int

    @property
    def subprocess_arguments(self) -> dict[str, Any]:
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def server_account() -> Account | None:
    """None when not root; else the account PAP_SANDBOX_USER names, or the first usable one of the usual ones."""
    if os.geteuid() != 0:
        return None
    asked = os.environ.get("PAP_SANDBOX_USER")
    for name in [asked] if asked else ["nobody", "daemon", "games", "mail"]:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        account = Account(name, entry.pw_uid, entry.pw_gid)
        if account.uid != 0 and _can(account, "/bin/sh"):
            return account
    raise SandboxError(
        f"PostgreSQL refuses to run as root, and there is no account {asked or 'nobody'} to run it as. "
        "Set PAP_SANDBOX_USER to an unprivileged account, or run the sandbox as an ordinary user."
    )


def _can(account: Account, path: str | Path) -> bool:
    test = shutil.which("test") or "/usr/bin/test"
    try:
        done = subprocess.run([test, "-x", str(path)], cwd="/", check=False, **account.subprocess_arguments)
    except (PermissionError, OSError):
        return False
    return done.returncode == 0


def reaches(account: Account | None, path: Path) -> bool:
    """Can the account enter or run ``path``, through every folder above it?"""
    return account is None or _can(account, path)
