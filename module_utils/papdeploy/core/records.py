"""Records: frozen dataclasses that come in as JSON and leave as JSON, each at one place.

Their annotations are read at run time, by Python 3.9 too: ``Optional[X]``, never ``X | None``.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from .errors import VerificationFailed
from .plain_json import JsonObject, parse

R = TypeVar("R")
Reader = Callable[[Any], Any]

# ``field(metadata=FROM)``: what JSON calls a field that cannot have that name in Python, and its counterpart.
FROM, TO = {"json": "from"}, {"json": "to"}

# What a reader does with a name that is not known, and with a value that does not fit.
_EXACT, _KNOWN, _FITTING = "exact", "known", "fitting"


class Mismatch(Exception):
    """A value is not what the record says. ``path`` leads there, the innermost name first."""

    def __init__(self, problem: str, *path: str) -> None:
        super().__init__(problem)
        self.problem, self.path = problem, list(path)


def read(record: type[R], value: object, what: str = "") -> R:
    """``value``, as JSON has it, as a ``record``: every name and type is checked. Raises PapError naming what is wrong
    in ``what`` (the record's name if that is empty)."""
    return _read(record, value, what, _EXACT)


def read_known(record: type[R], value: object, what: str = "") -> R:
    """The same, but names that are not known are passed over: another version wrote them."""
    return _read(record, value, what, _KNOWN)


def _read(record: type[R], value: object, what: str, mode: str) -> R:
    try:
        return cast(R, _reader(cast("Hashable", record), mode)(value))
    except Mismatch as exc:
        place = ".".join(reversed(exc.path)).replace(".[", "[")
        where = f"{what or record.__name__}: {place}" if place else what or record.__name__
        raise VerificationFailed(f"{where} {exc.problem}.") from exc


def recorded(record: type[R], value: object) -> R:
    """As much of ``value``, as JSON has it, as is what the record says: for what another version may have written. What
    has another type, or a name that is not known, is passed over; all fields have defaults."""
    if isinstance(value, record):
        return value
    if dataclasses.is_dataclass(value):
        raise TypeError(f"a {type(value).__name__} is read as a {record.__name__}")
    try:
        return cast(R, _reader(cast("Hashable", record), _FITTING)(value))
    except Mismatch:
        return record()


def in_file(path: Path) -> object:
    """What a file holds as JSON; None where there is none. Raises VerificationFailed if it is damaged."""
    try:
        return cast(object, parse(path.read_bytes()))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise VerificationFailed(f"{path} is damaged: {error}.") from error


def unknown_names(record: type[Any], value: object) -> list[str]:
    """The names in ``value``, if it is an object, that ``record`` has not."""
    known = {item.name for item in dataclasses.fields(record)}
    return sorted(str(name) for name in value if name not in known) if isinstance(value, Mapping) else []


def plain(value: Any) -> Any:
    """``value`` as JSON has it: lists and dicts. A field that has its default is left out of its record."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = ((key, getattr(value, name), default) for name, key, default in _fields(type(value)))
        return {key: plain(item) for key, item, default in items if item != default or default is dataclasses.MISSING}
    return value


def whole(value: Any) -> Any:
    """The same with every field: for those who look up names in it."""
    if isinstance(value, (list, tuple)):
        return [whole(item) for item in value]
    if isinstance(value, Mapping):
        return {key: whole(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {key: whole(getattr(value, name)) for name, key, _ in _fields(type(value))}
    return value


def returned(result: object) -> JsonObject:
    """What a module ends with, as JSON has it: fields of ``result`` that have their default are left out, those of its
    parts are there for who looks up names in them."""
    shown = as_object(result)
    return {key: item for key, item in whole(result).items() if key in shown}


def as_object(record: object) -> JsonObject:
    """One record as JSON has it."""
    return cast(JsonObject, plain(record))


@functools.cache
def _fields(record: type[Any]) -> list[tuple[str, str, Any]]:
    """Its fields: name, name in JSON, default."""
    found = []
    for item in dataclasses.fields(record):
        default = item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
        found.append((item.name, str(item.metadata.get("json", item.name)), default))
    return found


@functools.cache
def _reader(hint: Any, mode: str) -> Reader:
    if hint is Any or hint is object:
        return lambda value: value
    if dataclasses.is_dataclass(hint):
        return _record(hint, mode)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Union:
        return _one_of(arguments, mode)
    if origin is list:
        read_list = _list(arguments[0], mode)
        return lambda value: list(read_list(value))
    if origin is tuple:
        return _list(arguments[0], mode) if arguments[-1] is Ellipsis else _row(arguments, mode)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(arguments[1], mode)
    return _scalar(hint)


def _record(record: Any, mode: str) -> Reader:
    hints = get_type_hints(record)
    readers = {key: (name, _reader(hints[name], mode)) for name, key, _ in _fields(record)}
    required = {name for name, _, default in _fields(record) if default is dataclasses.MISSING}
    by_constructor = hasattr(record, "__post_init__") or any(
        item.default_factory is not dataclasses.MISSING for item in dataclasses.fields(record)
    )

    def read_record(value: Any) -> Any:
        if not isinstance(value, dict):
            raise Mismatch(f"is {_kind(value)}, not an object")
        found = {}
        for name, item in value.items():
            known = readers.get(name)
            if known is None:
                if mode == _EXACT:
                    raise Mismatch("is not known", str(name))
                continue
            try:
                field, reader = known
                found[field] = reader(item)
            except Mismatch as exc:
                if mode != _FITTING:
                    exc.path.append(name)
                    raise
        if not required <= found.keys():
            raise Mismatch("is missing", min(required - found.keys()))
        return record(**found) if by_constructor else _made(record, found)

    return read_record


def _made(record: type[R], found: Mapping[str, Any]) -> R:
    """A frozen dataclass sets its fields one by one, which takes longer than all the rest of reading it."""
    made = object.__new__(record)
    made.__dict__.update(found)
    return made


def _one_of(hints: Sequence[Any], mode: str) -> Reader:
    optional = type(None) in hints
    readers = [_reader(hint, mode) for hint in hints if hint is not type(None)]

    def read_one(value: Any) -> Any:
        if value is None and optional:
            return None
        for reader in readers[:-1]:
            try:
                return reader(value)
            except Mismatch:
                continue
        return readers[-1](value)

    return read_one


def _list(hint: Any, mode: str) -> Reader:
    each = _reader(hint, mode)

    def read_list(value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            raise Mismatch(f"is {_kind(value)}, not a list")
        found = []
        for item in value:
            try:
                found.append(each(item))
            except Mismatch as exc:
                if mode != _FITTING:
                    exc.path.append(f"[{len(found)}]")
                    raise
        return tuple(found)

    return read_list


def _row(hints: Sequence[Any], mode: str) -> Reader:
    readers = [_reader(hint, mode) for hint in hints]

    def read_row(value: Any) -> Any:
        if not isinstance(value, (list, tuple)) or len(value) != len(readers):
            raise Mismatch(f"is {_kind(value)}, not a list of {len(readers)}")
        return tuple(reader(item) for reader, item in zip(readers, value))

    return read_row


def _mapping(hint: Any, mode: str) -> Reader:
    each = _reader(hint, mode)

    def read_mapping(value: Any) -> Any:
        if not isinstance(value, dict):
            raise Mismatch(f"is {_kind(value)}, not an object")
        found = {}
        for name, item in value.items():
            try:
                found[name] = each(item)
            except Mismatch as exc:
                if mode != _FITTING:
                    exc.path.append(str(name))
                    raise
        return found

    return read_mapping


def _scalar(hint: Any) -> Reader:
    allowed = (float, int) if hint is float else (hint,)

    def read_scalar(value: Any) -> Any:
        if value.__class__ not in allowed:
            raise Mismatch(f"is {_kind(value)}, not {_KINDS.get(hint, hint.__name__)}")
        return value

    return read_scalar


_KINDS = {str: "text", int: "an integer", float: "a number", bool: "true or false", list: "a list", tuple: "a list"}


def _kind(value: object) -> str:
    if value is None:
        return "null"
    return "an object" if isinstance(value, Mapping) else _KINDS.get(type(value), type(value).__name__)
