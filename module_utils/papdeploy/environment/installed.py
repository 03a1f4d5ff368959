"""What is installed beside the application: its Python, and every package with its version. Runs with that Python."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from importlib import metadata
from typing import Any, Callable

# The installer that a virtual environment comes with; no application runs it.
_NOT_RUN = ("pip", "wheel")


def installed(request: Mapping[str, Any], emit: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """{} → {python, packages}: implementation and minor version, and name to version. Nothing is imported."""
    packages: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", str(distribution.metadata["Name"] or "")).lower()  # PEP 503
        if name and name not in _NOT_RUN:
            packages.setdefault(name, str(distribution.version))  # the first on the path is what an import finds
    major, minor, _ = platform.python_version_tuple()
    return {"python": f"{platform.python_implementation()} {major}.{minor}", "packages": packages}


CALLS: dict[str, Callable[[dict[str, Any], Callable[[dict[str, Any]], None]], dict[str, Any]]] = {
    "environment.installed": installed,
}
