"""A throw-away container of one image in the place of the API: new models meet the database there before they start."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Optional

from ...core.errors import Unavailable
from ...core.records import recorded
from .container_spec import LABEL, Plan, apart, idle
from .engine import Engine
from .exec_stream import Duplex
from .launcher import LAUNCHERS
from .records import Addresses, Created, EndpointSettings, EngineFailure
from .site import ContainerSite, not_there

_KIND = f"{LABEL}.kind"
_OWNER = f"{LABEL}.for"
_REMOVE_SECONDS = 10.0


class OneOffSite(ContainerSite):
    """A site that exists while the ``with`` block runs. ``plan`` is what the API's next container would be.

    Its only process waits for the end of its standard input, which this program holds: whatever becomes of this
    program, the engine then ends the container and removes it.
    """

    def __init__(self, engine: Engine, plan: Plan, owner: str, release: str = "", user: str = "") -> None:
        super().__init__(engine, f"pap-deploy-{owner}-{secrets.token_hex(4)}", user)
        self.label = f"a one-off container for {owner}"
        self._plan = apart(plan, labels(owner, "one-off", release))
        self._hold: Optional[Duplex] = None
        self.removed_s = 0.0

    def __enter__(self) -> OneOffSite:
        refusal: Optional[Unavailable] = None
        for launcher in LAUNCHERS:
            create(self.engine, idle(self._plan, launcher.idling()), self.name)
            try:
                self._hold = self.engine.attach(self.name)
                with self.engine.talking(f"start {self.label}"):
                    self.engine.api.start(self.name)
            except Unavailable as error:
                self.close()
                if not not_there(str(error), launcher.program):
                    raise
                refusal = error
            except BaseException:
                self.close()
                raise
            else:
                self._launchers = (launcher,)
                return self
        assert refusal is not None
        raise refusal

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End and remove it; harmless if it is gone. ``removed_s``: how long that took."""
        began = time.monotonic()
        if self._hold:
            self._hold.close()
            self._hold = None
        remove(self.engine, self.name)
        self.removed_s = time.monotonic() - began


def labels(owner: str, kind: str, release: str) -> dict[str, str]:
    """What marks a container of ours: whose it is, what for, and which release made it."""
    return {_OWNER: owner, _KIND: kind, f"{LABEL}.release": release}


def create(engine: Engine, plan: Plan, name: str) -> str:
    """Create a container from a plan, connected to all its networks; its id. Nothing is left if that fails."""
    with engine.talking(f"create container {name}"):
        made = recorded(Created, engine.api.create_container_from_config(plan.body, name)).Id
    try:
        for network, settings in plan.networks:
            connect(engine, made, network, settings)
    except BaseException:
        remove(engine, made)
        raise
    return made


def connect(engine: Engine, container: str, network: str, settings: EndpointSettings) -> None:
    """Connect a container to a network with these endpoint settings."""
    with engine.talking(f"connect {container} to the network {network}"):
        address = recorded(Addresses, settings.IPAMConfig)
        engine.api.connect_container_to_network(
            container,
            network,
            aliases=list(settings.Aliases) or None,
            ipv4_address=address.IPv4Address,
            ipv6_address=address.IPv6Address,
            link_local_ips=list(address.LinkLocalIPs) or None,
            driver_opt=dict(settings.DriverOpts) or None,
        )


def remove(engine: Engine, name: str) -> None:
    """Remove a container of ours with its anonymous volumes, and return when it is gone; harmless if it was.

    An engine that is removing it by itself says so (409; podman: 500): then this waits for it, up to 10 s.
    """
    deadline = time.monotonic() + _REMOVE_SECONDS
    while True:
        try:
            with engine.talking(f"remove container {name}"):
                engine.api.remove_container(name, v=True, force=True)
        except Unavailable as error:
            status, late = recorded(EngineFailure, error.data).status, time.monotonic() >= deadline
            if status == 404 or (status == 409 and late):
                return
            if status not in (409, 500) or late:
                raise
            time.sleep(0.1)
        else:
            return


def leftovers(engine: Engine, owner: str, status: Sequence[str] = ()) -> Sequence[str]:
    """Names of the containers made for ``owner`` that are there, or only those with one of these states.

    One that runs belongs to a run at work, and ends with it. One that has ended outlived its engine.
    """
    about = {"label": [f"{_OWNER}={owner}", _KIND], "status": list(status)}
    return [item.Names[0][1:] if item.Names else item.Id for item in engine.containers(about)]
