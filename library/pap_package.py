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
  - This unpacks it once, compiled, in C(~/.cache/pap-deploy) of the user that the modules run as.
  - Nothing is installed. The last three versions are kept, and every one that was used within two days.
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
options:
  digest:
    description: Digest of the package's content.
    type: str
    required: true
  archive:
    description: The package as a zip in Base64.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Send the package
  pap_package:
    digest: "{{ lookup('pap_package').digest }}"
    archive: "{{ lookup('pap_package').archive }}"
"""

RETURN = r"""
ansible_facts:
  description: C(pap_code) is the folder to import C(papdeploy) from.
  returned: success
  type: dict
"""

import base64
import compileall
import contextlib
import io
import os
import re
import shutil
import tempfile
import time
import zipfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

KEEP = 3
# A digest, or one that a killed run was unpacking. Whatever else somebody put here is not ours to remove.
_OURS = re.compile(r"[0-9a-f]{16}|\.new-[a-z0-9_]{8}")
IN_USE_SECONDS = 48 * 3600  # another deploy on this host, or the watch that goes on after one, may still read its own


def unpack(home: Path, digest: str, archive: str) -> Path:
    """The folder of the unpacked package; made under another name and renamed, so that it is whole or not there."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.chmod(0o700)
    place = home / digest
    if not place.is_dir():
        fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=home))
        with zipfile.ZipFile(io.BytesIO(base64.b64decode(archive))) as package:
            package.extractall(fresh)
        compileall.compile_dir(str(fresh), quiet=2, stripdir=str(fresh), prependdir=str(place))
        with contextlib.suppress(OSError):  # another run was faster: the content is the same
            fresh.rename(place)
        shutil.rmtree(fresh, ignore_errors=True)
    os.utime(place)
    used = {path: _last_used(path) for path in home.iterdir() if _OURS.fullmatch(path.name) and _is_folder(path)}
    for old in sorted(used, key=lambda path: -used[path])[KEEP:]:
        if time.time() - used[old] > IN_USE_SECONDS:
            shutil.rmtree(old, ignore_errors=True)
    return place


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another run's, which has just got its name
        return time.time()


def main() -> None:
    module = AnsibleModule(
        {"digest": {"type": "str", "required": True}, "archive": {"type": "str", "required": True}},
        supports_check_mode=True,
    )
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pap-deploy"
    place = unpack(home, module.params["digest"], module.params["archive"])
    module.exit_json(changed=False, ansible_facts={"pap_code": str(place)})


if __name__ == "__main__":
    main()
