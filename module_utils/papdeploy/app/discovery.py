"""What two container names tell: everything that the inventory may leave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..core.database_url import is_url, read
from ..core.errors import PapError, Refused, Unavailable
from ..databases.psql import Conninfo, Database
from ..sites.docker.engine import Engine
from ..sites.docker.records import Container
from ..sites.docker.site import ContainerSite
from ..sites.host import Site

URL_VARIABLES = ("DATABASE_URL", "SQLALCHEMY_DATABASE_URL", "SQLALCHEMY_DATABASE_URI", "DB_URL", "POSTGRES_URL")
_COMPOSE_SERVICE = "com.docker.compose.service"


@dataclass(frozen=True)
class FoundDatabase:
    """``user``, ``driver`` and ``host`` are those of the API's URL, which ``url_variable`` holds. Whether that leads to
    this container is asked there: see the preflight."""

    container: str
    image: str
    name: str
    admin_user: str
    user: str
    driver: str
    host: str
    url_variable: str


@dataclass(frozen=True)
class FoundApi:
    container: str
    user: str
    read_only: bool
    networks: Sequence[str]
    published: Sequence[str]
    restart_policy: str
    health_check: bool
    compose_service: str


@dataclass(frozen=True)
class Found:
    """Facts of a stack, without secrets, for the preflight to show and for the settings that are not given."""

    database: FoundDatabase
    api: FoundApi

    def lines(self) -> list[str]:
        """What a person wants to see of it before a deploy."""
        database, api = self.database, self.api
        traits = [
            f"user {api.user}",
            "read-only root" if api.read_only else "",
            f"network {', '.join(api.networks) or 'none'}",
            f"published at {', '.join(api.published)}" if api.published else "no published port",
            f"restart policy {api.restart_policy}",
            "health check" if api.health_check else "",
            f"service {api.compose_service} of compose" if api.compose_service else "",
        ]
        return [
            f"found in {database.container} ({database.image}): superuser {database.admin_user}; the API connects"
            f" as {database.user} to {database.host} ({database.driver}, {database.url_variable})",
            f"found in {api.container}: {', '.join(filter(None, traits))}",
        ]


def discover(engine: Engine, db_container: str, api_container: str, url_variable: str = "", url: str = "") -> Found:
    """``url`` is the inventory's, where the API has none in its environment, or one through a pooler."""
    database, api = engine.container(db_container), engine.container(api_container)
    check = api.Config.Healthcheck
    return Found(
        _database(engine, database, api, url_variable, url),
        FoundApi(
            container=api.name,
            user=api.Config.User or "root",
            read_only=api.HostConfig.ReadonlyRootfs,
            networks=sorted(api.NetworkSettings.Networks),
            published=sorted(_published(api)),
            restart_policy=api.HostConfig.RestartPolicy.Name or "no",
            health_check=bool(check and check.Test),
            compose_service=api.Config.Labels.get(_COMPOSE_SERVICE, ""),
        ),
    )


def database_at(
    engine: Engine, container: str, *, dbname: str, user: str, password: str = "", become: Sequence[str] = ()
) -> Database:
    """A database in a container, administrated from inside it, by programs that start with the words ``become``."""
    site = ContainerSite(engine, container)
    # The official image trusts its own socket; where an image does not, this is its superuser's password.
    own = _value(site, site.environment(), "POSTGRES_PASSWORD")
    # Another user may not read the files of secrets that the container's own could.
    conninfo = Conninfo(dbname=dbname, user=user, password=password or own)
    return Database(ContainerSite(engine, container, become), conninfo)


def superuser(engine: Engine, container: str) -> str:
    """The role that the official image has made."""
    site = ContainerSite(engine, container)
    return _value(site, site.environment(), "POSTGRES_USER") or "postgres"


def url_of(environment: Mapping[str, str], url_variable: str = "") -> tuple[str, str]:
    """The variable that holds the API's database URL, and the URL. Raises Refused if there is none."""
    for name in [url_variable] if url_variable else URL_VARIABLES:
        if is_url(environment.get(name, "")):
            return name, environment[name]
    looked = url_variable or ", ".join(URL_VARIABLES)
    raise Refused(
        f"The API's environment has no PostgreSQL URL ({looked}).",
        hint="Set pap_database_url_variable to the variable that holds it, or pap_database_url to the URL itself.",
    )


def _database(engine: Engine, database: Container, api: Container, url_variable: str, url: str) -> FoundDatabase:
    variable, url = ("the inventory", url) if url else url_of(api.Config.environment, url_variable)
    target = read(url)
    return FoundDatabase(
        container=database.name,
        image=database.Config.Image,
        name=target.dbname,
        admin_user=superuser(engine, database.name),
        user=target.user,
        driver=target.scheme,
        host=target.host,
        url_variable=variable,
    )


def _value(site: Site, environment: Mapping[str, str], name: str) -> str:
    """A variable of the official image, which also takes the name of a file (``POSTGRES_USER_FILE``)."""
    if environment.get(name):
        return environment[name]
    path = environment.get(f"{name}_FILE", "")
    if not path:
        return ""
    try:
        return site.read_text(path).strip()
    except Unavailable:
        raise
    except PapError as error:
        raise Refused(f"{name}_FILE of {site.label} names {path}, which cannot be read there.") from error


def _published(container: Container) -> set[str]:
    ports = container.NetworkSettings.Ports.values()
    return {f"{bound.HostIp or '*'}:{bound.HostPort}" for bindings in ports for bound in bindings or ()}
