"""What a receipt is about: everything that is deployed, by content; and how two of them differ."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..app.content import folder_checksum
from ..core.text import plural
from ..core.visible import visible
from ..migrations.files import TEMPLATE
from ..releases.parts import Runtime
from ..releases.version import Version

_SHOWN = 8


@dataclass(frozen=True)
class ReleaseContent:
    label: str
    checksum: str


@dataclass(frozen=True)
class Subject:
    """What is deployed, by content: the checksum of each migration by file name, of the models and of the release.
    ``runtime``: with what it runs, where that is known."""

    migrations: Mapping[str, str]
    models: str
    release: ReleaseContent
    server_major: int
    runtime: Optional[Runtime] = None


def subject(
    migrations: Mapping[str, str],
    *,
    models_digest: str,
    version: Version,
    server_version: int,
    checksum: str = "",
    runtime: Optional[Runtime] = None,
    ignore: Sequence[str] = (),
) -> Subject:
    """``migrations`` is file name to text (the template, which never runs, is none);
    ``server_version`` is server_version_num. ``checksum`` is that of the release folder where it has been measured;
    else it is made now, without ``ignore``."""
    run = sorted((name, text) for name, text in migrations.items() if name != f"{TEMPLATE}.py")
    files = "files:" + (checksum or folder_checksum(Path(version.path), ignore)) if version.path else version.identity
    checksums = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in run}
    return Subject(checksums, models_digest, ReleaseContent(version.label, files), server_version // 10000, runtime)


def differences(
    there: Subject,
    here: Subject,
    environment: str = "staging",
    may_differ: Sequence[str] = (),
) -> list[str]:
    """What keeps the subject of a receipt from being the subject ``here``, each as a sentence. ``may_differ``: patterns
    of variables that only one of them has to have."""
    found = _of_migrations(there.migrations, here.migrations, environment)
    if there.models != here.models:
        found.append(f"the models differ: {environment} had {_short(there.models)}, here {_short(here.models)}")
    if there.release.checksum != here.release.checksum:
        tested, wanted = _release(there.release), _release(here.release)
        found.append(f"the release differs: {environment} ran {tested}, this would deploy {wanted}")
    if there.server_major != here.server_major:
        found.append(f"{environment} runs PostgreSQL {there.server_major}, here it is PostgreSQL {here.server_major}")
    if here.runtime is not None:  # a pipeline does not know the host that production runs on
        found += runtime_differences(there.runtime, here.runtime, environment, may_differ)
    return [visible(sentence) for sentence in found]


def runtime_differences(
    there: Optional[Runtime], here: Runtime, environment: str, may_differ: Sequence[str] = ()
) -> list[str]:
    """What differs in Python, packages and names of variables, each kind as a clause."""
    if there is None:
        return [f"the receipt does not record with which packages and variables it ran in {environment}"]
    found = []
    if there.python != here.python:
        found.append(f"{environment} ran it with {there.python or 'no Python'}, here it is {here.python}")
    theirs, ours = there.packages, here.packages
    found += _listed(
        "package",
        [
            f"{name} ({environment} had {theirs.get(name, 'none')}, here {ours.get(name, 'none')})"
            for name in sorted({*theirs, *ours})
            if theirs.get(name) != ours.get(name)
        ],
    )

    def alone(one: Runtime, other: Runtime) -> list[str]:
        names = sorted({*one.variables} - {*other.variables})
        return [name for name in names if not any(fnmatch.fnmatchcase(name, each) for each in may_differ)]

    found += _listed(f"variable set in {environment} and not here", alone(there, here))
    return found + _listed(f"variable set here and not in {environment}", alone(here, there))


def _listed(what: str, items: Sequence[str]) -> list[str]:
    more = f" and {plural(len(items) - _SHOWN, 'more', 'more')}" if len(items) > _SHOWN else ""
    return [f"{what}: {', '.join(items[:_SHOWN])}{more}"] if items else []


def _of_migrations(tested: Mapping[str, str], wanted: Mapping[str, str], environment: str) -> list[str]:
    return [
        *(f"migration {name} was never run in {environment}" for name in wanted if name not in tested),
        *(f"migration {name} was run in {environment} and is missing here" for name in tested if name not in wanted),
        *(
            f"migration {name} was edited: {environment} ran {_short(tested[name])}, here it is {_short(wanted[name])}"
            for name in wanted
            if name in tested and tested[name] != wanted[name]
        ),
    ]


def _release(of: ReleaseContent) -> str:
    return f"{of.label} ({_short(of.checksum)})"


def _short(checksum: str) -> str:
    kind, _, value = checksum.rpartition(":")
    return f"{kind}:{value[:12]}" if kind else value[:12]
