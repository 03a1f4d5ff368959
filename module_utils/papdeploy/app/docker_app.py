"""An API whose releases are images: one container, or several of one stack that roll one after another.

A switch makes a container with the present one's configuration and the new image, stops and renames the present one,
and starts the new one under the old name. The old one stays, stopped and with its restart policy taken off, so that
rolling back is a rename. Every step looks at what is there first: a switch that was killed can be called again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional

from ..core.errors import PapError, Refused, Unavailable, Unhealthy
from ..core.redact import Redactor
from ..environment.copy_environment import CopyEnvironment
from ..releases.version import Version
from ..sites.docker.container_spec import Plan
from ..sites.docker.endpoint import Tunnel, direct, published
from ..sites.docker.engine import Engine
from ..sites.docker.one_off import OneOffSite, leftovers, remove
from ..sites.docker.probe import exposed_port, find_python, handles, last_end, last_words, listening, program
from ..sites.docker.records import ContainerConfig, ContainerState, Image
from ..sites.docker.site import ContainerSite
from . import docker_trial as trials
from .docker_compose import Compose
from .docker_service import STOP_SECONDS, Service
from .host_app import Api, Runtime
from .process_sockets import ProcessSockets
from .restart_policies import PolicyMemo
from .trial import Trial

_POLL_SECONDS = 0.25
_INTERVAL_NS = 30_000_000_000  # the engine's own default


@dataclass(frozen=True)
class DockerApi(Api):
    """The containers ``names`` of one API. ``image`` is what a deploy activates; empty means: restart what runs.

    ``state_dir`` keeps the restart policies of what is stopped. ``port`` is the API's port inside its container (0: the
    one it exposes, else the one on which it listens). Times in seconds.
    """

    engine: Engine
    names: Sequence[str]
    state_dir: str
    image: str = ""
    release: str = ""
    python: str = ""
    port: int = 0
    compose: Optional[Compose] = None
    pull_s: float = 600.0
    start_s: float = 60.0
    health_s: float = 90.0
    _tunnels: dict[str, Tunnel] = field(default_factory=dict, repr=False, compare=False)
    _pythons: dict[str, str] = field(default_factory=dict, repr=False, compare=False)  # by image

    def services(self) -> list[Service]:
        memo = PolicyMemo(Path(self.state_dir) / "restart-policies.json")
        return [Service(self.engine, name, memo, self.release) for name in self.names]

    def running(self) -> Version:
        records = [service.record() for service in self.services()]
        return Version(
            ", ".join(dict.fromkeys(_short(record.reference) for record in records)),
            ",".join(dict.fromkeys(record.image for record in records)),
            containers=tuple(records),
        )

    def candidate(self) -> Version:
        for service in self.services():
            service.refuse_unfit()
        running = self.running()
        if not self.image:
            return replace(running, restart=True)
        image = self.engine.ensure_image(self.image, self.pull_s)
        if image.Id == running.identity:
            return replace(running, restart=True)
        if self.compose:
            self.compose.check(self.engine, self.names, self.image)
        label, digests = _short(self.image), image.RepoDigests
        return Version(label, image.Id, image=image.Id, reference=self.image, digests=digests)

    def environment(self, version: Version) -> dict[str, str]:
        return self.plan(version).environment

    def environments(self, version: Version) -> dict[str, dict[str, str]]:
        return {
            f"{name}, {version.label}": self.plan(version, number).environment for number, name in enumerate(self.names)
        }

    def declared(self, version: Version) -> dict[str, dict[str, str]]:
        if self.compose is None or version.restart or version.containers:
            return {}
        image = version.reference
        return {
            f"the compose file, for {name}": self.compose.environment(self.engine, name, image) for name in self.names
        }

    def plan(self, version: Version, number: int = 0) -> Plan:
        """The container that ``version`` would run in: the first of the stack's API containers, or another."""
        service = self.services()[number]
        if version.containers:
            record = version.containers[number]
            found = self.engine.find_container(record.id)
            if found:
                image = self._image(found.Image, record.reference)
                return service.plan_of(found, image)
            return service.plan(self._image(record.image, record.reference))
        return service.plan(self._image(version.image, version.reference))

    def _image(self, identity: str, reference: str) -> Image:
        image = self.engine.find_image(identity)
        if image is None:
            raise Unavailable(
                f"The image {_short(reference)} ({identity[:19]}) is no longer on this host.",
                hint="It was removed after the release began (docker image prune?). Pull or load it and try again.",
            )
        return image

    @contextlib.contextmanager
    def runtime(self, version: Version) -> Iterator[Runtime]:
        plan = self.plan(version)
        image = self.engine.find_image(plan.config.Image) or Image()
        with OneOffSite(self.engine, plan, self.names[0], self.release) as site:
            command = program(plan.config, image.Config)
            python = self.python or find_python(site, command)
            self._pythons[image.Id] = python
            folder = plan.config.WorkingDir or image.Config.WorkingDir or "/"
            yield Runtime(site, python, folder, plan.environment, (command,))

    def trial_obstacle(self, version: Version) -> str:
        return trials.obstacle(self.plan(version))

    def trial(
        self, version: Version, made: CopyEnvironment, sockets: ProcessSockets
    ) -> contextlib.AbstractContextManager[Trial]:
        plan = self.plan(version)
        obstacle = trials.obstacle(plan)
        if obstacle:
            raise Refused(f"No trial: {obstacle}.", hint="Give the container a network of its own.")
        image = self.engine.find_image(plan.config.Image) or Image()
        return trials.running(
            self.engine,
            plan,
            image.Config,
            owner=self.names[0],
            release=self.release,
            made=made,
            sockets=sockets,
            port=self.port,
            python=self.python,
            start_s=self.start_s,
        )

    def stop(self) -> None:
        for service in self.services():
            named = service.named()
            if named:
                service.halt(named)

    def start(self) -> None:
        for service in self.services():
            container = service.must_be_named()
            self._wait_until_up(service.name, container.Image, service.start(container))

    def switch(self, version: Version) -> None:
        records = {record.name: record for record in version.containers}
        for service in self.services():
            record = records.get(service.name)
            image = record.image if record else version.image
            if version.restart:
                restarts = service.restart()
            elif self.compose:
                reference = record.reference if record else version.reference
                restarts = self.compose.up(self.engine, service.name, reference, image)
            elif record:
                restarts = service.bring_back(record)
            else:
                restarts = service.bring_new(self._image(image, version.reference), version.reference)
            self._wait_until_up(service.name, image, restarts)

    def _wait_until_up(self, name: str, image: str, restarts: int) -> None:
        """Until it listens, so that the next container of the stack may go down, or until it is clear that it will not.

        Raises Unavailable with the end of its log. Whether it works is the smoke test's question.
        """
        begun = time.monotonic()
        site = ContainerSite(self.engine, name)
        config = self.engine.container(name).Config
        # The one that was found before the API stopped: to look again is to be away for longer.
        python, port = self.python or self._pythons.get(image, ""), self.port or exposed_port(config)
        while True:
            state = self._alive(name, image, restarts)
            try:
                python = python or find_python(site, program(config))
                ports = listening(site, python, port, wait_s=2.0)
            except PapError:
                # It ended between the two looks, or is not ready for exec yet: the next look at its state says which.
                ports = []
            if port in ports or (ports and not port):
                return
            if state.Status == "running" and time.monotonic() - begun > self.start_s:
                raise Unavailable(
                    f"Container {name} runs, but did not listen{f' on port {port}' if port else ''} within"
                    f" {self.start_s:g} s.{self._said(name)}",
                    hint="Raise pap_api_start_s if it needs longer, or set pap_api_port.",
                )
            time.sleep(_POLL_SECONDS)

    def _alive(self, name: str, image: str, restarts: int) -> ContainerState:
        """The state of a container that should be starting or running; raises Unavailable if it has failed."""
        container = self.engine.container(name)
        state = container.State
        if container.Image != image:
            raise Unavailable(
                f"Container {name} runs the image {container.Image[:19]} and not {image[:19]}.",
                hint="Did another program replace it (compose, a watcher)? Stop that and deploy again.",
            )
        ended = state.Status in ("exited", "dead", "removing") or state.Restarting
        if ended or container.RestartCount > restarts:
            raise Unavailable(
                f"Container {name} ({_short(container.Config.Image)}) ended right after its start"
                f"{last_end(self.engine, container)}.{self._said(name)}",
                hint=f"See `docker logs {name}`.",
                log=self._log(name),
            )
        if state.Health.Status == "unhealthy":
            said = state.Health.Log[-1].Output.strip() if state.Health.Log else ""
            raise Unhealthy(
                f"Container {name} is unhealthy by its own health check: {said[-400:] or 'it said nothing'}",
                hint=f"See `docker inspect {name}` (State.Health) and `docker logs {name}`.",
            )
        return state

    def confirm(self, version: Version) -> None:
        """Assert that exactly the containers of ``version`` run under the names. Raises Unavailable, and Unhealthy
        where a health check has said no already."""
        for service, image in self._services_of(version):
            for other in service.kept():
                if other.State.Running:
                    raise Unavailable(
                        f"The former container {other.name} runs beside {service.name}: it may be what answers.",
                        hint=f"Stop it (`docker stop {other.name}`) and try again.",
                    )
            self._until(service.name, image, ("none", "healthy", "starting"))

    def deaf_s(self) -> float:
        """Process 1 of a container does not end by a signal that it has no handler for (a shell around the API): the
        engine then waits for the whole of its stop timeout, for one container after another."""
        total = 0.0
        for service in self.services():
            config = self.engine.container(service.name).Config
            site = ContainerSite(self.engine, service.name)
            try:
                said = site.run(["cat", "/proc/1/status"], check=False).text
            except PapError:  # it does not run, or has no cat
                continue
            if not handles(said, config.StopSignal or "SIGTERM"):
                total += config.StopTimeout or STOP_SECONDS
        return total

    def pending_health_check(self, version: Version) -> float:
        found = [self.engine.container(service.name) for service, _ in self._services_of(version)]
        starting = [container for container in found if container.State.Health.Status == "starting"]
        return max((_interval_s(container.Config) for container in starting), default=0.0)

    def await_health_check(self, version: Version) -> None:
        for service, image in self._services_of(version):
            self._until(service.name, image, ("none", "healthy"))

    def _services_of(self, version: Version) -> Iterator[tuple[Service, str]]:
        """The containers' names, each with the image that ``version`` has for it."""
        records = {record.name: record for record in version.containers}
        for service in self.services():
            record = records.get(service.name)
            yield service, record.image if record else version.image

    def _until(self, name: str, image: str, wanted: Sequence[str]) -> None:
        """Wait until a container runs and its health check says one of ``wanted``, at most ``health_s`` seconds."""
        deadline = time.monotonic() + self.health_s
        while True:
            state = self._alive(name, image, self.engine.container(name).RestartCount)
            health = state.Health.Status or "none"  # podman says ""
            if state.Status == "running" and health in wanted:
                return
            if time.monotonic() > deadline:
                raise Unhealthy(
                    f"Container {name} is still {state.Status}, its health check {health}, after {self.health_s:g} s.",
                    hint="Raise pap_api_health_s if its health check needs longer.",
                )
            time.sleep(_POLL_SECONDS)

    def ended_at(self) -> str:
        state = self.services()[0].present().State
        at = state.FinishedAt
        return f"{at[:23].rstrip('Z')}Z" if not state.Running and at[:4] > "0001" and at[-1] == "Z" else ""

    def base_url(self) -> str:
        """``http://host:port`` where the API answers, seen from here; empty while that cannot be known (it is stopped).

        Through a tunnel by exec where neither a published port nor the container's own address can be reached.
        """
        inspected = self.services()[0].present()
        port = self.port or exposed_port(inspected.Config)
        outside = published(inspected, port, self.engine.endpoint.host or "127.0.0.1")
        if outside:
            return f"http://{outside}"
        if not inspected.State.Running:
            return ""
        site = ContainerSite(self.engine, self.names[0])
        python = ""
        if not port:
            python = self.python or find_python(site, program(inspected.Config))
            ports = listening(site, python)
            if len(ports) != 1:
                raise Refused(
                    f"The port of the API is not clear: {self.names[0]} listens on {ports or 'none'}.",
                    hint="Set pap_api_port to the port inside the container, or pap_api_url.",
                )
            port = ports[0]
        address = direct(self.engine, inspected)
        if address:
            return f"http://{address}:{port}"
        if inspected.Id not in self._tunnels:
            python = python or self.python or find_python(site, program(inspected.Config))
            self._tunnels[inspected.Id] = Tunnel(site, python, port)
        return f"http://{self._tunnels[inspected.Id].address}"

    def tidy(self, keep: int) -> list[str]:
        """One-off containers that the engine left; former containers, and images that were kept for compose,
        but for the last ``keep`` of each name."""
        gone = [found for name in self.names for found in leftovers(self.engine, name, ("exited", "dead"))]
        for container in gone:
            remove(self.engine, container)
        gone += [name for service in self.services() for name in service.prune(keep)]
        if self.compose:
            gone += [tag for name in self.names for tag in self.compose.prune(self.engine, name, keep)]
        return gone

    def container_environment(self) -> dict[str, str]:
        """The environment of the container that is there now."""
        return self.services()[0].present().Config.environment

    def _log(self, name: str) -> str:
        return last_words(self.engine, name)

    def _said(self, name: str) -> str:
        said = Redactor().text(self._log(name))
        return f" It said last: {said.splitlines()[-1][:300]}" if said else " It wrote no log."


def _interval_s(config: ContainerConfig) -> float:
    return ((config.Healthcheck and config.Healthcheck.Interval) or _INTERVAL_NS) / 1e9


def _short(reference: str) -> str:
    """An image for a person: an id is cut to the length that ``docker images`` shows."""
    return reference[7:19] if reference.startswith("sha256:") else reference
