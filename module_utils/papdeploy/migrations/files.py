"""Migration files: what they are called, in which order they run, and what they say about themselves.

Nothing here runs a migration: files are read and parsed only, so that the controller can do it too.
"""

from __future__ import annotations

import ast
import hashlib
import heapq
import os
import re
import types
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from ..core.errors import Refused
from ..core.plain_json import JsonObject
from ..core.text import plural
from . import python_files, sql_files

if TYPE_CHECKING:
    from .alembic.home import Revision

TEMPLATE = "migration_template"
SUFFIXES = (".py", sql_files.SUFFIX)
# Beside migrations: names, one a line, in the order that they run before everything that has a date.
ORDER_FILE = "_order.txt"
DATED_NAME = re.compile(r"^(\d{4})_(\d{2})_(\d{2})_\w+$")
_HEADER = re.compile(r"^[ \t]*(?:[*#-][ \t]*)?(Date|Author|Created|Create Date)[ \t]*:[ \t]*(.+?)[ \t]*$", re.M | re.I)
_DATE_FORMATS = ("%Y-%m-%d", "%Y/%m/%d", "%Y_%m_%d", "%d.%m.%Y", "%d %B %Y", "%B %d, %Y", "%b %d, %Y", "%d %b %Y")

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
    revision: Optional[Revision] = field(default=None, repr=False, compare=False)  # of an Alembic tree

    @property
    def filename(self) -> str:
        return self.path.rpartition("/")[2] if self.revision else f"{self.identity}{self.suffix}"

    @property
    def downwards(self) -> MigrationFile:
        """The same for its downgrade, which may share a transaction where the upgrade cannot, and the reverse."""
        return replace(self, transactional=self.revision.transactional("downgrade")) if self.revision else self

    @property
    def own_transaction(self) -> bool:
        """Whether its tree commits after each revision, which a later one may need."""
        return self.revision is not None and self.revision.home.learned.transaction_per_migration

    @property
    def checks_before(self) -> bool:
        """Whether it says what must hold before it runs."""
        return self.flavour == MODERN and "check_before" in self.code.co_names

    @property
    def sort_key(self) -> tuple[date, int, str]:
        dated = date.min if self.listed >= 0 else self.dated
        return (dated or date.max, self.listed, self.identity)

    @cached_property
    def tree(self) -> ast.Module:
        if self.suffix == sql_files.SUFFIX:
            return sql_files.parse(self.source, self.filename).tree()
        return ast.parse(self.source)

    def as_dict(self) -> JsonObject:
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
        source = source.replace("\r\n", "\n").replace("\r", "\n")
        content = sql_files.parse(source, where).content(where) if claims or sql_files.is_marked(source) else None
    else:
        content = python_files.parse(source, where, identity, claims=claims)
    if content is None:
        return None
    header = {name.lower(): value for name, value in reversed(_HEADER.findall(content.remarks))}
    return MigrationFile(
        identity=identity,
        source=source,
        code=content.code,
        checksum=checksum(source),
        dated=_dated(identity, header, where),
        header_date=_header_date(header),
        flavour=MODERN if content.modern else SCRIPT,
        transactional=content.transactional,
        requires=tuple(map(identity_of, content.requires)),
        reversible=content.reversible,
        description=next((line.strip() for line in content.remarks.splitlines() if line.strip()), ""),
        author=header.get("author", ""),
        path=path,
        suffix=sql_files.SUFFIX if filename.endswith(sql_files.SUFFIX) else ".py",
    )


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


def _placed(migrations: Iterable[MigrationFile], order: Sequence[str]) -> list[MigrationFile]:
    """Each with its place in ``order``. Refuses what has neither a place nor a date, and names without a file."""
    places = {name: number for number, name in enumerate(order)}
    placed = [replace(m, listed=places[m.identity]) if m.identity in places else m for m in migrations]
    names = {migration.identity for migration in placed}
    wrong = [name for name in places if name not in names]
    wrong += [f"{name} (twice)" for name in places if order.count(name) > 1]
    if wrong:
        raise Refused(
            f"The order of the migrations names what is not there: {', '.join(wrong)}.",
            hint=f"Correct pap_migrations_order, or {ORDER_FILE} in the folder.",
        )
    undated = sorted((m for m in placed if m.dated is None and m.listed < 0), key=lambda m: m.identity)
    if undated:
        said = [m.identity + (f" (Date: {m.header_date!r})" if m.header_date else "") for m in undated]
        raise Refused(
            f"Without a date, so that the order is unknown: {plural(len(undated), 'migration')}: {', '.join(said)}.",
            hint="Name them YYYY_MM_DD_description.py, put 'Date: YYYY-MM-DD' in their docstrings, or list them in"
            f" pap_migrations_order (or {ORDER_FILE} in the folder) in the order in which they run.",
            identities=[m.identity for m in undated],
        )
    return placed


def ordered(migrations: Iterable[MigrationFile], order: Sequence[str] = ()) -> list[MigrationFile]:
    """Those that ``order`` lists, then by date and name; what a migration requires comes before it.

    Refuses two files with one identity, one without a place, a requirement that is not there, and a cycle.
    """
    by_name: dict[str, MigrationFile] = {}
    for migration in _placed(migrations, order):
        other = by_name.setdefault(migration.identity, migration)
        if other is not migration:
            raise Refused(
                f"Two files are the migration {migration.identity}: {other.path or other.filename} and"
                f" {migration.path or migration.filename}.",
                hint="The file name without its suffix is the identity in the ledger: rename the one that was never"
                " applied. SQL that a Python migration reads has another name, without a date.",
                identity=migration.identity,
            )
    folded: dict[str, str] = {}
    for name in by_name:
        if folded.setdefault(name.lower(), name) != name:
            raise Refused(
                f"The migrations {folded[name.lower()]} and {name} differ only in upper and lower case.",
                hint="On some file systems they are one file: rename the one that was never applied.",
                identity=name,
            )
    waiting: dict[str, int] = {}
    unlocks: dict[str, list[str]] = {}
    for migration in by_name.values():
        needs = set(migration.requires)
        for required in sorted(needs):
            if required not in by_name:
                raise Refused(
                    f"{migration.identity} requires {required}, which is not there.",
                    hint="Add the file, or correct the name in requires.",
                    identity=migration.identity,
                )
            unlocks.setdefault(required, []).append(migration.identity)
        waiting[migration.identity] = len(needs)
    ready = [by_name[name].sort_key for name, count in waiting.items() if not count]
    heapq.heapify(ready)
    result: list[MigrationFile] = []
    while ready:
        name = heapq.heappop(ready)[-1]
        result.append(by_name[name])
        for later in unlocks.get(name, ()):
            waiting[later] -= 1
            if not waiting[later]:
                heapq.heappush(ready, by_name[later].sort_key)
    if len(result) < len(by_name):
        raise Refused(
            "These migrations require each other in a circle: " + " → ".join(_cycle(by_name, result)) + ".",
            hint="Remove one of the requires.",
        )
    return result


def _cycle(by_name: Mapping[str, MigrationFile], done: Sequence[MigrationFile]) -> list[str]:
    left = set(by_name) - {migration.identity for migration in done}
    name = min(name for name in left)
    path: list[str] = []
    while name not in path:
        path.append(name)
        name = next(required for required in by_name[name].requires if required in left)
    return [*path[path.index(name) :], name]


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
