"""Which database the application's own program would use on a copy, before it is started there.

An environment that leads to the copy does not reach what a program loads over it (``load_dotenv(override=True)``), nor
what its source or its start script says. So the program of a trial is first run as far as serving, with that
environment, where it reaches nothing (``started``); then its variables and the engines that it has made are read.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Callable

from ..core import database_url
from ..core.errors import Refused
from . import copy_environment, start_command, started

Emit = Callable[[dict[str, Any]], None]


def reached(request: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """{variables, live, servers, models, commands, …} → {leads: [text]}: what would lead the program to database
    ``live``, whose server is known by ``servers`` ([host, port])."""
    os.environ.update({str(name): str(value) for name, value in request["variables"].items()})
    live = str(request["live"])
    leads: dict[str, None] = {}
    for program in started.chosen(started.read_commands(request, ("commands",)).programs):
        answer = started.confined(partial(_leads, request, program, live), request, program)
        leads.update(dict.fromkeys(answer.get("leads", [])))
    return {"leads": list(leads)}


def _leads(request: Mapping[str, Any], program: start_command.Program, live: str) -> dict[str, Any]:
    seen, _ = started.until_served(request, program)
    leads = [
        f"{name} leads there, whatever it was before: it is set by {seen.set_by.get(name) or 'the start command'}"
        for name, value in os.environ.items()
        if copy_environment.leads_to_live(name, value, live)
    ]
    leads += [f"it makes an engine for {label}" for label in _engines(live, request["servers"])]
    return {"leads": leads}


def _engines(live: str, servers: Sequence[Sequence[Any]]) -> Iterator[str]:
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


def _place(host: str, port: Any) -> tuple[str, int]:
    """One spelling for the ways to this host: a default in a source may name the database on another server."""
    local = host in ("", "localhost", "::1") or host.startswith(("/", "127."))
    return "" if local else host, int(port or 5432)


def _url_of(item: Any) -> database_url.DatabaseUrl | None:
    if hasattr(item, "dialect"):
        return database_url.of_sqlalchemy(item.url) if item.dialect.name == "postgresql" else None
    return database_url.find(item.conninfo)


CALLS: dict[str, Callable[[dict[str, Any], Emit], dict[str, Any]]] = {"environment.reached": reached}
