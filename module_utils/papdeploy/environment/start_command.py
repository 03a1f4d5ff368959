"""How an API is started: which program its start command runs in the end, and which variables are set on the way.

A start command names a supervisor, a container's entry point, a shell script or a chain of wrappers more often than the
program itself. All of them are only read here. What a script does under a condition that its environment does not
decide is told as uncertain.
"""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Optional

from . import shell_script

_FILES = 40  # read for one command
_SHELLS = {"sh", "bash", "dash", "ash", "zsh", "ksh"}
_PYTHON = re.compile(r"python[\d.]*|pypy[\d.]*")
# Python programs that only start another one, which stands behind their own words.
_WRAPPERS = {"poetry", "pipenv", "pdm", "hatch", "rye", "uv", "dotenv", "opentelemetry-instrument", "ddtrace-run",
             "newrelic-admin", "coverage", "debugpy", "watchmedo"}  # fmt: skip
_UNITS = ("etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system",
          "lib/systemd/system")  # fmt: skip
_SUPERVISORD = ("etc/supervisord.conf", "etc/supervisor/supervisord.conf", "etc/supervisor.conf")
# Programs that give another one the files of a folder as variables; runit's takes the folder as an option.
_FOLDERS_OF_VARIABLES = {"envdir", "s6-envdir", "chpst"}
# s6, runit and phusion's init, and where their services are.
_INITS = {"init", "s6-svscan", "runsvdir", "my_init"}
_SERVICES = ("etc/services.d/*/run", "etc/s6-overlay/s6-rc.d/*/run", "etc/service/*/run", "run/service/*/run")
_ASSIGNMENT = re.compile(r"(?:--(?:set)?env=|-[Ee])?([A-Za-z_]\w*)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Assignment:
    """``where`` sets variable ``name`` to ``value``; under a condition that could not be decided if not ``certain``."""

    name: str
    value: str
    where: str
    certain: bool = True


@dataclass(frozen=True)
class Program:
    """A Python program that the command ends in: its words, working directory, and the variables that it has."""

    words: tuple[str, ...]
    folder: str
    variables: Mapping[str, str] = field(repr=False)
    certain: bool = True


@dataclass
class Reader:
    """Reads start commands. ``environment``: what the process is given; ``folder``: where it starts; ``root`` is ``/``
    but for tests; ``is_program`` says whether a word names a Python program. ``links``: paths that will mean others
    when the command is run, as the link to the release that is in force."""

    environment: Mapping[str, str] = field(repr=False)
    folder: str
    is_program: Callable[[str, str], bool]
    root: Path = Path("/")
    links: Mapping[str, str] = field(default_factory=dict)
    assignments: list[Assignment] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)
    """Places that set variables whose names only running tells."""
    programs: list[Program] = field(default_factory=list)
    _read: set[str] = field(default_factory=set)

    def command(
        self,
        words: Sequence[str],
        where: str,
        *,
        folder: str = "",
        certain: bool = True,
        variables: Optional[Mapping[str, str]] = None,
        control: bool = False,
    ) -> None:
        """Follow one command, given as words, to the programs that it starts. ``control``: it is no such program
        itself, but has one started."""
        folder, known = folder or self.folder, dict(self.environment if variables is None else variables)
        for number, word in enumerate(words):
            match = _ASSIGNMENT.fullmatch(word)
            if match:
                self._assign(known, match[1], match[2], where, certain)
                continue
            name, rest = PurePosixPath(word).name, list(words[number + 1 :])
            if name in _SHELLS:
                self._shell(rest, where, folder, certain, known)
            elif name in ("su", "runuser") and "-c" in rest[:-1]:
                self._run_script(rest[rest.index("-c") + 1], where, (), folder, certain, known)
            elif name in _INITS:
                self._services(folder, certain, known)
            elif name in _FOLDERS_OF_VARIABLES:
                self._environment_folder(name, rest, folder, known, certain)
                continue
            elif name in ("systemctl", "service"):
                self._units([each for each in rest if not each.startswith("-")], certain)
            elif name in ("supervisorctl", "supervisord"):
                self._supervisor(name, rest, known, folder, certain)
            elif name in ("honcho", "foreman", "hivemind", "overmind", "goreman"):
                self._procfile(folder, certain, known)
            elif name in _WRAPPERS or word.startswith("-"):
                continue
            elif _PYTHON.fullmatch(name) or self.is_program(word, folder):
                self.programs += [] if control else [self._program((word, *rest), folder, known, certain)]
            elif not self._script(word, rest, folder, certain, known):
                continue
            return

    def _assign(self, known: dict[str, str], name: str, value: str, where: str, certain: bool) -> None:
        self.assignments.append(Assignment(name, value, where, certain))
        if certain:
            known[name] = value

    def _moved(self, text: str) -> str:
        """A path, or a list of paths, as it will be."""
        for link, path in self.links.items():
            text = re.sub(rf"{re.escape(link)}(?=[/:]|$)", lambda _, path=path: path, text)  # type: ignore[misc]
        return text

    def _program(self, words: Sequence[str], folder: str, known: Mapping[str, str], certain: bool) -> Program:
        moved = {name: self._moved(value) for name, value in known.items()}
        return Program(tuple(map(self._moved, words)), self._moved(folder), moved, certain)

    def _text(self, path: Path) -> Optional[str]:
        """The content of a file that has not been read before, or None."""
        path = Path(self._moved(str(path)))
        if str(path) in self._read or len(self._read) >= _FILES:
            return None
        text = _content(path)
        self._read.update([str(path)] if text is not None else [])
        return text

    def _shell(self, rest: list[str], where: str, folder: str, certain: bool, known: dict[str, str]) -> None:
        if known.get("BASH_ENV"):
            self._sourced(Path(folder, known["BASH_ENV"]), folder, certain, known)
        while rest and rest[0].startswith(("-", "+")):
            flag = rest.pop(0)
            if flag == "--login" or (not flag.startswith("--") and "l" in flag):
                for path in (self.root / "etc/profile", *sorted((self.root / "etc/profile.d").glob("*.sh"))):
                    self._sourced(path, folder, certain, known)
            if not flag.startswith("--") and flag.startswith("-") and "c" in flag:
                if rest:
                    self._run_script(rest[0], where, rest[2:], folder, certain, known)
                return
            if flag in ("-o", "-O", "+o", "--rcfile", "--init-file") and rest:
                rest.pop(0)
        if rest:
            self._script(rest[0], rest[1:], folder, certain, known, shell=True)

    def _sourced(
        self, path: Path, folder: str, certain: bool, known: dict[str, str], arguments: Sequence[str] = ()
    ) -> None:
        text = self._text(path)
        if text is not None:
            self._run_script(text, str(path), arguments, folder, certain, known)

    def _script(
        self, word: str, rest: Sequence[str], folder: str, certain: bool, known: dict[str, str], *, shell: bool = False
    ) -> bool:
        """Follow a shell script; False if ``word`` does not name one."""
        for path in self._candidates(word, folder):
            text = self._text(path)
            if text is not None:
                first = text.partition("\n")[0]
                if shell or (first.startswith("#!") and any(name in re.split(r"[/\s]", first) for name in _SHELLS)):
                    self._run_script(text, str(path), rest, folder, certain, known)
                    return True
        return False

    def _candidates(self, word: str, folder: str) -> list[Path]:
        if "/" in word:
            return [Path(folder) / word]
        places = [folder, *self.environment.get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":")]
        return [Path(place) / word for place in places if place]

    def _run_script(
        self, text: str, where: str, arguments: Sequence[str], folder: str, certain: bool, known: dict[str, str]
    ) -> None:
        """``known`` goes on with what the script sets, as after ``source``. Of several programs, which come one after
        another, the last one serves."""
        before = len(self.programs)

        def matching(pattern: str) -> list[str]:
            top = Path("/") if pattern.startswith("/") else Path(folder)
            return [str(path) for path in sorted(top.glob(pattern.lstrip("/")))]

        def reading(path: str) -> Optional[str]:
            return _content(Path(self._moved(str(Path(folder, path)))))

        own_path = where if Path(where).is_file() else ""
        for step in shell_script.steps(text, known, arguments, matching, reading, own_path):
            sure, at = certain and step.certain, f"{where}, line {step.line}"
            told = len(self.assignments)
            for name, value in step.assignments:
                self._assign(known, name, value, at, sure)
            words = list(step.words)
            if not words or words[0] == "env":  # export $(grep -v '#' settings | xargs)
                for path in {Path(folder, word) for command in step.inside for word in _split(command)}:
                    self._environment_file(path, known, sure)
            if step.unnamed and len(self.assignments) == told:
                self.unnamed.append(at)
            if not words:
                continue
            if words[0] == "cd" and len(words) > 1 and sure:
                folder = str(Path(folder) / words[1])
            elif words[0] == "eval" and sure:
                self._run_script(" ".join(words[1:]), where, arguments, folder, sure, known)
            elif words[0] in (".", "source") and len(words) > 1:
                self._sourced(Path(folder) / words[1], folder, sure, known, words[2:])
            else:
                with_own = {**known, **dict(step.own)} if sure else known
                for name, value in step.own:
                    self.assignments.append(Assignment(name, value, at, sure))
                self.command(words, at, folder=folder, certain=sure, variables=with_own)
        found = self.programs[before:]
        self.programs[before:] = [program for program in found if program.certain][-1:] or found

    def _services(self, folder: str, certain: bool, known: dict[str, str]) -> None:
        for path in [path for pattern in _SERVICES for path in sorted(self.root.glob(pattern))]:
            self._script(str(path), (), folder, certain, dict(known))

    def _units(self, words: Sequence[str], certain: bool) -> None:
        for word in words:
            unit = word if "." in word else f"{word}.service"
            template = re.sub(r"@[^.]*", "@", unit)
            for name in dict.fromkeys((unit, template)):
                files = [self.root / place / name for place in _UNITS]
                first = next((path for path in files if path.is_file()), None)
                if first is None:
                    continue
                parts = [path for place in _UNITS for path in sorted((self.root / place / f"{name}.d").glob("*.conf"))]
                self._unit([first, *parts], unit, certain)
                break

    def _unit(self, paths: Sequence[Path], unit: str, certain: bool) -> None:
        """A unit and its drop-ins (systemd.exec(5)): a service starts with their variables and no others."""
        known: dict[str, str] = dict(self.environment)
        commands: list[tuple[str, str]] = []
        folder, instance = self.folder, unit.partition("@")[2].rpartition(".")[0]
        for path in paths:
            lines = (self._text(path) or "").replace("\\\n", "  ").splitlines()
            for number, line in enumerate(lines, 1):
                key, _, value = (part.strip() for part in line.partition("="))
                value, where = value.replace("%i", instance).replace("%I", instance), f"{path}, line {number}"
                if key == "Environment":
                    for word in _split(value):
                        match = _ASSIGNMENT.fullmatch(word)
                        if match:
                            self._assign(known, match[1], match[2], where, certain)
                elif key == "EnvironmentFile":
                    self._environment_file(self.root / value.lstrip("-").lstrip("/"), known, certain)
                elif key == "WorkingDirectory" and value:
                    folder = value.lstrip("-")
                elif key == "ExecStart":
                    commands = [*commands, (value.lstrip("@-:+!"), where)] if value else []
        for command, where in commands:
            words = [re.sub(r"\$\{?(\w+)\}?", lambda m: known.get(m[1], ""), word) for word in _split(command)]
            self.command(words, where, folder=folder, certain=certain, variables=known)

    def _environment_file(self, path: Path, known: dict[str, str], certain: bool) -> None:
        for number, line in enumerate((self._text(path) or "").splitlines(), 1):
            match = re.match(r"\s*(?:export\s+)?([A-Za-z_]\w*)=(.*)", line)
            if match:
                value = match[2].strip()
                value = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
                self._assign(known, match[1], value, f"{path}, line {number}", certain)

    def _environment_folder(
        self, name: str, rest: Sequence[str], folder: str, known: dict[str, str], certain: bool
    ) -> None:
        """The first line of each file is the value of the variable of its name (envdir(8), chpst(8))."""
        after = rest[rest.index("-e") + 1 :] if name == "chpst" and "-e" in rest else rest if name != "chpst" else []
        place = next((word for word in after if not word.startswith("-")), None)
        top = Path(self._moved(str(Path(folder, place)))) if place else None
        for path in sorted(top.iterdir()) if top and top.is_dir() else []:
            text = _content(path)
            if text is not None and "=" not in path.name:
                self._assign(known, path.name, text.partition("\n")[0].rstrip(), str(path), certain)

    def _supervisor(self, name: str, rest: list[str], known: dict[str, str], folder: str, certain: bool) -> None:
        given = [rest[n + 1] for n, word in enumerate(rest[:-1]) if word in ("-c", "--configuration")]
        given += [word.partition("=")[2] for word in rest if word.startswith("--configuration=")]
        own = [Path(folder) / path for path in given] or [self.root / path for path in _SUPERVISORD]
        named = [word for word in rest if not word.startswith("-") and word not in given and word not in _VERBS]
        wanted = {part for word in named for part in (word, *word.split(":"))} if name == "supervisorctl" else set()
        for path in own:
            self._supervised(path, wanted, known, certain)

    def _supervised(self, path: Path, wanted: set[str], known: dict[str, str], certain: bool) -> None:
        text = self._text(path)
        if text is None:
            return
        parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(" ;", "\t;"))
        try:
            parser.read_string(text)
        except configparser.Error:
            return
        here = {"here": str(path.parent), **{f"ENV_{name}": value for name, value in known.items()}}

        def get(section: str, key: str) -> str:
            raw = parser.get(section, key, fallback="")
            return re.sub(r"%\((\w+)\)s", lambda match: here.get(match[1], ""), raw).replace("%%", "%")

        base = dict(known)
        for name, value in _pairs(get("supervisord", "environment") if parser.has_section("supervisord") else ""):
            self._assign(base, name, value, f"{path}, [supervisord]", certain)
        for section in parser.sections():
            kind, _, program = section.partition(":")
            if kind == "include":
                for pattern in get(section, "files").split():
                    top = Path("/") if pattern.startswith("/") else path.parent
                    for included in sorted(top.glob(pattern.lstrip("/"))):
                        self._supervised(included, wanted, base, certain)
            elif kind in ("program", "fcgi-program") and (not wanted or program in wanted):
                mine = dict(base)
                for name, value in _pairs(get(section, "environment")):
                    self._assign(mine, name, value, f"{path}, [{section}]", certain)
                folder = get(section, "directory") or self.folder
                self.command(_split(get(section, "command")), str(path), folder=folder, certain=certain, variables=mine)

    def _procfile(self, folder: str, certain: bool, known: dict[str, str]) -> None:
        for number, line in enumerate((self._text(Path(folder) / "Procfile") or "").splitlines(), 1):
            match = re.match(r"([\w-]+):\s*(.+)", line)
            if match:
                self._run_script(match[2], f"{folder}/Procfile, line {number}", (), folder, certain, dict(known))


_VERBS = {"start", "stop", "restart", "signal", "update", "reload", "reread", "add", "all"}


def _content(path: Path) -> Optional[str]:
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(256 << 10).decode("utf-8", "replace")
    except (OSError, ValueError):
        return None


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _pairs(text: str) -> list[tuple[str, str]]:
    """``A="1",B='2'`` of supervisor."""
    found = re.findall(r"""([A-Za-z_]\w*)\s*=\s*("[^"]*"|'[^']*'|[^,\s]*)""", text)
    return [(name, value.strip("'\"")) for name, value in found]
