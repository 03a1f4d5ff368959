"""The hosts and ports of a database URL: as they are read, and as they are written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Optional
from urllib.parse import quote, unquote

from .errors import Refused

Hosts = tuple[tuple[str, Optional[int]], ...]
_HOST = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]*))(?::(.*))?", re.S)
_PLAIN_HOST = re.compile(r"[\w.-]*", re.A)  # anything else is written as host= in the query
_IPV6 = re.compile(r"[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*")


def hosts_of(before: str, query: Sequence[tuple[str, str]]) -> Hosts:
    """The hosts of a URL: those of the query (as SQLAlchemy or libpq writes several) or those before the path."""
    hosts = [_host(text) for text in before.split(",")] if before else []
    asked, ports, sockets = ([v for key, v in query if key == name] for name in ("host", "port", "unix_sock"))
    asked = asked[0].split(",") if len(asked) == 1 else asked
    port = ",".join(ports)
    socket = re.fullmatch(r"(.+)/\.s\.PGSQL\.([0-9]+)", sockets[-1] if sockets else "")  # pg8000's way to say it
    if socket and not asked:
        return ((socket[1], _port(socket[2])),)
    if not asked:
        return with_ports([host for host, _ in hosts], port) if port else tuple(hosts)
    if port:
        return with_ports(asked, port)
    # The port before the path stays, unless the query's hosts have ports of their own.
    inherited = hosts[0][1] if len(hosts) == 1 else None
    pairs = [_host(text) if re.fullmatch(r"[\w.-]*:[0-9]*", text, re.A) else (text, None) for text in asked]
    return tuple((host, own or inherited) for host, own in pairs)


def _host(text: str) -> tuple[str, Optional[int]]:
    match = _HOST.fullmatch(text)
    if not match:
        raise Refused("The host of the database URL cannot be read.", hint="Write an IPv6 address as [::1].")
    ipv6, host, port = match.groups("")
    return ipv6 or unquote(host), _port(port)


def with_ports(hosts: list[str], port: str) -> Hosts:
    """Each host with its port of a comma-separated list, in which one port is that of all."""
    ports = port.split(",")
    if len(ports) == 1:
        return tuple((host, _port(port)) for host in hosts or ([""] if port else []))
    if len(ports) != len(hosts):
        raise Refused(f"The database URL has {len(hosts)} hosts and {len(ports)} ports.", hint="Give each its port.")
    return tuple((host, _port(each)) for host, each in zip(hosts, ports))


def _port(text: str) -> Optional[int]:
    if not text:
        return None
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        # It is not shown: where an IPv6 address lacks its brackets or a password its user, it may be something else.
        raise Refused(
            "The port of the database URL is not a number from 1 to 65535.",
            hint="Write an IPv6 address in brackets, and : @ / ? # % inside a user or password percent-encoded.",
        )
    return int(text)


def written(hosts: Hosts) -> tuple[str, list[str]]:
    """What of a URL says its hosts: before the path where that can be written for everybody, else in the query."""
    if len(hosts) == 1 and (_PLAIN_HOST.fullmatch(hosts[0][0]) or _IPV6.fullmatch(hosts[0][0])):
        host, port = hosts[0]
        return bracketed(host) + (f":{port}" if port else ""), []
    return "", [f"{key}={quote(value, safe='')}" for key, value in keywords(hosts).items()]


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("/") else host


def keywords(hosts: Hosts) -> dict[str, str]:
    ports = [str(port or "") for _, port in hosts]
    found = {"host": ",".join(host for host, _ in hosts), "port": ",".join(ports) if any(ports) else ""}
    return {key: value for key, value in found.items() if value}
