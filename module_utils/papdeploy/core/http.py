"""The one HTTP client: an exchange ends at its deadline, and every failure is an answer that says why.

Only the standard library, because nothing is installed on a target host. ``http.client`` reads the protocol; what it
does not have is here: a deadline for the whole exchange (its time-out is one per ``recv``, so a body that trickles
never ends), a limit on what is read, and redirects that never leave the origin.
"""

from __future__ import annotations

import base64
import http.client
import io
import queue
import re
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Optional, Union
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from .text import plural, size

BODY_LIMIT = 4 * 1024 * 1024  # bytes
_HEAD_LIMIT = 256 * 1024  # bytes of status line, headers and the framing of chunks
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 5
_SHOWN = 200  # characters of what a server sent
_SENDABLE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")
_URL_CHARACTERS = "%/:?#[]@!$&'()*+,;=~"


@dataclass(frozen=True)
class Answer:
    """What came of one exchange. ``status`` 0 means that no status came; ``ms`` is milliseconds.

    With a ``problem`` the answer is not to be trusted, whatever its status: it says what is wrong, as a part of a
    sentence.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    ms: float = 0.0
    problem: str = ""


def exchange(
    url: str,
    *,
    method: str = "GET",
    headers: Optional[Mapping[str, str]] = None,
    body: Optional[bytes] = None,
    seconds: float = 10.0,
    proxy: bool = False,
) -> Answer:
    """Ask ``url`` and follow redirects within its origin. Everything, name resolution included, ends after ``seconds``.

    ``proxy`` heeds the proxy of the environment. Never raises for what a server or a network does.
    """
    clock = _Clock(seconds)
    started = time.monotonic()
    answer = _following(url, method, dict(headers or {}), body, clock, proxy)
    return replace(answer, ms=round((time.monotonic() - started) * 1000, 1))


def _following(
    url: str, method: str, headers: dict[str, str], body: Optional[bytes], clock: _Clock, proxy: bool
) -> Answer:
    for _ in range(_MAX_REDIRECTS + 1):
        answer = _once(url, method, headers, body, clock, proxy)
        target = answer.headers.get("location", "")
        if answer.status not in _REDIRECTS or not target or answer.problem:
            return answer
        try:
            following = urljoin(url, target)
            away = _origin(urlsplit(following)) != _origin(urlsplit(url))
        except ValueError:
            return replace(answer, problem=f"it redirects to {shown(target)}, which is no address")
        if away:
            # Neither are its credentials for that other server, nor is what answers there the server that was asked.
            return replace(answer, problem=f"it redirects to {_place(following)}, another origin; that is not followed")
        if answer.status in (301, 302, 303) and method != "GET":
            method, body = "GET", None
        url = following
    return replace(answer, problem=f"it redirects without end: {_MAX_REDIRECTS} times were followed")


def _once(url: str, method: str, headers: dict[str, str], body: Optional[bytes], clock: _Clock, proxy: bool) -> Answer:
    """One request and its answer, without redirects."""
    status, fields = 0, {}
    try:
        parts = _parts(url)
        if not all(_SENDABLE.fullmatch(value) for value in headers.values()):
            return Answer(0, problem="a header of the request holds characters that HTTP does not allow")
        connection = _Connection(parts, clock, _proxy_for(parts) if proxy else None)
        try:
            sent = {"Accept-Encoding": "identity", "Connection": "close", **connection.extra, **headers}
            connection.request(method, connection.target, body, sent)
            with connection.getresponse() as response:
                status = response.status
                fields = {name.lower(): value for name, value in response.getheaders()}
                if connection.broke_off or response.headers.defects:
                    return Answer(status, fields, problem="its header broke off, or is none")
                received, problem = _body(response)
                return Answer(status, fields, received, problem=problem)
        finally:
            connection.end()
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Answer(status, fields, problem=_reason(error, clock, status))


def _body(response: http.client.HTTPResponse) -> tuple[bytes, str]:
    """The body, and what is wrong with it."""
    announced = response.length or 0
    body = b"" if announced > BODY_LIMIT else response.read(BODY_LIMIT + 1)
    if announced > BODY_LIMIT or len(body) > BODY_LIMIT:
        return b"", f"its body is larger than {size(BODY_LIMIT)}, so it was not read"
    if response.length:  # what http.client still expects
        return body, f"its body ended after {plural(len(body), 'byte')} of {announced:,}"
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        return body, f"its body is encoded ({shown(encoding)}), which was not asked for"
    return body, ""


class _Clock:
    """What is left of the time of an exchange."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise socket.timeout("the time is up")
        return left


class _TooMuch(http.client.HTTPException):
    """More came than any answer may have."""


class _Incoming(io.RawIOBase):
    """What a socket receives, until the time of the exchange is up or too much has come."""

    def __init__(self, raw: socket.socket, clock: _Clock) -> None:
        super().__init__()
        self._raw, self._clock = raw, clock
        self._left = BODY_LIMIT + _HEAD_LIMIT
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._raw.settimeout(self._clock.left())
        received = self._raw.recv_into(buffer)
        self._left -= received
        self.ended = not received
        if self._left < 0:
            raise _TooMuch(f"more than {size(BODY_LIMIT + _HEAD_LIMIT)} came")
        return received


class _Socket:
    """As much of a socket as ``http.client`` uses."""

    def __init__(self, raw: socket.socket, clock: _Clock) -> None:
        self._raw, self._clock = raw, clock
        self.incoming = _Incoming(raw, clock)

    def sendall(self, data: bytes) -> None:
        self._raw.settimeout(self._clock.left())  # of sendall as a whole
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
    """A connection to an origin, straight or through a proxy, each step of which ends with the clock."""

    def __init__(self, parts: SplitResult, clock: _Clock, proxy: Optional[_Proxy]) -> None:
        super().__init__(str(parts.hostname), _port(parts))
        self._parts, self._clock, self._proxy = parts, clock, proxy
        self._raw: Optional[socket.socket] = None
        self._incoming: Optional[_Incoming] = None
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
        self._raw = _connected(to[0], to[1], self._clock)
        if self._parts.scheme == "https":
            if self._proxy:
                self._through(self._raw, self._proxy)
            self._raw.settimeout(self._clock.left())
            self._raw = ssl.create_default_context().wrap_socket(self._raw, server_hostname=self.host)
        self.sock: Any = _Socket(self._raw, self._clock)
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
        spoken: Any = _Socket(raw, self._clock)
        spoken.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        answer = http.client.HTTPResponse(spoken, method="CONNECT")
        answer.begin()
        if answer.status != 200:
            raise http.client.HTTPException(f"the proxy {proxy.host} answers {answer.status}")


def _connected(host: str, port: int, clock: _Clock) -> socket.socket:
    addresses = _addresses(host, port, clock)
    failure: OSError = OSError(f"{host} has no address")
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        raw = socket.socket(family, kind, protocol)
        try:
            raw.settimeout(clock.left() / (len(addresses) - number))
            raw.connect(address)
            return raw
        except OSError as error:
            raw.close()
            failure = error
    raise failure


def _addresses(host: str, port: int, clock: _Clock) -> list[Any]:
    """``getaddrinfo`` knows no time-out: it is left behind when the time is up."""
    found: queue.SimpleQueue[Union[list[Any], OSError, UnicodeError]] = queue.SimpleQueue()

    def resolve() -> None:
        try:
            found.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.put(error)

    threading.Thread(target=resolve, daemon=True).start()
    try:
        answer = found.get(timeout=clock.left())
    except queue.Empty:
        raise socket.timeout("the time is up") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


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


def _place(url: str) -> str:
    """An address for a person: without what may be secret in it."""
    parts = urlsplit(url)
    name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return shown(f"{parts.scheme}://{name}{f':{parts.port}' if parts.port else ''}{parts.path}")


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


def _reason(error: Exception, clock: _Clock, status: int) -> str:
    """Why an exchange failed, without anything of what was sent."""
    if isinstance(error, (socket.timeout, TimeoutError)):
        return f"no complete answer within {clock.seconds:g} s"
    if isinstance(error, http.client.RemoteDisconnected):
        return "the connection was closed without an answer"
    if isinstance(error, http.client.IncompleteRead):
        return f"its body broke off after {plural(len(error.partial), 'byte')}"
    if isinstance(error, http.client.BadStatusLine):
        return f"what came is not HTTP: {shown(str(error.args[0]))}"
    if isinstance(error, http.client.LineTooLong):
        return "a line of its header is too long"
    if isinstance(error, http.client.HTTPException):
        return shown(str(error) or type(error).__name__)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, OSError):
        return shown(error.strerror or str(error))
    return f"{'its body cannot be read' if status else 'the address cannot be asked'}: {shown(str(error))}"


def shown(text: str) -> str:
    """What a server sent, as a part of a line: control characters and everything rarer than text are escaped."""
    cut = text[:_SHOWN] + ("…" if len(text) > _SHOWN else "")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)
