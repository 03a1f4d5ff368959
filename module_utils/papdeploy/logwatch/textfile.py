"""Figures in the format that Prometheus reads, in a file for the textfile collector of node_exporter.

The file is readable by everybody, as node_exporter has a user of its own: no secret goes into it.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

_MODE = 0o644


@dataclass(frozen=True)
class Family:
    """What a metric is: its ``kind`` (gauge, counter) and what it tells."""

    name: str
    kind: str
    help: str


@dataclass(frozen=True)
class Sample:
    """One value that was measured."""

    family: Family
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """The folder that the collector reads, and whose figures go there; no folder, no figures."""

    folder: str = ""
    stack: str = ""
    environment: str = ""


NOWHERE = Target()


def exposition(samples: Iterable[Sample], labels: Mapping[str, str]) -> str:
    """The text of ``samples``, those of a family together; each has ``labels`` besides its own."""
    families: dict[Family, list[Sample]] = {}
    for sample in samples:
        families.setdefault(sample.family, []).append(sample)
    lines: list[str] = []
    for family, found in families.items():
        lines += [f"# HELP {family.name} {_help(family.help)}", f"# TYPE {family.name} {family.kind}"]
        lines += [_line(sample, {**labels, **sample.labels}) for sample in found]
    return "".join(f"{line}\n" for line in lines)


def _line(sample: Sample, labels: Mapping[str, str]) -> str:
    shown = ",".join(f'{name}="{_label(value)}"' for name, value in labels.items())
    return f"{sample.family.name}{{{shown}}} {_number(sample.value)}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(round(value, 3))


def _help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _label(text: str) -> str:
    """Prometheus takes any UTF-8; it knows no other escapes than these."""
    whole = text.encode("utf-8", "replace").decode()
    return whole.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def file_name(stack: str, environment: str) -> str:
    """A name of its own for each stack: what acts in a file name is escaped, and ``@`` is in neither part."""
    return f"pap_{quote(stack, safe='')}@{quote(environment, safe='')}.prom"


def write(folder: Path, name: str, text: str) -> None:
    """Put the file into ``folder``, which must exist: a reader finds the one before or this one, whole. It is made
    under a name that the collector does not read, and that nobody else can have put there. Raises OSError."""
    descriptor, fresh = tempfile.mkstemp(prefix=".pap-", suffix=".new", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            os.fchmod(file.fileno(), _MODE)
        Path(fresh).replace(folder / name)
    except OSError:
        with contextlib.suppress(OSError):
            Path(fresh).unlink()
        raise
