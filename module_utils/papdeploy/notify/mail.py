"""One mail to a few people, by the standard library alone."""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from ..core.errors import Refused, Unavailable
from ..core.visible import visible, visible_block

SECURE = ("try", "starttls", "always", "never")


@dataclass(frozen=True)
class Server:
    """A mail server. ``secure``: TLS from the start ("always"), STARTTLS or nothing ("starttls"), STARTTLS where the
    server offers it ("try"), or none. A password travels under TLS only. ``timeout_s`` is for each answer."""

    host: str
    port: int = 25
    username: str = ""
    password: str = field(default="", repr=False)
    secure: str = "try"
    timeout_s: float = 10.0


def send(server: Server, *, sender: str, to: Sequence[str], subject: str, body: str) -> dict[str, Any]:
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
    except (OSError, smtplib.SMTPException) as error:
        raise Unavailable(f"{server.host}:{server.port} did not take the mail: {error}.") from error
    if refused:
        raise Unavailable(f"{server.host}:{server.port} did not take the mail for {', '.join(refused)}.")
    return {"changed": True, "to": list(to)}


@contextlib.contextmanager
def _connected(server: Server, context: ssl.SSLContext) -> Any:
    kind: Any = smtplib.SMTP
    extra: dict[str, Any] = {}
    if server.secure == "always":
        kind, extra = smtplib.SMTP_SSL, {"context": context}
    with kind(server.host, server.port, timeout=server.timeout_s, **extra) as smtp:
        smtp.ehlo()
        yield smtp
