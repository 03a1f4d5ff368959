"""Control of the API at its site: what runs, what would run, switch and switch back. The host's flavour is here.

On a host, releases are directories and a symbolic link ``current`` says which one runs; a supervisor (systemd,
supervisord, …) starts and stops the program by commands that the inventory names. The flavour for containers, where a
release is an image, is in ``containers``.
"""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from ..core import storage
from ..core.errors import CommandFailed, Refused, Unavailable
from ..core.private import refuse_without_right
from ..core.processes import MARK
from ..core.records import recorded
from ..environment.copy_environment import CopyEnvironment
from ..environment.env_file import read_env_file
from ..environment.kept_files import files_kept
from ..releases.version import Version
from ..sites.host import HostSite, Site
from .content import Content, look
from .process_sockets import ProcessSockets
from .trial import Trial, exit_code, free_port, held, stopped, with_port


@dataclass(frozen=True)
class Runtime:
    """Where code of one release can run beside its models: ``python`` started in ``cwd`` at ``site`` with ``env``.

    ``env`` holds secrets (DATABASE_URL): never print it. ``commands`` are the app itself, each as words; ``controls``
    let a supervisor start it. ``folders`` are other folders that it may be started in. ``links``: paths that mean this
    release once it runs, whatever they lead to now.
    """

    site: Site
    python: str
    cwd: str
    env: dict[str, str] = field(repr=False)
    commands: Sequence[Sequence[str]] = ()
    controls: Sequence[Sequence[str]] = ()
    folders: Sequence[str] = ()
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        """The words of all commands."""
        return [word for command in (*self.controls, *self.commands) for word in command]


class Api(ABC):
    """One API. A ``version`` is a JSON-able description of what runs: enough to switch back to it later."""

    @abstractmethod
    def running(self) -> Version:
        """The version that is active now, with what the flavour needs to restore it."""

    @abstractmethod
    def candidate(self) -> Version:
        """The version that a deploy would activate; equal identity to ``running()`` if there is nothing to switch."""

    def content(self, version: Version) -> Optional[Content]:
        """What is in the folder of ``version``; None where an identity says that already, as of an image."""
        return None

    @abstractmethod
    def environment(self, version: Version) -> dict[str, str]:
        """The environment that ``version`` would be started with (image, container and env files together)."""

    def environments(self, version: Version) -> dict[str, dict[str, str]]:
        """The environment of everything that ``version`` would start, by a label for a person."""
        return {version.label: self.environment(version)}

    def declared(self, version: Version) -> dict[str, dict[str, str]]:
        """Environments that a service manager (not this program) gives ``version`` when it starts it, by where they
        are."""
        return {}

    @abstractmethod
    def runtime(self, version: Version) -> contextlib.AbstractContextManager[Runtime]:
        """A place where the models of ``version`` can be imported without starting the app."""

    @abstractmethod
    def stop(self) -> None:
        """Stop the API so that nothing (restart policy, supervisor) starts it again by itself."""

    @abstractmethod
    def start(self) -> None:
        """Start what is active. Returns when the start was accepted; ``smoke`` decides whether it works."""

    @abstractmethod
    def switch(self, version: Version) -> None:
        """Make ``version`` the active one and start it. What was active is kept, for switching back."""

    def refuse_without_right(self) -> None:  # noqa: B027  (an engine says it when it is asked for the container)
        """Raise Refused if this user could not switch to another version."""

    def confirm(self, version: Version) -> None:
        """Assert that what runs, and so what answers, is ``version``, well by its own measure. Raises Unavailable."""
        running = self.running()
        if running.identity != version.identity:
            raise Unavailable(
                f"What runs is {running.label}, not {version.label}.",
                hint="A person or another program switched it; find out which, then deploy again.",
            )

    def deaf_s(self) -> float:
        """Seconds for which its supervisor waits in vain when it stops what runs now; 0 if that hears of it."""
        return 0.0

    def pending_health_check(self, version: Version) -> float:
        """Seconds from one look to the next of what supervises ``version``, where it has a health check of its own that
        has not spoken yet; else 0."""
        return 0.0

    def await_health_check(self, version: Version) -> None:  # noqa: B027  (not every kind has one)
        """Wait until that says healthy; raises Unhealthy if it does not. The API itself has answered by then."""

    def ended_at(self) -> str:
        """When what should run ended, as a journal writes times; empty if it runs, or if that is unknown."""
        return ""

    def tidy(self, keep: int) -> list[str]:
        """Remove what killed runs left, and what releases set aside but for the last ``keep``; the names."""
        return []

    def base_url(self) -> str:
        """``http://host:port`` where the API answers, as far as that can be known without the inventory."""
        raise Refused("The address of the API is not known.", hint="Set pap_api_url, for example http://127.0.0.1:8000")

    def trial_obstacle(self, version: Version) -> str:
        """Why ``version`` cannot be tried beside what runs, as a part of a sentence; empty if it can."""
        return "this kind of API cannot be started a second time"

    def trial(
        self, version: Version, made: CopyEnvironment, sockets: ProcessSockets
    ) -> contextlib.AbstractContextManager[Trial]:
        """Start ``version`` beside what runs, with the variables and files of ``made``, reachable from here only.
        ``sockets`` sees the connections of its processes, from their beginning on.

        It ends with the block, and when this process dies. Raises Refused where ``trial_obstacle`` says why.
        """
        raise Refused(f"No trial: {self.trial_obstacle(version)}.")


@dataclass(frozen=True)
class _Ended:
    """The data of a CommandFailed."""

    rc: int = 0
    stderr: str = ""


@dataclass(frozen=True)
class HostApi(Api):
    """An API that runs on the host: a folder with the link ``current``, and commands of its supervisor."""

    folder: str
    python: str
    release_dir: str
    start_command: Sequence[str]
    stop_command: Sequence[str]
    restart_command: Sequence[str]
    env_file: str = ""
    log_files: Sequence[str] = ()
    trial_command: Sequence[str] = ()
    release_ignore: Sequence[str] = ()
    site: Site = field(default_factory=HostSite)
    seconds: float = 60.0

    @property
    def _link(self) -> Path:
        return Path(self.folder) / "current"

    def running(self) -> Version:
        if not self._link.is_symlink():
            raise Refused(
                f"{self._link} is not a symbolic link to a release directory.",
                hint="Point pap_api_dir at a folder whose link 'current' names the running release.",
            )
        return _version(self._link.resolve())

    def candidate(self) -> Version:
        path = Path(self.release_dir).resolve() if self.release_dir else self._link.resolve()
        if not path.is_dir():
            raise Refused(
                f"The release directory {path} does not exist.",
                hint="Unpack the new release there first, or correct pap_api_release_dir.",
            )
        return _version(path)

    def content(self, version: Version) -> Optional[Content]:
        return look(Path(version.path), self.release_ignore)

    def environment(self, version: Version) -> dict[str, str]:
        return read_env_file(Path(self.env_file)) if self.env_file else {}

    @contextlib.contextmanager
    def runtime(self, version: Version) -> Any:
        trial = tuple(word.replace("{port}", "0") for word in self.trial_command)
        yield Runtime(
            self.site,
            self.python,
            version.path,
            self.environment(version),
            (trial,),
            (self.start_command, self.restart_command),
            (str(self.folder),),
            {str(self._link): version.path},
        )

    def stop(self) -> None:
        self._supervise("stopped", self.stop_command)

    def start(self) -> None:
        self._supervise("started", self.start_command)

    def switch(self, version: Version) -> None:
        # rename(2) over the old link is atomic: at any instant `current` names the old release or the new one.
        fresh = self._link.with_name(f".current-{os.getpid()}")
        with storage.named(self._link):
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(version.path)
            fresh.replace(self._link)
        self._supervise("started", self.restart_command)

    def refuse_without_right(self) -> None:
        hint = "The link to the running release is in it: give that user the right to write there"
        refuse_without_right(self._link.parent, hint=hint)

    def trial_obstacle(self, version: Version) -> str:
        return "" if self.trial_command else "pap_api_trial_command is not set"

    @contextlib.contextmanager
    def trial(self, version: Version, made: CopyEnvironment, sockets: ProcessSockets) -> Iterator[Trial]:
        obstacle = self.trial_obstacle(version)
        if obstacle:
            raise Refused(f"No trial: {obstacle}.", hint="Set it to the command that starts the API on {port}.")
        port = free_port()
        env = {**self.environment(version), "PORT": str(port), **made.variables}
        command = with_port(self.trial_command, port)
        files = files_kept(self.site, self.python, made)
        with (
            files,
            sockets.watched(self.site, self.python),
            held(self.site, self.python, command, cwd=version.path, env=env) as process,
        ):
            url = f"http://127.0.0.1:{port}"
            yield Trial(url, process.errors, lambda: exit_code(process), lambda: stopped(process))

    def _supervise(self, what: str, command: Sequence[str]) -> None:
        try:
            # What the supervisor starts belongs to no run: whoever takes this one over must not end it.
            self.site.run(command, env={MARK: ""}, timeout=self.seconds)
        except CommandFailed as error:
            ended = recorded(_Ended, error.data)
            raise CommandFailed(
                f"The API {self._link.resolve().name} could not be {what}: the command for that ended with exit code"
                f" {ended.rc}.",
                hint="Its last words follow; the API's log has the rest.",
                lines=ended.stderr.splitlines()[-15:],
            ) from error


def _version(path: Path) -> Version:
    return Version(path.name, str(path), str(path))
