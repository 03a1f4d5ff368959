"""Activation by ``docker compose up -d`` with the image in a variable, for those who want compose to stay in charge."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import PurePosixPath

from ..core.errors import Refused, Unavailable
from ..core.records import recorded
from ..sites.docker.engine import Engine
from ..sites.docker.records import Container, Image
from ..sites.host import HostSite, Site

_LABEL = "com.docker.compose."


@dataclass(frozen=True)
class _Project:
    """Which service of which project a container is, by its labels: their names, with ``_`` for a dot."""

    project: str = ""
    service: str = ""
    project_working_dir: str = ""
    project_config_files: str = ""


@dataclass(frozen=True)
class Compose:
    """How compose is called on the target host. The compose file names the image by ``variable``.

    ``file`` and the project are taken from the labels of the present container where they are not given.
    """

    variable: str = "PAP_API_IMAGE"
    file: str = ""
    site: Site = field(default_factory=HostSite)
    seconds: float = 300.0

    def check(self, engine: Engine, names: Sequence[str], image: str) -> None:
        """Refuse what could not work: no compose, a container that is not compose's, a file without the variable."""
        for name in names:
            project = _project(engine.container(name))
            if _image_of(project.service, self._config(project, image)) != image:
                raise Refused(
                    f"The compose file does not take the image of service {project.service} from the variable"
                    f" {self.variable}.",
                    hint=f"Write `image: ${{{self.variable}}}` there, or set pap_api_image_variable to its variable.",
                )

    def environment(self, engine: Engine, name: str, image: str) -> dict[str, str]:
        """What compose would give the container ``name`` of ``image``: ``environment`` and ``env_file`` together."""
        project = _project(engine.container(name))
        return _environment_of(project.service, self._config(project, image))

    def up(self, engine: Engine, name: str, reference: str, image: str) -> int:
        """Let compose replace the container by one of ``reference``; the replaced image is kept by a tag."""
        present = engine.container(name)
        project = _project(present)
        if present.Image != image:  # a repeated switch replaces nothing, and must not look like the last that did
            stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
            with engine.talking(f"keep the image of {name}"):
                engine.api.tag(present.Image, _kept(name), tag=f"{stamp}-{present.Image[7:19]}")
        found = engine.find_image(reference)
        # A tag that moved since: the id is what is meant, and compose takes it as well.
        wanted = reference if found and found.Id == image else image
        argv = [*self._command(project), "up", "-d", "--no-deps", "--no-build", project.service]
        self.site.run(argv, env={self.variable: wanted}, timeout=self.seconds)
        return 0

    def prune(self, engine: Engine, name: str, keep: int) -> list[str]:
        """Delete the images that were kept for ``name``, but for the last ``keep``; the tags that are gone. What has
        another name as well stays under that."""
        with engine.talking(f"look for the images that were kept of {name}"):
            images = [recorded(Image, item) for item in engine.api.images(name=_kept(name))]
        tags = [tag for image in images for tag in image.RepoTags if tag.startswith(f"{_kept(name)}:")]
        gone = sorted(tags, reverse=True)[keep:]
        for tag in gone:
            with engine.talking(f"remove the tag {tag}"):
                engine.api.remove_image(tag)
        return gone

    def _config(self, project: _Project, image: str) -> str:
        """What compose makes of the files of ``project``, with ``image`` in the variable."""
        argv = [*self._command(project), "config"]
        return self.site.run(argv, env={self.variable: image}, timeout=self.seconds).text

    def _command(self, project: _Project) -> list[str]:
        words = ["--project-name", project.project]
        if project.project_working_dir:
            words += ["--project-directory", project.project_working_dir]
        folder = PurePosixPath(project.project_working_dir or "/")
        for path in [self.file] if self.file else project.project_config_files.split(","):
            words += ["--file", str(folder / path)] if path else []  # compose 1.x notes relative paths
        return [*self._program(), *words]

    def _program(self) -> list[str]:
        for words in (["docker", "compose"], ["docker-compose"]):
            try:
                if self.site.run([*words, "version"], check=False).rc == 0:
                    return words
            except Unavailable:
                continue
        raise Unavailable(
            "Neither `docker compose` nor `docker-compose` works on the target host.",
            hint="Install docker-compose-plugin (or docker-compose) there, or set pap_api_activate: recreate.",
        )


def _kept(name: str) -> str:
    return f"pap-deploy/kept-{name.lower()}"


def _service(service: str, config: str) -> list[str]:
    """The lines of a service in the YAML that ``compose config`` prints: its name is two spaces deep."""
    inside = ""
    lines = []
    for line in config.splitlines():
        if re.match(r" {0,2}\S", line):
            inside = line.strip().rstrip(":").strip("'\"")
        elif inside == service:
            lines.append(line)
    return lines


def _image_of(service: str, config: str) -> str:
    for line in _service(service, config):
        if line.startswith("    image:"):
            return line.split(":", 1)[1].strip().strip("'\"")
    return ""


def _environment_of(service: str, config: str) -> dict[str, str]:
    """The environment of a service there: one line each, six spaces deep; a longer value goes on deeper."""
    values: dict[str, str] = {}
    block = ""
    for line in _service(service, config):
        if re.match(r" {4}\S", line):
            block = line.strip()
        elif block == "environment:" and re.match(r" {6}\S", line):
            name, _, value = line.strip().partition(":")
            values[name.strip("'\"")] = value.strip().strip("'\"")
    return values


def _project(container: Container) -> _Project:
    labels = container.Config.Labels
    found = recorded(
        _Project, {name[len(_LABEL) :].replace(".", "_"): labels[name] for name in labels if name.startswith(_LABEL)}
    )
    if not found.project or not found.service:
        raise Refused(
            f"Container {container.name} was not started by compose (it has no labels of compose).",
            hint="Set pap_api_activate: recreate, or start it by compose first.",
        )
    return found
