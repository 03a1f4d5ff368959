"""A process that works on a copy: what it finds around it, how it is pointed at the copy, the files that it gets.

The calls run in the process itself, before it imports anything of the application; what it starts inherits the rest.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from ..core import calls
from ..core.errors import Refused
from . import copy_environment, libpq_files, settings
from .application import Application
from .copy_environment import Aim, CopyEnvironment, Surroundings

# Where libpq looks for services when the user's own file does not have them, as distributions build it.
_SYSTEM_SERVICES = (
    "/etc/postgresql-common/pg_service.conf",
    "/etc/pg_service.conf",
    "/etc/sysconfig/pgsql/pg_service.conf",
)
_LONGEST_PATH = 1024


@dataclass(frozen=True)
class Aimed(Application):
    """An application to be pointed at a copy."""

    aim: Aim = field(default_factory=lambda: Aim("", ""))


@dataclass(frozen=True)
class Moved(Application):
    """An application that has been pointed at a copy of database ``live``."""

    live: str = ""


@dataclass(frozen=True)
class Adopted:
    """The variables that a process has from now on, and all that it starts."""

    variables: dict[str, str]


@dataclass(frozen=True)
class Imported:
    """Why the models do not import, or nothing."""

    problem: str


def changes(aimed: Aimed) -> CopyEnvironment:
    """See ``copy_environment.of``."""
    return copy_environment.of(surroundings(aimed), aimed.aim)


def adopt(adopted: Adopted) -> Adopted:
    """This process has these variables from now on."""
    os.environ.update(adopted.variables)
    return adopted


def verify(moved: Moved) -> Imported:
    """The import of the models leads nothing back to the live database.

    Raises Refused, naming the variable or the file, if it does: a settings file that is loaded over what is there, a
    configuration file with an address of its own.
    """
    live = moved.live
    handled = {os.path.realpath(path) for path in settings.settings_files(moved)}
    seen, problem = settings.import_watched(moved.models)
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
    return Imported(problem)


def surroundings(application: Application) -> Surroundings:
    """What this process, and the application in it, would find."""
    text = settings.text_of
    files = {str(path): text(path) for path in settings.settings_files(application)}
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


CALLS: dict[str, calls.Call] = {
    "environment.copy": calls.of(Aimed, changes),
    "environment.adopt": calls.of(Adopted, adopt),
    "environment.verify": calls.of(Moved, verify),
}
