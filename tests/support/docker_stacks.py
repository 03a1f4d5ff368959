"""Fixtures of the Docker tests: an engine, a stack with data, a small API without a database."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker.errors
import pap_images
import pap_stack
import pytest
from papdeploy.app.docker_app import DockerApi
from papdeploy.core.errors import Unavailable
from papdeploy.sites.docker.engine import Engine

from support import ROOT
from support.waiting import wait_until

_numbers = itertools.count(1)
RELEASE = "20260101T000000Z-0001"


def unique(kind: str) -> str:
    return f"pt{os.getpid()}-{kind}{next(_numbers)}"


@pytest.fixture(scope="session")
def docker_engine() -> Engine:
    """The engine of this machine. Without one the tests are skipped, unless PAP_REQUIRE_DOCKER says that it is due."""
    try:
        return Engine()
    except Unavailable as error:
        if os.environ.get("PAP_REQUIRE_DOCKER"):
            raise
        pytest.skip(f"no Docker engine: {error}")


@pytest.fixture(scope="session")
def small_images(docker_engine: Engine) -> dict[str, str]:
    """Small APIs by name: two good releases and those that fail in a known way."""
    made: dict[str, list[str]] = {
        "one": ["VOLUME /anonymous", "ENV ONLY_ONE=1 BOTH=one", "LABEL kind=one only.one=1"],
        "two": ["VOLUME /anonymous", "ENV ONLY_TWO=2 BOTH=two", "LABEL kind=two"],
        "dies": ["ENV SERVER_MODE=dies"],
        "silent": ["ENV SERVER_MODE=silent"],
        "late": ["ENV SERVER_MODE=late"],
        "noshell": [
            "USER 0",
            'RUN ["python", "-c", "import os; [os.remove(n) for n in (\'/bin/sh\', \'/bin/bash\')]"]',
        ],
        "drops": ["ENV CC_DROP_TABLES=true"],
    }
    return {name: pap_images.small_api(docker_engine.api, name, lines) for name, lines in made.items()}


@dataclass
class Small:
    """One or more containers of the small API, and what controls them."""

    engine: Engine
    images: dict[str, str]
    state_dir: Path
    names: list[str] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    networks: list[str] = field(default_factory=list)

    def create(self, image: str, config: dict[str, Any] | None = None, host: dict[str, Any] | None = None) -> str:
        """Start a container of an image by its short name; its own name."""
        name = unique("api")
        body = {
            "Image": self.images[image],
            "ExposedPorts": {"8000/tcp": {}},
            **(config or {}),
            "HostConfig": host or {},
        }
        self.engine.api.create_container_from_config(body, name)
        self.names.append(name)
        self.created.append(name)
        self.engine.api.start(name)
        wait_until(lambda: b"listening" in self.engine.api.logs(name), f"{name} does not listen", seconds=30)
        return name

    def network(self, **options: Any) -> str:
        name = unique("net")
        self.engine.api.create_network(name, **options)
        self.networks.append(name)
        return name

    def api(self, image: str = "", release: str = RELEASE, **settings: Any) -> DockerApi:
        reference = self.images.get(image, image)
        return DockerApi(
            self.engine, tuple(self.names), str(self.state_dir), image=reference, release=release, **settings
        )

    def inspect(self, name: str = "") -> dict[str, Any]:
        """As the engine says it."""
        found: dict[str, Any] = self.engine.api.inspect_container(name or self.names[0])
        return found

    def ask(self, url: str = "") -> dict[str, Any]:
        with urllib.request.urlopen(url or self.api().base_url(), timeout=10) as answer:
            told: dict[str, Any] = json.load(answer)
        return told

    def release(self) -> str:
        return str(self.ask()["release"])

    def remove(self) -> None:
        for item in self.engine.api.containers(all=True):
            owners = {known.lstrip("/").split("__")[0] for known in item["Names"]} | {
                item["Labels"].get("pap-deploy.for")
            }
            if owners & set(self.created):
                with contextlib.suppress(docker.errors.APIError):
                    self.engine.api.remove_container(item["Id"], v=True, force=True)
        for network in self.networks:
            self.engine.api.remove_network(network)


@pytest.fixture
def small(docker_engine: Engine, small_images: dict[str, str], tmp_path: Path) -> Iterator[Small]:
    made = Small(docker_engine, small_images, tmp_path / "state")
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="session")
def docker_stack(docker_engine: Engine) -> Iterator[pap_stack.Stack]:
    """A whole stack of the previous release with a fifth of the data; tests leave it as they found it."""
    made = pap_stack.Stack(unique("stack"))
    try:
        yield made.up(percent=20)
    finally:
        made.down()


class Playbooks:
    """Playbooks that run on a stack in containers, with an inventory as its owner would write it."""

    def __init__(self, stack: pap_stack.Stack, folder: Path, **variables: Any) -> None:
        self.folder, self.variables = folder, {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "pap_environment": "staging",
            "pap_state_dir": str(folder / "state"),
            "pap_db_container": stack.db,
            "pap_api_container": [stack.api],
            "pap_api_image": "pap-test/cc-pap-api:current",
            "pap_migrations_dirs": [str(ROOT / "migrations")],
            "pap_models": ["app.models", "app.models_config"],
            "pap_smoke_username": "admin",
            "pap_smoke_password": pap_stack.PASSWORD,
            "report_folder": str(folder / "reports"),
            **variables,
        }  # fmt: skip

    def run(self, playbook: str, *options: str, rc: int = 0, **variables: Any) -> str:
        """What it says; it must end with ``rc``."""
        inventory = self.folder / "hosts.yml"
        inventory.write_text(json.dumps({"all": {"hosts": {"shop": {**self.variables, **variables}}}}))
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", "-i", inventory, playbook, *options],
            cwd=ROOT, env={**os.environ, "NO_COLOR": "1"}, capture_output=True, text=True, timeout=400,
        )  # fmt: skip
        assert done.returncode == rc, done.stdout + done.stderr
        return done.stdout
