"""The application's models: import them quietly, and compile what they would create."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...core.errors import PapError, Refused, VerificationFailed
from ...core.redact import Redactor
from ...sql.quoting import quote_name
from ..catalog.query import LEDGER_SCHEMA
from ..catalog.rows import CATALOG_FORMAT, Catalog
from . import recorder
from .capture_output import silence
from .source import Source

_CREATE_SCHEMA = re.compile(r'^\s*CREATE\s+SCHEMA\s+(?:IF\s+NOT\s+EXISTS\s+)?("(?:[^"]|"")+"|\w+)', re.IGNORECASE)
_SHARED = re.compile(r"^\s*CREATE\s+(TYPE|DOMAIN|SEQUENCE|EXTENSION|SCHEMA)\b", re.IGNORECASE)


class ModelSet:
    """The metadatas that ``specs`` name, whole.

    ``extensions`` are created before the models' own statements: for types whose extension the models do not create.
    """

    def __init__(self, metadatas: Sequence[Any], specs: Sequence[str] = (), extensions: Sequence[str] = ()) -> None:
        self.metadatas = list(metadatas)
        self.specs = list(specs)
        self.extensions = list(extensions)
        self._ddl: dict[int, list[str]] = {}
        self._classes: dict[str, Source] | None = None

    def ddl(self, server_version: int) -> list[str]:
        """The statements that create the models in an empty database of ``server_version`` (160004, or just 16)."""
        major = server_version // 10_000 if server_version >= 10_000 else server_version
        if major not in self._ddl:
            self._ddl[major] = self._compile(major * 10_000)
        return list(self._ddl[major])

    def _compile(self, version: int) -> list[str]:
        statements: list[str] = []
        with silence() as printed:
            try:
                for metadata in self.metadatas:
                    made = recorder.record([metadata], version)
                    # two metadatas may share an enum: the second one finds it there
                    statements += [s for s in made if not (_SHARED.match(s) and s in statements)]
            except Exception as exc:
                raise _failure(
                    f"The models ({', '.join(self.specs)}) cannot be compiled to SQL", exc, printed.text
                ) from exc
        made_there = {_unquoted(m[1]) for m in map(_CREATE_SCHEMA.match, statements) if m}
        schemas = [name for name in self.schemas() if name not in made_there | {"public"}]
        return [
            *(f"CREATE SCHEMA {quote_name(name)}" for name in schemas),
            *(f"CREATE EXTENSION IF NOT EXISTS {quote_name(name)}" for name in self.extensions),
            *statements,
        ]

    def schemas(self) -> list[str]:
        """The schemas that tables, enums and sequences of the models are in."""
        names = {table.schema or metadata.schema for metadata in self.metadatas for table in metadata.tables.values()}
        for metadata in self.metadatas:
            names |= {getattr(sequence, "schema", None) for sequence in getattr(metadata, "_sequences", {}).values()}
            for table in metadata.tables.values():
                names |= {getattr(column.type, "schema", None) for column in table.columns}
        return sorted(name for name in names if isinstance(name, str) and name != LEDGER_SCHEMA)

    def digest(self, server_major: int) -> str:
        """SHA-256 over the compiled statements (in one order), the server's major version and the catalog's format.

        Sorted, because SQLAlchemy keeps a table's indexes in a set.
        """
        text = "\0".join([f"catalog {CATALOG_FORMAT}", f"postgresql {server_major}", *sorted(self.ddl(server_major))])
        return hashlib.sha256(text.encode()).hexdigest()

    def tables(self) -> int:
        return sum(len(metadata.tables) for metadata in self.metadatas)

    def named(self, catalog: Catalog) -> Catalog:
        """``catalog`` with the models' names in it, for the reasons of the differences."""
        classes = {
            label: {"class": found.name, **({"file": found.file, "line": found.line} if found.file else {})}
            for label, found in self.classes().items()
        }
        known = {"specs": list(self.specs), "classes": classes, "defaults": self.defaults()}
        return replace(catalog, models=known)

    def defaults(self) -> dict[str, str]:
        """The values that Python gives a column (``default=False``), as SQL: for ``table.column``, as a difference
        names it. The server does not know them, so that rows that are there already have none."""
        found: dict[str, str] = {}
        for metadata in self.metadatas:
            for table in metadata.tables.values():
                label = table.name if table.schema in (None, "public") else f"{table.schema}.{table.name}"
                for column in table.columns:
                    value = recorder.python_default(column)
                    if value and column.server_default is None:
                        found[f"{label}.{column.name}"] = value
        return found

    def classes(self) -> dict[str, Source]:
        """For each mapped table, as a difference names it: the class and where it is written (file, line)."""
        if self._classes is None:
            self._classes = self._find_classes()
        return self._classes

    def _find_classes(self) -> dict[str, Source]:
        found: dict[str, Source] = {}
        for mapper in _mappers(self.metadatas):
            table = mapper.local_table
            name = getattr(table, "name", None)
            if name is None or (mapper.inherits is not None and mapper.inherits.local_table is table):
                continue
            label = name if not table.schema or table.schema == "public" else f"{table.schema}.{name}"
            found[label] = _source(mapper.class_)
        return found


def load_models(specs: Sequence[str], path: str | None = None, *, extensions: Sequence[str] = ()) -> ModelSet:
    """Import ``specs`` (``module`` or ``module:Base`` or ``module:Base.metadata``) and collect their metadatas.

    ``path`` (default: the current folder) is importable meanwhile and after. What the modules print is discarded.
    Modules without a name are imported for their side effects; where no spec has a name, the metadatas are those that
    the modules hold. Raises PapError with one sentence when a module does not import, a name is not there, or there is
    no table.
    """
    if not specs:
        raise Refused("No models are named.", hint="Give --models app.models:Base, or set models in the configuration.")
    folder = str(Path(path or ".").resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    metadatas: dict[int, Any] = {}
    modules = []
    named = any(":" in spec for spec in specs)
    for spec in specs:
        module_name, _, attribute = spec.partition(":")
        module = _import(module_name.strip())
        modules.append(module)
        if attribute:
            metadata = _named(module, attribute.strip(), spec)
            metadatas[id(metadata)] = metadata
    if not named:
        for module in modules:
            for metadata in _held(module):
                metadatas[id(metadata)] = metadata
        if not metadatas:
            raise VerificationFailed(
                f"{specs[-1]} holds no declarative Base and no MetaData.",
                hint=f"Name it: --models {specs[-1]}:Base, or add the module that defines it.",
            )
    models = ModelSet(list(metadatas.values()), specs, extensions)
    if not models.tables():
        raise VerificationFailed(
            f"The metadata of {', '.join(specs)} has no tables.",
            hint="Name the modules that define the models too; they register their tables when they are imported.",
        )
    return models


def _import(name: str) -> Any:
    if not re.fullmatch(r"[A-Za-z_][\w.]*", name):
        raise VerificationFailed(
            f"{name!r} is not a name of a Python module.", hint="Write package.module or package.module:Base."
        )
    with silence() as printed:
        failure: BaseException | None = None
        try:
            module = importlib.import_module(name)
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - a module may raise anything while it is imported
            failure = exc
    if failure is None:
        return module
    missing = isinstance(failure, ModuleNotFoundError) and name.startswith(f"{failure.name}")
    if missing:
        raise VerificationFailed(
            f"There is no module {failure.name!r}, which is needed for the models {name}."  # type: ignore[attr-defined]
            if failure.name != name  # type: ignore[attr-defined]
            else f"There is no module {name!r}.",
            hint=f"Looked in {sys.path[0]} first: run the command where the application's package is, or give --path.",
        ) from failure
    raise _failure(f"The models {name} do not import", failure, printed.text) from failure


def _failure(what: str, exc: BaseException, printed: str) -> PapError:
    """One sentence: what failed, the exception, and where in the application it came from."""
    reason = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
    if isinstance(exc, SystemExit):
        reason = f"it calls sys.exit({exc.code!r}) while it is imported"
    reason = " ".join(reason.split())
    frames = [
        f for f in traceback.extract_tb(exc.__traceback__) if "importlib" not in f.filename and __file__ != f.filename
    ]
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    redactor = Redactor(environment=os.environ)
    reason = redactor.text(reason)
    return PapError(
        f"{what}: {reason[:500].rstrip('.')}{where}.",
        hint="Importing them needs no database; set the environment that the application needs.",
        output=redactor.text(printed),
    )


def _named(module: Any, attribute: str, spec: str) -> Any:
    value = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            known = sorted(name for name, item in vars(module).items() if _metadata_of(item) is not None)
            hint = f"It has {', '.join(known[:8])}." if known else "Name the declarative Base or the MetaData."
            raise VerificationFailed(f"{module.__name__} has no {attribute!r}.", hint=hint)
        value = getattr(value, part)
    metadata = _metadata_of(value)
    if metadata is None:
        raise VerificationFailed(
            f"{spec} is a {type(value).__name__}, not a declarative Base or a MetaData.",
            hint="Name the class that the models inherit from, or its metadata.",
        )
    return metadata


def _metadata_of(value: Any) -> Any:
    """The MetaData that ``value`` is or carries, or None."""
    from sqlalchemy import MetaData

    if isinstance(value, MetaData):
        return value
    candidate = getattr(value, "metadata", None) if not inspect.ismodule(value) else None
    return candidate if isinstance(candidate, MetaData) else None


def _held(module: Any) -> list[Any]:
    found = {}
    for value in vars(module).values():
        metadata = _metadata_of(value) if inspect.isclass(value) or not callable(value) else None
        if metadata is not None:
            found[id(metadata)] = metadata
    return list(found.values())


def _mappers(metadatas: Sequence[Any]) -> list[Any]:
    """The mappers of the classes whose tables are in ``metadatas``; without configuring them."""
    from sqlalchemy.orm import mapperlib

    wanted = {id(metadata) for metadata in metadatas}
    found = []
    for registry in list(mapperlib._all_registries()):
        for mapper in list(registry.mappers):
            table = getattr(mapper, "local_table", None)
            if id(getattr(table, "metadata", None)) in wanted:
                found.append(mapper)
    return sorted(found, key=lambda mapper: f"{mapper.class_.__module__}.{mapper.class_.__qualname__}")


def _source(cls: type) -> Source:
    nowhere = Source(cls.__name__)
    try:
        file, (_, line) = inspect.getsourcefile(cls), inspect.getsourcelines(cls)
    except (OSError, TypeError):
        return nowhere
    if file is None:
        return nowhere
    path = Path(file)
    try:
        path = path.resolve().relative_to(Path.cwd())
    except ValueError:
        return nowhere
    return Source(cls.__name__, path.as_posix(), line)


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()
