"""Where the secrets of a stack stand on its host, so that they can be masked without a copy of them.

Plain data names the places; who masks reads them there: the modules of a deploy, and the watcher that outlives it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from ..core.errors import PapError
from ..core.records import read_known, recorded
from ..core.redact import Redactor
from ..core.secret_names import secrets_of_requests, secrets_of_url
from .env_file import read_above, read_env_file


@dataclass(frozen=True)
class _Api:
    dir: Optional[str] = None
    release_dir: Optional[str] = None
    env_file: Optional[str] = None
    container: Optional[tuple[str, ...]] = None
    database_url: Optional[str] = field(default=None, repr=False)
    database_direct_url: Optional[str] = field(default=None, repr=False)


@dataclass(frozen=True)
class _Database:
    container: Optional[str] = None
    admin_password: Optional[str] = field(default=None, repr=False)


@dataclass(frozen=True)
class _Smoke:
    password: Optional[str] = field(default=None, repr=False)
    token: Optional[str] = field(default=None, repr=False)
    login_fields: Optional[Mapping[str, object]] = field(default=None, repr=False)
    headers: Optional[Mapping[str, object]] = field(default=None, repr=False)
    endpoints: object = field(default=None, repr=False)

    @property
    def secrets(self) -> list[Optional[str]]:
        """The user's own, and what the values of fields and headers called like one hold."""
        return [
            self.password,
            self.token,
            *secrets_of_requests([self.headers, self.login_fields, self.endpoints]),
        ]


@dataclass(frozen=True)
class _Stack:
    """Of the ``stack`` option of the Ansible modules what is secret, or leads to secrets."""

    api: _Api
    database: _Database
    smoke: _Smoke


@dataclass(frozen=True)
class _Places:
    """Where environments are: files and folders by their paths, containers by their names."""

    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()


def teach(redactor: Redactor, params: object) -> None:
    """Let ``redactor`` know every secret of the stack that the ``stack`` option of the Ansible modules describes."""
    redactor.learn(inventory_secrets(params))
    teach_environments(redactor, places_of(params))


def inventory_secrets(params: object) -> list[str]:
    """The secrets in that option itself, which stand nowhere on the host."""
    stack = read_known(_Stack, params, "stack")
    found = [stack.database.admin_password, *stack.smoke.secrets]
    for url in (stack.api.database_url, stack.api.database_direct_url):
        found += secrets_of_url(url or "")
    return [secret for secret in found if secret]


def places_of(params: object) -> dict[str, Sequence[str]]:
    """The places of the environments of that stack, as plain data."""
    stack = read_known(_Stack, params, "stack")
    api = stack.api
    places = _Places(
        files=_given(api.env_file),
        folders=_given(f"{api.dir}/current" if api.dir else "", api.release_dir),
        containers=_given(*(api.container or ()), stack.database.container),
    )
    return {name: paths for name, paths in vars(places).items() if paths}


def _given(*places: Optional[str]) -> tuple[str, ...]:
    return tuple(place for place in places if place)


def teach_environments(redactor: Redactor, places: Mapping[str, Sequence[str]]) -> None:
    """Let ``redactor`` know what is in these places now."""
    for environment in _environments(recorded(_Places, places)):
        redactor.learn_environment(environment)


def _environments(places: _Places) -> Iterator[dict[str, str]]:
    """Each that can be read. What cannot is passed over: whoever needs it to work says so."""
    for path in places.files:
        with contextlib.suppress(PapError):
            yield read_env_file(Path(path))
    for folder in places.folders:
        yield from read_above(Path(folder))
    if places.containers:
        from ..sites.docker.engine import Engine

        for name in places.containers:
            with contextlib.suppress(PapError):
                yield Engine().container(name).Config.environment
