"""Which database the application's own program would use on a copy, before it is started there.

An environment that leads to the copy does not reach what a program loads over it (``load_dotenv(override=True)``), nor
what its source or its start script says. So the program of a trial is first run as far as serving, with that
environment, where it reaches nothing (``started``); then its variables and the engines that it has made are read.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Optional

from ..core import calls, database_url
from ..core.errors import Refused
from ..core.url_hosts import Hosts
from . import copy_environment, start_command, started
from .application import Application


@dataclass(frozen=True)
class Trial(Application):
    """With ``variables``, would its program find database ``live``, whose server is known by ``servers``?"""

    variables: dict[str, str] = field(default_factory=dict)
    live: str = ""
    servers: Hosts = ()


@dataclass(frozen=True)
class Leads:
    """What would lead the program there, as clauses."""

    leads: tuple[str, ...]


def reached(trial: Trial) -> Leads:
    """What would lead the program to the live database."""
    os.environ.update(trial.variables)
    leads: dict[str, None] = {}
    for program in started.chosen(started.read_commands(trial).programs):
        answer, _ = started.confined(Leads, partial(_leads, trial, program), trial, program)
        leads.update(dict.fromkeys(answer.leads if answer else ()))
    return Leads(tuple(leads))


def _leads(trial: Trial, program: start_command.Program) -> Leads:
    seen, _ = started.until_served(trial, program)
    leads = [
        f"{name} leads there, whatever it was before: it is set by {seen.set_by.get(name) or 'the start command'}"
        for name, value in os.environ.items()
        if copy_environment.leads_to_live(name, value, trial.live)
    ]
    leads += [f"it makes an engine for {label}" for label in _engines(trial.live, trial.servers)]
    return Leads(tuple(leads))


def _engines(live: str, servers: Hosts) -> Iterator[str]:
    """The engines of SQLAlchemy and pools of psycopg in this process that lead to the database."""
    kinds = [("sqlalchemy.engine.base", "Engine"), ("psycopg_pool.base", "BasePool")]
    found = [getattr(sys.modules[module], name, None) for module, name in kinds if module in sys.modules]
    known = {_place(host, port) for host, port in servers}
    classes = tuple(each for each in found if isinstance(each, type))
    for item in gc.get_objects() if classes else []:
        if issubclass(type(item), classes):  # a proxy of what is not there raises where it is asked for its class
            try:
                url = _url_of(item)
            except (Refused, AttributeError):
                continue
            if (
                url is not None
                and (url.dbname or url.user) == live
                and known.intersection(_place(host, port) for host, port in url.hosts or (("", None),))
            ):
                yield url.label


def _place(host: str, port: Optional[int]) -> tuple[str, int]:
    """One spelling for the ways to this host: a default in a source may name the database on another server."""
    local = host in ("", "localhost", "::1") or host.startswith(("/", "127."))
    return "" if local else host, port or 5432


def _url_of(item: Any) -> database_url.DatabaseUrl | None:
    if hasattr(item, "dialect"):
        return database_url.of_sqlalchemy(item.url) if item.dialect.name == "postgresql" else None
    return database_url.find(item.conninfo)


CALLS: dict[str, calls.Call] = {"environment.reached": calls.of(Trial, reached)}
