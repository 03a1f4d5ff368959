"""What the application's own process would find of a variable: in settings files around it, and after its import.

Runs beside the models, with the application's Python, environment and working directory. An application reads a
``.env`` by ``load_dotenv()`` or by its settings class (pydantic: ``env_file``), often in its main module only. So the
files are read first, whoever would load them; then the main module is imported where it reaches nothing (``started``),
and the models. Every file that they open and every variable that they set is seen by an audit hook.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core import calls
from . import settings_values
from .application import Application, Findings, Search, Value

# Where a settings file is named: in the source, in a command (uvicorn --env-file), in the value of a variable.
_NAMED = re.compile(r"[\w./~-]*\.env(?:\.[\w-]+)*")
_STAGE = re.compile(r"[\w-]{2,30}")
SECRETS = Path("/run/secrets")  # Docker's; the usual secrets_dir of pydantic's settings
_NOT_ITS_OWN = {"site-packages", "dist-packages", "node_modules", "__pycache__", "tests", "test", "proc", "sys", "dev"}
_LIBRARIES = ("site-packages", "dist-packages", "<frozen", str(Path(os.__file__).parent))
# Named in many sources, and loaded by none that runs here: unless this is that stage, or an import opens the file.
_OTHER_STAGES = {"example", "sample", "template", "dist", "test", "testing", "dev", "development"}
_FOLDERS = 2_000  # of a release; what lies deeper is found where its name is mentioned
_SOURCES = 5_000
_SOURCE_BYTES = 1 << 20
_FILE_BYTES = 256 << 10
_CONFIGURATION = {".toml", ".ini", ".cfg", ".conf", ".yaml", ".yml", ".json", ".properties"}
_NO_CONFIGURATION = {"docs", "doc", "examples", "fixtures", "charts", "helm", "k8s", "locale", "static"}
_CONFIGURATIONS = 500
# Names that readers of settings look for by themselves (dynaconf, decouple), where the sources mention the reader.
_BY_THEMSELVES = {"dynaconf": ("settings", ".secrets"), "decouple": ("settings",)}


def files(search: Search) -> Findings:
    """The settings files that hold the variable.

    Read are ``.env``, ``.env.local`` and ``.env.<environment>`` in the working directory, in ``folders``, beside every
    Python file of the application, and above all of these; and every file whose name is mentioned in its sources, in
    its environment or in ``words`` (its command). Nothing is imported.
    """
    variable = search.variable
    others = settings_values.other_stages(stages_of(search))
    found = [
        Value(value, f"{path}, line {line}")
        for path in settings_files(search)
        for line, value in assigned(path, variable)
    ]
    found += [Value(value, f"{path}, line {line}") for path, line, value in _configured(search, others)]
    found += [
        Value(text_of(path).strip(), str(path)) for path in listed(SECRETS) if path.name.upper() == variable.upper()
    ]
    return Findings(tuple(found), (), "")


def imported(search: Search) -> Findings:
    """What importing the modules makes of the variable."""
    before = dict(named(search.variable))
    seen, problem = import_watched(search.models)
    others = settings_values.other_stages(stages_of(search))
    return Findings(tuple(made_of(seen, search.variable, before, others)), (), problem)


def made_of(seen: Seen, variable: str, before: Mapping[str, str], others: set[str]) -> list[Value]:
    """What an import made of the variable: in files that it opened, and in the environment, where that is no more what
    it was (``before``)."""
    found = [
        Value(value, f"{path}, line {line}, which its import reads")
        for path in seen.opened
        if path.suffix in _CONFIGURATION or ".env" in path.name or not path.suffix
        for line, value in assigned(path, variable, others)
    ]
    for path in seen.opened:  # a folder of secrets: a file for each, under its name
        if settings_values.fold(path.name) == settings_values.fold(variable):
            found.append(Value(text_of(path).strip(), f"{path}, which its import reads"))
    for name, value in named(variable):
        if before.get(name) != value:
            where = f", set by {seen.set_by[name]} when it is imported" if seen.set_by.get(name) else ""
            found.append(Value(value, f"the environment of its program{where}"))
    return found


@contextlib.contextmanager
def importable(folder: str) -> Iterator[None]:
    """The application's own folder is where its modules are looked for, as for its program."""
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    yield


def import_watched(models: Iterable[str]) -> tuple[Seen, str]:
    """Import the modules of ``models``: what that opened and set, and why it failed, or nothing."""
    from ..schema.models.capture_output import silence

    with importable(str(Path.cwd())), watched() as seen, silence():
        for spec in models:
            try:
                importlib.import_module(str(spec).partition(":")[0].strip())
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a module may raise anything while it is imported
                return seen, f"{type(error).__name__} in {spec}"
    return seen, ""


def named(variable: str) -> Iterator[tuple[str, str]]:
    """The variable in the environment, in any spelling of its name."""
    for name, value in os.environ.items():
        if settings_values.fold(name) == settings_values.fold(variable):
            yield name, value


class Seen:
    """What an import did: the files it opened, and where in the application it set which variable."""

    def __init__(self) -> None:
        self.active = True
        self.opened: list[Path] = []
        self.set_by: dict[str, str] = {}

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event == "open" and isinstance(arguments[0], (str, bytes)):
            path = Path.cwd() / os.fsdecode(arguments[0])
            if path.suffix not in (".py", ".pyc", ".so", ".pth", ".zip") and path not in self.opened:
                self.opened.append(path)
        elif event == "os.putenv":
            self.set_by[os.fsdecode(arguments[0])] = _caller()


@contextlib.contextmanager
def watched() -> Iterator[Seen]:
    """Note what the block opens and sets. A hook cannot be taken away again, so it is told when to stop."""
    seen = Seen()
    sys.addaudithook(seen.hook)
    try:
        yield seen
    finally:
        seen.active = False


def _caller() -> str:
    """The innermost line of the application itself, for a person."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if not any(part in name for part in _LIBRARIES):
            return f"{name}, line {frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""


def settings_files(application: Application) -> list[Path]:
    """Every settings file that the application could load, once each."""
    words = application.words
    here = [Path.cwd(), *(Path(folder).resolve() for folder in application.folders)]
    folders, sources, _ = _walk([here[0], *_packages([*application.models, *words])])
    folders = list(dict.fromkeys(place for folder in [*here, *folders] for place in (folder, *folder.parents)))
    texts = [*words, *os.environ.values(), *map(text_of, sources)]
    stages = stages_of(application)
    mentioned = {token for text in texts if ".env" in text for token in _NAMED.findall(text)}
    mentioned = {token for token in mentioned if _suffix(token) not in _OTHER_STAGES - stages}
    names = {".env", ".env.local", *(f".env.{stage}" for stage in stages), *(Path(token).name for token in mentioned)}
    paths = [folder / name for folder in folders for name in sorted(names & {path.name for path in listed(folder)})]
    paths += [folder / Path(token).expanduser() for token in sorted(mentioned) if "/" in token for folder in folders]
    once: dict[str, Path] = {}
    for path in paths:
        with contextlib.suppress(OSError):
            if path.is_file():
                once.setdefault(os.path.realpath(path), path)
    return list(once.values())


def stages_of(application: Application) -> set[str]:
    """The stages that this process is in: the one that it is deployed to, and whatever its variables say."""
    return {application.environment, *filter(_STAGE.fullmatch, os.environ.values())}


def _configured(search: Search, others: set[str]) -> Iterator[tuple[Path, int, str]]:
    """Configuration files beside the sources that give the variable, and that something names: the sources, a
    variable, the command, a reader of settings by its habit, or their own name the stage."""
    words, stages = search.words, stages_of(search)
    _, sources, configurations = _walk([Path.cwd(), *_packages([*search.models, *words])])
    for path in configurations:
        if settings_values.of_another_stage(path.name, others):
            continue
        held = assigned(path, search.variable, others)
        if held and _is_named(path, [*words, *os.environ.values()], sources, stages):
            yield from ((path, line, value) for line, value in held)


def _is_named(path: Path, texts: Sequence[str], sources: Sequence[Path], stages: set[str]) -> bool:
    if path.stem in stages or any(path.name in text for text in texts):
        return True
    for source in sources:
        text = text_of(source)
        if path.name in text or any(r in text and path.stem in names for r, names in _BY_THEMSELVES.items()):
            return True
    return False


def _suffix(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _packages(words: Iterable[str]) -> list[Path]:
    """The folders of the packages that ``words`` name (``app.models:Base``, ``app.main:app``); imports none."""
    standard = getattr(sys, "stdlib_module_names", ())  # Python 3.10
    found = []
    for word in words:
        name = re.match(r"([A-Za-z_]\w*)(?:\.\w+)*(?::[\w.]+)?$", word.strip())
        with contextlib.suppress(Exception):  # a word of a command that is no module
            spec = importlib.util.find_spec(name[1]) if name and name[1] not in standard else None
            found += [Path(place).resolve() for place in (spec.submodule_search_locations or [] if spec else [])]
    return found


def _walk(roots: Sequence[Path]) -> tuple[list[Path], list[Path], list[Path]]:
    """The folders below ``roots`` with Python files of the application's own, these files, and its configuration
    files."""
    folders: dict[Path, None] = {}
    sources: list[Path] = []
    configurations: list[Path] = []
    visited = 0
    for root in dict.fromkeys(roots):
        if root == Path("/"):
            continue  # the working directory of no process
        for place, below, names in os.walk(root):
            below[:] = sorted(n for n in below if n not in _NOT_ITS_OWN and not _is_venv(Path(place, n)))
            visited += 1
            if visited > _FOLDERS or len(sources) > _SOURCES:
                return list(folders), sources, configurations
            found = [Path(place, name) for name in names if name.endswith(".py")]
            sources += found
            folders.update(dict.fromkeys(path.parent for path in found))
            parts = Path(place).relative_to(root).parts
            if len(configurations) < _CONFIGURATIONS and not any(n in _NO_CONFIGURATION or n[0] == "." for n in parts):
                configurations += [Path(place, name) for name in sorted(names) if _suffix_of(name) in _CONFIGURATION]
    return list(folders), sources, configurations


def _suffix_of(name: str) -> str:
    return Path(name).suffix.lower()


def _is_venv(folder: Path) -> bool:
    return folder.name == ".git" or (folder / "pyvenv.cfg").is_file()


def listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def text_of(path: Path) -> str:
    """The content of a small file; nothing of a large, special or closed one."""
    try:
        limit = _SOURCE_BYTES if path.suffix == ".py" else _FILE_BYTES
        if not path.is_file() or path.stat().st_size > limit:
            return ""
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def assigned(path: Path, variable: str, others: Collection[str] = ()) -> list[tuple[int, str]]:
    """The lines and values that the file gives ``variable`` in the end, but in a section of one of ``others``."""
    held = settings_values.assigned(text_of(path), variable, json_file=_suffix_of(path.name) == ".json", others=others)
    return [(line, settings_values.expanded(value, os.environ)) for line, value in held]


CALLS: dict[str, calls.Call] = {
    "environment.files": calls.of(Search, files),
    "environment.imported": calls.of(Search, imported),
}
