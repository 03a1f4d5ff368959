"""One stack: an API with its database, put together from what the inventory says."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from ..core.database_identity import DatabaseIdentity
from ..core.database_url import DatabaseUrl, is_url, read, with_database
from ..core.errors import PapError, Refused, Unavailable, WrongDatabase
from ..core.records import as_object, plain, read_known
from ..core.redact import Redactor
from ..databases.psql import Database
from ..databases.session_watch import SeenOnLive, SessionWatch
from ..environment import copy_environment
from ..environment.application import Application
from ..environment.copy_environment import Aim, CopyEnvironment
from ..environment.kept_files import files_kept
from ..releases.journal import State
from ..releases.version import Version
from ..remote.client import Agent
from .api_client import SmokeConfig
from .host_app import Api, Runtime
from .process_sockets import ProcessSockets

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
    smoke_settings: Mapping[str, Any] = field(repr=False)
    url: str = ""
    url_variable: str = "DATABASE_URL"
    database_url: str = field(default="", repr=False)
    direct_url: str = field(default="", repr=False)
    database_logs: Sequence[str] = ()
    found: Sequence[str] = ()
    redactor: Redactor = field(default_factory=Redactor)
    may_delete: Sequence[str] = ()
    metrics_folder: str = ""
    copy_variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    seen_on_live: SeenOnLive = field(default_factory=SeenOnLive)

    @property
    def label(self) -> str:
        return f"{self.name} ({self.environment})"

    @property
    def smoke(self) -> SmokeConfig:
        """How to log in, at the address that the API has now (in a container it may change with each restart)."""
        return SmokeConfig(base_url=self.url or self.api.base_url(), **self.smoke_settings)

    def api_url(self, environment: Mapping[str, str], label: str) -> str:
        """The URL by which the API with this environment reaches its database, perhaps through a pooler."""
        held = environment.get(self.url_variable, "")
        place = f"{self.url_variable} in the environment of the API ({label})"
        if self.database_url:
            stated = _read(self.database_url, "pap_database_url")
            theirs = _read(held, place) if is_url(held) else stated
            if (theirs.hosts, theirs.dbname, theirs.user) != (stated.hosts, stated.dbname, stated.user):
                raise Refused(
                    f"pap_database_url names {stated.label}, but {place} names {theirs.label}.",
                    hint="Where the API has such a variable, leave pap_database_url empty. For a way around a pooler"
                    " there is pap_database_direct_url.",
                )
            return self.database_url
        if not held:
            raise Refused(
                f"{self.url_variable} is not set in the environment of the API ({label}).",
                hint="Set pap_database_url_variable to the variable that holds the database URL, or, where there is"
                " none, pap_database_url to the URL itself.",
            )
        try:
            _read(held, place)
        except Refused as error:
            error.hint += " Or set pap_database_url to the URL by which the API connects."
            raise
        return held

    @contextlib.contextmanager
    def beside_models(self, version: Version) -> Iterator[AppSession]:
        """A place where the models of ``version`` can be imported, connected as the API connects, but for a pooler."""
        with self.api.runtime(version) as runtime:
            app_session = self._app_session(version, runtime, {})
            with app_session.agent:
                yield app_session

    @contextlib.contextmanager
    def on_copy(self, version: Version, copy: Database, what: str, *, verify: bool = True) -> Iterator[AppSession]:
        """The same for work on ``copy``, called ``what`` in messages: the process, and all that it starts, has an
        environment that leads to the copy, and its connections are watched while the block runs.

        Raises Refused for what leads to the live database and cannot be re-pointed, WorkOnLive if the work was seen
        there, PapError for what it left running. ``verify``: the models are imported to see whether that leads anything
        back.
        """
        sockets = ProcessSockets()
        with self.api.runtime(version) as runtime, contextlib.ExitStack() as stack:
            app_session = self._app_session(version, runtime, sockets.environment)
            stack.enter_context(sockets.watched(runtime.site, runtime.python))
            live = self.database.conninfo.dbname
            app_session.watch = stack.enter_context(SessionWatch(copy, live, what, sockets.holder, self.seen_on_live))
            stack.enter_context(app_session.agent)
            made = app_session.environment_for(copy.conninfo.dbname)
            stack.enter_context(files_kept(runtime.site, runtime.python, made))
            app_session.move(copy, made)
            if verify:
                app_session.call(
                    "environment.verify", {"live": live, **as_object(app_session.surroundings())}, deadline_s=120
                )
            yield app_session
        sockets.refuse_left(what)

    def environment_on(self, version: Version, copy: str) -> CopyEnvironment:
        """What a trial of ``version`` on database ``copy`` gets. Raises Refused as ``AppSession.refuse_live_trial``."""
        with self.api.runtime(version) as runtime:
            app_session = self._app_session(version, runtime, {})
            with app_session.agent:
                made = app_session.environment_for(copy)
                app_session.refuse_live_trial(made)
                return made

    def _app_session(self, version: Version, runtime: Runtime, more: Mapping[str, str]) -> AppSession:
        api_url = self.api_url(runtime.env, version.label)
        if self.direct_url:
            _read(self.direct_url, "pap_database_direct_url")
        self.redactor.learn_environment(runtime.env)
        environment = {**runtime.env, **more}
        agent = Agent(runtime.site, runtime.python, cwd=runtime.cwd, env=environment, redactor=self.redactor)
        return AppSession(self, version, agent, self.direct_url or api_url, runtime, api_url)


def _read(url: str, place: str) -> DatabaseUrl:
    try:
        return read(url)
    except Refused as error:
        raise Refused(f"{place}: {error.message}", hint=error.hint) from None


# What pgbouncer and its like say of a database or a start-up option that they do not know.
_OF_A_POOLER = re.compile("no such database|startup parameter|pgbouncer|pooler", re.I)
# Calls of the agent that open no session.
_WITHOUT_DATABASE = ("ping", "schema.ddl")


@dataclass
class AppSession:
    """An agent beside the models of one ``version``, with the URL by which its API, or we in its name, reach the live
    database. ``api_url`` is the API's own, where that is another one. ``at``: the database that it has been moved to,
    ``made``: with which environment; ``watch``: who watches where its sessions are."""

    stack: Stack
    version: Version
    agent: Agent
    url: str = field(repr=False)
    runtime: Runtime
    api_url: str = field(default="", repr=False)
    at: Optional[Database] = None
    made: CopyEnvironment = field(default_factory=lambda: CopyEnvironment({}))
    watch: Optional[SessionWatch] = None
    _live: Optional[DatabaseIdentity] = None

    @property
    def database(self) -> Database:
        """The live database, at its own site."""
        return self.stack.database

    def live(self) -> DatabaseIdentity:
        """What the database site says of the live database, asked once."""
        if self._live is None:
            self._live = self.database.identity()
        return self._live

    def surroundings(self) -> Application:
        """What tells the agent where the application's settings could be."""
        return Application(
            models=tuple(self.stack.models),
            environment=self.stack.environment,
            words=tuple(self.runtime.words),
            folders=tuple(self.runtime.folders),
            commands=tuple(tuple(command) for command in self.runtime.commands),
            controls=tuple(tuple(command) for command in self.runtime.controls),
            links=dict(self.runtime.links),
        )

    def environment_for(self, dbname: str, *, strict: bool = True) -> CopyEnvironment:
        """What this process, or another one of its version, needs to work on database ``dbname``. Without ``strict``,
        what cannot be re-pointed is passed over: behind the fence there is no live database to be reached."""
        direct = self.stack.direct_url
        if strict:
            self._refuse_stated_password_file()
        aim = Aim(
            live=self.database.conninfo.dbname,
            copy=dbname,
            variable="" if self.stack.database_url else self.stack.url_variable,
            url=self.api_url,
            hosts=read(direct).hosts if direct else (),
            extra=dict(self.stack.copy_variables) if strict else {},
            folder=f"/tmp/pap-deploy-{secrets.token_hex(8)}",
            strict=strict,
        )
        request = {"aim": plain(aim), **as_object(self.surroundings())}
        made = read_known(CopyEnvironment, self.call("environment.copy", request, deadline_s=120))
        self.stack.redactor.learn_environment(made.variables)
        return made

    def refuse_live_trial(self, made: CopyEnvironment) -> None:
        """Raise Refused if the program of this version would find the live database in spite of ``made``.

        It is run as far as serving, where it reaches nothing. What it decides later is seen by the watch of its trial.
        """
        if self.stack.api.trial_obstacle(self.version):
            return
        self._refuse_unnamed(made)
        live, variables = self.database.conninfo.dbname, {**made.variables, **self.stack.copy_variables}
        own = self.database.conninfo
        servers = [*read(self.url).hosts, *read(self.api_url or self.url).hosts, (own.host, own.port or None)]
        request = {"live": live, "servers": servers, "variables": variables, **as_object(self.surroundings())}
        leads = self.call("environment.reached", request, deadline_s=300)["leads"]
        if leads:
            raise Refused(
                f"{self.version.label} would be tried on the live database {live}: {'; '.join(leads[:3])}.",
                hint="Let it take its database from a variable, and let a value that is there already win (load_dotenv"
                " without override=True). Or it is not tried at all: pap_api_trial_command: [] on a host.",
            )

    def _refuse_unnamed(self, made: CopyEnvironment) -> None:
        """Where the inventory gives the URL, something else has to give the program its database."""
        if self.stack.database_url and not made.pointed:
            live = self.database.conninfo.dbname
            raise Refused(
                f"Nothing in the environment of {self.version.label} names database {live}: its trial would start on"
                " that one.",
                hint="Let it take its database, or the name of it, from a variable. An API that cannot is not tried:"
                " pap_api_trial_command: [] on a host, -e pap_rehearse=false with a container.",
            )

    def _refuse_stated_password_file(self) -> None:
        stated = {"pap_database_url": self.stack.database_url, "pap_database_direct_url": self.stack.direct_url}
        for name, url in stated.items():
            try:
                if url:
                    copy_environment.refuse_password_file(read(url))
            except Refused as error:
                raise Refused(
                    f"{name} cannot be pointed at a copy: {error.message}",
                    hint=f"Write the password into {name}, from Ansible Vault.",
                ) from None

    def move(self, database: Database, made: Optional[CopyEnvironment] = None) -> None:
        """From now on everything here is done on ``database``, with the environment ``made`` for its name."""
        if made is not None:
            self.call("environment.adopt", {"variables": made.variables}, deadline_s=60)
            self.made = made
        self.at = database

    def call(
        self, name: str, request: Mapping[str, Any], *, deadline_s: float = 600.0, on_event: Optional[Emit] = None
    ) -> dict[str, Any]:
        """One call of the agent there, on the live database by the API's own URL, or on the one that it was moved to.

        Its sessions prove first that they are there. Raises WrongDatabase, Refused if the API's URL leads to another
        database than the live one, WorkOnLive if work on a copy was seen on the live database.
        """
        at = self.at
        full = {"url": with_database(self.url, at.conninfo.dbname) if at else self.url, **request}
        if name not in _WITHOUT_DATABASE and not name.startswith("environment."):
            expected = (at.expect or at.identity()) if at else self.live()
            full["expect_database"] = as_object(expected)
            if self.watch:
                full["forbid_database"] = as_object(self.live())
        try:
            answer = self.agent.call(name, full, deadline_s=deadline_s, on_event=on_event)
        except WrongDatabase as error:
            if at is None:
                raise elsewhere(self.database, full["url"], error) from error
            raise
        except PapError as error:
            if self.watch:
                self.watch.refuse_leak()  # what it did there comes before why it failed
            if isinstance(error, Unavailable) and _OF_A_POOLER.search(error.message):
                error.hint = (
                    "The API's URL seems to go through a pooler: set pap_database_direct_url to the URL of the same"
                    " database past it."
                )
            raise
        if self.watch:
            self.watch.refuse_leak()
        return answer

    def prove_api_url(self) -> None:
        """Raise Refused unless the API's own URL, through its pooler, leads to the live database too."""
        if self.api_url not in ("", self.url):
            self.call("schema.identify", {"url": self.api_url}, deadline_s=60)


def elsewhere(database: Database, url: str, error: WrongDatabase) -> Refused:
    """What the API reads, and what the deploy would back up and change, must be one database."""
    return Refused(
        f"The API's URL leads to another database ({read(url).label}) than the deploy would change ({database.label}).",
        hint="Correct pap_db_container (or pap_db_host, pap_db_port) and pap_db_name, or the API's environment.",
        **error.data,
    )
