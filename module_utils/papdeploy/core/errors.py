"""The exceptions of papdeploy: one base, few members, each carries the data that a caller needs."""

from __future__ import annotations

from typing import Any

from .plain_json import JsonObject


class PapError(Exception):
    """Something went wrong. ``message`` says what happened and on what; ``hint`` says what to do next.

    ``data`` holds plain JSON values for programs (a module's result, a report).
    """

    def __init__(self, message: str, *, hint: str = "", **data: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.data = data

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def as_dict(self) -> JsonObject:
        """The error as plain data: what crosses a process boundary or goes into a journal."""
        return {"error": type(self).__name__, "message": self.message, "hint": self.hint, "data": self.data}


class Refused(PapError):
    """A guard said no before anything was changed."""


class WrongDatabase(Refused):
    """A session is not in the database that it was opened for. ``expected`` and ``found`` are in ``data``."""


class TakenOver(Refused):
    """Another run has this stack now: the one that asks must change nothing more, and must not go back either."""


class Unavailable(PapError):
    """Something that is needed did not answer, so nothing can be said about it."""


class Unhealthy(Unavailable):
    """The API runs, and is what it should be, yet does not answer well."""


class DeadlineExceeded(PapError):
    """The work was ended because its time (``seconds``) was up."""


class StorageFailed(PapError):
    """A disk is full, out of quota, read-only or broken, or a file is closed to this user: ``errno`` (its name) and
    ``path`` are in ``data``."""


class CommandFailed(PapError):
    """A program ended with a failure. ``argv``, ``rc`` and the end of ``stderr`` are in ``data``."""

    @property
    def stderr(self) -> str:
        return str(self.data.get("stderr", ""))


class VerificationFailed(PapError):
    """What was found is not what it must be, so nothing is concluded from it."""


class RemoteError(PapError):
    """Code that ran beside the models raised something that is not a PapError; ``data['traceback']`` says where."""


KINDS: dict[str, type[PapError]] = {
    kind.__name__: kind
    for kind in (
        PapError,
        Refused,
        WrongDatabase,
        TakenOver,
        Unavailable,
        Unhealthy,
        DeadlineExceeded,
        StorageFailed,
        CommandFailed,
        VerificationFailed,
        RemoteError,
    )
}


def from_dict(value: dict[str, Any]) -> PapError:
    """The inverse of :meth:`PapError.as_dict`; an unknown kind becomes a plain PapError."""
    kind = KINDS.get(str(value.get("error")), PapError)
    return kind(str(value.get("message", "unknown error")), hint=str(value.get("hint", "")), **value.get("data", {}))
