"""Where the secrets of a stack stand on its host, so that they can be masked without a copy of them.

Plain data names the places; who masks reads them there: the modules of a deploy, and the watcher that outlives it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..core.errors import PapError
from ..core.redact import Redactor
from ..core.secret_names import secrets_of_url
from .env_file import read_above, read_env_file


def teach(redactor: Redactor, params: Mapping[str, Any]) -> None:
    """Let ``redactor`` know every secret of the stack that the ``stack`` option of the Ansible modules describes."""
    redactor.learn(inventory_secrets(params))
    teach_environments(redactor, places_of(params))


def inventory_secrets(params: Mapping[str, Any]) -> list[str]:
    """The secrets in that option itself, which stand nowhere on the host."""
    found = [params["database"].get("admin_password"), params["smoke"].get("password")]
    for name in ("database_url", "database_direct_url"):
        found += secrets_of_url(params["api"].get(name) or "")
    return [secret for secret in found if secret]


def places_of(params: Mapping[str, Any]) -> dict[str, list[str]]:
    """The places of the environments of that stack: ``{"files": [path], "folders": [path], "containers": [name]}``."""
    api, database = params["api"], params["database"]
    current = f"{api['dir']}/current" if api.get("dir") else ""
    places = {
        "files": [api.get("env_file")],
        "folders": [current, api.get("release_dir")],
        "containers": [*(api.get("container") or []), database.get("container")],
    }
    return {kind: [place for place in found if place] for kind, found in places.items()}


def teach_environments(redactor: Redactor, places: Mapping[str, Any]) -> None:
    """Let ``redactor`` know what is in these places now."""
    for environment in _environments(places):
        redactor.learn_environment(environment)


def _environments(places: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Each that can be read. What cannot is passed over: whoever needs it to work says so."""
    for path in places.get("files", ()):
        with contextlib.suppress(PapError):
            yield read_env_file(Path(path))
    for folder in places.get("folders", ()):
        yield from read_above(Path(folder))
    if places.get("containers"):
        from ..sites.docker.engine import Engine

        for name in places["containers"]:
            with contextlib.suppress(PapError):
                yield Engine().container(name).Config.environment
