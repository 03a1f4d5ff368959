"""Calls of the agent: JSON in and out at their edge, records inside."""

from __future__ import annotations

from typing import Any, Callable, TypeVar

from .records import as_object, read_known

R = TypeVar("R")
Emit = Callable[[dict[str, Any]], None]
Call = Callable[[dict[str, Any], Emit], dict[str, Any]]


def telling(request: type[R], work: Callable[[R, Emit], object]) -> Call:
    """``work``, which takes a record and gives one, as a call."""
    return lambda value, emit: as_object(work(read_known(request, value), emit))


def of(request: type[R], work: Callable[[R], object]) -> Call:
    """The same for work that tells nothing on the way."""
    return telling(request, lambda record, emit: work(record))
