"""What a receipt is about: everything that is deployed, by content; and how two of them differ."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.visible import visible
from ..migrations.files import TEMPLATE
from .content import folder_checksum


def subject(
    migrations: Mapping[str, str], *, models_digest: str, version: Mapping[str, Any], server_version: int
) -> dict[str, Any]:
    """What is deployed, by content. ``migrations`` is file name to text (the template, which never runs, is none);
    ``server_version`` is server_version_num."""
    run = sorted((name, text) for name, text in migrations.items() if name != f"{TEMPLATE}.py")
    return {
        "migrations": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in run},
        "models": models_digest,
        "release": {"label": version["label"], "checksum": release_checksum(version)},
        "server_major": server_version // 10000,
    }


def release_checksum(version: Mapping[str, Any]) -> str:
    """What identifies a release wherever it is: the image's digest, or a checksum over the files of its folder."""
    path = version.get("path")
    return "files:" + folder_checksum(Path(path)) if path else str(version["identity"])


def differences(there: Mapping[str, Any], here: Mapping[str, Any], environment: str = "staging") -> list[str]:
    """What keeps the subject of a receipt from being the subject ``here``, each as a sentence."""
    found = _of_migrations(there["migrations"], here["migrations"], environment)
    if there["models"] != here["models"]:
        found.append(f"the models differ: {environment} had {_short(there['models'])}, here {_short(here['models'])}")
    if there["release"]["checksum"] != here["release"]["checksum"]:
        found.append(f"the release differs: {environment} ran {_release(there)}, this would deploy {_release(here)}")
    if there["server_major"] != here["server_major"]:
        found.append(
            f"{environment} runs PostgreSQL {there['server_major']}, here it is PostgreSQL {here['server_major']}"
        )
    return [visible(sentence) for sentence in found]


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


def _release(of: Mapping[str, Any]) -> str:
    return f"{of['release']['label']} ({_short(of['release']['checksum'])})"


def _short(checksum: str) -> str:
    kind, _, value = checksum.rpartition(":")
    return f"{kind}:{value[:12]}" if kind else value[:12]
