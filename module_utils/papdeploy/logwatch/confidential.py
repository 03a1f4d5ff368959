"""What a watcher must know and must not find on a disk: secrets to mask, and the webhook with its headers.

The watcher that outlives the deploy gets it over its standard input and keeps it in memory. The steps of a timer
or cron are processes of their own, with no parent to hand them anything: for them alone it is a private file, as long
as they run, with what the deploy had in its environment that decides on what they reach.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..app.api_client import NO_SECRETS, SmokeSecrets
from ..core.durable import write_durably
from ..core.records import as_object, in_file, read_known, recorded
from ..core.redact import Redactor
from ..environment import secret_sources

_FILE = "watch-confidential.json"
# Where programs are, how Docker and the outside world are reached.
_ENVIRONMENT = ("PATH", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY",
                "XDG_RUNTIME_DIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "http_proxy", "https_proxy", "all_proxy",
                "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")  # fmt: skip


@dataclass(frozen=True)
class Alert:
    """A webhook to tell of alarms, and of which ``stack``; without ``url`` there is none."""

    url: str = field(default="", repr=False)
    format: str = ""
    headers: Mapping[str, object] = field(default_factory=dict, repr=False)
    stack: str = ""


NO_ALERT = Alert()


@dataclass(frozen=True)
class _Database:
    admin_password: str = field(default="", repr=False)


@dataclass(frozen=True)
class _Stack:
    """What is needed of the ``stack`` option."""

    name: str = ""
    database: _Database = _Database()
    smoke: SmokeSecrets = NO_SECRETS


@dataclass(frozen=True)
class Confidential:
    """``secrets`` that stand nowhere on this host, ``places`` where the others do (:mod:`secret_sources`), and
    ``alert``, a webhook. ``database_password``: the one of the inventory; in a container it is found where it
    stands. ``smoke``: the settings of the smoke test that may be secret. ``environment``: of the
    deploy, for the steps of a timer."""

    secrets: tuple[str, ...] = field(default=(), repr=False)
    places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    alert: Alert = NO_ALERT
    database_password: str = field(default="", repr=False)
    prometheus_token: str = field(default="", repr=False)
    smoke: SmokeSecrets = NO_SECRETS
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, params: Mapping[str, Any], alert: Mapping[str, Any], token: str = "") -> Confidential:
        """For the stack that the ``stack`` option of the Ansible modules describes."""
        known = recorded(_Stack, params)
        told = recorded(Alert, {**alert, "stack": known.name})  # as every other notification has it
        places = {kind: tuple(names) for kind, names in secret_sources.places_of(params).items()}
        secrets = (*secret_sources.inventory_secrets(params), *filter(None, [token]))
        alarm = told if told.url else NO_ALERT
        return cls(secrets, places, alarm, known.database.admin_password, token, known.smoke)

    def redactor(self) -> Redactor:
        """A redactor that knows the secrets as they are now: an API's environment may change with a restart."""
        made = Redactor(self.secrets)
        secret_sources.teach_environments(made, self.places)
        return made

    def text(self) -> str:
        return json.dumps(as_object(self))


NOTHING = Confidential()


def from_text(text: str) -> Confidential:
    """The inverse of :meth:`Confidential.text`; nothing is nothing."""
    return read_known(Confidential, json.loads(text), _FILE) if text.strip() else NOTHING


def keep(folder: Path, confidential: Confidential) -> None:
    """Put it into a private file, for the steps of a timer."""
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    write_durably(folder / _FILE, replace(confidential, environment=environment).text().encode())


def kept(folder: Path) -> Confidential:
    """What :func:`keep` put there, or nothing."""
    found = in_file(folder / _FILE)
    return NOTHING if found is None else read_known(Confidential, found, _FILE)


def forget(folder: Path) -> None:
    """Remove the file: the watch is over."""
    with contextlib.suppress(FileNotFoundError):
        (folder / _FILE).unlink()
