"""What a switch such as CC_DROP_TABLES is for an application that has been imported: in its settings, its own names and
its environment, whatever gave it.

Read are only values: instances of settings, dictionaries, names that the source takes from the variable. Classes and
functions are not called, but for a settings class of which there is no instance yet, and getters of settings that take
nothing.
"""

from __future__ import annotations

import ast
import contextlib
import enum
import functools
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Optional

from .settings_values import fold

_LIBRARIES = ("site-packages", "dist-packages", str(Path(os.__file__).parent), str(Path(__file__).resolve().parents[1]))
_OBJECTS = 5_000
_DEPTH = 5
_SOURCE_BYTES = 1 << 20
_GETTER = re.compile(r"(?i)^_?(get|load|make|create|read)?_?(app_?)?(settings|config|configuration|conf)$")
_SWITCH = re.compile(r"(?i)^\s*(1|true|t|yes|y|on|enabled?)\s*$")
_OF_A_LIBRARY = (
    "config",
    "state",
    "settings",
    "conf",
)  # what its objects, as a FastAPI or a Flask, hold for the application
_DEFAULTS = ("default", "fallback", "default_value")
_CALLS = {"get", "getenv", "config", "bool", "str", "env", "setdefault", "pop", "Field", "field", "Csv", "Choices"}


@dataclass(frozen=True)
class Value:
    """What the switch is at ``source``; not ``certain``: if the default there holds, and something uses it."""

    value: str
    source: str
    certain: bool = True


def values(variable: str, own: Collection[str] = (), others: Collection[str] = ()) -> list[Value]:
    """Every value that the imported modules of the application have for ``variable``, with its place for a person.

    ``own`` and ``others``: words for the stages that it is in, and for others. Where settings have a section for one of
    its own, those for others do not count.
    """
    modules = _own_modules()
    mentions = [found for module in modules for found in _mentions(module, variable)]
    fields = {mention.name for mention in mentions if mention.name}
    search = _Search(variable, fields, own, others)
    for module in modules:
        search.module(module)
    found = [*search.found, *(_default(mention, variable) for mention in mentions)]
    return list({(each.value, each.source): each for each in found if each is not None}.values())


def _own_modules() -> list[ModuleType]:
    found = []
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None) or ""
        ours = name.split(".")[0] == __name__.split(".")[0]
        if isinstance(module, ModuleType) and path and not ours and not any(part in path for part in _LIBRARIES):
            found.append(module)
    return found


@dataclass(frozen=True)
class _Mention:
    """The source takes the variable: under ``name`` (of a module or of a class's instances), by a call that gives
    ``default`` where nothing else does; not ``certain``: by a call, or in a function, of its own."""

    name: str
    default: Optional[str]
    place: str
    certain: bool = True


def _mentions(module: ModuleType, variable: str) -> Iterator[_Mention]:
    path = Path(str(module.__file__))
    try:
        if path.suffix != ".py" or path.stat().st_size > _SOURCE_BYTES:
            return
        text = path.read_text(encoding="utf-8", errors="replace")
        if variable.lower() not in text.lower():
            return
        tree = ast.parse(text)
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None and _names(node.value, variable):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, (ast.Name, ast.Attribute)):
                    name = target.id if isinstance(target, ast.Name) else target.attr
                    yield _Mention(name, None, f"{path}, line {node.lineno}")
        elif isinstance(node, ast.Call):
            yield from _by_call(node, variable, path)
        elif isinstance(node, ast.arguments):
            yield from _by_defaults(node, variable, path)


def _by_call(node: ast.Call, variable: str, path: Path) -> Iterator[_Mention]:
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    named = [word.value for word in node.keywords if word.arg in _DEFAULTS]
    known = called in _CALLS and bool(node.args) and _is(node.args[0], variable)
    if known or (named and any(_is(each, variable) for each in (*node.args, *(word.value for word in node.keywords)))):
        given = [*(node.args[1:2] if known else []), *named]
        constant = next((each.value for each in given if isinstance(each, ast.Constant)), None)
        if constant is not None:
            yield _Mention("", str(constant), f"{path}, line {node.lineno}", known)


def _by_defaults(node: ast.arguments, variable: str, path: Path) -> Iterator[_Mention]:
    """A function whose own defaults are the variable and what it is otherwise."""
    names = [each.arg for each in (*node.posonlyargs, *node.args)][-len(node.defaults) :] if node.defaults else []
    pairs = [*zip(names, node.defaults), *zip((each.arg for each in node.kwonlyargs), node.kw_defaults)]
    if any(value is not None and _is(value, variable) for _, value in pairs):
        for name, value in pairs:
            if name in _DEFAULTS and isinstance(value, ast.Constant):
                yield _Mention("", str(value.value), f"{path}, line {value.lineno}", certain=False)


def _names(node: ast.expr, variable: str) -> bool:
    return any(_is(each, variable) for each in ast.walk(node))


def _is(node: ast.AST, variable: str) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and fold(node.value) == fold(variable)


def _default(mention: _Mention, variable: str) -> Optional[Value]:
    """The default of a call, where the environment does not state otherwise."""
    if mention.default is None or any(fold(name) == fold(variable) for name in os.environ):
        return None
    if not _SWITCH.match(mention.default):
        return None
    return Value(mention.default, f"the default in {mention.place}", mention.certain)


class _Search:
    """Walks the values of modules. ``fields``: names that the source gives to the variable."""

    def __init__(self, variable: str, fields: Collection[str], own: Collection[str], others: Collection[str]) -> None:
        self.own, self.others = own, others
        self.full = fold(variable)
        self.short = self.full.partition("_")[2]  # drop_tables, below a prefix or an object of its own
        self.fields = set(fields)
        self.found: list[Value] = []
        self.seen: set[int] = set()
        self.kept: list[object] = []  # an id is one's own as long as its object lives
        self.left = _OBJECTS

    def module(self, module: ModuleType) -> None:
        names = {name: value for name, value in list(vars(module).items()) if _answers(value)}
        for name, value in names.items():
            if not name.startswith("__"):
                self._value(f"{module.__name__}.{name}", name, value, 0)
        for name, value in names.items():
            made = self._made(module, name, value)
            if made is not None:
                self._value(f"{module.__name__}.{name}()", "", made, 0)
            elif isinstance(value, type) and value.__module__ == module.__name__:
                self._unmade(f"{module.__name__}.{name}", value)

    def _unmade(self, place: str, cls: type) -> None:
        """The defaults of a class of which there is no instance yet, nor of one beside it: its use is not known."""
        family = {base for base in cls.__mro__ if base.__module__ == cls.__module__}
        if any(family.intersection(kind.__mro__) for kind in map(type, self.kept)):
            return
        for name, default in _field_defaults(cls):
            text = str(default)
            if (fold(name) in (self.full, self.short) or name in self.fields) and _SWITCH.match(text):
                source = f"the default of {place}.{name}, which nothing has made yet,"
                self.found.append(Value(text, source, certain=False))

    def _made(self, module: ModuleType, name: str, value: Any) -> Any:
        """The settings that a module would only make when it is asked."""
        if isinstance(value, type):
            if value.__module__ != module.__name__ or not _is_settings_class(value) or self._relative_seen(value):
                return None
            if value.__subclasses__():
                return None
        elif not (_GETTER.match(name) and _takes_nothing(value) and value.__module__ == module.__name__):
            return None
        try:
            return value()
        except (Exception, SystemExit):  # noqa: BLE001 - then no process gets these settings, here and now
            return None

    def _relative_seen(self, cls: type) -> bool:
        """Whether there are settings of this class, or of one beside it: then it is not known to be in use."""
        family = {base for base in cls.__mro__ if _is_settings_class(base)}
        return any(family.intersection(kind.__mro__) for kind in map(type, self.kept))

    def _value(self, place: str, name: str, value: Any, depth: int) -> None:
        """A value with all that is in it, but for what raises when it is looked at."""
        with contextlib.suppress(Exception):
            self._look_into(place, name, value, depth)

    def _look_into(self, place: str, name: str, value: Any, depth: int) -> None:
        value = value.value if isinstance(value, enum.Enum) else value
        if isinstance(value, (bool, int, str)):
            self._switch(place, name, value)
            return
        alias = isinstance(value, type) and depth == 0 and value.__name__ != name  # Config = ProductionConfig
        if depth > _DEPTH or self.left <= 0 or id(value) in self.seen:
            return
        if not (alias or _holds(value)):
            for key in _OF_A_LIBRARY if depth == 0 and hasattr(value, "__dict__") else ():
                inside = vars(value).get(key)
                inside = getattr(inside, "_state", inside)  # of starlette
                if isinstance(inside, Mapping):
                    self._value(f"{place}.{key}", key, inside, depth + 1)
            return
        self.left -= 1
        self.seen.add(id(value))
        self.kept.append(value)
        for key, inside in self._chosen(list(_inside(value))):
            self._value(f"{place}.{key}", key, inside, depth + 1)

    def _chosen(self, pairs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Without the sections of other stages, where there is one for its own."""
        if not any(key.lower() in self.own and isinstance(inside, Mapping) for key, inside in pairs):
            return pairs
        return [(key, inside) for key, inside in pairs if key.lower() not in self.others]

    def _switch(self, place: str, name: str, value: Any) -> None:
        """Note what is on. A text is often about the switch: only plain words of a switch are one."""
        text = str(value)
        if (fold(name) in (self.full, self.short) or name in self.fields) and _SWITCH.match(text):
            self.found.append(Value(text, place + self._origin(text)))

    def _origin(self, text: str) -> str:
        """Which variables could have given it, for a person."""
        names = sorted(n for n, v in os.environ.items() if fold(n).endswith(self.short) and fold(v) == fold(text))
        return f" (from the variable {', '.join(names)})" if names else ""


def _field_defaults(cls: type) -> Iterator[tuple[str, Any]]:
    """The fields of a dataclass, an attrs class or a model of pydantic with what they are by default."""
    for kind in ("__dataclass_fields__", "__attrs_attrs__", "model_fields"):
        fields = vars(cls).get(kind) or getattr(cls, kind, None) or ()
        pairs = fields.items() if isinstance(fields, Mapping) else ((each.name, each) for each in fields)
        for name, each in pairs:
            default, factory = getattr(each, "default", None), getattr(each, "default_factory", None)
            factory = getattr(default, "factory", None) or (factory if callable(factory) else None)
            if factory is not None:
                try:
                    default = factory()
                except (Exception, SystemExit):  # noqa: BLE001 - then there is no default, here and now
                    continue
            yield str(name), default


def _is_settings_class(value: Any) -> bool:
    """A settings class of pydantic, that is no base class of the library itself."""
    return isinstance(value, type) and any(base.__name__ == "BaseSettings" for base in value.__mro__[1:])


def _takes_nothing(value: Any) -> bool:
    function = getattr(value, "__wrapped__", value) if isinstance(value, functools._lru_cache_wrapper) else value
    code = getattr(function, "__code__", None)
    if code is None or code.co_flags & 0x2A0:  # a generator or a coroutine
        return False
    required = code.co_argcount - len(getattr(function, "__defaults__", None) or ())
    return not isinstance(value, type) and required == 0 and code.co_kwonlyargcount == 0


def _holds(value: Any) -> bool:
    """Whether to look inside: mappings, and objects of classes that are not a library's own machinery."""
    if isinstance(value, (ModuleType, type)) or (callable(value) and not hasattr(value, "__dict__")):
        return False
    if isinstance(value, Mapping):
        return True
    cls = type(value)
    module = sys.modules.get(cls.__module__)
    path = getattr(module, "__file__", None) or ""
    own = bool(path) and not any(part in path for part in _LIBRARIES)
    settings = cls.__module__.split(".")[0] in ("dynaconf", "box", "types", "omegaconf", "starlette", "argparse")
    return own or settings or _is_settings_class(cls) or any(base.__name__ == "BaseModel" for base in cls.__mro__)


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        pairs: Iterable[tuple[Any, Any]] = value.items()
    else:
        as_dict = getattr(value, "as_dict", None) if type(value).__module__.startswith("dynaconf") else None
        pairs = as_dict().items() if as_dict else _attributes(value)
    for count, (key, inside) in enumerate(list(pairs)):
        if count > 500:
            return
        if isinstance(key, str) and not key.startswith("__") and _answers(inside):
            yield key, inside


def _answers(value: Any) -> bool:
    """Not a proxy of what is not there (the request of a Flask), which raises whatever it is asked."""
    try:
        return bool(value.__class__)
    except Exception:  # noqa: BLE001 - as it says
        return False


def _attributes(value: Any) -> Iterable[tuple[str, Any]]:
    """What an object holds: of its own, and (constants and properties of settings) of its class."""
    found: dict[str, Any] = {}
    classes = value.__mro__ if isinstance(value, type) else type(value).__mro__
    for cls in reversed(classes):
        found.update({name: item for name, item in vars(cls).items() if isinstance(item, (bool, int, str))})
        if not isinstance(value, type):
            for name, item in vars(cls).items():
                if isinstance(item, (property, functools.cached_property)) and "drop" in name.lower():
                    try:
                        found[name] = getattr(value, name)
                    except Exception:  # noqa: BLE001 - a property may raise anything
                        continue
    own = vars(value) if hasattr(value, "__dict__") and not isinstance(value, type) else {}
    slots = {name: getattr(value, name, None) for cls in classes for name in getattr(cls, "__slots__", ())}
    return {**found, **slots, **own}.items()
