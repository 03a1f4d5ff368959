"""An Alembic tree as migrations of ours: which there are, in which order, and what is pending at which versions."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import warnings
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, cast

from ...core import alone
from ...core.errors import DeadlineExceeded, PapError, Refused, Unavailable, from_dict
from ...core.plain_json import JsonObject
from ...core.records import read as read_record
from ...core.records import whole
from ...core.redact import Redactor
from ..files import MigrationFile
from ..problems import Problem
from ..run import way_out
from .declaration import LAST, Declaration
from .home import Home
from .revision import read

_LOAD_S = 100.0


@dataclass(frozen=True)
class Tree:
    """``files``: every revision, each after those it stands on."""

    home: Home
    files: Sequence[MigrationFile]

    def pending(self, versions: Sequence[str]) -> list[str]:
        """The revisions between the rows of a version table and the target, in the order that Alembic runs them."""
        target = self.home.declaration.target
        with refusing(self.home.declaration):
            if target not in ("head", "heads"):
                wanted = {each.revision for each in self.home.script.get_revisions(target)}
                if wanted <= self.applied(versions):
                    return []
            return [step.revision.revision for step in self.home.script._upgrade_revs(target, tuple(versions))]

    def applied(self, versions: Sequence[str]) -> set[str]:
        """The revisions that rows of a version table stand for: these, and all that they stand on."""
        parents = {each.identity: each.requires for each in self.files}
        found, todo = set[str](), list(versions)
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                todo += parents.get(name, ())
        return found


@dataclass(frozen=True)
class _Tried:
    failed: Optional[dict[str, Any]] = None


def try_to_load(declaration: Declaration) -> None:
    """Load the tree where it reaches nothing, programs and libraries in C included. Raises what ``load`` does, for what
    fails there too, with the problem for a plan. Where nothing can be confined, the guard of ``load`` has to do."""

    def work() -> JsonObject:
        try:
            load(declaration)
        except PapError as error:
            return {"failed": error.as_dict()}
        return {}

    try:
        failed = read_record(_Tried, alone.run(work, _LOAD_S)).failed
    except alone.CannotConfine:
        return
    except (DeadlineExceeded, Unavailable) as error:
        failed = Refused(
            f"The Alembic tree of {declaration.ini} cannot be read: {error.message}",
            hint="See that `alembic history` works in this release, and ends.",
        ).as_dict()
    if failed is not None:
        found = from_dict(failed)
        found.hint = f"{found.hint} It was loaded where it reaches nothing: no server, no other process."
        found.data["problems"] = whole([Problem("import", declaration.ini, found.message, found.hint)])
        raise found


def load(declaration: Declaration) -> Tree:
    """The tree of the release whose folder this process is in: env.py and all revisions are imported in this process,
    with its environment, while it has no way out that Python knows (``way_out.none_at_all``). Files they may write.

    Raises Refused for a tree that cannot be run or wants out, and Unavailable where there is no Alembic."""
    try:
        from alembic.script import ScriptDirectory

        from .environment import learn
    except ImportError as error:
        raise Unavailable(
            f"The inventory names an Alembic tree (pap_alembic), but this Python has no Alembic ({error}).",
            hint="Add the package alembic to the requirements of the release: the application's Python runs its tree.",
        ) from None
    ini = Path(declaration.ini).absolute()
    if not ini.is_file():
        raise Refused(
            f"There is no {declaration.ini} in {Path.cwd()}, where the application runs.",
            hint="pap_alembic: {ini: …} is the path in the release; an image has to contain it, and the tree.",
        )
    before = Path.cwd()
    try:
        with refusing(declaration), _reading():
            config = _config(declaration, ini)
            os.chdir(_home(config, ini))
            seen = len(sys.path)
            script = ScriptDirectory.from_config(config)
            _absolute(len(sys.path) - seen)
            learned = learn(config, script)  # env.py may have set where its versions are, in one way or another
            script.version_locations = list(learned.version_locations) or script.version_locations
            home = Home(declaration, str(Path.cwd()), config, script, learned)
            return Tree(home, [read(home, step.revision) for step in script._upgrade_revs("heads", cast("str", None))])
    finally:
        os.chdir(before)


def with_tree(declaration: Declaration, dated: Sequence[MigrationFile], *, only_look: bool) -> list[MigrationFile]:
    """The revisions of the tree and the migrations with dates, in the declared order. To ``only_look``, the tree is
    loaded on trial first."""
    if only_look:
        try_to_load(declaration)
    revisions = load(declaration).files
    names = {each.identity for each in revisions}
    both = next((each.identity for each in dated if each.identity in names), "")
    if both:
        raise Refused(
            f"{both} is a revision of the Alembic tree and a migration of pap_migrations_dirs.",
            hint="Name only other folders in pap_migrations_dirs: the tree is read from the release.",
        )
    return [*dated, *revisions] if declaration.order == LAST else [*revisions, *dated]


def of(files: Sequence[MigrationFile]) -> Tree | None:
    """The tree that some of the migrations are of."""
    revisions = [(each, each.revision.home) for each in files if each.revision is not None]
    return Tree(revisions[0][1], [each for each, _ in revisions]) if revisions else None


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """While a tree is read, it reaches nothing, and what it prints is not our answer."""
    with way_out.none_at_all() as tried, contextlib.redirect_stdout(sys.stderr):
        try:
            yield
        except (Exception, SystemExit) as error:
            if not tried or not _from_reaching_out(error):
                raise
            raise Refused(
                f"The Alembic tree {tried[-1]} when it is read, or in the offline branch of its env.py.",
                hint="Do that only where context.is_offline_mode() is false, as the env.py of Alembic's template does.",
            ) from error


def _from_reaching_out(error: Optional[BaseException]) -> bool:
    while error is not None and not isinstance(error, way_out.ReachedOut):
        error = error.__cause__ or error.__context__
    return error is not None


def _config(declaration: Declaration, ini: Path) -> Any:
    from alembic.config import Config

    options = Namespace(x=list(declaration.x) or None, name=declaration.section)
    named: dict[str, Any] = {"ini_section": declaration.section, "cmd_opts": options, "stdout": sys.stderr}
    project = ini if ini.name == "pyproject.toml" else ini.with_name("pyproject.toml")
    if "toml_file" in inspect.signature(Config).parameters and project.is_file():
        named["toml_file"] = str(project)
    return Config(**named) if ini == project else Config(str(ini), **named)


def _home(config: Any, ini: Path) -> str:
    """Where relative paths of the ini file begin: where the application runs, or the ini file lies."""
    read = getattr(config, "get_alembic_option", config.get_main_option)
    location = str(read("script_location") or "")
    if ":" in location or Path(location).exists() or not (ini.parent / location).exists():
        return str(Path.cwd())
    return str(ini.parent)


def _absolute(count: int) -> None:
    """Make the first entries of the module search path hold in every folder."""
    sys.path[:count] = [str(Path(entry).absolute()) for entry in sys.path[:count]]


@contextlib.contextmanager
def refusing(declaration: Declaration) -> Iterator[None]:
    """What Alembic cannot resolve, and what its files raise when they are imported, as a refusal."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", message=".*(present more than once|is not present)")
        try:
            yield
        except PapError:
            raise
        except (Exception, SystemExit) as error:  # whatever it is, the tree cannot be read
            told = " ".join(str(error).split()) or type(error).__name__
            # "identified by" is what other databases write before a password.
            told = Redactor(environment=os.environ).text(told.replace("revision identified by", "revision"))
            many = "Merge them (alembic merge heads), or set pap_target: heads." if "Multiple head" in told else ""
            raise Refused(
                f"The Alembic tree of {declaration.ini} cannot be read for {declaration.target}: {told}",
                hint=many or "See that `alembic history` and `alembic upgrade head --sql` work in this release.",
            ) from error
    if said:
        raise Refused(
            f"The Alembic tree of {declaration.ini} is not whole: {said[0].message}.",
            hint="Two files with one revision, or a down_revision without a file: correct the tree.",
        )
