"""The next container's configuration, from inspections as engines give them: pure functions."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from papdeploy.app.discovery import url_of
from papdeploy.core.errors import Refused
from papdeploy.sites.docker.container_spec import apart, idle, own_config, successor
from papdeploy.sites.docker.endpoint import published
from papdeploy.sites.docker.engine import split_reference
from papdeploy.sites.docker.probe import exposed_port, program
from papdeploy.sites.docker.records import (
    Container,
    ContainerConfig,
    EndpointSettings,
    Policy,
    container_of,
    image_of,
    returned,
)

ID = "ab" * 32
OF_IMAGE: dict[str, Any] = {
    "Id": "sha256:old",
    "Config": {
        "Env": ["PATH=/opt/old:/bin", "ONLY_OLD=1", "BOTH=image"],
        "Cmd": ["serve"],
        "Entrypoint": ["/entry"],
        "User": "app",
        "WorkingDir": "/app",
        "Labels": {"version": "1", "maintainer": "x"},
        "ExposedPorts": {"8000/tcp": {}},
        "Volumes": {"/data": {}},
        "Healthcheck": {"Test": ["CMD", "old"]},
        "StopSignal": "SIGTERM",
    },
}
IMAGE = image_of(OF_IMAGE)
NEW = image_of(
    {
        "Id": "sha256:new",
        "Config": {"Env": ["PATH=/opt/new:/bin", "ONLY_NEW=1", "BOTH=new"], "Cmd": ["run"], "WorkingDir": "/srv"},
    }
)


def said(config: dict[str, Any] | None = None, host: dict[str, Any] | None = None, **other: Any) -> dict[str, Any]:
    """An inspection of a container of IMAGE, as it is when nothing but ``config`` was set on it."""
    return {
        "Id": ID,
        "Name": "/cc-pap-api",
        "Config": {"Hostname": ID[:12], "Image": "app:1", **copy.deepcopy(OF_IMAGE["Config"]), **(config or {})},
        "HostConfig": {"NetworkMode": "bridge", "RestartPolicy": {"Name": "always"}, "Binds": None, **(host or {})},
        "NetworkSettings": {"Networks": {"bridge": {"NetworkID": "n0", "IPAddress": "172.17.0.2"}}},
        "Mounts": [],
        **other,
    }


def container(config: dict[str, Any] | None = None, host: dict[str, Any] | None = None, **other: Any) -> Container:
    return container_of(said(config, host, **other))


# What this program does not read, and what has another type than it expects, in every part that goes back.
UNKNOWN: dict[str, Any] = {"Later": {"a": [1, None]}, "Other": "x", "Nothing": None, "Number": 0}
UNREAD_CONFIG: dict[str, Any] = {
    **UNKNOWN,
    "StopSignal": 15,
    "Healthcheck": {"Test": ["CMD", "mine"], "Interval": 3, "Retries": 4, "Later": 1},
}
UNREAD_HOST: dict[str, Any] = {
    **UNKNOWN,
    "Init": False,
    "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
    "Mounts": [{"Type": "bind", "Source": "/a", "Target": "/b", "BindOptions": {"Propagation": "rslave"}}],
    "PortBindings": {"8000/tcp": [{"HostIp": "", "HostPort": "80", "Later": 1}], "1/tcp": None, "2/tcp": []},
    "Ulimits": [{"Name": "nofile", "Soft": -1, "Hard": 0, "Later": 1}, {"Name": "core"}],
    "DeviceRequests": [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}],
    "Memory": 1.5,
    "Tmpfs": None,
    "ReadonlyRootfs": None,
}


def test_what_is_not_known_here_goes_back_as_it_came() -> None:
    present = said(UNREAD_CONFIG, UNREAD_HOST)
    body = successor(container_of(present), IMAGE, NEW).body
    assert {name: body["HostConfig"][name] for name in UNREAD_HOST} == UNREAD_HOST
    assert {name: body.get(name) for name in UNREAD_CONFIG} == UNREAD_CONFIG
    assert set(present["HostConfig"]) == set(body["HostConfig"])


def test_what_is_not_known_here_comes_along_into_a_one_off_container() -> None:
    body = idle(apart(successor(container(UNREAD_CONFIG, UNREAD_HOST), IMAGE, NEW), {}), ["sh"]).body
    changed = {"LogConfig": {"Type": "none"}, "PortBindings": {}}
    assert {name: body["HostConfig"][name] for name in UNREAD_HOST} == {**UNREAD_HOST, **changed}
    assert {name: body.get(name) for name in UNREAD_CONFIG} == {**UNREAD_CONFIG, "Healthcheck": {"Test": ["NONE"]}}


def test_limits_of_podman_are_named_as_it_takes_them() -> None:
    limits = [{"Name": "RLIMIT_NOFILE", "Soft": 1024, "Hard": 2048}, {"Name": "core", "Soft": 0}]
    body = successor(container(host={"Ulimits": limits}), IMAGE, NEW).body
    assert body["HostConfig"]["Ulimits"] == [
        {"Name": "nofile", "Soft": 1024, "Hard": 2048},
        {"Name": "core", "Soft": 0},
    ]


@pytest.mark.parametrize("lacking", [None, [], "text", 0, {}])
def test_an_inspection_may_lack_or_null_anything(lacking: Any) -> None:
    whole = said({"Labels": {"a": "b"}}, {"Tmpfs": {"/x": ""}}, State={"Status": "running"}, RestartCount=1)
    for name in whole:
        successor(
            container_of({**whole, name: lacking}), image_of({**OF_IMAGE, name: lacking}), image_of({name: lacking})
        )
    for part in ("Config", "HostConfig"):
        for name in whole[part]:
            plan = successor(container_of({**whole, part: {**whole[part], name: lacking}}), IMAGE, NEW)
            assert plan.body["Image"] == "sha256:new"


def test_what_came_from_the_old_image_is_left_to_the_new_one() -> None:
    body = successor(container(), IMAGE, NEW).body
    assert set(body) == {"Env", "Image", "HostConfig", "NetworkingConfig"}
    assert body["Image"] == "sha256:new"
    assert body["Env"] == ["PATH=/opt/new:/bin", "ONLY_NEW=1", "BOTH=new"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("User", "12345:12345"),
        ("WorkingDir", "/elsewhere"),
        ("Cmd", ["serve", "--workers", "4"]),
        ("Hostname", "pap"),
        ("Healthcheck", {"Test": ["CMD", "mine"]}),
        ("StopSignal", "SIGINT"),
        ("StopTimeout", 33),
        ("Tty", True),
        ("Domainname", "example.com"),
    ],
)
def test_what_was_set_on_the_container_stays(name: str, value: Any) -> None:
    assert successor(container({name: value}), IMAGE, NEW).body[name] == value


def test_an_entry_point_of_its_own_keeps_its_command() -> None:
    """The engine takes the image's command only with the image's entry point."""
    body = successor(container({"Entrypoint": ["/mine"], "Cmd": ["serve"]}), IMAGE, NEW).body
    assert (body["Entrypoint"], body["Cmd"]) == (["/mine"], ["serve"])


def test_environment_of_image_and_container_are_put_together() -> None:
    env = ["PATH=/opt/old:/bin", "ONLY_OLD=1", "BOTH=container", "OWN=a=b", "EMPTY="]
    plan = successor(container({"Env": env}), IMAGE, NEW)
    assert plan.environment == {
        "PATH": "/opt/new:/bin",
        "ONLY_NEW": "1",
        "BOTH": "container",
        "OWN": "a=b",
        "EMPTY": "",
    }


def test_without_the_old_image_everything_is_the_container_s_own() -> None:
    body = successor(container(), None, NEW).body
    assert body["Cmd"] == ["serve"]
    assert "ONLY_OLD=1" in body["Env"]


def test_labels_of_compose_stay_and_name_the_new_image() -> None:
    labels = {
        **OF_IMAGE["Config"]["Labels"],
        "com.docker.compose.service": "api",
        "com.docker.compose.image": "sha256:old",
    }
    body = successor(container({"Labels": labels}), IMAGE, NEW).body
    assert body["Labels"] == {"com.docker.compose.service": "api", "com.docker.compose.image": "sha256:new"}


@pytest.mark.parametrize(
    ("mounts", "host", "binds"),
    [
        pytest.param([], {"Binds": ["/etc/x:/x:ro"]}, ["/etc/x:/x:ro"], id="bind"),
        pytest.param(
            [{"Type": "volume", "Name": "f00", "Destination": "/data", "RW": True}], {}, ["f00:/data"], id="anonymous"
        ),
        pytest.param(
            [{"Type": "volume", "Name": "f00", "Destination": "/data", "RW": False}],
            {},
            ["f00:/data:ro"],
            id="readonly",
        ),
        pytest.param(
            [{"Type": "volume", "Name": "named", "Destination": "/data", "RW": True}],
            {"Binds": ["named:/data"]},
            ["named:/data"],
            id="named",
        ),
        pytest.param(
            [{"Type": "volume", "Name": "named", "Destination": "/data", "RW": True}],
            {"Mounts": [{"Type": "volume", "Source": "named", "Target": "/data"}]},
            [],
            id="mount",
        ),
    ],
)
def test_every_volume_comes_along_once(mounts: list[Any], host: dict[str, Any], binds: list[str]) -> None:
    assert (successor(container(host=host, Mounts=mounts), IMAGE, NEW).body["HostConfig"]["Binds"] or []) == binds


def test_networks_with_aliases_and_addresses() -> None:
    networks = {
        "front": {
            "NetworkID": "n1",
            "Aliases": ["cc-pap-api", ID[:12]],
            "IPAMConfig": {"IPv4Address": "10.0.0.7"},
            "IPAddress": "10.0.0.7",
            "MacAddress": "02:42:0a:00:00:07",
        },
        "back": {"NetworkID": "n2", "Aliases": ["deep"], "IPAMConfig": None, "Links": None},
    }
    plan = successor(
        container(host={"NetworkMode": "front"}, NetworkSettings={"Networks": networks}), IMAGE, NEW, "app:2"
    )
    assert plan.body["Image"] == "app:2"
    assert plan.body["NetworkingConfig"] == {
        "EndpointsConfig": {"front": {"IPAMConfig": {"IPv4Address": "10.0.0.7"}, "Aliases": ["cc-pap-api"]}}
    }
    assert plan.networks == [("back", EndpointSettings(Aliases=("deep",)))]


@pytest.mark.parametrize("mode", ["host", "none", "container:other"])
def test_a_network_of_another_kind_takes_no_settings(mode: str) -> None:
    plan = successor(container({"Hostname": "h"}, {"NetworkMode": mode}), IMAGE, NEW)
    assert "NetworkingConfig" not in plan.body
    assert plan.networks == []
    assert ("Hostname" in plan.body) == (mode == "none")


def test_a_policy_that_is_taken_off_for_now_comes_along() -> None:
    policy = {"Name": "on-failure", "MaximumRetryCount": 3}
    before = container(host={"RestartPolicy": {"Name": "no"}})
    body = successor(before, IMAGE, NEW, policy=Policy("on-failure", 3)).body
    assert body["HostConfig"]["RestartPolicy"] == policy


def test_nothing_of_the_inspection_is_changed() -> None:
    present = said({"Labels": {"com.docker.compose.image": "sha256:old"}}, {"Tmpfs": {"/x": ""}})
    before = copy.deepcopy(present)
    plan = successor(container_of(present), IMAGE, NEW)
    idle(apart(plan, {"a": "b"}, {"X": "y"}), ["sh"]).body["HostConfig"]["Tmpfs"]["/y"] = ""
    assert present == before


def test_apart_is_not_the_service() -> None:
    host = {
        "NetworkMode": "front",
        "PortBindings": {"8000/tcp": [{"HostPort": "80"}]},
        "ReadonlyRootfs": True,
        "Memory": 5,
        "CapDrop": ["ALL"],
    }
    networks = {
        "front": {"Aliases": ["cc-pap-api"], "IPAMConfig": {"IPv4Address": "10.0.0.7"}, "DriverOpts": {"a": "b"}}
    }
    present = container(
        {"Labels": {"com.docker.compose.service": "api"}, "User": "1:1"}, host, NetworkSettings={"Networks": networks}
    )
    body = apart(successor(present, IMAGE, NEW), {"mine": "1"}, {"DATABASE_URL": "copy"}).body
    assert body["Labels"] == {"mine": "1"}
    assert body["HostConfig"]["PortBindings"] == {}
    assert body["HostConfig"]["RestartPolicy"] == {"Name": "no"}
    assert body["HostConfig"]["Tmpfs"] == {"/tmp": ""}
    assert (body["HostConfig"]["Memory"], body["HostConfig"]["CapDrop"], body["User"]) == (5, ["ALL"], "1:1")
    assert body["NetworkingConfig"]["EndpointsConfig"] == {"front": {"DriverOpts": {"a": "b"}}}
    assert "DATABASE_URL=copy" in body["Env"]
    assert body["Healthcheck"] == {"Test": ["NONE"]}


@pytest.mark.parametrize(
    "writable", [{"Tmpfs": {"/tmp": "size=1m"}}, {"Binds": ["/var/x:/tmp"]}, {"Mounts": [{"Target": "/tmp"}]}]
)
def test_a_tmp_of_its_own_is_left_alone(writable: dict[str, Any]) -> None:
    plan = successor(container(host={"ReadonlyRootfs": True, **writable}), IMAGE, NEW)
    assert apart(plan, {}).body["HostConfig"].get("Tmpfs") == writable.get("Tmpfs")


def test_idle_lives_as_long_as_its_input_is_open() -> None:
    body = idle(successor(container(), IMAGE, NEW), ["sh", "-c", "x"]).body
    assert (body["Entrypoint"], body["Cmd"]) == (["sh", "-c", "x"], [])
    assert body["OpenStdin"] and body["StdinOnce"] and body["HostConfig"]["AutoRemove"]


@given(
    st.lists(st.sampled_from(["A=1", "A=2", "B=", "C=x=y", "PATH=/bin"]), unique_by=lambda entry: entry.split("=")[0]),
    st.lists(st.sampled_from(["A=1", "A=3", "B=b", "D=1"]), unique_by=lambda entry: entry.split("=")[0]),
)
def test_a_switch_there_and_back_keeps_the_environment(own: list[str], image_env: list[str]) -> None:
    """With one exception that cannot be seen: a value set on the container that the image has too is the image's."""
    image = image_of({"Id": "i", "Config": {"Env": image_env}})
    merged = {**dict(entry.split("=", 1) for entry in image_env), **dict(entry.split("=", 1) for entry in own)}
    present = container({"Env": [f"{key}={value}" for key, value in merged.items()]})
    forward = successor(present, image, NEW)
    back = successor(container({"Env": forward.body["Env"]}), NEW, image)
    assert back.environment == merged


def test_own_config_leaves_out_what_is_empty() -> None:
    assert own_config(container({"Domainname": "", "Labels": {}, "MacAddress": ""}), IMAGE.Config).sent() == {}


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("app", ("app", "latest")),
        ("app:1.2", ("app", "1.2")),
        ("host:5000/app", ("host:5000/app", "latest")),
        ("host:5000/team/app:1.2-x", ("host:5000/team/app", "1.2-x")),
        ("host/app@sha256:abc", ("host/app", "sha256:abc")),
    ],
)
def test_references(reference: str, parts: tuple[str, str]) -> None:
    assert split_reference(reference) == parts


def _with_ports(bindings: Any, actual: Any = None) -> Container:
    return container_of({"HostConfig": {"PortBindings": bindings}, "NetworkSettings": {"Ports": actual or {}}})


@pytest.mark.parametrize(
    ("inspected", "port", "url"),
    [
        (_with_ports({"8000/tcp": [{"HostIp": "", "HostPort": "80"}]}), 8000, "127.0.0.1:80"),
        (_with_ports({"8000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "80"}]}), 0, "127.0.0.1:80"),
        (_with_ports({"8000/tcp": [{"HostIp": "::", "HostPort": "80"}]}), 0, "127.0.0.1:80"),
        (_with_ports({"8000/tcp": [{"HostIp": "fd00::2", "HostPort": "80"}]}), 0, "[fd00::2]:80"),
        (_with_ports({"8000/tcp": [{"HostIp": "10.0.0.5", "HostPort": "80"}]}), 0, "10.0.0.5:80"),
        (_with_ports({"8000/tcp": [{"HostIp": "", "HostPort": "80"}]}), 9000, ""),
        (_with_ports({"53/udp": [{"HostIp": "", "HostPort": "53"}]}), 0, ""),
        (_with_ports({"1/tcp": [{"HostPort": "1"}], "2/tcp": [{"HostPort": "2"}]}), 0, ""),
        (_with_ports({"1/tcp": [{"HostPort": "1"}], "2/tcp": [{"HostPort": "2"}]}), 2, "127.0.0.1:2"),
        (_with_ports({"8000/tcp": [{"HostPort": ""}]}), 8000, ""),
        (
            _with_ports(
                {"8000/tcp": [{"HostPort": ""}]},
                {"8000/tcp": [{"HostIp": "::", "HostPort": "32001"}, {"HostIp": "0.0.0.0", "HostPort": "32000"}]},
            ),
            8000,
            "127.0.0.1:32000",
        ),
        (_with_ports(None), 8000, ""),
    ],
)
def test_the_published_port(inspected: Container, port: int, url: str) -> None:
    assert published(inspected, port, "127.0.0.1") == url


@pytest.mark.parametrize(
    ("ports", "port"),
    [
        ({}, 0),
        (None, 0),
        ({"8000/tcp": {}}, 8000),
        ({"8000/tcp": {}, "53/udp": {}}, 8000),
        ({"1/tcp": {}, "2/tcp": {}}, 0),
    ],
)
def test_the_exposed_port(ports: Any, port: int) -> None:
    assert exposed_port(returned(ContainerConfig, {"ExposedPorts": ports})) == port


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, ["/entry", "serve"]),
        ({"Cmd": ["other"]}, ["/entry", "other"]),
        ({"Entrypoint": ["/mine"]}, ["/mine"]),
        ({"Entrypoint": ["/mine"], "Cmd": ["x"]}, ["/mine", "x"]),
    ],
)
def test_the_program(config: dict[str, Any], words: list[str]) -> None:
    assert program(returned(ContainerConfig, config), IMAGE.Config) == words


@pytest.mark.parametrize(
    ("environment", "variable", "found"),
    [
        ({"DATABASE_URL": "postgresql://a/b"}, "", "DATABASE_URL"),
        ({"SQLALCHEMY_DATABASE_URI": "postgres://a/b"}, "", "SQLALCHEMY_DATABASE_URI"),
        ({"DATABASE_URL": "sqlite://", "DB_URL": "postgresql+psycopg://a/b"}, "", "DB_URL"),
        ({"MINE": "postgresql://a/b", "DATABASE_URL": "postgresql://x/y"}, "MINE", "MINE"),
        ({"DATABASE_URL": "postgresql://x/y"}, "MINE", None),
        ({}, "", None),
    ],
)
def test_the_variable_of_the_database_url(environment: dict[str, str], variable: str, found: str | None) -> None:
    if found:
        assert url_of(environment, variable) == (found, environment[found])
    else:
        with pytest.raises(Refused, match="no PostgreSQL URL"):
            url_of(environment, variable)
