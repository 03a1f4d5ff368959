"""A process that works on a copy: what it finds around it, how it is pointed at the copy, the files that it gets.

The calls run in the process itself, before it imports anything of the application; what it starts inherits the rest.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

from ..core.errors import Refused
from ..core.url_hosts import Hosts
from . import copy_environment, libpq_files, settings
from .copy_environment import Aim, Surroundings

Emit = Callable[[dict[str, Any]], None]

# Where libpq looks for services when the user's own file does not have them, as distributions build it.
_SYSTEM_SERVICES = (
    "/etc/postgresql-common/pg_service.conf",
    "/etc/pg_service.conf",
    "/etc/sysconfig/pgsql/pg_service.conf",
)
_LONGEST_PATH = 1024


def request_of(aim: Aim) -> dict[str, Any]:
    """An aim as plain data for :func:`changes`."""
    return {**vars(aim), "extra": dict(aim.extra), "hosts": [list(pair) for pair in aim.hosts]}


def changes(request: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """{aim, models, environment, words, folders} → {variables, files, pointed}: see ``copy_environment.of``."""
    given = dict(request["aim"])
    hosts: Hosts = tuple((str(host), int(port) if port else None) for host, port in given.pop("hosts"))
    made = copy_environment.of(surroundings(request), Aim(**given, hosts=hosts))
    return {"variables": made.variables, "files": made.files, "pointed": list(made.pointed)}


def adopt(request: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """{variables} → {}: this process, and all that it starts from now on, has these variables."""
    os.environ.update({str(name): str(value) for name, value in request["variables"].items()})
    return {}


def verify(request: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """{live, models, environment, words, folders} → {problem}: the import of the models leads nothing back to ``live``.

    Raises Refused, naming the variable or the file, if it does: a settings file that is loaded over what is there, a
    configuration file with an address of its own.
    """
    live = str(request["live"])
    handled = {os.path.realpath(path) for path in settings.settings_files(request)}
    seen, problem = settings.import_watched(request["models"])
    for name, value in os.environ.items():
        if copy_environment.leads_to_live(name, value, live):
            by = f" by {seen.set_by[name]}" if seen.set_by.get(name) else ""
            raise Refused(
                f"{name} leads to the live database {live} again once the models are imported: it is set{by}, whatever"
                " the process was given.",
                hint=f"Let a value of {name} that is there already win (load_dotenv without override=True).",
            )
    for path in seen.opened:
        if os.path.realpath(path) in handled or path.name in ("pg_service.conf", "pgpass"):
            continue
        if copy_environment.text_leads_to_live(settings.text_of(path), live):
            raise Refused(
                f"The import of the models reads {path}, which leads to the live database {live}.",
                hint="Let the application take its database from a variable: then it can be pointed at a copy.",
            )
    return {"problem": problem}


def surroundings(request: Mapping[str, Any]) -> Surroundings:
    """What this process, and the application in it, would find."""
    text = settings.text_of
    files = {str(path): text(path) for path in settings.settings_files(request)}
    secrets = {str(path): text(path) for path in settings.listed(settings.SECRETS)}
    named = {name: text(Path(value)) for name, value in os.environ.items() if _is_path(value)}
    for name, default in libpq_files.DEFAULTS.items():
        named[name] = named.get(name) or text(Path(os.environ.get(name) or default).expanduser())
    folder = os.environ.get("PGSYSCONFDIR")
    for path in (f"{folder}/pg_service.conf",) if folder else _SYSTEM_SERVICES:
        named["PGSERVICEFILE"] += text(Path(path))
    return Surroundings(dict(os.environ), files, secrets, {name: value for name, value in named.items() if value})


def _is_path(value: str) -> bool:
    return (
        "/" in value
        and "\n" not in value
        and "://" not in value
        and len(value) < _LONGEST_PATH
        and Path(value).is_file()
    )


CALLS: dict[str, Callable[[dict[str, Any], Emit], dict[str, Any]]] = {
    "environment.copy": changes,
    "environment.adopt": adopt,
    "environment.verify": verify,
}
