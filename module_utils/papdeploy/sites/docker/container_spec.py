"""The configuration of the next container, from the inspection of the present one. Pure functions over plain data.

What was set on the container itself is carried over as it is; what it had from its old image is left out, so that the
new image's own environment, command, user and so on apply.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from .site import environment_of

LABEL = "pap-deploy"
PREDEFINED = ("bridge", "default", "host", "none")
_SAME_AS_IMAGE = ("User", "WorkingDir", "StopSignal", "Healthcheck", "Shell")
_COMPOSE_IMAGE = "com.docker.compose.image"

Data = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """``body`` for the creation of a container, and ``networks`` (name, endpoint settings) to connect after it: engines
    before API 1.44 take only one at creation."""

    body: Data
    networks: Sequence[tuple[str, Data]] = ()

    @property
    def environment(self) -> dict[str, str]:
        return environment_of(self.body)


def successor(
    present: Mapping[str, Any],
    old_image: Optional[Mapping[str, Any]],
    image: Mapping[str, Any],
    reference: str = "",
    policy: Optional[Mapping[str, Any]] = None,
) -> Plan:
    """The same container with another ``image`` (its inspection), called ``reference`` in ``docker ps``.

    ``old_image`` is None if it is gone: then everything counts as set on the container itself. ``policy`` is the
    restart policy, if it is not that of the inspection.
    """
    config = own_config(present, (old_image or {}).get("Config") or {})
    labels = config.get("Labels") or {}
    if _COMPOSE_IMAGE in labels:
        labels[_COMPOSE_IMAGE] = image["Id"]
    config["Env"] = _merged(image["Config"], config.get("Env") or [])
    config["Image"] = reference or image["Id"]
    host = copy.deepcopy(dict(present["HostConfig"]))
    host["ContainerIDFile"] = ""
    host["RestartPolicy"] = dict(policy or host.get("RestartPolicy") or {"Name": "no"})
    host["Binds"] = [*(host.get("Binds") or []), *_anonymous_volumes(present)]
    for limit in host.get("Ulimits") or []:  # podman shows RLIMIT_NOFILE and takes nofile
        limit["Name"] = str(limit["Name"]).lower().replace("rlimit_", "")
    first, others = _networks(present, host)
    config["HostConfig"] = host
    if first:
        config["NetworkingConfig"] = {"EndpointsConfig": {first[0]: first[1]}}
    return Plan(config, others)


def own_config(present: Mapping[str, Any], image: Mapping[str, Any]) -> Data:
    """What was set on the container: its Config without what its image's Config (``image``) gave it."""
    config = copy.deepcopy(dict(present["Config"]))
    for name in ("Image", "OnBuild", "ArgsEscaped", "AttachStdin", "AttachStdout", "AttachStderr"):
        config.pop(name, None)
    inherited = set(image.get("Env") or [])
    config["Env"] = [entry for entry in config.get("Env") or [] if entry not in inherited]
    for name in ("Labels", "ExposedPorts", "Volumes"):
        theirs = image.get(name) or {}
        config[name] = {
            key: value
            for key, value in (config.get(name) or {}).items()
            if key not in theirs or (name == "Labels" and theirs[key] != value)
        }
    for name in _SAME_AS_IMAGE:
        if config.get(name) == image.get(name):
            config.pop(name, None)
    # The engine takes an image's command only together with its entry point (moby, daemon/commit.go, merge).
    if (config.get("Entrypoint") or []) == (image.get("Entrypoint") or []):
        config.pop("Entrypoint", None)
        if config.get("Cmd") == image.get("Cmd"):
            config.pop("Cmd", None)
    mode = str(present["HostConfig"].get("NetworkMode", ""))
    others_network = mode == "host" or mode.startswith("container:")  # and its names with it
    if config.get("Hostname") == present["Id"][:12] or others_network:
        config.pop("Hostname", None)
    if others_network:
        config.pop("Domainname", None)
    return {name: value for name, value in config.items() if value not in (None, "", {}, [])}


def _merged(image: Mapping[str, Any], own: Sequence[str]) -> list[str]:
    values = {**environment_of(image), **environment_of({"Env": own})}
    return [f"{name}={value}" for name, value in values.items()]


def _anonymous_volumes(present: Mapping[str, Any]) -> list[str]:
    """Volumes without a name of their own (VOLUME of an image), so that their content stays with the service."""
    host = present["HostConfig"]
    named = {bind.split(":")[1] for bind in host.get("Binds") or [] if ":" in bind}
    named |= {mount.get("Target") for mount in host.get("Mounts") or []}
    return [
        f"{mount['Name']}:{mount['Destination']}" + ("" if mount.get("RW", True) else ":ro")
        for mount in present.get("Mounts") or []
        if mount.get("Type") == "volume" and mount["Destination"] not in named
    ]


def _networks(
    present: Mapping[str, Any], host: Mapping[str, Any]
) -> tuple[Optional[tuple[str, Data]], list[tuple[str, Data]]]:
    """The network of the network mode, if it takes settings, and the others."""
    mode = str(host.get("NetworkMode", ""))
    if mode in ("host", "none") or mode.startswith("container:"):
        return None, []
    first: Optional[tuple[str, Data]] = None
    others: list[tuple[str, Data]] = []
    for name, endpoint in (present["NetworkSettings"].get("Networks") or {}).items():
        if mode in (name, endpoint.get("NetworkID")):
            first = (name, _endpoint(present, name, endpoint))
        elif not (name == "bridge" and mode == "default"):
            others.append((name, _endpoint(present, name, endpoint)))
    return first, others


def _endpoint(present: Mapping[str, Any], name: str, endpoint: Mapping[str, Any]) -> Data:
    settings = {key: copy.deepcopy(endpoint.get(key)) for key in ("IPAMConfig", "Links", "DriverOpts")}
    if name not in PREDEFINED:
        # Engines before API 1.45 add the container's short id to the aliases by themselves.
        own = {present["Id"][:12], present["Id"]}
        settings["Aliases"] = [alias for alias in endpoint.get("Aliases") or [] if alias not in own]
    if present["Config"].get("MacAddress"):
        settings["MacAddress"] = endpoint.get("MacAddress")
    return {key: value for key, value in settings.items() if value}


def apart(plan: Plan, labels: Mapping[str, str], environment: Mapping[str, str] | None = None) -> Plan:
    """The same program in the same place, but not as the service: no port, name, alias, address, label, restart policy
    or health check of it, so that no client reaches or counts it as one. ``environment`` is added."""
    body = copy.deepcopy(plan.body)
    for name in ("Hostname", "Domainname", "MacAddress", "ExposedPorts"):
        body.pop(name, None)
    body["Healthcheck"] = {"Test": ["NONE"]}
    body["Labels"] = dict(labels)
    body["Env"] = _merged(body, [f"{name}={value}" for name, value in (environment or {}).items()])
    host = body["HostConfig"]
    host.update(PortBindings={}, PublishAllPorts=False, RestartPolicy={"Name": "no"}, AutoRemove=False)
    if host.get("ReadonlyRootfs") and not _mounted(host, "/tmp"):
        host["Tmpfs"] = {**(host.get("Tmpfs") or {}), "/tmp": ""}
    first = (body.pop("NetworkingConfig", None) or {}).get("EndpointsConfig") or {}
    if first:
        body["NetworkingConfig"] = {"EndpointsConfig": {name: _nameless(value) for name, value in first.items()}}
    return Plan(body, [(name, _nameless(value)) for name, value in plan.networks])


def _nameless(endpoint: Mapping[str, Any]) -> Data:
    return {key: value for key, value in endpoint.items() if key in ("Links", "DriverOpts")}


def _mounted(host: Mapping[str, Any], path: str) -> bool:
    binds = [bind.split(":")[1] for bind in host.get("Binds") or [] if ":" in bind]
    mounts = [mount.get("Target") for mount in host.get("Mounts") or []]
    return path in [*binds, *mounts, *(host.get("Tmpfs") or {})]


def idle(plan: Plan, argv: Sequence[str]) -> Plan:
    """``plan`` with another program that lives as long as its standard input is held open, and is removed then."""
    body = copy.deepcopy(plan.body)
    body.update(Entrypoint=list(argv), Cmd=[], Tty=False, OpenStdin=True, StdinOnce=True, AttachStdin=True)
    body["HostConfig"].update(AutoRemove=True, LogConfig={"Type": "none"})
    return Plan(body, plan.networks)
