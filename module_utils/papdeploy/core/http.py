"""The one HTTP client: an exchange ends at its deadline, and every failure is an answer that says why.

Only the standard library, because nothing is installed on a target host. ``http.client`` reads the protocol; what it
does not have is here: a deadline for the whole exchange (its time-out is one per ``recv``, so a body that trickles
never ends), a limit on what is read, and redirects that never leave the origin.
"""

from __future__ import annotations

import base64
import http.client
import io
import re
import socket
import ssl
import time
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Optional
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from .redact import Redactor
from .text import plural, size
from .timed_socket import Deadline, Incoming, connected

BODY_LIMIT = 4 * 1024 * 1024  # bytes
_HEAD_LIMIT = 256 * 1024  # bytes of status line, headers and the framing of chunks
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 5
_SHOWN = 200  # characters of what a server sent
_SENDABLE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")
_URL_CHARACTERS = "%/:?#[]@!$&'()*+,;=~"


@dataclass(frozen=True)
class Answer:
    """What came of one exchange. ``status`` 0 means that no status came; ``ms`` is milliseconds; ``cookies`` are its
    Set-Cookie headers.

    With a ``problem`` the answer is not to be trusted, whatever its status: it says what is wrong, as a part of a
    sentence.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    ms: float = 0.0
    problem: str = ""
    cookies: tuple[str, ...] = field(default=(), repr=False)


def exchange(
    url: str,
    *,
    method: str = "GET",
    headers: Optional[Mapping[str, str]] = None,
    body: Optional[bytes] = None,
    seconds: float = 10.0,
    proxy: bool = False,
    secrets: Iterable[str] = (),
    same_page: bool = False,
) -> Answer:
    """Ask ``url`` and follow redirects within its origin. Everything, name resolution included, ends after ``seconds``.

    ``same_page`` follows only those that add or remove a slash at the end of the path: others are the answer. What
    would arrive there without its body is not followed.
    ``proxy`` heeds the proxy of the environment. ``secrets`` are what the request holds and its problem must not: a
    server may say them back. Never raises for what a server or a network does.
    """
    terms = _Terms(Deadline(seconds), Redactor(secrets), same_page)
    started = time.monotonic()
    answer = _following(url, method, dict(headers or {}), body, terms, proxy)
    return replace(answer, ms=round((time.monotonic() - started) * 1000, 1))


@dataclass(frozen=True)
class _Terms:
    """How long an exchange may take, what must not be shown of it, and which redirects are followed."""

    deadline: Deadline
    secrets: Redactor
    same_page: bool = False

    def shown(self, text: str) -> str:
        return shown(self.secrets.text(text))


def _following(
    url: str, method: str, headers: dict[str, str], body: Optional[bytes], terms: _Terms, proxy: bool
) -> Answer:
    for _ in range(_MAX_REDIRECTS + 1):
        answer = _once(url, method, headers, body, terms, proxy)
        target = answer.headers.get("location", "")
        if answer.status not in _REDIRECTS or not target or answer.problem:
            return answer
        try:
            following = urljoin(url, target)
            away = _origin(urlsplit(following)) != _origin(urlsplit(url))
        except ValueError:
            return replace(answer, problem=f"it redirects to {terms.shown(target)}, which is no address")
        if terms.same_page and not _same_page(url, following):
            return answer
        if away:
            # Neither are its credentials for that other server, nor is what answers there the server that was asked.
            place = terms.shown(_place(following))
            return replace(answer, problem=f"it redirects to {place}, another origin; that is not followed")
        if answer.status in (301, 302, 303) and method not in ("GET", "HEAD"):
            if terms.same_page:
                place = terms.shown(_place(following))
                return replace(answer, problem=f"it redirects to {place}, where nothing of the {method} would arrive")
            method, body = "GET", None
        url = following
    return replace(answer, problem=f"it redirects without end: {_MAX_REDIRECTS} times were followed")


def _once(url: str, method: str, headers: dict[str, str], body: Optional[bytes], terms: _Terms, proxy: bool) -> Answer:
    """One request and its answer, without redirects."""
    status, fields = 0, {}
    try:
        parts = _parts(url)
        if not all(_SENDABLE.fullmatch(value) for value in headers.values()):
            return Answer(0, problem="a header of the request holds characters that HTTP does not allow")
        connection = _Connection(parts, terms.deadline, _proxy_for(parts) if proxy else None)
        try:
            sent = {"Accept-Encoding": "identity", "Connection": "close", **connection.extra, **headers}
            connection.request(method, connection.target, body, sent)
            with connection.getresponse() as response:
                status = response.status
                fields = {name.lower(): value for name, value in response.getheaders()}
                if connection.broke_off or response.headers.defects:
                    return Answer(status, fields, problem="its header broke off, or is none")
                cookies = tuple(response.headers.get_all("Set-Cookie", []))
                received, problem = _body(response, terms)
                return Answer(status, fields, received, problem=problem, cookies=cookies)
        finally:
            connection.end()
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Answer(status, fields, problem=_reason(error, terms, status))


def _body(response: http.client.HTTPResponse, terms: _Terms) -> tuple[bytes, str]:
    """The body, and what is wrong with it."""
    lengths = {length.strip() for length in response.headers.get_all("Content-Length", [])}
    if len(lengths) > 1 or not all(re.fullmatch("[0-9]+", length) for length in lengths):
        return b"", f"it announces the length of its body as {terms.shown(' and '.join(sorted(lengths)))}"
    announced = response.length or 0
    body = b"" if announced > BODY_LIMIT else response.read(BODY_LIMIT + 1)
    if announced > BODY_LIMIT or len(body) > BODY_LIMIT:
        return b"", f"its body is larger than {size(BODY_LIMIT)}, so it was not read"
    if response.length:  # what http.client still expects
        return body, f"its body ended after {plural(len(body), 'byte')} of {announced:,}"
    encoding = response.headers.get("Content-Encoding", "identity").strip()
    if encoding.lower() not in ("", "identity"):
        return body, f"its body is encoded ({terms.shown(encoding)}), which was not asked for"
    return body, ""


class _Socket:
    """As much of a socket as ``http.client`` uses."""

    def __init__(self, raw: socket.socket, deadline: Deadline) -> None:
        self._raw, self._deadline = raw, deadline
        self.incoming = Incoming(raw, deadline, BODY_LIMIT + _HEAD_LIMIT)

    def sendall(self, data: bytes) -> None:
        self._raw.settimeout(self._deadline.left())  # of sendall as a whole
        self._raw.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self.incoming)

    def close(self) -> None:
        """http.client closes it while it still reads from its file; the connection's end is the exchange's."""


@dataclass(frozen=True)
class _Proxy:
    host: str
    port: int
    headers: Mapping[str, str]


class _Connection(http.client.HTTPConnection):
    """A connection to an origin, straight or through a proxy, each step of which ends with the deadline."""

    def __init__(self, parts: SplitResult, deadline: Deadline, proxy: Optional[_Proxy]) -> None:
        super().__init__(str(parts.hostname), _port(parts))
        self._parts, self._deadline, self._proxy = parts, deadline, proxy
        self._raw: Optional[socket.socket] = None
        self._incoming: Optional[Incoming] = None
        path = quote(parts.path or "/", safe=_URL_CHARACTERS)
        self.target = path + (f"?{quote(parts.query, safe=_URL_CHARACTERS)}" if parts.query else "")
        self.extra: dict[str, str] = {}
        if proxy and parts.scheme == "http":
            self.target = f"http://{self._address}{self.target}"
            self.extra = dict(proxy.headers)

    @property
    def _address(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"{name}:{self.port}"

    def connect(self) -> None:
        to = (self._proxy.host, self._proxy.port) if self._proxy else (self.host, self.port)
        self._raw = connected(to[0], to[1], self._deadline)
        if self._parts.scheme == "https":
            if self._proxy:
                self._through(self._raw, self._proxy)
            self._raw.settimeout(self._deadline.left())
            self._raw = ssl.create_default_context().wrap_socket(self._raw, server_hostname=self.host)
        self.sock: Any = _Socket(self._raw, self._deadline)
        self._incoming = self.sock.incoming

    @property
    def broke_off(self) -> bool:
        """If the other side ended already. Before the body, that is within the header; http.client lets it pass."""
        return bool(self._incoming and self._incoming.ended)

    def end(self) -> None:
        if self._raw:
            self._raw.close()

    def _through(self, raw: socket.socket, proxy: _Proxy) -> None:
        """Have the proxy connect ``raw`` with the origin."""
        lines = [f"CONNECT {self._address} HTTP/1.1", f"Host: {self._address}"]
        lines += [f"{name}: {value}" for name, value in proxy.headers.items()]
        spoken: Any = _Socket(raw, self._deadline)
        spoken.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        answer = http.client.HTTPResponse(spoken, method="CONNECT")
        answer.begin()
        if answer.status != 200:
            raise http.client.HTTPException(f"the proxy {proxy.host} answered with status {answer.status}")


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _port(parts)
    except ValueError:
        raise ValueError("it is none") from None  # the library's own words repeat the address, which may be a secret
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it is no http or https address")
    if parts.username is not None:
        raise ValueError("it holds a user name; credentials belong into a header")
    return parts


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, parts.hostname or "", _port(parts)


def _same_page(url: str, other: str) -> bool:
    """Whether ``other`` is another address of the same page: with a slash more or less, or of another origin."""
    asked, there = urlsplit(url), urlsplit(other)
    return url != other and asked.path.rstrip("/") == there.path.rstrip("/") and asked.query == there.query


def _place(url: str) -> str:
    """An address for a person: without what may be secret in it."""
    parts = urlsplit(url)
    if not parts.hostname:
        return f"{parts.scheme}:{parts.path}"
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{name}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _proxy_for(parts: SplitResult) -> Optional[_Proxy]:
    """What the environment says (``http_proxy``, ``https_proxy``, ``no_proxy``)."""
    said = urllib.request.getproxies().get(parts.scheme, "")
    if not said or urllib.request.proxy_bypass(f"{parts.hostname}:{_port(parts)}"):
        return None
    proxy = urlsplit(said if "://" in said else f"http://{said}")
    if not proxy.hostname:
        return None
    login = f"{unquote(proxy.username or '')}:{unquote(proxy.password or '')}"
    headers = {"Proxy-Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if proxy.username else {}
    return _Proxy(proxy.hostname, proxy.port or 8080, headers)


def _reason(error: Exception, terms: _Terms, status: int) -> str:
    """Why an exchange failed, without anything of what was sent."""
    if isinstance(error, (socket.timeout, TimeoutError)):
        return f"no complete answer within {terms.deadline.seconds:.3g} s"
    if isinstance(error, http.client.RemoteDisconnected):
        return "the connection was closed without an answer"
    if isinstance(error, http.client.IncompleteRead):
        return f"its body broke off after {plural(len(error.partial), 'byte')}"
    if isinstance(error, http.client.BadStatusLine):
        return f"what came is not HTTP: {terms.shown(str(error.args[0]))}"
    if isinstance(error, http.client.LineTooLong):
        return "a line of its header is too long"
    if isinstance(error, http.client.HTTPException):
        return terms.shown(str(error) or type(error).__name__)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, OSError):
        return terms.shown(error.strerror or str(error))
    return f"{'its body cannot be read' if status else 'the address cannot be asked'}: {terms.shown(str(error))}"


def shown(text: str) -> str:
    """What a server sent, as a part of a line: control characters and everything rarer than text are escaped."""
    cut = text[:_SHOWN] + ("…" if len(text) > _SHOWN else "")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)
