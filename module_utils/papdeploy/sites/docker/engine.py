"""The Docker engine that the environment names, through the Docker SDK: inspection, images, and clear errors."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

from ...core.errors import DeadlineExceeded, PapError, Unavailable
from ...core.records import as_object, read_known, recorded
from .exec_stream import Duplex, Endpoint, connect, hijack
from .records import Container, Image, ListedContainer, Policy, container_of, image_of

SDK_HINT = (
    "Install the Docker SDK for the Python that runs the modules on the target host: the package python3-docker, or"
    " `pip install docker` in a virtual environment that ansible_python_interpreter points to."
)
ENGINE_HINT = (
    "Check on the target host that the engine runs (`docker info`), that this user may use it (group docker, or"
    " become), and DOCKER_HOST."
)


_OLDEST_API = "1.24"  # what every SDK and engine in use can speak to ask for more
_PATIENCE = {ConnectionRefusedError: 20.0, FileNotFoundError: 5.0}  # seconds that an engine may take to restart


@dataclass(frozen=True)
class _PullEvent:
    error: object = None


@dataclass(frozen=True)
class _Info:
    SecurityOptions: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Version:
    ApiVersion: str


class Engine:
    """One engine. DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH are respected as the docker command does.

    ``timeout_s`` bounds every request that is not a stream. An engine that is just being restarted is waited for.
    Raises Unavailable if the SDK or the engine is not there.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, timeout_s: float = 60.0) -> None:
        settings = dict(os.environ if environment is None else environment)
        try:
            docker = importlib.import_module("docker")
            self._errors: Any = importlib.import_module("docker.errors")
            requests = importlib.import_module("requests.exceptions")
            urllib3 = importlib.import_module("urllib3.exceptions")
        except ImportError as error:
            raise Unavailable(f"The Docker SDK for Python cannot be imported: {error}.", hint=SDK_HINT) from error
        self._transport_errors = (requests.RequestException, urllib3.HTTPError, OSError)
        self.address = settings.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        if self.address.startswith("ssh://"):
            raise Unavailable(
                f"DOCKER_HOST={self.address}: an engine behind ssh is reached by Ansible, not by the SDK.",
                hint="Make that machine the inventory host (ansible_host) and unset DOCKER_HOST.",
            )
        with self.talking("connect"):
            keywords = docker.utils.kwargs_from_env(environment=settings or {"DOCKER_HOST": ""})
            tls = keywords.pop("tls", None)
            endpoint = Endpoint.of(self.address, tls, "")
            _wait_for(endpoint)
            make = functools.partial(docker.APIClient, timeout=timeout_s, tls=tls or False, **keywords)
            self.api: Any = _client(make, private=bool(getattr(tls, "ca_cert", None)))
            self.endpoint = replace(endpoint, api_version=str(self.api.api_version))

    def __reduce__(self) -> tuple[type[Engine], tuple[()]]:
        """In another process it is the engine that the environment names there: connections do not travel."""
        return (Engine, ())

    @contextlib.contextmanager
    def talking(self, doing: str) -> Iterator[None]:
        """Turn what the SDK raises while ``doing`` (words for a message) into Unavailable."""
        try:
            yield
        except PapError:
            raise
        except self._errors.APIError as error:
            said = str(error.explanation or error).strip()
            raise Unavailable(f"The Docker engine refused to {doing}: {said}", status=error.status_code) from error
        except (self._errors.DockerException, *self._transport_errors) as error:
            raise Unavailable(
                f"The Docker engine at {self.address} did not answer ({doing}): {error}.", hint=ENGINE_HINT
            ) from error

    def find_container(self, name: str) -> Optional[Container]:
        """The inspection of a container by name or id, or None if there is none."""
        with self.talking(f"inspect container {name}"):
            try:
                return container_of(self.api.inspect_container(name))
            except self._errors.NotFound:
                return None

    def container(self, name: str) -> Container:
        """The same; raises Unavailable if there is none."""
        found = self.find_container(name)
        if found is None:
            raise Unavailable(
                f"There is no container {name} on the Docker engine at {self.address}.",
                hint="Check the names of the containers in the inventory against `docker ps -a`.",
            )
        return found

    def containers(self, filters: Mapping[str, Sequence[str]]) -> list[ListedContainer]:
        """The containers that are there, running or not."""
        with self.talking("list containers"):
            return [recorded(ListedContainer, item) for item in self.api.containers(all=True, filters=dict(filters))]

    def find_image(self, reference: str) -> Optional[Image]:
        """The inspection of a local image by name, digest or id, or None."""
        with self.talking(f"inspect image {reference}"):
            try:
                return image_of(self.api.inspect_image(reference))
            except self._errors.NotFound:
                return None

    def ensure_image(self, reference: str, deadline_s: float = 600.0) -> Image:
        """The inspection of an image, pulled first if it is not here; a pull ends at ``deadline_s`` seconds."""
        found = self.find_image(reference)
        if found is None:
            self._pull(reference, deadline_s)
            found = self.find_image(reference)
        if found is None:
            raise Unavailable(f"The image {reference} was pulled, yet the engine does not have it.")
        return found

    def _pull(self, reference: str, deadline_s: float) -> None:
        if reference.startswith("sha256:"):
            raise Unavailable(
                f"The image {reference} is not on this host, and an image id cannot be pulled.",
                hint="It was removed (docker image prune?). Load it again, or deploy another image.",
            )
        repository, tag = split_reference(reference)
        problems: list[PapError] = []

        def work() -> None:
            try:
                with self.talking(f"pull the image {reference}"):
                    for event in self.api.pull(repository, tag=tag, stream=True, decode=True):
                        problem = recorded(_PullEvent, event).error
                        if problem is not None:
                            raise Unavailable(f"The image {reference} cannot be pulled: {problem}")
            except PapError as error:
                problems.append(error)

        # A thread, because a registry that accepts and never answers blocks the request; a daemon, so that it cannot
        # keep this program alive. The engine gives up the pull when its client goes away.
        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        worker.join(deadline_s)
        if worker.is_alive():
            raise DeadlineExceeded(
                f"The image {reference} was not pulled within {deadline_s:g} s: the registry does not answer in time.",
                hint="Pull it by hand on the target host (`docker pull`), or raise pap_api_pull_s.",
                seconds=deadline_s,
            )
        for error in problems:
            error.hint = error.hint or "Check the name and tag, and that this host is logged in to the registry."
            raise error

    def open_exec(self, exec_id: str) -> Duplex:
        """Start a prepared exec and take over its connection."""
        with self.talking("start a program in a container"):
            return hijack(self.endpoint, f"/exec/{exec_id}/start", b'{"Detach": false, "Tty": false}')

    def attach(self, container: str) -> Duplex:
        """Take over the streams of a container that was created with an open standard input."""
        with self.talking(f"attach to container {container}"):
            return hijack(self.endpoint, f"/containers/{container}/attach?stream=1&stdin=1&stdout=1&stderr=1")

    def set_policy(self, container: str, policy: Policy) -> bool:
        """Give a container a restart policy; False if this engine cannot change one (podman 4)."""
        with self.talking(f"change the restart policy of {container}"):
            try:
                self.api.update_container(container, restart_policy=as_object(policy))
            except self._errors.NotFound:
                if self.find_container(container) is None:
                    raise
                return False
            return True

    def rootless(self) -> bool:
        """Whether the engine runs as a user, in a network namespace of its own."""
        with self.talking("tell its settings"):
            return any("rootless" in option for option in recorded(_Info, self.api.info()).SecurityOptions)


def _client(make: Callable[..., Any], private: bool) -> Any:
    """A client that speaks the engine's own API version. ``private``: the engine has an authority of its own."""

    def client(version: str) -> Any:
        made = make(version=version)
        # With REQUESTS_CA_BUNDLE set, requests would not look at the authority of DOCKER_CERT_PATH.
        made.trust_env = made.trust_env and not private
        return made

    return client(read_known(_Version, client(_OLDEST_API).version(api_version=False)).ApiVersion)


def _wait_for(endpoint: Endpoint) -> None:
    """Until something listens there; after some patience the connection's own OSError is raised."""
    begun = time.monotonic()
    while True:
        try:
            connect(endpoint).close()
        except tuple(_PATIENCE) as error:
            if time.monotonic() - begun > _PATIENCE[type(error)]:
                raise
            time.sleep(0.25)
        else:
            return


def split_reference(reference: str) -> tuple[str, Optional[str]]:
    """``registry:5000/app:1.2`` → (``registry:5000/app``, ``1.2``); a digest stays with its ``sha256:``."""
    if "@" in reference:
        name, digest = reference.split("@", 1)
        return name, digest
    head, colon, tail = reference.rpartition(":")
    if colon and "/" not in tail:
        return head, tail
    return reference, "latest"
