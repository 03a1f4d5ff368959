"""Files of a process on a copy, at its site for as long as it runs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

from ..core.errors import PapError, Unavailable
from ..sites.host import Site
from .copy_environment import CopyEnvironment

# Keeps files until its input ends, also when the one that holds the other end is killed. Input: {path: text}, a line.
KEEP_FILES = r"""
import json, os, sys
files = json.loads(sys.stdin.buffer.readline())
for path, text in files.items():
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
sys.stdout.write("kept\\n")
sys.stdout.flush()
sys.stdin.buffer.read()
for path in files:
    os.unlink(path)
os.rmdir(os.path.dirname(path))
"""


@contextlib.contextmanager
def files_kept(site: Site, python: str, made: CopyEnvironment) -> Iterator[None]:
    """The files of ``made`` are at ``site`` while the block runs. Raises Unavailable if they cannot be put there."""
    if not made.files:
        yield
        return
    with site.popen([python, "-c", KEEP_FILES], stdin=True) as process:
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.write(json.dumps(made.files).encode() + b"\n")
            process.stdin.flush()
        if process.stdout.readline() != b"kept\n":
            raise Unavailable(
                f"{min(made.files)} cannot be written on {site.label}: {process.errors().strip()[-300:]}",
                hint="A process on a copy needs it: the original leads to the live database.",
            )
        yield
        process.stdin.close()
        with contextlib.suppress(PapError):
            process.wait(5)
