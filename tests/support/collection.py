"""The collection, built from this project and installed into a folder that has nothing else of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from support import ROOT

BIN = Path(sys.executable).parent


def install(folder: Path) -> None:
    subprocess.run([sys.executable, ROOT / "tools" / "build_collection.py", folder], check=True, timeout=120)
    (archive,) = folder.glob("pap-deploy-*.tar.gz")
    run(folder, "ansible-galaxy", "collection", "install", "--offline", "-p", str(folder / "collections"), str(archive))


def run(
    folder: Path, program: str, *words: str, code: int = 0, callback: str = "", path: str = "", **variables: str
) -> str:
    """What a program of Ansible says in ``folder``; ``path`` stands before the PATH, ``variables`` are of its environment."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
        "ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"), "NO_COLOR": "1", "ANSIBLE_HOME": str(folder / "home"),
        **({"ANSIBLE_STDOUT_CALLBACK": callback} if callback else {}),
        **({"PATH": f"{path}:{os.environ['PATH']}"} if path else {}), **variables,
    }  # fmt: skip
    done = subprocess.run(
        [BIN / program, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def plays_of(page: Path) -> dict[str, str]:
    """The playbooks that a page shows, by the name in their first line."""
    blocks = re.findall(r"```yaml\n# ([\w.]+\.yml)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return dict(blocks)
