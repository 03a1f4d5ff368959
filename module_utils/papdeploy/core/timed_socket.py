"""Sockets whose whole exchange ends at one deadline: the time-out of a socket is one per ``recv``, which a peer that
trickles never meets."""

from __future__ import annotations

import io
import queue
import socket
import threading
import time
from typing import Any, Union

from .text import size


class Deadline:
    """What is left of the time of an exchange."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise socket.timeout("the time is up")
        return left


class Incoming(io.RawIOBase):
    """What a socket receives, until the time of the exchange is up or more than ``limit`` bytes have come."""

    def __init__(self, raw: socket.socket, deadline: Deadline, limit: int) -> None:
        super().__init__()
        self._raw, self._deadline = raw, deadline
        self._limit, self._left = limit, limit
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._raw.settimeout(self._deadline.left())
        received = self._raw.recv_into(buffer)
        self._left -= received
        self.ended = not received
        if self._left < 0:
            raise OSError(f"more than {size(self._limit)} came")
        return received


def connected(host: str, port: int, deadline: Deadline) -> socket.socket:
    """A connection to the first address of ``host`` that answers. Raises OSError, UnicodeError for what is no name."""
    addresses = _addresses(host, port, deadline)
    failure: OSError = OSError(f"{host} has no address")
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        raw = socket.socket(family, kind, protocol)
        try:
            raw.settimeout(deadline.left() / (len(addresses) - number))
            raw.connect(address)
            return raw
        except OSError as error:
            raw.close()
            failure = error
    raise failure


def _addresses(host: str, port: int, deadline: Deadline) -> list[Any]:
    """``getaddrinfo`` knows no time-out: it is left behind when the time is up."""
    found: queue.SimpleQueue[Union[list[Any], OSError, UnicodeError]] = queue.SimpleQueue()

    def resolve() -> None:
        try:
            found.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.put(error)

    threading.Thread(target=resolve, daemon=True).start()
    try:
        answer = found.get(timeout=deadline.left())
    except queue.Empty:
        raise socket.timeout("the time is up") from None
    if isinstance(answer, Exception):
        raise answer
    return answer
