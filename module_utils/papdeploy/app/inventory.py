"""The stack that the inventory describes, put together from the options of the Ansible modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Optional

from ..core.errors import Refused
from ..core.redact import Redactor
from ..databases.psql import Conninfo, Database
from ..environment import secret_sources
from ..releases.journal import State
from ..releases.server_lock import ServerLock
from ..sites.host import HostSite
from .host_app import Api, HostApi
from .stack import Stack


def from_params(params: Mapping[str, Any], release: str = "", redactor: Optional[Redactor] = None) -> Stack:
    """The stack that the ``stack`` option of the Ansible modules describes; raises Refused for what is missing.

    ``release`` marks the containers that are made for it. ``redactor`` learns the secrets of the stack.
    """
    database = params["database"]
    redactor = redactor or Redactor()
    secret_sources.teach(redactor, params)
    made, api, found = (_in_containers if database.get("container") else _on_host)(params, release)
    redactor.learn([made.conninfo.password])
    smoke = {key: value for key, value in params["smoke"].items() if key != "url" and value is not None}
    state = State(params["state_dir"], redactor, params["who"], stack=params["name"], server=ServerLock(made))
    state.refuse_open()
    registry = state.registry(params["name"], made.conninfo.dbname)
    registry.refuse_other()
    return Stack(
        name=params["name"],
        environment=params["environment"],
        state=state,
        database=replace(made, registry=registry),
        api=api,
        models=tuple(params["api"]["models"]),
        smoke_settings=smoke,
        url=params["smoke"].get("url") or params["api"].get("url") or "",
        url_variable=params["api"].get("url_variable") or "DATABASE_URL",
        database_url=(params["api"].get("database_url") or "").strip(),  # a template may end in a line break
        direct_url=(params["api"].get("database_direct_url") or "").strip(),
        copy_variables={name: str(value) for name, value in (params["api"].get("trial_env") or {}).items()},
        database_logs=tuple(database.get("log_files") or ()),
        found=tuple(found),
        redactor=redactor,
        may_delete=tuple(params["api"].get("may_delete") or ()),
    )


def _on_host(params: Mapping[str, Any], release: str) -> tuple[Database, Api, Sequence[str]]:
    database, api = params["database"], params["api"]
    _require(database, "pap_db_", ("name",))
    _require(api, "pap_api_", ("dir", "python", "start_command", "stop_command", "restart_command"))
    conninfo = Conninfo(
        dbname=database["name"],
        host=database.get("host") or "",
        port=int(database.get("port") or 0),
        user=database.get("admin_user") or "",
        password=database.get("admin_password") or "",
    )
    site = HostSite(tuple(database.get("become") or ()))
    return (
        Database(site, conninfo, database.get("bin_dir") or ""),
        HostApi(
            folder=api["dir"],
            python=api["python"],
            release_dir=api.get("release_dir") or "",
            start_command=tuple(api["start_command"]),
            stop_command=tuple(api["stop_command"]),
            restart_command=tuple(api["restart_command"]),
            env_file=api.get("env_file") or "",
            log_files=tuple(api.get("log_files") or ()),
            trial_command=tuple(api.get("trial_command") or ()),
            release_ignore=tuple(api.get("release_ignore") or ()),
        ),
        (),
    )


def _in_containers(params: Mapping[str, Any], release: str) -> tuple[Database, Api, Sequence[str]]:
    from ..sites.docker.engine import Engine
    from .discovery import database_at, discover
    from .docker_app import DockerApi
    from .docker_compose import Compose

    database, api = params["database"], params["api"]
    names = [name for name in api.get("container") or [] if name]
    _require({"container": names}, "pap_api_", ("container",))
    engine = Engine()
    given = (api.get("database_direct_url") or api.get("database_url") or "").strip()
    found = discover(engine, database["container"], names[0], api.get("url_variable") or "", given)
    compose = Compose(api.get("image_variable") or "PAP_API_IMAGE", api.get("compose_file") or "")
    made = database_at(
        engine,
        database["container"],
        dbname=database.get("name") or found.database.name,
        user=database.get("admin_user") or found.database.admin_user,
        password=database.get("admin_password") or "",
        become=tuple(database.get("become") or ()),
    )
    control = DockerApi(
        engine,
        tuple(names),
        params["state_dir"],
        image="" if api.get("activate") == "restart" else api.get("image") or "",
        release=release,
        python=api.get("python") or "",
        port=int(api.get("port") or 0),
        compose=compose if api.get("activate") == "compose" else None,
        pull_s=float(api.get("pull_s") or 600),
        start_s=float(api.get("start_s") or 60),
        health_s=float(api.get("health_s") or 90),
    )
    return replace(made, bin_dir=database.get("bin_dir") or ""), control, found.lines()


def _require(values: Mapping[str, Any], prefix: str, names: Sequence[str]) -> None:
    missing = [prefix + name for name in names if not values.get(name)]
    if missing:
        raise Refused(
            f"Missing inventory variable: {', '.join(missing)}.",
            hint="Set it, or name the containers of the stack (pap_db_container, pap_api_container).",
        )
