"""The one reader and writer of database URLs, and of what libpq's connection strings say.

A URL is read as SQLAlchemy reads it, because that is what the application does: the password is everything up to the
first ``@`` (``/``, ``#``, ``?``, ``[`` included), and the query wins over the path. Where libpq allows more (several
hosts before the path, a percent-encoded socket folder, the scheme ``postgres``), it is read as libpq reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Optional
from urllib.parse import parse_qsl, quote, unquote, unquote_plus

from . import conninfo, url_hosts
from .errors import Refused
from .records import recorded
from .url_hosts import Hosts

FORM = "postgresql://user:password@host:port/database"
MASK = "********"

# As SQLAlchemy splits it (engine/url.py), the hosts in one piece.
_URL = re.compile(
    r"(?P<scheme>[\w+]+)://"
    r"(?:(?P<user>[^:/]*)(?::(?P<password>[^@]*))?@)?"
    r"(?P<hosts>[^/?]*)"
    r"(?:/(?P<path>[^?]*))?"
    r"(?:\?(?P<query>.*))?"
)

_DATABASE = ("dbname", "database")  # libpq's and asyncpg's name of it
_SERVER = ("host", "hostaddr", "port")
_PLACE = ("host", "port", "user", "password", *_DATABASE)
_SECRET = frozenset({"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"})

# The keywords of libpq 18 that are not part of DatabaseUrl itself (PostgreSQL documentation, 34.1.2).
_LIBPQ = re.compile(
    "application_name|channel_binding|client_encoding|connect_timeout|fallback_application_name|gss(delegation|encmode|lib)"
    "|hostaddr|keepalives(_count|_idle|_interval)?|krbsrvname|load_balance_hosts|m(ax|in)_protocol_version"
    "|oauth_(client_id|client_secret|issuer|scope)|options|passfile|replication|require_auth|requirepeer"
    "|scram_(client|server)_key|service|ssl_m(ax|in)_protocol_version|ssl(cert|certmode|compression|crl|crldir|key"
    "|keylogfile|mode|negotiation|password|rootcert|sni)|target_session_attrs|tcp_user_timeout"
)
# asyncpg's ``ssl``, and the one value of it that libpq itself knows
_SSL = {mode: mode for mode in ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")}
_SSL.update(true="require", false="disable", on="require", off="disable")


class _Written(NamedTuple):
    """A URL as it is written. A part that is not there is None; ``before`` is all before its hosts, ``after`` what
    follows the URL."""

    before: str
    after: str
    scheme: str
    user: Optional[str]
    password: Optional[str]
    hosts: str
    path: Optional[str]
    query: Optional[str]

    def divided(self) -> bool:
        """Whether an ``@`` stands behind the one that ends the password, which then probably goes on until there."""
        words = (item for item in (self.query or "").split("&") if "=" not in item)
        return any("@" in part for part in [self.hosts, *words, (self.password and self.path) or ""])


@dataclass(frozen=True)
class _Words:
    """What the keywords say that are not options."""

    host: str = ""
    port: str = ""
    user: str = ""
    password: str = ""
    dbname: str = ""


@dataclass(frozen=True)
class DatabaseUrl:
    """How to reach one database. ``str()`` and ``repr()`` show no secret; ``render()`` and ``libpq()`` hold it.

    ``driver`` is what is behind ``postgresql+`` (empty: none). ``hosts`` are names, addresses or socket folders
    with their ports (None: the default one); none at all means libpq's default. ``dbname`` is empty where none is named
    (only :func:`find` gives that). ``options`` are the rest of the query, in order.
    """

    dbname: str
    user: str = ""
    password: Optional[str] = field(default=None, repr=False)
    hosts: Hosts = ()
    driver: str = ""
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def scheme(self) -> str:
        """What is before ``://``, for example ``postgresql+asyncpg``."""
        return f"postgresql+{self.driver}" if self.driver else "postgresql"

    @property
    def host(self) -> str:
        """The first host; empty for libpq's default."""
        return self.hosts[0][0] if self.hosts else ""

    @property
    def port(self) -> Optional[int]:
        """The port of the first host; None for the default."""
        return self.hosts[0][1] if self.hosts else None

    @property
    def label(self) -> str:
        """Database and hosts, for messages."""
        places = [
            f"{url_hosts.bracketed(host) or 'the local socket'}:{port}" if port else host
            for host, port in self.hosts
            if host or port
        ]
        return f"{self.dbname} on {', '.join(places) or 'the local socket'}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Its password and the secret ones of its options, in plain text."""
        found = [self.password or "", *(value for key, value in self.options if key in _SECRET)]
        return tuple(value for value in found if value)

    def option(self, name: str) -> Optional[str]:
        """The value of an option (the last one wins), or None."""
        return next((value for key, value in reversed(self.options) if key == name), None)

    def with_database(self, dbname: str) -> DatabaseUrl:
        return replace(self, dbname=dbname)

    def with_hosts(self, hosts: Hosts) -> DatabaseUrl:
        return replace(self, hosts=hosts)

    def render(self, driver: Optional[str] = None) -> str:
        """The URL for SQLAlchemy with everything escaped, for another ``driver`` if one is given.

        libpq reads it the same way where no driver is named and every option is one of its own.
        """
        url = self if driver is None else replace(self, driver=driver)
        return _rendered(url, self.password, self.options)

    def sqlalchemy(self, driver: Optional[str] = None) -> Any:
        """SQLAlchemy's own URL object (before 2.1 it decodes no database, so that is set, not read)."""
        from sqlalchemy.engine import make_url

        return make_url(self.render(driver)).set(database=self.dbname)

    def __str__(self) -> str:
        """The URL with a mask in place of every secret."""
        shown = [(key, MASK if key in _SECRET else value) for key, value in self.options]
        return _rendered(self, None if self.password is None else MASK, shown)

    def libpq(self) -> dict[str, str]:
        """The keywords of libpq (of psycopg2, psycopg 3 and psql), the password included.

        asyncpg's ``ssl`` becomes ``sslmode``. What only other drivers know is left out: see ``not_for_libpq``.
        """
        values = dict(item for item in self.options if _LIBPQ.fullmatch(item[0]))
        ssl = self.option("ssl")
        if ssl is not None and "sslmode" not in values:
            if ssl.lower() not in _SSL:
                raise Refused(f"The database URL has ssl={ssl}, which is none of {', '.join(_SSL)}.")
            values["sslmode"] = _SSL[ssl.lower()]
        values.update(url_hosts.keywords(self.hosts))
        named = {"user": self.user, "password": self.password or "", "dbname": self.dbname}
        return {**values, **{key: value for key, value in named.items() if value}}

    def connection_string(self) -> str:
        """The connection string of libpq, with the password: for a driver, never for an argument list."""
        return conninfo.render(self.libpq())

    @property
    def not_for_libpq(self) -> tuple[str, ...]:
        """The options that libpq does not know (it refuses a URL that has them)."""
        return tuple(key for key, _ in self.options if not _LIBPQ.fullmatch(key) and key != "ssl")


def read(text: str) -> DatabaseUrl:
    """Read a database URL. Raises Refused, without the password, for what is none, is not PostgreSQL's, or names no
    database."""
    found = _read(text)
    if not found.dbname:
        raise Refused("The database URL names no database.", hint=f"Write {FORM}.")
    return found


def of_sqlalchemy(url: Any) -> DatabaseUrl:
    """The same of SQLAlchemy's own URL object. Version 1.4 writes a ``%`` in it as it is: so it is taken, not read."""
    found = read(url.set(username="u", password="p", database="d").render_as_string(hide_password=False))
    taken: dict[str, Any] = {"user": url.username or "", "password": url.password or None, "dbname": url.database or ""}
    named = {"user": "user", "password": "password", **dict.fromkeys(_DATABASE, "dbname")}
    for key in {*url.query} & {*named}:  # the query wins
        taken[named[key]] = getattr(found, named[key])
    return replace(found, **taken)


def read_connection_string(text: str) -> DatabaseUrl:
    """Read a libpq connection string (``host=… dbname=…``). ``dbname`` may be empty. Raises Refused if it is none."""
    pairs = conninfo.pairs(text)
    if not pairs or not any(key in (*_PLACE, "hostaddr", "service") for key, _, _ in pairs):
        raise Refused("This is no connection string of libpq.", hint="Write host=… port=… user=… dbname=….")
    values = {key: value for key, value, _ in pairs}  # the last one wins, as in libpq
    words = recorded(_Words, values)
    hosts = words.host.split(",") if words.host else []
    return _made("", words, url_hosts.with_ports(hosts, words.port), values.items())


def find(value: str) -> Optional[DatabaseUrl]:
    """The database and the server that a text names by a PostgreSQL URL or a connection string; None if it is neither.

    ``dbname`` is empty where the text leaves it to the driver. Raises Refused for a PostgreSQL URL that cannot be read.
    """
    if is_url(value):
        return _read(value)
    try:
        return read_connection_string(value)
    except Refused:
        return None


def is_url(value: str) -> bool:
    """Whether a text is meant as a PostgreSQL URL, readable or not."""
    return re.match(r"postgres(ql)?(\+\w*)?://", value) is not None


def with_database(value: str, dbname: str) -> str:
    """The same URL or connection string with another database, also in a query, and everything else as it is written.

    For a program that reads its URL itself: a scheme, a raw password or a list of hosts is written as that program
    takes it. For our own use see :meth:`DatabaseUrl.with_database`.
    """
    if find(value) is None:
        raise Refused("This names no database: it is neither a PostgreSQL URL nor a connection string.")
    return _url_with(value, dbname) if is_url(value) else conninfo.changed(value, {"dbname": dbname})


def with_server(value: str, hosts: Hosts) -> str:
    """The same URL or connection string with other hosts and ports, and everything else as it is written."""
    if find(value) is None:
        raise Refused("This names no server: it is neither a PostgreSQL URL nor a connection string.")
    if is_url(value):
        return _url_at(value, hosts)
    return conninfo.changed(value, {**dict.fromkeys(_SERVER, ""), **url_hosts.keywords(hosts)})


def secrets(text: str) -> tuple[str, ...]:
    """Every password in a URL (of any scheme) or connection string, as it is written and in plain text.

    Never raises: what cannot be read may still hold a password.
    """
    found: list[str] = []
    url = _written(text)
    if url:
        password = url.password or ""
        found += [password, unquote(password)]
        if password and url.divided():
            rest = _place(url.hosts, url.path, url.query).rpartition("@")[0]
            found += [f"{password}@{rest}", rest, *re.split("[@/?]", rest)]
        for key, raw in _query_items(url.query or ""):
            if key in _SECRET:
                found += [raw, unquote_plus(raw), unquote(raw)]
    else:
        found += [value for key, value, _ in conninfo.pairs(text) if key in _SECRET]
    return tuple(dict.fromkeys(value for value in found if value))


def objection_of_sqlalchemy(text: str) -> str:
    """Why SQLAlchemy itself would not take this URL, as a sentence; empty if it does.

    An application that works with such a URL rewrites it, or hands it to its driver.
    """
    url = _written(text)
    if not url:
        return ""
    if url.scheme == "postgres":
        return "SQLAlchemy does not know postgres://; it wants postgresql://."
    if "," in url.hosts:
        return "SQLAlchemy takes several hosts as ?host=h1:5432&host=h2:5433, not before the path."
    if "%" in url.hosts and not url.hosts.startswith("["):
        return "SQLAlchemy does not decode a host; it takes a socket folder as ?host=/folder."
    return ""


def _written(text: str) -> Optional[_Written]:
    match = _URL.match(text)
    return _Written(text[: match.start("hosts")], text[match.end() :], *match.groups()) if match else None


def _place(hosts: str, path: Optional[str], query: Optional[str]) -> str:
    return hosts + ("" if path is None else f"/{path}") + ("" if query is None else f"?{query}")


def _read(text: str) -> DatabaseUrl:
    url = _written(text)
    if not url:
        if conninfo.pairs(text):
            raise Refused("The database URL is not a URL but a libpq connection string.", hint=f"Write {FORM}.")
        if _written(text.lstrip()):
            raise Refused("The database URL begins with white space.", hint="Remove it.")
        raise Refused(f"The database URL is not of the form {FORM}.", hint="Check DATABASE_URL.")
    backend, _, driver = url.scheme.partition("+")
    if backend not in ("postgresql", "postgres"):
        raise Refused(
            f"The database URL starts with {backend}://, not with postgresql://.", hint="Only PostgreSQL is supported."
        )
    if url.divided():
        raise Refused(
            "The database URL has more than one @, so that its password and its host cannot be told apart.",
            hint="Write an @ in a user, password or database as %40.",
        )
    query = parse_qsl(url.query or "")
    before = _Words(user=unquote(url.user or ""), password=unquote(url.password or ""), dbname=unquote(url.path or ""))
    return _made(driver, replace(before, **_once(query)), url_hosts.hosts_of(url.hosts, query), query)


def _made(driver: str, words: _Words, hosts: Hosts, pairs: Iterable[tuple[str, str]]) -> DatabaseUrl:
    found = DatabaseUrl(
        dbname=words.dbname,
        user=words.user,
        password=words.password or None,
        hosts=hosts,
        driver=driver,
        options=tuple((key, value) for key, value in pairs if key not in _PLACE),
    )
    texts = [found.dbname, found.user, found.password or "", *(host for host, _ in hosts)]
    if any("\0" in text for text in [*texts, *(value for _, value in found.options)]):
        raise Refused("The database URL has a NUL character, which PostgreSQL cannot hold.")
    return found


def _once(query: Iterable[tuple[str, str]]) -> dict[str, str]:
    """User, password and database of a query, which win over what is before it."""
    found: dict[str, str] = {}
    for key, value in query:
        name = "dbname" if key in _DATABASE else key
        if name in ("user", "password", "dbname"):
            if name in found:
                raise Refused(f"The query of the database URL gives {name} more than once.")
            found[name] = value
    return found


def _rendered(url: DatabaseUrl, password: Optional[str], options: Iterable[tuple[str, str]]) -> str:
    credentials = quote(url.user, safe="") + (f":{_escaped(password)}" if password is not None else "")
    netloc, more = url_hosts.written(url.hosts)
    path = _escaped(url.dbname)
    text = "&".join([*(f"{quote(key, safe='')}={_escaped(value)}" for key, value in options), *more])
    return f"{url.scheme}://{credentials}{'@' if credentials else ''}{netloc}/{path}{'?' if text else ''}{text}"


def _escaped(text: str) -> str:
    return text if text == MASK else quote(text, safe="")


def _query_items(query: str) -> Iterator[tuple[str, str]]:
    """Decoded keys and the values as they are written."""
    for item in query.split("&"):
        key, _, raw = item.partition("=")
        yield unquote_plus(key), raw


def _url_with(text: str, dbname: str) -> str:
    url = _written(text)
    assert url is not None
    path, query = url.path, url.query
    named = any(key in _DATABASE and raw for key, raw in _query_items(query or ""))
    if path or not named:
        path = _name_like(path or "", dbname)
    if query is not None:
        query = "&".join(_item_with(item, dbname) for item in query.split("&"))
    return url.before + _place(url.hosts, path, query) + url.after


def _url_at(text: str, hosts: Hosts) -> str:
    url = _written(text)
    assert url is not None
    netloc, more = url_hosts.written(hosts)
    kept = [item for item in (url.query or "").split("&") if item and _key(item) not in _SERVER]
    return url.before + _place(netloc, url.path, "&".join([*kept, *more]) or None) + url.after


def _key(item: str) -> str:
    return unquote_plus(item.partition("=")[0])


def _item_with(item: str, dbname: str) -> str:
    key, equals, _ = item.partition("=")
    return f"{key}={quote(dbname, safe='')}" if equals and _key(item) in _DATABASE else item


def _name_like(given: str, dbname: str) -> str:
    """``dbname`` for a path. What is raw in the ``given`` one stays raw: SQLAlchemy before 2.1 decodes no path."""
    raw = set(given) - set("%?")
    return "".join(char if char in raw or ord(char) > 127 else quote(char, safe="") for char in dbname)
