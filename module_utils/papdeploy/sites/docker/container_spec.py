"""The configuration of the next container, from the inspection of the present one. Pure functions over records.

What was set on the container itself is carried over as it is; what it had from its old image is left out, so that the
new image's own environment, command, user and so on apply.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

from ...core.records import as_object
from .records import (
    Container,
    ContainerConfig,
    EndpointSettings,
    HealthCheck,
    HostSettings,
    Image,
    LogDriver,
    NetworkEndpoint,
    Policy,
    returned,
    without,
)

LABEL = "pap-deploy"
PREDEFINED = ("bridge", "default", "host", "none")
_SAME_AS_IMAGE = ("User", "WorkingDir", "StopSignal", "Healthcheck", "Shell")
_NOT_ITS_OWN = ("Image", "OnBuild", "ArgsEscaped", "AttachStdin", "AttachStdout", "AttachStderr")
_COMPOSE_IMAGE = "com.docker.compose.image"

Network = tuple[str, EndpointSettings]


@dataclass(frozen=True)
class Plan:
    """What the engine is asked to create: ``networks`` are connected after ``first``, because engines before API 1.44
    take only one at creation."""

    config: ContainerConfig
    host: HostSettings
    first: Optional[Network] = None
    networks: Sequence[Network] = ()

    @property
    def body(self) -> dict[str, Any]:
        """The request, which shares nothing with the inspection."""
        made = copy.deepcopy({**self.config.sent(), "HostConfig": self.host.sent()})
        if self.first:
            name, settings = self.first
            made["NetworkingConfig"] = {"EndpointsConfig": {name: as_object(settings)}}
        return made

    @property
    def environment(self) -> dict[str, str]:
        return self.config.environment

    def with_environment(self, environment: Mapping[str, str]) -> Plan:
        """With these variables added, or in the place of those that have their names."""
        return replace(self, config=replace(self.config, Env=_entries({**self.environment, **environment})))


def successor(
    present: Container,
    old_image: Optional[Image],
    image: Image,
    reference: str = "",
    policy: Optional[Policy] = None,
) -> Plan:
    """The same container with another ``image``, called ``reference`` in ``docker ps``.

    ``old_image`` is None if it is gone: then everything counts as set on the container itself. ``policy`` is the
    restart policy, if it is not that of the inspection.
    """
    config = own_config(present, old_image.Config if old_image else ContainerConfig())
    labels = {name: image.Id if name == _COMPOSE_IMAGE else value for name, value in config.Labels.items()}
    environment = _entries({**image.Config.environment, **config.environment})
    host = replace(
        without(present.HostConfig, "ContainerIDFile"),
        RestartPolicy=policy or present.HostConfig.RestartPolicy,
        Binds=(*present.HostConfig.Binds, *_anonymous_volumes(present)),
        # podman shows RLIMIT_NOFILE and takes nofile
        Ulimits=tuple(
            replace(limit, Name=limit.Name.lower().replace("rlimit_", "")) for limit in present.HostConfig.Ulimits
        ),
    )
    first, others = _networks(present)
    return Plan(replace(config, Env=environment, Labels=labels, Image=reference or image.Id), host, first, others)


def own_config(present: Container, image: ContainerConfig) -> ContainerConfig:
    """What was set on the container: its Config without what its image's (``image``) gave it."""
    left_out = [
        *_NOT_ITS_OWN,
        *(name for name in _SAME_AS_IMAGE if present.Config.said.get(name) == image.said.get(name)),
    ]
    config = present.Config
    # The engine takes an image's command only together with its entry point (moby, daemon/commit.go, merge).
    if config.Entrypoint == image.Entrypoint:
        left_out += ["Entrypoint", "Cmd"] if config.Cmd == image.Cmd else ["Entrypoint"]
    if config.Hostname == present.Id[:12] or present.HostConfig.shares_network:
        left_out.append("Hostname")
    if present.HostConfig.shares_network:
        left_out.append("Domainname")
    own = replace(
        config,
        Env=tuple(entry for entry in config.Env if entry not in image.Env),
        Labels={name: value for name, value in config.Labels.items() if image.Labels.get(name) != value},
        ExposedPorts={port: value for port, value in config.ExposedPorts.items() if port not in image.ExposedPorts},
        Volumes={path: value for path, value in config.Volumes.items() if path not in image.Volumes},
    )
    sent = without(own, *left_out).sent()
    return returned(ContainerConfig, {name: value for name, value in sent.items() if value not in (None, "", {}, [])})


def _entries(environment: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name, value in environment.items())


def _anonymous_volumes(present: Container) -> list[str]:
    """Volumes without a name of their own (VOLUME of an image), so that their content stays with the service."""
    named = _mounted(present.HostConfig)
    return [
        f"{mount.Name}:{mount.Destination}" + ("" if mount.RW else ":ro")
        for mount in present.Mounts
        if mount.Type == "volume" and mount.Destination not in named
    ]


def _networks(present: Container) -> tuple[Optional[Network], list[Network]]:
    """The network of the network mode, if it takes settings, and the others."""
    mode = present.HostConfig.NetworkMode
    if mode == "none" or present.HostConfig.shares_network:
        return None, []
    first: Optional[Network] = None
    others: list[Network] = []
    for name, endpoint in present.NetworkSettings.Networks.items():
        if mode in (name, endpoint.NetworkID):
            first = (name, _settings(present, name, endpoint))
        elif not (name == "bridge" and mode == "default"):
            others.append((name, _settings(present, name, endpoint)))
    return first, others


def _settings(present: Container, name: str, endpoint: NetworkEndpoint) -> EndpointSettings:
    # Engines before API 1.45 add the container's short id to the aliases by themselves.
    own = (present.Id[:12], present.Id)
    return EndpointSettings(
        IPAMConfig=endpoint.IPAMConfig or None,
        Links=endpoint.Links,
        DriverOpts=endpoint.DriverOpts,
        Aliases=() if name in PREDEFINED else tuple(alias for alias in endpoint.Aliases if alias not in own),
        MacAddress=endpoint.MacAddress if present.Config.MacAddress else "",
    )


def apart(plan: Plan, labels: Mapping[str, str], environment: Mapping[str, str] | None = None) -> Plan:
    """The same program in the same place, but not as the service: no port, name, alias, address, label, restart policy
    or health check of it, so that no client reaches or counts it as one. ``environment`` is added."""
    config = replace(
        without(plan.config, "Hostname", "Domainname", "MacAddress", "ExposedPorts"),
        Healthcheck=HealthCheck(("NONE",)),
        Labels=dict(labels),
    )
    host = replace(plan.host, PortBindings={}, PublishAllPorts=False, RestartPolicy=Policy("no"), AutoRemove=False)
    if host.ReadonlyRootfs and "/tmp" not in (*_mounted(host), *host.Tmpfs):
        host = replace(host, Tmpfs={**host.Tmpfs, "/tmp": ""})
    networks = [(name, _nameless(settings)) for name, settings in plan.networks]
    first = (plan.first[0], _nameless(plan.first[1])) if plan.first else None
    return Plan(config, host, first, networks).with_environment(environment or {})


def _nameless(settings: EndpointSettings) -> EndpointSettings:
    return EndpointSettings(Links=settings.Links, DriverOpts=settings.DriverOpts)


def _mounted(host: HostSettings) -> list[str]:
    return [*(bind.split(":")[1] for bind in host.Binds if ":" in bind), *(mount.Target for mount in host.Mounts)]


def idle(plan: Plan, argv: Sequence[str]) -> Plan:
    """``plan`` with another program that lives as long as its standard input is held open, and is removed then."""
    config = replace(
        plan.config,
        Entrypoint=tuple(argv),
        Cmd=(),
        Tty=False,
        OpenStdin=True,
        StdinOnce=True,
        AttachStdin=True,
    )
    return replace(plan, config=config, host=replace(plan.host, AutoRemove=True, LogConfig=LogDriver("none")))
