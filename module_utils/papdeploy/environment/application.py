"""What the calls of this package are told of the application that they look at, and what they find."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Application:
    """``models``: its modules; ``environment``: the stage that it is deployed to; ``words``: its command; ``folders``:
    where it is; ``commands`` start it, ``controls`` the service that does; ``links``: a path by the link that will
    lead there, below ``root``; ``seconds``: how long it may wait for something that it does not reach."""

    models: tuple[str, ...] = ()
    environment: str = ""
    words: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    controls: tuple[tuple[str, ...], ...] = ()
    links: dict[str, str] = field(default_factory=dict)
    root: str = "/"
    seconds: float = 15.0


@dataclass(frozen=True)
class Search(Application):
    """What gives ``variable`` a value?"""

    variable: str = ""


@dataclass(frozen=True)
class Value:
    """A value of the variable, and where it is said to be."""

    value: str
    source: str


@dataclass(frozen=True)
class Findings:
    """``found``: what gives the variable a value. ``unsure``: what does so under a condition that could not be decided.
    ``problem``: why it could not be seen to the end (then only what happened before that is known)."""

    found: tuple[Value, ...]
    unsure: tuple[Value, ...]
    problem: str
