"""One mail to a few people, by the standard library alone."""

from __future__ import annotations

import base64
import contextlib
import io
import smtplib
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from ..core.errors import Refused, Unavailable
from ..core.redact import Redactor
from ..core.timed_socket import Deadline, Incoming, connected
from ..core.visible import visible, visible_block

_SHOWN = 300  # characters of what a server said
_ANSWERS = 64 * 1024  # bytes that a server may say in all
SECURE = ("try", "starttls", "always", "never")


@dataclass(frozen=True)
class Server:
    """A mail server. ``secure``: TLS from the start ("always"), STARTTLS or nothing ("starttls"), STARTTLS where the
    server offers it ("try"), or none. A password travels under TLS only. ``timeout_s`` is for all of it."""

    host: str
    port: int = 25
    username: str = ""
    password: str = field(default="", repr=False)
    secure: str = "try"
    timeout_s: float = 30.0


@dataclass(frozen=True)
class Sent:
    changed: bool
    to: Sequence[str]


def send(server: Server, *, sender: str, to: Sequence[str], subject: str, body: str) -> Sent:
    """Send it. Raises Refused for what cannot be sent, Unavailable if the server does not take it for everybody."""
    message = EmailMessage()
    try:
        message["From"], message["To"], message["Subject"] = sender, ", ".join(to), visible(subject)
    except (ValueError, IndexError) as error:
        raise Refused(f"This cannot be the head of a mail: {error}.", hint="Check notify_mail_from and _to.") from error
    message.set_content(visible_block(body))
    context = ssl.create_default_context()
    try:
        with _connected(server, context) as smtp:
            encrypted = server.secure == "always"
            if server.secure == "starttls" or (server.secure == "try" and smtp.has_extn("starttls")):
                smtp.starttls(context=context)
                encrypted = True
            if server.username:
                if not encrypted:
                    raise Refused(
                        f"{server.host} would get the password of {server.username} without TLS.",
                        hint="Set notify_mail_secure to starttls or always.",
                    )
                smtp.login(server.username, server.password)
            refused = smtp.send_message(message)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        said = Redactor(_spellings(server)).text(str(error))[:_SHOWN]
        raise Unavailable(f"{server.host}:{server.port} did not take the mail: {visible(said)}.") from error
    if refused:
        raise Unavailable(f"{server.host}:{server.port} did not take the mail for {', '.join(refused)}.")
    return Sent(True, to)


def _spellings(server: Server) -> list[str]:
    """The password as it travels, which a server may say back."""
    login = [server.password, f"\0{server.username}\0{server.password}"]
    return [server.password, *(base64.b64encode(each.encode()).decode() for each in login if server.password)]


class _Connection(smtplib.SMTP):
    """Each step ends with the deadline, and no answer is longer than answers are."""

    def __init__(self, server: Server, context: ssl.SSLContext) -> None:
        self._server, self._context = server, context
        self._deadline = Deadline(server.timeout_s)
        super().__init__(server.host, server.port, timeout=server.timeout_s)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        raw = connected(host, port, self._deadline)
        if self._server.secure == "always":
            raw.settimeout(self._deadline.left())
            raw = self._context.wrap_socket(raw, server_hostname=host)
        return raw

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock:
            self.file = io.BufferedReader(Incoming(self.sock, self._deadline, _ANSWERS))
        return super().getreply()

    def send(self, s: Any) -> None:
        if self.sock:
            self.sock.settimeout(self._deadline.left())
        super().send(s)


@contextlib.contextmanager
def _connected(server: Server, context: ssl.SSLContext) -> Any:
    with _Connection(server, context) as smtp:
        smtp.ehlo()
        yield smtp
