"""What is installed beside the application: its Python, and every package with its version. Runs with that Python."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from importlib import metadata

from ..core import calls

# The installer that a virtual environment comes with; no application runs it.
_NOT_RUN = ("pip", "wheel")


@dataclass(frozen=True)
class Asked:
    """Nothing has to be known to answer."""


@dataclass(frozen=True)
class Installed:
    """Implementation and minor version of Python; the version of each package."""

    python: str
    packages: dict[str, str]


def installed(asked: Asked) -> Installed:
    """What is there. Nothing is imported."""
    packages: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", str(distribution.metadata["Name"] or "")).lower()  # PEP 503
        if name and name not in _NOT_RUN:
            packages.setdefault(name, str(distribution.version))  # the first on the path is what an import finds
    major, minor, _ = platform.python_version_tuple()
    return Installed(f"{platform.python_implementation()} {major}.{minor}", packages)


CALLS: dict[str, calls.Call] = {"environment.installed": calls.of(Asked, installed)}
