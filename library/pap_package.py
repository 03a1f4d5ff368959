#!/usr/bin/python
# Copyright: pap-deploy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Unpack this project's Python package on a target host, for the other modules to import."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pap_package
short_description: Unpack this project's Python package on the target host
version_added: "0.1.0"
author:
  - pap-deploy authors (@pap-deploy)
description:
  - Ansible would scan, pack and send the package again for every module, and Python would compile it for every task.
  - This unpacks it once, compiled, in C(~/.cache/pap-deploy) of the user that the modules run as, or in O(otherwise).
  - Nothing is installed. The last three versions are kept, and every one that was used within two days.
  - What others could change is not run. A folder that is a link, another user's, or open to writers is refused, and so
    is one below such a folder; code that is not what was sent is unpacked again, with a warning.
attributes:
  check_mode:
    support: full
    description: The package is unpacked in check mode too, because the other modules need it to look.
  diff_mode:
    support: none
    description: There is nothing to show.
  platform:
    support: full
    platforms: posix
    description: Needs Python 3.9 on the target host.
notes:
  - Needs no package of Python beside the standard library.
seealso:
  - module: pap.deploy.pap_preflight
    description: The first module of a deploy that needs the package.
options:
  digest:
    description: Digest of the package's content.
    type: str
    required: true
  archive:
    description: The package as a zip in Base64.
    type: str
    required: true
  otherwise:
    description: Folder to unpack to where that user has no home that can be written to.
    type: path
    default: ""
"""

EXAMPLES = r"""
- name: Send the package
  pap.deploy.pap_package:
    digest: "{{ lookup('pap.deploy.pap_package').digest }}"
    archive: "{{ lookup('pap.deploy.pap_package').archive }}"
"""

RETURN = r"""
code:
  description: The folder to import C(papdeploy) from.
  returned: success
  type: str
  sample: /home/deploy/.cache/pap-deploy/0123456789abcdef
python:
  description: The version of the Python that the modules run with, which the action plugin holds against the oldest.
  returned: success
  type: str
  sample: Python 3.11.2
"""

import base64
import compileall
import contextlib
import grp
import hashlib
import io
import json
import os
import platform
import pwd
import re
import shutil
import stat
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Callable

from ansible.module_utils.basic import AnsibleModule

KEEP = 3
# A digest, or one that a killed run was unpacking. Whatever else is here is not ours to remove.
_OURS = re.compile(r"[0-9a-f]{16}|\.new-[a-z0-9_]{8}")
IN_USE_SECONDS = 48 * 3600  # another deploy on this host, or the watch that goes on after one, may still read its own
_COMPILED = "compiled.json"  # SHA-256 of each file that was compiled here


class Unsafe(Exception):
    """Another user could change what is unpacked there."""


def unpack(home: Path, digest: str, archive: str, warn: Callable[[str], object] = lambda _: None) -> Path:
    """The folder of the unpacked package, as it was sent; made under another name and renamed, so that it is whole or
    not there. Raises Unsafe if another user could change it."""
    secure(home)
    content = _content(archive)
    place = home / digest
    if os.path.lexists(place) and not _as_sent(place, content):
        warn(f"The code in {place} was not what had been sent there. It was unpacked again; find out who changed it.")
        _remove(place)
    if not place.is_dir():
        fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=home))
        _write(fresh, content, place)
        with contextlib.suppress(OSError):  # another run was faster: the content is the same
            fresh.rename(place)
        shutil.rmtree(fresh, ignore_errors=True)
    os.utime(place)
    used = {path: _last_used(path) for path in home.iterdir() if _OURS.fullmatch(path.name) and _is_folder(path)}
    for old in sorted(used, key=lambda path: -used[path])[KEEP:]:
        if time.time() - used[old] > IN_USE_SECONDS:
            shutil.rmtree(old, ignore_errors=True)
    return place


def secure(home: Path) -> None:
    """Make ``home`` a folder of this user alone. One of ours that others could only read is closed; raises Unsafe for
    one that others can write to, or put another in its place."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    above = [*reversed(home.absolute().parents), *reversed(home.resolve().parents)]
    for folder in dict.fromkeys(above):
        problem = _exchangeable(folder.lstat())
        if problem:
            raise Unsafe(f"{folder} {problem}, so another user could put another {home.name} into it.")
    found = home.lstat()
    if not _is_private(found, stat.S_ISDIR):
        raise Unsafe(f"{home} is not a folder that belongs to this user (id {os.geteuid()}) and only it can write to.")
    home.chmod(0o700)


def _exchangeable(found: os.stat_result) -> str:
    """Why others than this user and root can rename what is in that folder or lead that link elsewhere, as a clause."""
    if found.st_uid not in (0, os.geteuid()):
        return f"belongs to user id {found.st_uid}"
    writers = found.st_mode & (0o002 if found.st_gid == _own_group() else 0o022)
    if writers and not stat.S_ISLNK(found.st_mode) and not found.st_mode & stat.S_ISVTX:
        return f"has mode {stat.S_IMODE(found.st_mode):04o}"
    return ""


def _own_group() -> int:
    """The group that has the name of this user and no other member, as many distributions make one; or -1."""
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(os.geteuid())
        group = grp.getgrgid(user.pw_gid)
        if group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}:
            return group.gr_gid
    return -1


def _content(archive: str) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(archive))) as package:
        return {name: package.read(name) for name in package.namelist()}


def _write(fresh: Path, content: dict[str, bytes], place: Path) -> None:
    """Unpack into ``fresh``, compile for ``place``, and note what was compiled."""
    for name, data in content.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    compileall.compile_dir(str(fresh), quiet=2, stripdir=str(fresh), prependdir=str(place))
    made = {str(path.relative_to(fresh)): _sha256(path) for path in fresh.rglob("*.pyc")}
    (fresh / _COMPILED).write_text(json.dumps(made))


def _as_sent(place: Path, content: dict[str, bytes]) -> bool:
    """Whether ``place`` holds the files of the package and what was compiled of them, all of it this user's, and no
    other's to write. What another Python compiled there meanwhile is removed."""
    try:
        if not _is_private(place.lstat(), stat.S_ISDIR):
            return False
        compiled = json.loads((place / _COMPILED).read_bytes())
        left = {*content, *compiled}
        for folder, folders, names in os.walk(place):
            if not all(_is_private((Path(folder) / name).lstat(), stat.S_ISDIR) for name in folders):
                return False
            for path in (Path(folder) / name for name in names):
                name = str(path.relative_to(place))
                if not _is_private(path.lstat(), stat.S_ISREG):
                    return False
                if name in content:
                    sound = path.read_bytes() == content[name]
                elif name in compiled:
                    sound = _sha256(path) == compiled[name]
                else:
                    sound = name == _COMPILED or path.suffix == ".pyc"
                    if path.suffix == ".pyc":
                        path.unlink()
                if not sound:
                    return False
                left.discard(name)
        return not left
    except (OSError, ValueError, TypeError):
        return False


def _is_private(status: os.stat_result, kind: Callable[[int], bool]) -> bool:
    return kind(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _remove(place: Path) -> None:
    if _is_folder(place):
        away = Path(tempfile.mkdtemp(prefix=".new-", dir=place.parent))
        place.rename(away / place.name)
        shutil.rmtree(away)
    else:
        place.unlink()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another run's, which has just got its name
        return time.time()


def homes(otherwise: str) -> list[Path]:
    """Where to unpack: to the first of these that can be written to."""
    found = [Path(otherwise)] if otherwise else []
    with contextlib.suppress(RuntimeError):  # a user of a number that no passwd knows has none
        found.insert(0, Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pap-deploy")
    return found


def main() -> None:
    module = AnsibleModule(
        {
            "digest": {"type": "str", "required": True},
            "archive": {"type": "str", "required": True},
            "otherwise": {"type": "path", "default": ""},
        },
        supports_check_mode=True,
    )
    given = module.params
    os.umask(0o077)
    failed = []
    for home in homes(given["otherwise"]):
        try:
            place = unpack(home, given["digest"], given["archive"], module.warn)
            module.exit_json(changed=False, code=str(place), python=f"Python {platform.python_version()}")
        except Unsafe as error:
            module.fail_json(
                msg=f"{error} Give the user that the modules run as a HOME (or XDG_CACHE_HOME) of its own."
            )
        except OSError as error:
            failed.append(f"to {home} ({error.strerror})")
    where = " or ".join(failed) or "anywhere (the user that the modules run as has no home)"
    module.fail_json(msg=f"The code cannot be unpacked {where}. Free some room there, or set HOME or pap_state_dir.")


if __name__ == "__main__":
    main()
