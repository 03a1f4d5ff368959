"""The one exception of the sandbox: a message for a person, ending in what to do."""

from __future__ import annotations


class SandboxError(Exception):
    """The sandbox could not do what was asked; the text says why and what to do."""
