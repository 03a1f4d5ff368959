"""One stack: an API with its database, put together from what the inventory says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from .agent import Agent
from .api import Api, HostApi
from .errors import Refused
from .journal import State
from .postgres import Conninfo, Database, url_with_database
from .sites import HostSite
from .smoke import SmokeConfig

Emit = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Stack:
    """Everything that the phases need to know of one stack."""

    name: str
    environment: str
    state: State
    database: Database
    api: Api
    models: Sequence[str]
    smoke: SmokeConfig
    url_variable: str = "DATABASE_URL"
    database_logs: Sequence[str] = ()
    secrets: Sequence[str] = field(default=(), repr=False)

    @property
    def label(self) -> str:
        return f"{self.name} ({self.environment})"

    @contextlib.contextmanager
    def beside_models(self, version: Mapping[str, Any]) -> Iterator[Beside]:
        """A place where the models of ``version`` can be imported, connected as the API connects."""
        with self.api.runtime(version) as runtime:
            url = runtime.env.get(self.url_variable, "")
            if not url:
                raise Refused(
                    f"{self.url_variable} is not set in the environment of the API ({version['label']}).",
                    hint="Set pap_database_url_variable to the variable that holds the database URL.",
                )
            agent = Agent(runtime.site, runtime.python, cwd=runtime.cwd, env=runtime.env, secrets=self.secrets)
            with agent:
                yield Beside(agent, url)


@dataclass(frozen=True)
class Beside:
    """An agent beside the models of one release, with the URL by which its API reaches the database."""

    agent: Agent
    url: str = field(repr=False)

    def call(
        self,
        name: str,
        request: Mapping[str, Any],
        *,
        deadline_s: float = 600.0,
        on_event: Optional[Emit] = None,
        dbname: Optional[str] = None,
    ) -> dict[str, Any]:
        """One call of the agent there, with the API's own URL (or another database of that server)."""
        url = url_with_database(self.url, dbname) if dbname else self.url
        return self.agent.call(name, {"url": url, **request}, deadline_s=deadline_s, on_event=on_event)


def from_params(params: Mapping[str, Any]) -> Stack:
    """The stack that the ``stack`` option of the Ansible modules describes; raises Refused for what is missing."""
    database_params, api_params, smoke_params = params["database"], params["api"], params["smoke"]
    database = _database(database_params)
    api, base_url = _api(params, api_params)
    smoke = SmokeConfig(
        base_url=smoke_params.get("url") or base_url,
        username=smoke_params["username"],
        password=smoke_params["password"],
        **{
            key: smoke_params[key]
            for key in (
                "health_path",
                "login_path",
                "me_path",
                "username_field",
                "password_field",
                "token_field",
                "endpoints",
                "health_deadline_s",
            )
            if smoke_params.get(key) is not None
        },
    )
    return Stack(
        name=params["name"],
        environment=params["environment"],
        state=State(params["state_dir"]),
        database=database,
        api=api,
        models=tuple(api_params["models"]),
        smoke=smoke,
        url_variable=api_params.get("url_variable") or "DATABASE_URL",
        database_logs=tuple(database_params.get("log_files") or ()),
        secrets=tuple(filter(None, (database.conninfo.password, smoke.password))),
    )


def _database(params: Mapping[str, Any]) -> Database:
    conninfo = Conninfo(
        dbname=params["name"],
        host=params.get("host") or "",
        port=int(params.get("port") or 0),
        user=params.get("admin_user") or "",
        password=params.get("admin_password") or "",
    )
    return Database(HostSite(tuple(params.get("become") or ())), conninfo, params.get("bin_dir") or "")


def _api(params: Mapping[str, Any], api: Mapping[str, Any]) -> tuple[Api, str]:
    host = HostApi(
        folder=api["dir"],
        python=api["python"],
        release_dir=api.get("release_dir") or "",
        start_command=tuple(api["start_command"]),
        stop_command=tuple(api["stop_command"]),
        restart_command=tuple(api["restart_command"]),
        env_file=api.get("env_file") or "",
        log_files=tuple(api.get("log_files") or ()),
    )
    return host, api.get("url") or ""
