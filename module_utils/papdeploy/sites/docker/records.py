"""What the engine says of containers and images, as far as it is read here: the fields have the engine's own names.

An engine may leave any of it out or say null. What is sent back to it keeps all that it had, known here or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Optional, TypeVar

from ...core.records import plain, recorded


@dataclass(frozen=True)
class Returned:
    """What is sent back to the engine. ``said``: as it came, with whatever is not read here."""

    said: Mapping[str, object] = field(default_factory=dict, repr=False)

    def sent(self) -> dict[str, Any]:
        """As it came, but for the fields that have been replaced since."""
        before = recorded(type(self), self.said)
        values = ((item.name, getattr(self, item.name), getattr(before, item.name)) for item in fields(self))
        return {**self.said, **{name: plain(value) for name, value, old in values if name != "said" and value != old}}


S = TypeVar("S", bound=Returned)


def returned(record: type[S], said: object) -> S:
    return replace(recorded(record, said), said=said if isinstance(said, dict) else {})


def without(record: S, *names: str) -> S:
    """``record`` without the fields ``names``, whether they are known here or not."""
    return returned(type(record), {name: value for name, value in record.sent().items() if name not in names})


@dataclass(frozen=True)
class Policy:
    """A restart policy."""

    Name: str = ""
    MaximumRetryCount: Optional[int] = None


NO_RESTART = Policy("no", 0)


@dataclass(frozen=True)
class HealthCheck:
    """``Interval``: nanoseconds; 0 stands for the engine's default."""

    Test: tuple[str, ...] = ()
    Interval: int = 0


@dataclass(frozen=True)
class ContainerConfig(Returned):
    """What runs in a container, or by default in one of an image."""

    Image: str = ""
    Env: tuple[str, ...] = field(default=(), repr=False)
    Entrypoint: tuple[str, ...] = ()
    Cmd: Optional[tuple[str, ...]] = None
    User: str = ""
    WorkingDir: str = ""
    Hostname: str = ""
    MacAddress: str = ""
    Labels: Mapping[str, str] = field(default_factory=dict)
    ExposedPorts: Mapping[str, object] = field(default_factory=dict)
    Volumes: Mapping[str, object] = field(default_factory=dict)
    Healthcheck: Optional[HealthCheck] = None
    StopSignal: str = ""
    StopTimeout: int = 0
    Tty: bool = False
    OpenStdin: bool = False
    StdinOnce: bool = False
    AttachStdin: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """The image's is part of its container's."""
        pairs = (entry.partition("=") for entry in self.Env)
        return {name: value for name, _, value in pairs}


@dataclass(frozen=True)
class PortBinding:
    HostIp: str = ""
    HostPort: str = ""


Ports = Mapping[str, Optional[tuple[PortBinding, ...]]]


@dataclass(frozen=True)
class RequestedMount:
    Target: str = ""


@dataclass(frozen=True)
class Limit:
    Name: str = ""
    Soft: Optional[int] = None
    Hard: Optional[int] = None


@dataclass(frozen=True)
class LogDriver:
    Type: str = ""


@dataclass(frozen=True)
class HostSettings(Returned):
    """What the engine gives a container on its host."""

    NetworkMode: str = ""
    RestartPolicy: Policy = Policy()
    AutoRemove: bool = False
    ReadonlyRootfs: bool = False
    PublishAllPorts: bool = False
    PortBindings: Ports = field(default_factory=dict)
    Binds: tuple[str, ...] = ()
    Mounts: tuple[RequestedMount, ...] = ()
    Tmpfs: Mapping[str, str] = field(default_factory=dict)
    Ulimits: tuple[Limit, ...] = ()
    LogConfig: Optional[LogDriver] = None

    @property
    def shares_network(self) -> bool:
        """Whether it has the network of the host or of another container, and that one's names with it."""
        return self.NetworkMode == "host" or self.NetworkMode.startswith("container:")


@dataclass(frozen=True)
class HealthLog:
    Output: str = ""


@dataclass(frozen=True)
class HealthState:
    """``Status`` is empty where there is no health check (podman), or ``none``."""

    Status: str = ""
    Log: tuple[HealthLog, ...] = ()


@dataclass(frozen=True)
class ContainerState:
    Status: str = ""
    Running: bool = False
    Paused: bool = False
    Restarting: bool = False
    OOMKilled: bool = False
    ExitCode: Optional[int] = None
    StartedAt: str = ""
    FinishedAt: str = ""
    Health: HealthState = HealthState()


@dataclass(frozen=True)
class Addresses:
    IPv4Address: Optional[str] = None
    IPv6Address: Optional[str] = None
    LinkLocalIPs: tuple[str, ...] = ()


@dataclass(frozen=True)
class EndpointSettings:
    """What a container can ask of a network. ``IPAMConfig``: addresses, and perhaps more, passed on as they are."""

    IPAMConfig: object = None
    Links: tuple[str, ...] = ()
    Aliases: tuple[str, ...] = ()
    DriverOpts: Mapping[str, object] = field(default_factory=dict)
    MacAddress: str = ""


@dataclass(frozen=True)
class NetworkEndpoint(EndpointSettings):
    """And what it got there."""

    NetworkID: str = ""
    IPAddress: str = ""
    Gateway: str = ""


@dataclass(frozen=True)
class Networking:
    Networks: Mapping[str, NetworkEndpoint] = field(default_factory=dict)
    Ports: Ports = field(default_factory=dict)


@dataclass(frozen=True)
class Mount:
    Type: str = ""
    Name: str = ""
    Destination: str = ""
    RW: bool = True


@dataclass(frozen=True)
class Container:
    """An inspected container."""

    Id: str = ""
    Name: str = ""
    Image: str = ""
    RestartCount: int = 0
    State: ContainerState = ContainerState()
    Config: ContainerConfig = ContainerConfig()
    HostConfig: HostSettings = HostSettings()
    NetworkSettings: Networking = Networking()
    Mounts: tuple[Mount, ...] = ()

    @property
    def name(self) -> str:
        return self.Name[1:]


@dataclass(frozen=True)
class Image:
    """An inspected image, or one of a list, which has no ``Config``."""

    Id: str = ""
    RepoTags: tuple[str, ...] = ()
    RepoDigests: tuple[str, ...] = ()
    Config: ContainerConfig = ContainerConfig()


@dataclass(frozen=True)
class ListedContainer:
    Id: str = ""
    Names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Created:
    """A new container or exec."""

    Id: str = ""


@dataclass(frozen=True)
class EngineFailure:
    """The ``data`` of an Unavailable of the engine. ``status``: of HTTP, 0 without an answer."""

    status: int = 0


@dataclass(frozen=True)
class _Parts:
    Config: object = None
    HostConfig: object = None


def container_of(said: object) -> Container:
    parts = recorded(_Parts, said)
    config, host = returned(ContainerConfig, parts.Config), returned(HostSettings, parts.HostConfig)
    return replace(recorded(Container, said), Config=config, HostConfig=host)


def image_of(said: object) -> Image:
    return replace(recorded(Image, said), Config=returned(ContainerConfig, recorded(_Parts, said).Config))
