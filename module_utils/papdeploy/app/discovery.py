"""What two container names tell: everything that the inventory may leave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.database_url import is_url, read
from ..core.errors import PapError, Refused, Unavailable
from ..databases.psql import Conninfo, Database
from ..sites.docker.engine import Engine
from ..sites.docker.site import ContainerSite, environment_of
from ..sites.host import Site

Data = dict[str, Any]
URL_VARIABLES = ("DATABASE_URL", "SQLALCHEMY_DATABASE_URL", "SQLALCHEMY_DATABASE_URI", "DB_URL", "POSTGRES_URL")


def discover(engine: Engine, db_container: str, api_container: str, url_variable: str = "", url: str = "") -> Data:
    """Facts of a stack, without secrets, for the preflight to show and for the settings that are not given. ``url`` is
    the inventory's, where the API has none in its environment, or one through a pooler.

    ``database``: container, image, ``name``, ``admin_user``, ``user`` and ``driver`` of the API, ``url_variable``,
    ``pgdata``. Whether the API's URL leads to this container is asked there: see the preflight.
    ``api``: container, image, ``user``, ``read_only``, ``networks``, ``published``, ``restart_policy``, ``compose``.
    """
    database, api = engine.container(db_container), engine.container(api_container)
    return {
        "database": _database(engine, database, api, url_variable, url),
        "api": {
            **_container(api),
            "user": api["Config"].get("User") or "root",
            "read_only": bool(api["HostConfig"].get("ReadonlyRootfs")),
            "restart_policy": (api["HostConfig"].get("RestartPolicy") or {}).get("Name") or "no",
            "log_driver": api["HostConfig"]["LogConfig"]["Type"],
            "health_check": bool((api["Config"].get("Healthcheck") or {}).get("Test")),
            "published": sorted(_published(api)),
            "compose": _compose(api),
        },
    }


def shown(found: Mapping[str, Any]) -> list[str]:
    """What a person wants to see of a discovery before a deploy."""
    database, api = found["database"], found["api"]
    traits = [
        f"user {api['user']}",
        "read-only root" if api["read_only"] else "",
        f"network {', '.join(api['networks']) or 'none'}",
        f"published at {', '.join(api['published'])}" if api["published"] else "no published port",
        f"restart policy {api['restart_policy']}",
        "health check" if api["health_check"] else "",
        f"service {api['compose']['service']} of compose" if api["compose"].get("service") else "",
    ]
    return [
        f"found in {database['container']} ({database['image']}): superuser {database['admin_user']}; the API connects"
        f" as {database['user']} to {database['host']} ({database['driver']}, {database['url_variable']})",
        f"found in {api['container']}: {', '.join(filter(None, traits))}",
    ]


def database_at(
    engine: Engine, db_container: str, found: Mapping[str, Any], become: Sequence[str] = (), **given: str
) -> Database:
    """The database of a discovery, administrated from inside its container, by programs that start with the words
    ``become``; ``given`` (dbname, user, password) wins."""
    site = ContainerSite(engine, db_container)
    environment = site.environment()
    values = {
        "dbname": found["name"],
        "user": found["admin_user"],
        # The official image trusts its own socket; where an image does not, this is its superuser's password.
        "password": _value(site, environment, "POSTGRES_PASSWORD"),
        **{name: value for name, value in given.items() if value},
    }
    # Another user may not read the files of secrets that the container's own could.
    return Database(ContainerSite(engine, db_container, become), Conninfo(**values))


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


def _database(engine: Engine, database: Mapping[str, Any], api: Mapping[str, Any], url_variable: str, url: str) -> Data:
    name = str(database["Name"][1:])
    site = ContainerSite(engine, name)
    settings = environment_of(database["Config"])
    variable, url = ("the inventory", url) if url else url_of(environment_of(api["Config"]), url_variable)
    target = read(url)
    admin = _value(site, settings, "POSTGRES_USER") or "postgres"
    return {
        **_container(database),
        "name": target.dbname,
        "admin_user": admin,
        "user": target.user,
        "driver": target.scheme,
        "url_variable": variable,
        "host": target.host,
        "pgdata": settings.get("PGDATA", ""),
    }


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


def _container(container: Mapping[str, Any]) -> Data:
    return {
        "container": container["Name"][1:],
        "image": container["Config"]["Image"],
        "image_id": container["Image"],
        "status": container["State"]["Status"],
        "networks": sorted(container["NetworkSettings"].get("Networks") or {}),
    }


def _published(container: Mapping[str, Any]) -> set[str]:
    ports = (container["NetworkSettings"].get("Ports") or {}).values()
    return {f"{bound.get('HostIp') or '*'}:{bound['HostPort']}" for bindings in ports for bound in bindings or []}


def _compose(container: Mapping[str, Any]) -> Data:
    labels = container["Config"].get("Labels") or {}
    names = {"project": "com.docker.compose.project", "service": "com.docker.compose.service"}
    return {key: labels[name] for key, name in names.items() if name in labels}
