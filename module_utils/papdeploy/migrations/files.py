"""Migration files: what they are called, in which order they run, and what they say about themselves.

Nothing here runs a migration: files are read and parsed only, so that the controller can do it too.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import types
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

from ..core.errors import Refused
from . import sql_files
from .ordering import ORDER_FILE, ordered

TEMPLATE = "migration_template"
SUFFIXES = (".py", sql_files.SUFFIX)
DATED_NAME = re.compile(r"^(\d{4})_(\d{2})_(\d{2})_\w+$")
_HEADER = re.compile(r"^[ \t]*(?:[*#-][ \t]*)?(Date|Author|Created|Create Date)[ \t]*:[ \t]*(.+?)[ \t]*$", re.M | re.I)
_DATE_FORMATS = ("%Y-%m-%d", "%Y/%m/%d", "%Y_%m_%d", "%d.%m.%Y", "%d %B %Y", "%B %d, %Y", "%b %d, %Y", "%d %b %Y")

_SETTINGS = frozenset({"requires", "transactional"})
_NOT_PLAIN = 0x20 | 0x80 | 0x200  # inspect.CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR: a call runs nothing

MODERN = "upgrade"  # upgrade(db), downgrade(db)
SCRIPT = "script"  # run_migration(): own engine, own process


@dataclass(frozen=True)
class MigrationFile:
    """One migration. ``identity`` is the file name without its suffix; ``checksum`` is of its text, line ends aside."""

    identity: str
    source: str = field(repr=False)
    code: types.CodeType = field(repr=False, compare=False)
    checksum: str
    dated: Optional[date]
    flavour: str
    transactional: bool
    requires: tuple[str, ...]
    reversible: bool
    description: str
    author: str
    path: str = ""
    listed: int = -1  # its place in the order that was given
    header_date: str = ""  # as the docstring has it
    suffix: str = ".py"

    @property
    def filename(self) -> str:
        return f"{self.identity}{self.suffix}"

    @property
    def sort_key(self) -> tuple[date, int, str]:
        dated = date.min if self.listed >= 0 else self.dated
        return (dated or date.max, self.listed, self.identity)

    @cached_property
    def tree(self) -> ast.Module:
        if self.suffix == sql_files.SUFFIX:
            return sql_files.parse(self.source, self.filename).tree()
        return ast.parse(self.source)

    def as_dict(self) -> dict[str, Any]:
        return {
            "identity": self.identity,
            "date": self.dated.isoformat() if self.dated else None,
            "checksum": self.checksum,
            "flavour": self.flavour,
            "transactional": self.transactional,
            "requires": list(self.requires),
            "reversible": self.reversible,
            "description": self.description,
            "author": self.author,
            "path": self.path,
        }


def identity_of(name: str) -> str:
    """The identity that a file's name, with or without its suffix, stands for: composed (NFC), whichever form the file
    system has."""
    name = unicodedata.normalize("NFC", name)
    return next((name[: -len(suffix)] for suffix in SUFFIXES if name.endswith(suffix)), name)


def checksum(source: str) -> str:
    """SHA-256 of the text; line ends and blanks at line ends do not count (editors and git change them)."""
    text = "\n".join(line.rstrip() for line in source.lstrip("\ufeff").splitlines()).rstrip("\n")
    return hashlib.sha256(text.encode()).hexdigest()


def load_folder(path: Path) -> list[MigrationFile]:
    """The migrations of one folder, in the order they run. Raises Refused if they cannot be ordered."""
    return load_folders([path])


def load_folders(paths: Sequence[Path]) -> list[MigrationFile]:
    """The migrations of several folders as one ordered list."""
    found: list[MigrationFile] = []
    order: list[str] = []
    for folder in map(Path, paths):
        if not folder.is_dir():
            raise Refused(
                f"There is no migrations folder {folder}.",
                hint="Name the folder that holds migration_template.py and the dated migrations.",
            )
        home = str(folder.absolute())
        order += order_of(_text(f"{home}/{ORDER_FILE}")) if (folder / ORDER_FILE).exists() else []
        with os.scandir(home) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(SUFFIXES))
        for name in names:
            path = f"{home}/{name}"
            migration = read(name, _text(path), path)
            if migration is not None:
                found.append(migration)
    return ordered(found, order)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{path} cannot be read: {error}.", hint="Migrations are UTF-8 text files.") from None


def order_of(text: str) -> list[str]:
    """The identities in the text of an order file; what follows a ``#`` is a comment."""
    lines = (line.partition("#")[0].strip() for line in text.lstrip("\ufeff").splitlines())
    return [identity_of(line) for line in lines if line]


def load_sources(sources: Mapping[str, str]) -> list[MigrationFile]:
    """The same from file names and texts: what the controller sends to the API container."""
    found = (m for name, text in sorted(sources.items()) if "/" not in name and (m := read(name, text)) is not None)
    return ordered(found, order_of(sources.get(ORDER_FILE, "")))


def read(filename: str, source: str, path: str = "") -> Optional[MigrationFile]:
    """One migration, or None for what is none: the template, ``_private`` files, modules without an entry point, SQL
    without a date that does not say ``-- migrate: up``.

    A file with a dated name claims to be a migration: if it has no entry point it is refused rather than passed over.
    """
    identity = identity_of(filename)
    if identity == TEMPLATE or identity.startswith(("_", ".")) or not filename.endswith(SUFFIXES):
        return None
    where = path or filename
    source = source.lstrip("\ufeff")  # Python reads past it, too
    claims = DATED_NAME.match(identity) is not None
    if filename.endswith(sql_files.SUFFIX):
        return _read_sql(identity, source, path) if claims or sql_files.is_marked(source) else None
    try:
        code = compile(source, path or filename, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        if not claims and not re.search(r"^def\s+(?:upgrade|run_migration)\b", source, re.M):
            return None
        line = getattr(error, "lineno", None)
        raise Refused(
            f"{where} is not valid Python{f' (line {line})' if line else ''}: {getattr(error, 'msg', error)}.",
            hint="Correct the file; nothing was run.",
            identity=identity,
        ) from None
    functions = {item.co_name: item for item in code.co_consts if isinstance(item, types.CodeType)}
    upgrade = functions.get("upgrade")
    if upgrade is None and "run_migration" not in functions:
        if claims:
            raise Refused(
                f"{where} is named like a migration but has neither upgrade(db) nor run_migration().",
                hint="Write upgrade(db) as in migration_template.py, or give the file an undated name.",
                identity=identity,
            )
        return None
    if upgrade is not None and (upgrade.co_argcount != 1 or upgrade.co_flags & _NOT_PLAIN):
        raise Refused(
            f"{where}: upgrade() must be a plain function (no async, no yield) of exactly one argument, db.",
            hint="def upgrade(db): … as in migration_template.py.",
            identity=identity,
        )
    docstring = _docstring(code)
    header = {name.lower(): value for name, value in reversed(_HEADER.findall(docstring))}
    # The syntax tree costs as much as the rest together, and most files need it only for these.
    tree = ast.parse(source) if not _SETTINGS.isdisjoint(code.co_names) or "raise" in source else None
    constants = _constants(tree) if tree is not None else {}
    return MigrationFile(
        identity=identity,
        source=source,
        code=code,
        checksum=checksum(source),
        dated=_dated(identity, header, where),
        header_date=_header_date(header),
        flavour=MODERN if upgrade is not None else SCRIPT,
        transactional=_transactional(constants, where) if upgrade is not None else False,
        requires=_requires(constants, where),
        reversible=upgrade is not None and "downgrade" in functions and not _gives_up(tree),
        description=next((line.strip() for line in docstring.splitlines() if line.strip()), ""),
        author=header.get("author", ""),
        path=path,
    )


def _read_sql(identity: str, source: str, path: str) -> MigrationFile:
    source = source.replace("\r\n", "\n")
    where = path or f"{identity}{sql_files.SUFFIX}"
    parsed = sql_files.parse(source, where)
    header = {name.lower(): value for name, value in reversed(_HEADER.findall(parsed.remarks))}
    return MigrationFile(
        identity=identity,
        source=source,
        code=compile(parsed.tree(), where, "exec", dont_inherit=True),
        checksum=checksum(source),
        dated=_dated(identity, header, where),
        header_date=_header_date(header),
        flavour=MODERN,
        transactional=parsed.transactional,
        requires=tuple(map(identity_of, parsed.requires)),
        reversible=bool(parsed.down),
        description=next((line for line in parsed.remarks.splitlines() if line), ""),
        author=header.get("author", ""),
        path=path,
        suffix=sql_files.SUFFIX,
    )


def _docstring(code: types.CodeType) -> str:
    """The docstring of a module from its code: the first constant, if the first thing that happens is storing it."""
    text = code.co_consts[0] if code.co_consts and code.co_names[:1] == ("__doc__",) else ""
    return text if isinstance(text, str) else ""


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    found: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            found.update({target.id: node.value for target in node.targets if isinstance(target, ast.Name)})
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            found[node.target.id] = node.value
    return found


def _literal(constants: Mapping[str, ast.expr], name: str, where: str, default: Any) -> Any:
    if name not in constants:
        return default
    try:
        return ast.literal_eval(constants[name])
    except ValueError:
        raise Refused(f"{where}: {name} must be written as a plain value, not computed.") from None


def _transactional(constants: Mapping[str, ast.expr], where: str) -> bool:
    value = _literal(constants, "transactional", where, True)
    if not isinstance(value, bool):
        raise Refused(f"{where}: transactional must be True or False, not {value!r}.")
    return value


def _requires(constants: Mapping[str, ast.expr], where: str) -> tuple[str, ...]:
    value = _literal(constants, "requires", where, [])
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise Refused(f"{where}: requires must be a list of migration names.")
    return tuple(map(identity_of, value))


def _gives_up(tree: Optional[ast.Module]) -> bool:
    """Whether downgrade() begins by raising. ``tree`` is None for a file that raises nowhere."""
    for node in tree.body if tree is not None else ():
        if isinstance(node, ast.FunctionDef) and node.name == "downgrade":
            body = [n for n in node.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
            return bool(body) and isinstance(body[0], ast.Raise)
    return False


def _header_date(header: Mapping[str, str]) -> str:
    return header.get("date") or header.get("created") or header.get("create date") or ""


def _dated(identity: str, header: Mapping[str, str], where: str) -> Optional[date]:
    """The date of its name, else that of its docstring; None for neither, which ``ordered`` judges."""
    match = DATED_NAME.match(identity)
    if match:
        try:
            return date(int(match[1]), int(match[2]), int(match[3]))
        except ValueError:
            raise Refused(
                f"{where}: {match[1]}-{match[2]}-{match[3]} is not a date.",
                hint="Name the file YYYY_MM_DD_description.py (or .sql).",
                identity=identity,
            ) from None
    said = _header_date(header)
    day = re.match(r"\d{4}[-/_]\d{2}[-/_]\d{2}", said)
    for form in _DATE_FORMATS:
        try:
            return datetime.strptime(day[0] if day else said, form).date()
        except ValueError:
            continue
    return None


def with_requirements(migrations: Sequence[MigrationFile], names: Iterable[str]) -> list[MigrationFile]:
    """The named migrations and everything they require, in order. Refuses an unknown name."""
    by_name = {migration.identity: migration for migration in migrations}
    wanted: set[str] = set()
    queue = list(map(identity_of, names))
    while queue:
        name = queue.pop()
        if name not in by_name:
            raise Refused(
                f"There is no migration {name}.", hint="Names are file names without their suffix: see `plan`."
            )
        if name not in wanted:
            wanted.add(name)
            queue.extend(by_name[name].requires)
    return [migration for migration in migrations if migration.identity in wanted]
