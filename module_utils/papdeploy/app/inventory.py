"""The stack that the inventory describes, put together from the options of the Ansible modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Optional

from ..core.errors import Refused
from ..core.records import read_known
from ..core.redact import Redactor
from ..databases.psql import Conninfo, Database
from ..environment import secret_sources
from ..releases.journal import State
from ..releases.run import Run
from ..releases.server_lock import ServerLock
from ..sites.host import HostSite
from . import login
from .api_client import SmokeConfig, refuse_unsound
from .host_app import Api, HostApi
from .options import StackOptions
from .stack import Stack

# What a phase uses of a stack beside its database, so that it can be played by itself; all others use everything.
MODELS, API, CONTROL, LOGIN = "models", "api", "control", "login"
USES: Mapping[str, Sequence[str]] = {"backup": (), "validate": (MODELS, API), "status": (MODELS, API)}


def from_params(params: object, release: str = "", redactor: Optional[Redactor] = None, *, phase: str = "") -> Stack:
    """The stack that the ``stack`` option of the Ansible modules describes; raises Refused for what is missing, if
    ``phase`` uses it.

    ``release`` marks the containers that are made for it. ``redactor`` learns the secrets of the stack.
    """
    redactor = redactor or Redactor()
    secret_sources.teach(redactor, params)
    options = read_known(StackOptions, params, "stack")
    smoke = {name: value for name, value in options.smoke.items() if value is not None}
    smoke_url = smoke.pop("url", "")
    asked = SmokeConfig("", **{"username": "", "password": "", **smoke})
    _refuse_missing(options, asked, USES.get(phase, (MODELS, API, CONTROL, LOGIN)))
    refuse_unsound(asked)
    made, api, found = _in_containers(options, release) if options.database.container else _on_host(options)
    redactor.learn([made.conninfo.password])
    state = State(
        options.state_dir,
        redactor,
        Run.of(options.who) if options.who else None,
        stack=options.name,
        server=ServerLock(made),
    )
    state.refuse_open()
    registry = state.registry(options.name, made.conninfo.dbname)
    registry.refuse_other()
    return Stack(
        name=options.name,
        environment=options.environment,
        state=state,
        database=replace(made, registry=registry),
        api=api,
        models=options.api.models,
        smoke_settings=smoke,
        url=smoke_url or options.api.url,
        url_variable=options.api.url_variable or "DATABASE_URL",
        database_url=options.api.database_url.strip(),  # a template may end in a line break
        direct_url=options.api.database_direct_url.strip(),
        copy_variables={name: str(value) for name, value in options.api.trial_env.items()},
        database_logs=options.database.log_files,
        found=tuple(found),
        redactor=redactor,
        may_delete=options.api.may_delete,
        metrics_folder=options.metrics_textfile_dir,
    )


def _on_host(options: StackOptions) -> tuple[Database, Api, Sequence[str]]:
    database, api = options.database, options.api
    conninfo = Conninfo(
        dbname=database.name,
        host=database.host,
        port=database.port,
        user=database.admin_user,
        password=database.admin_password,
    )
    return (
        Database(HostSite(database.become), conninfo, database.bin_dir),
        HostApi(
            folder=api.dir,
            python=api.python,
            release_dir=api.release_dir,
            start_command=api.start_command,
            stop_command=api.stop_command,
            restart_command=api.restart_command,
            env_file=api.env_file,
            log_files=api.log_files,
            trial_command=api.trial_command,
            release_ignore=api.release_ignore,
        ),
        (),
    )


def _in_containers(options: StackOptions, release: str) -> tuple[Database, Api, Sequence[str]]:
    from ..sites.docker.engine import Engine
    from .discovery import database_at, discover, superuser
    from .docker_app import DockerApi
    from .docker_compose import Compose

    database, api = options.database, options.api
    engine = Engine()
    found = None
    if api.containers:
        given = (api.database_direct_url or api.database_url).strip()
        found = discover(engine, database.container, api.containers[0], api.url_variable, given)
    made = database_at(
        engine,
        database.container,
        dbname=database.name or (found.database.name if found else ""),
        user=database.admin_user or superuser(engine, database.container),
        password=database.admin_password,
        become=database.become,
    )
    compose = Compose(api.image_variable or "PAP_API_IMAGE", api.compose_file)
    control = DockerApi(
        engine,
        api.containers,
        options.state_dir,
        image="" if api.activate == "restart" else api.image,
        release=release,
        python=api.python,
        port=api.port,
        compose=compose if api.activate == "compose" else None,
        pull_s=api.pull_s or 600,
        start_s=api.start_s or 60,
        health_s=api.health_s or 90,
    )
    return replace(made, bin_dir=database.bin_dir), control, found.lines() if found else ()


def _refuse_missing(options: StackOptions, asked: SmokeConfig, uses: Sequence[str]) -> None:
    """Raise Refused for what has no value although it is used, by the names of the inventory's variables."""
    database, api = options.database, options.api
    needed: dict[str, object] = {}
    if not database.container or not api.containers:
        needed["pap_db_name"] = database.name
    if API in uses and database.container:
        needed["pap_api_container"] = api.containers
    elif API in uses:
        needed |= {"pap_api_dir": api.dir, "pap_api_python": api.python}
    if CONTROL in uses and not database.container:
        needed["pap_api_start_command"] = api.start_command
        needed["pap_api_stop_command"] = api.stop_command
        needed["pap_api_restart_command"] = api.restart_command
    if MODELS in uses:
        needed["pap_models"] = api.models
    if LOGIN in uses:
        needed |= login.needed(asked)
    missing = [name for name, value in needed.items() if not value]
    if missing:
        raise Refused(
            f"Missing in the inventory: {', '.join(missing)}.",
            hint="Set what is missing (in the option stack of a task of your own: the part of that name, as"
            " database.name for pap_db_name), or name the containers of the stack (pap_db_container,"
            " pap_api_container).",
        )
