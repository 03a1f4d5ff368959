"""What the application's own program makes of a variable: it is started, as far as serving, where it reaches nothing.

The agent forks; the child is confined (``core.alone``), runs the program that the start command ends in, with its
words, folder and variables, and says what it finds (``switches``) when the program begins to serve, fails, or takes too
long. The agent itself has imported nothing then.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
import shutil
import signal
import sys
import time
import traceback
import types
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Callable, NoReturn, Optional, TypeVar

from ..core import alone, calls
from ..core.errors import DeadlineExceeded, Unavailable
from ..core.records import as_object, read
from . import settings, settings_values, start_command, switches
from .application import Application, Findings, Search, Value

R = TypeVar("R")

_BUSY = 4.0
_TICK_S = 0.25
_GRACE_S = 3.0
_PROGRAMS = 3
_FLAGS_WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")
_LISTENS = {
    "server_bind",
    "create_server",
    "create_unix_server",
    "start_server",
    "bind_socket",
    "bind_sockets",
    "listen",
}
_USUAL_MAINS = ("main", "app", "asgi", "wsgi", "server", "api")


class Served(BaseException):
    """The program would serve now: all that it imports is imported."""


class _TooLong(BaseException):
    pass


def started(search: Search) -> Findings:
    """What start command and program give the variable."""
    reader = read_commands(search, controls=search.controls)
    found: list[Value] = []
    unsure: list[Value] = []
    problem = ""
    wanted = settings_values.fold(search.variable)
    last = {
        (each.where, each.certain): each for each in reader.assignments if settings_values.fold(each.name) == wanted
    }
    for each in last.values():
        (found if each.certain else unsure).append(Value(each.value, each.where))
    if not reader.programs:
        problem = "its start command leads to no program that could be read"
    elif reader.unnamed:
        problem = f"{reader.unnamed[0]} sets variables whose names only running tells"
    for program in chosen(reader.programs) or [_guessed(search, str(Path.cwd()))]:
        answer, unseen = confined(Findings, partial(_answer, search, program), search, program)
        answer = answer or Findings((), (), unseen)
        (found if program.certain else unsure).extend([*_arguments(program, wanted), *answer.found])
        unsure += answer.unsure
        problem = problem or answer.problem
    return Findings(tuple(found), tuple(unsure), problem)


def read_commands(application: Application, *, controls: Sequence[Sequence[str]] = ()) -> start_command.Reader:
    """What its start commands set and start, in the environment and folder of this process; ``controls`` before."""
    folder, root = str(Path.cwd()), Path(application.root)
    reader = start_command.Reader(dict(os.environ), folder, _is_program, root, application.links)
    for words in controls:
        reader.command(list(words), "the start command", control=True)
    for words in application.commands:
        reader.command(list(words), "the start command", control=False)
    return reader


def _arguments(program: start_command.Program, wanted: str) -> list[Value]:
    """The switch as an option: ``--drop-tables``, ``--cc-drop-tables=true``, ``--drop-tables yes``."""
    found = []
    for word, after in zip(program.words, (*program.words[1:], "-")):
        name, equals, value = word.partition("=")
        if name.startswith("--") and settings_values.fold(name) in (wanted, wanted.partition("_")[2]):
            given = value if equals else "true" if after.startswith("-") else after
            found.append(Value(given, f"the start command, as {word}"))
    return found


def chosen(programs: Sequence[start_command.Program]) -> list[start_command.Program]:
    """Once each, whatever port they take."""
    once = {(tuple(word for word in p.words if not word.isdigit()), p.folder): p for p in reversed(programs)}
    certain = [program for program in reversed(list(once.values())) if program.certain] or list(once.values())
    return certain[:_PROGRAMS]


def _guessed(application: Application, folder: str) -> start_command.Program:
    """Where no program was found: the module that usually is the main one, beside the models."""
    package = "".join(application.models[:1]).partition(":")[0].partition(".")[0]
    places = [*(f"{package}.{name}" for name in _USUAL_MAINS if package), *_USUAL_MAINS]
    with settings.importable(folder):
        for name in places:
            with contextlib.suppress(ImportError, ValueError, AttributeError):
                if importlib.util.find_spec(name):
                    return start_command.Program(("python", "-c", f"import {name}"), folder, dict(os.environ))
    return start_command.Program((), folder, dict(os.environ))


def _is_program(word: str, folder: str) -> bool:
    return _script(word, folder) is not None


def _script(word: str, folder: str) -> Optional[str]:
    """The path of a Python program on the disk: a script, or what a package has installed beside its Python."""
    beside = Path(sys.executable).parent / word
    places = [Path(folder, word)] if "/" in word else [beside, Path(folder, word), Path(shutil.which(word) or beside)]
    for path in filter(Path.is_file, places):
        if path.suffix == ".py":
            return str(path)
        with contextlib.suppress(OSError), path.open("rb") as file:
            head = file.read(512)
            if re.match(rb"#!.*\bpython[\d.]*\b|#!/bin/sh\n'''exec' .*python", head):
                return str(path)
    return None


def confined(
    record: type[R], work: Callable[[], R], application: Application, program: start_command.Program
) -> tuple[Optional[R], str]:
    """The ``record`` that ``work`` gives of the program in a child that reaches nothing; or None, and why there is
    none."""
    limit = _BUSY * application.seconds + _GRACE_S
    try:
        return read(record, alone.run(lambda: as_object(work()), limit)), ""
    except DeadlineExceeded:
        problem = f"{_named(program) or 'its program'} neither served nor ended"
    except Unavailable as error:
        problem = error.message
    return None, problem


def until_served(application: Application, program: start_command.Program) -> tuple[settings.Seen, str]:
    """Run the program, in its folder and with its variables, until it would serve: what that opened and set, and why it
    did not come so far, or nothing."""
    variables = alone.with_own_folder(program.variables)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(program.folder)
    sys.dont_write_bytecode = True
    with settings.watched() as seen:
        return seen, _run(application, program)


def _answer(search: Search, program: start_command.Program) -> Findings:
    seen, problem = until_served(search, program)
    stages = settings.stages_of(search)
    others, own = settings_values.other_stages(stages), settings_values.own_stages(stages)
    found = settings.made_of(seen, search.variable, {}, others)
    held = switches.values(search.variable, own, others)
    found += [Value(each.value, each.source) for each in held if each.certain]
    unsure = [Value(each.value, each.source) for each in held if not each.certain]
    return Findings(tuple(found), tuple(unsure), problem)


def _run(application: Application, program: start_command.Program) -> str:
    """Import the models, and run the program until it serves. Returns why it did not come so far, or nothing."""
    with settings.importable(program.folder), _deadline(application.seconds):
        try:
            for spec in application.models:
                importlib.import_module(spec.partition(":")[0].strip())
            if not program.words:
                return "what starts the API could not be told from its start command"
            _intercept_servers(program.words)
            try:
                _execute(list(program.words), program.folder)
            finally:
                _import_named(program.words)
        except Served:
            return ""
        except _TooLong:
            return f"{_named(program)} did not begin to serve in time, without a database"
        except BaseException as error:  # noqa: BLE001 - a program may raise anything
            if _would_serve(error) or (isinstance(error, SystemExit) and error.code in (None, 0)):
                return ""
            reason = error.__context__ if isinstance(error, SystemExit) and error.__context__ else error
            return f"{_named(program)} ended with {type(reason).__name__} where it reaches no database"
    return ""


def _import_named(words: Sequence[str]) -> None:
    """The application that a server's words name (``app.main:app``), where the server has not come so far: it may load
    it in a process of its own."""
    for word in words:
        match = re.fullmatch(r"([A-Za-z_][\w.]*):[A-Za-z_][\w.]*(?:\(.*\))?", word)
        if match and match[1] not in sys.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(match[1])


def _would_serve(error: BaseException) -> bool:
    """Whether a server failed because it could not listen: then all that it imports is imported."""
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, OSError) and any(
        frame.name in _LISTENS or Path(frame.filename).name == "socketserver.py" for frame in frames
    )


def _named(program: start_command.Program) -> str:
    return " ".join(program.words[:4])[:80]


@contextlib.contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raise _TooLong, again and again (a loop that tries anew may swallow one), once the program has waited so long for
    something, or taken ``_BUSY`` times as long in all. On a busy machine it may work slowly."""
    began, at_work = time.monotonic(), _at_work_s()

    def look(*_: object) -> None:
        passed = time.monotonic() - began
        if passed - (_at_work_s() - at_work) > seconds or passed > _BUSY * seconds:
            raise _TooLong

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _TICK_S, _TICK_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _at_work_s() -> float:
    """Seconds that this process has run or waited for a processor (proc_pid_schedstat(5)); 0 where that is not told."""
    with contextlib.suppress(OSError, ValueError):
        running, waiting, _ = Path("/proc/self/schedstat").read_text().split()
        return (int(running) + int(waiting)) / 1e9
    return 0.0


def _execute(words: list[str], folder: str) -> None:
    """Run a Python program in this interpreter, as its command line says."""
    if not re.fullmatch(r"(python|pypy)[\d.]*", Path(words[0]).name):
        script = _script(words[0], folder)
        if script is None:
            raise FileNotFoundError(words[0])
        sys.argv = [script, *words[1:]]
        _as_main(script)
        return
    rest = words[1:]
    while rest and rest[0].startswith("-") and rest[0] not in ("-m", "-c"):
        del rest[: 2 if rest[0] in _FLAGS_WITH_VALUE else 1]
    if len(rest) > 1 and rest[0] == "-m":
        spec = importlib.util.find_spec(rest[1])
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{rest[1]}.__main__")
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(rest[1])
        sys.argv = [spec.origin, *rest[2:]]
        _as_main(spec.origin, spec.parent or "")
    elif len(rest) > 1 and rest[0] == "-c":
        sys.argv = ["-c", *rest[2:]]
        exec(compile(rest[1], "<command>", "exec"), {"__name__": "__main__"})  # the API's own command
    elif rest:
        path = Path(folder, rest[0])
        path = path / "__main__.py" if path.is_dir() else path
        sys.path.insert(0, str(path.parent))
        sys.argv = rest
        _as_main(str(path))


def _as_main(path: str, package: str = "") -> None:
    """Run a file as the main module, which stays: its names are a part of the application."""
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=path, __package__=package or None, __builtins__=__builtins__)
    sys.modules["__main__"] = module
    exec(compile(Path(path).read_bytes(), path, "exec"), module.__dict__)


def _intercept_servers(words: Sequence[str]) -> None:
    """Let the usual servers load the application as they do, and stop where they would serve it."""
    named = " ".join(words)
    if "gunicorn" in named and importlib.util.find_spec("gunicorn"):
        arbiter: Any = importlib.import_module("gunicorn.arbiter")
        arbiter.Arbiter.run = _run_gunicorn
    elif "hypercorn" in named and importlib.util.find_spec("hypercorn"):
        hypercorn: Any = importlib.import_module("hypercorn.__main__")
        hypercorn.run = _run_hypercorn
    elif importlib.util.find_spec("uvicorn"):
        uvicorn: Any = importlib.import_module("uvicorn")
        uvicorn.Server.run = uvicorn.Server.serve = lambda server, *_, **__: _load_uvicorn(server.config)
        uvicorn.Config.bind_socket = _load_uvicorn


def _run_gunicorn(arbiter: Any) -> NoReturn:
    arbiter.cfg.on_starting(arbiter)
    arbiter.app.wsgi()
    raise Served


def _run_hypercorn(config: Any) -> NoReturn:
    utils: Any = importlib.import_module("hypercorn.utils")
    utils.load_application(config.application_path, config.wsgi_max_body_size)
    raise Served


def _load_uvicorn(config: Any) -> NoReturn:
    if not config.loaded:
        config.load()
    raise Served


CALLS: dict[str, calls.Call] = {"environment.started": calls.of(Search, started)}
