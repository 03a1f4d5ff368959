"""One container name of an API, and the containers that stand, stood or could stand behind it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

from ..core.errors import Refused, Unavailable
from ..core.records import as_object, recorded
from ..releases import version
from ..sites.docker.container_spec import LABEL, Plan, successor
from ..sites.docker.engine import Engine
from ..sites.docker.one_off import create, remove
from ..sites.docker.records import NO_RESTART, Container, Image, Policy
from .restart_policies import PolicyMemo

Data = dict[str, Any]
# A release's id, as the journal makes it; a second one of a release has its own id behind it.
_SET_ASIDE = r"(\d{8}T\d{6}Z-[0-9a-f]{4}|old)(_[0-9a-f]{12})?"
STOP_SECONDS = 10  # the engine's own default


@dataclass(frozen=True)
class Service:
    """The container called ``name``. What leaves that name is stopped, called ``<name>__<release>`` and kept."""

    engine: Engine
    name: str
    memo: PolicyMemo
    release: str = ""

    def named(self) -> Optional[Container]:
        """The container that has the name now. None in the middle of a switch that was killed."""
        found = self.engine.find_container(self.name)
        # The engine also takes the beginning of an id for a name.
        return found if found and found.name == self.name else None

    def present(self) -> Container:
        """The container to take the configuration from: the named one, else the last one that had the name."""
        found = self.named() or next(iter(self.kept()), None)
        if found is None:
            raise Unavailable(
                f"There is no container {self.name} on the Docker engine at {self.engine.address}.",
                hint="Check pap_api_container against `docker ps -a`.",
            )
        return found

    def kept(self) -> list[Container]:
        """Containers that had the name and were set aside by a release, the last one first. No other containers."""
        names = [name[1:] for item in self.engine.containers({"name": [f"{self.name}__"]}) for name in item.Names]
        mine = [name for name in names if re.fullmatch(f"{re.escape(self.name)}__{_SET_ASIDE}", name)]
        found = [container for container in map(self.engine.find_container, mine) if container]
        return sorted(found, key=lambda container: container.State.FinishedAt, reverse=True)

    @property
    def _waiting(self) -> str:
        """The name of the next container until it takes over."""
        return f"{self.name}__next"

    def record(self) -> version.Container:
        """What is needed to come back to the present container."""
        present = self.present()
        policy = as_object(self.policy(present))
        return version.Container(self.name, present.Id, present.Image, present.Config.Image, policy)

    def policy(self, container: Container) -> Policy:
        """The restart policy that was configured, also while it is taken off."""
        configured = container.HostConfig.RestartPolicy
        return self.memo.all().get(container.Id, NO_RESTART if configured == Policy() else configured)

    def plan(self, image: Image, reference: str = "") -> Plan:
        """The container that would follow the present one with this image."""
        return self.plan_of(self.present(), image, reference)

    def plan_of(self, present: Container, image: Image, reference: str = "") -> Plan:
        """The container that would follow ``present``, which need not have the name now."""
        old_image = self.engine.find_image(present.Image)
        made = successor(present, old_image, image, reference, self.policy(present))
        if not self.release:
            return made
        labels = {**made.config.Labels, f"{LABEL}.release": self.release}
        return replace(made, config=replace(made.config, Labels=labels))

    def halt(self, container: Container) -> None:
        """Stop a container so that neither its restart policy nor a restart of the engine starts it again."""
        policy = container.HostConfig.RestartPolicy
        if policy.Name not in ("", "no"):
            self.memo.remember(container.Id, policy)
            if not self.engine.set_policy(container.Id, NO_RESTART):
                self._refuse_revival(policy)
        with self.engine.talking(f"stop container {self.name}"):
            if container.State.Paused:
                self.engine.api.unpause(container.Id)
            self.engine.api.stop(container.Id, timeout=container.Config.StopTimeout or STOP_SECONDS)

    def start(self, container: Container, policy: Optional[Policy] = None) -> int:
        """Give a container its restart policy back and start it; nothing happens to one that runs.

        The number of restarts by the engine that are not the fault of this start.
        """
        wanted = policy or self.policy(container)
        if wanted != container.HostConfig.RestartPolicy:
            self.engine.set_policy(container.Id, wanted)
        self.memo.forget(container.Id)
        with self.engine.talking(f"start container {self.name}"):
            self.engine.api.start(container.Id)
        return container.RestartCount if container.State.Running else 0

    def restart(self) -> int:
        """Stop and start the named container."""
        container = self.must_be_named()
        if container.State.Running:
            self.halt(container)
        return self.start(self.must_be_named())

    def must_be_named(self) -> Container:
        """The named container; raises Unavailable in the middle of a switch."""
        found = self.named()
        if found is None:
            self.present()  # there is nothing at all: it says so
            raise Unavailable(
                f"No container is called {self.name}: a switch between two releases was interrupted.",
                hint="Run rollback.yml, which ends it.",
            )
        return found

    def refuse_unfit(self) -> None:
        """Refuse what cannot be stopped and replaced without losing the means to roll back, before anything changes."""
        container = self.present()
        if container.HostConfig.AutoRemove:
            raise Refused(
                f"Container {self.name} was started with --rm: stopping it would delete it, and with it the"
                " means to roll back.",
                hint="Start it again without --rm, then deploy.",
            )
        for mark, keeper in (("com.docker.swarm.service.id", "Docker Swarm"), ("io.kubernetes.pod.uid", "Kubernetes")):
            if mark in container.Config.Labels:
                raise Refused(
                    f"Container {self.name} belongs to {keeper}, which would replace it behind our back.",
                    hint="Only containers that compose or a person started can be deployed to.",
                )

    def _refuse_revival(self, policy: Policy) -> None:
        """An engine that cannot take a policy off (podman 4) starts containers at boot only with "always"."""
        if policy.Name == "always":
            raise Refused(
                f"This engine cannot change the restart policy of {self.name}: with `always`, the next boot would start"
                " the old API beside the new one.",
                hint="Start the container with the policy unless-stopped or on-failure, or use podman 5.3 or Docker.",
            )

    def bring_new(self, image: Image, reference: str) -> int:
        """Let a container with ``image`` take over the name. The present one is stopped only when the next exists."""
        named = self.named()
        if named and named.Image == image.Id:
            return self.start(named)
        self._discard()
        fresh = create(self.engine, self.plan(image, reference), self._waiting)
        made = self.engine.container(fresh)
        if made.Image != image.Id:
            remove(self.engine, fresh)
            raise Unavailable(
                f"The image {reference} changed while it was being deployed: it was {image.Id[:19]} and is now"
                f" {made.Image[:19]}.",
                hint="Deploy again, or name the image by its digest.",
            )
        self._take_over(made)
        return self.start(made)

    def bring_back(self, record: version.Container) -> int:
        """Let the container of ``record`` have the name again, or one that is made like it if it was removed."""
        self._discard()
        target = self.engine.find_container(record.id)
        if target is None:
            image = self.engine.find_image(record.image)
            if image is None:
                raise Unavailable(
                    f"The former container of {self.name} was removed, and so was its image {record.reference}"
                    f" ({record.image[:19]}).",
                    hint="Load or pull that image again, then repeat the rollback.",
                )
            return self.bring_new(image, record.image)
        if target.name != self.name:
            self._take_over(target)
        return self.start(target, recorded(Policy, record.policy) if record.policy else None)

    def _take_over(self, container: Container) -> None:
        named = self.named()
        if named:
            self.halt(named)
            with self.engine.talking(f"rename container {self.name}"):
                self.engine.api.rename(named.Id, self._aside(named))
        with self.engine.talking(f"give the name {self.name} to its next container"):
            self.engine.api.rename(container.Id, self.name)

    def _aside(self, container: Container) -> str:
        """A free name for what is set aside."""
        name = f"{self.name}__{self.release or 'old'}"
        taken = self.engine.find_container(name)
        return f"{name}_{container.Id[:12]}" if taken and taken.name == name else name

    def _discard(self) -> None:
        """Remove the container that a killed switch prepared and never started."""
        found = self.engine.find_container(self._waiting)
        if found and found.name == self._waiting and found.State.Status == "created":
            remove(self.engine, found.Id)

    def prune(self, keep: int) -> Sequence[str]:
        """Remove what was set aside, but for the last ``keep``; the names that are gone."""
        gone = []
        for container in self.kept()[keep:]:
            if not container.State.Running:
                # Not its volumes: the present container may share them.
                with self.engine.talking(f"remove container {container.name}"):
                    self.engine.api.remove_container(container.Id)
                self.memo.forget(container.Id)
                gone.append(container.name)
        return gone
