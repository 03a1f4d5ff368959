"""A stack that compose started: what it finds of itself afterwards, and activation by compose."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pap_images
import pap_stack
import pytest
from papdeploy.app.discovery import database_at, discover
from papdeploy.app.docker_app import DockerApi
from papdeploy.app.docker_compose import Compose
from papdeploy.app.inventory import from_params
from papdeploy.core.errors import Refused, Unavailable
from papdeploy.sites.docker.engine import Engine
from support import ROOT
from support.app_session import as_app
from support.docker_stacks import RELEASE, unique

pytestmark = pytest.mark.docker


@dataclass
class Composed:
    """docker/compose.yml under names of the test's own."""

    engine: Engine
    folder: Path
    name: str
    env: dict[str, str]

    @property
    def api(self) -> str:
        return f"{self.name}-pap-api"

    @property
    def db(self) -> str:
        return f"{self.name}-db"

    def compose(self, *words: str) -> str:
        program = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
        argv = [*program, "--project-name", self.name.replace("-", ""), *words]
        done = subprocess.run(argv, cwd=self.folder, env={**os.environ, **self.env}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def control(self, image: str = "", compose: Compose | None = None) -> DockerApi:
        return DockerApi(
            self.engine, (self.api,), str(self.folder / "state"), image=image, release=RELEASE, compose=compose
        )


@pytest.fixture(scope="module")
def composed(docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    folder = tmp_path_factory.mktemp("compose") / "docker"
    shutil.copytree(ROOT / "docker", folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    name = unique("composed")
    image = pap_images.db_image(docker_engine.api)
    pap_images.api_image(docker_engine.api, "previous")
    made = Composed(docker_engine, folder, name, {"PAP_STACK": name, "PAP_API_PORT": str(port), "PAP_DB_IMAGE": image})
    (folder / ".env").write_text("".join(f"{key}={value}\n" for key, value in made.env.items()))
    try:
        made.compose("up", "-d")
        control = made.control()
        control.switch(replace(control.running(), restart=True))
        yield made
    finally:
        for item in docker_engine.api.containers(all=True, filters={"name": f"{name}-"}):
            docker_engine.api.remove_container(item["Id"], force=True)
        made.compose("down", "-v")


def test_two_names_are_enough(composed: Composed) -> None:
    found = discover(composed.engine, composed.db, composed.api)
    database, api = found.database, found.api
    assert (database.name, database.admin_user, database.user) == ("control_core_db",) + ("control_core",) * 2
    assert (database.driver, database.host) == ("postgresql", "cc-db")
    assert (api.user, api.read_only, api.restart_policy) == ("10001:10001", True, "unless-stopped")
    assert api.compose_service == "cc-pap-api"
    assert "db-sandbox-only" not in str(found)
    assert "the API connects as control_core to cc-db (postgresql, DATABASE_URL)" in found.lines()[0]
    assert "user 10001:10001, read-only root" in found.lines()[1]
    assert f"published at 127.0.0.1:{composed.env['PAP_API_PORT']}" in found.lines()[1]
    assert "service cc-pap-api of compose" in found.lines()[1]
    reached = database_at(composed.engine, composed.db, dbname=database.name, user=database.admin_user)
    assert as_app(reached).scalar("SELECT count(*) FROM users") == 1
    assert reached.facts().superuser


def test_a_backup_alone_needs_the_container_of_the_database_only(composed: Composed) -> None:
    params = {
        "name": "st",
        "environment": "staging",
        "state_dir": str(composed.folder / "alone"),
        "who": {},
        "api": {},
        "smoke": {},
    }
    alone = from_params({**params, "database": {"container": composed.db, "name": "control_core_db"}}, phase="backup")
    assert as_app(alone.database).scalar("SELECT count(*) FROM users") == 1
    with pytest.raises(Refused, match="pap_api_container, pap_models, pap_smoke_username, pap_smoke_password"):
        from_params({**params, "database": {"container": composed.db}})


@pytest.mark.parametrize("activate", ["recreate", "compose", "restart"])
def test_how_a_container_is_replaced(composed: Composed, activate: str) -> None:
    params = {"name": "st", "environment": "staging", "state_dir": str(composed.folder / "how"), "who": {},
              "smoke": {"username": "u", "password": "p"}, "database": {"container": composed.db}}  # fmt: skip
    image = "pap-test/cc-pap-api:previous"
    api = {"container": [composed.api], "image": image, "activate": activate, "models": ["m"]}
    made = from_params({**params, "api": api}).api
    assert isinstance(made, DockerApi)
    assert (made.compose is not None) == (activate == "compose")
    assert made.image == ("" if activate == "restart" else image)


def test_a_variable_of_an_env_file_is_in_the_environment(composed: Composed) -> None:
    control = composed.control("pap-test/cc-pap-api:previous")
    assert control.environment(control.running())["INITIAL_ADMIN_PASSWORD"] == "sandbox-only"
    assert control.environment(control.candidate())["ENVIRONMENT"] == "staging"


def test_after_a_recreate_compose_still_knows_its_service(composed: Composed, docker_engine: Engine) -> None:
    image = pap_images.api_image(docker_engine.api, "broken-model")  # boots like any other
    control = composed.control(image)
    old, new = control.running(), control.candidate()
    control.switch(new)
    try:
        control.confirm(new)
        # By its id: the table of `ps` breaks long names. The one set aside has its labels too, and is listed as stopped.
        assert composed.engine.container(composed.api).Id in composed.compose("ps", "-q", "cc-pap-api").split()
        assert composed.compose("logs", "cc-pap-api")
    finally:
        control.switch(old)
    control.confirm(old)


def test_compose_replaces_and_brings_back(composed: Composed, docker_engine: Engine) -> None:
    image = pap_images.api_image(docker_engine.api, "broken-model")
    control = composed.control(image, Compose())
    old, new = control.running(), control.candidate()
    control.switch(new)
    control.confirm(new)
    assert composed.engine.container(composed.api).Config.Image == image
    control.switch(new)
    control.switch(old)
    control.confirm(old)
    assert composed.engine.container(composed.api).Image == old.identity

    def kept() -> list[str]:
        found = docker_engine.api.images(name=f"pap-deploy/kept-{composed.api}")
        return [image["Id"] for image in found for tag in image["RepoTags"] if tag.startswith("pap-deploy/kept-")]

    assert sorted(set(kept())) == sorted({old.identity, new.identity}), "the replaced images are kept by a tag"
    gone = control.tidy(keep=1)
    assert kept() == [new.identity], "what was replaced last"
    assert gone and set(control.tidy(keep=0)).isdisjoint(gone)
    assert kept() == [] and docker_engine.find_image(image), "only the tags of ours are gone"


@pytest.mark.parametrize(
    ("compose", "said"),
    [
        (
            Compose(variable="NO_SUCH_VARIABLE"),
            "does not take the image of service cc-pap-api from the variable NO_SUCH",
        ),
        (Compose(file="/nonexistent/compose.yml"), "nonexistent"),
    ],
)
def test_a_compose_file_that_could_not_work_is_refused_before_anything(
    composed: Composed, docker_engine: Engine, compose: Compose, said: str
) -> None:
    image = pap_images.api_image(docker_engine.api, "broken-model")
    before = composed.engine.container(composed.api).Id
    with pytest.raises(Exception, match=said):
        composed.control(image, compose).candidate()
    assert composed.engine.container(composed.api).Id == before


def test_a_container_of_no_compose_is_refused(
    docker_stack: pap_stack.Stack, docker_engine: Engine, tmp_path: Path
) -> None:
    name = docker_stack.api
    control = DockerApi(docker_engine, (name,), str(tmp_path), image="pap-test/cc-pap-api:next", compose=Compose())
    pap_images.api_image(docker_engine.api, "next")
    with pytest.raises(Refused, match="was not started by compose"):
        control.candidate()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "no PostgreSQL URL"),
        ({"DATABASE_URL": "mysql://x/y"}, "no PostgreSQL URL"),
    ],
)
def test_an_api_without_a_database_is_told(
    docker_engine: Engine, docker_stack: pap_stack.Stack, environment: dict[str, str], said: str
) -> None:
    body = {
        "Image": pap_images.api_image(docker_engine.api, "previous"),
        "Env": [f"{key}={value}" for key, value in environment.items()],
    }
    name = unique("lost")
    docker_engine.api.create_container_from_config(body, name)
    db = docker_stack.db
    try:
        with pytest.raises(Refused, match=said):
            discover(docker_engine, db, name)
        with pytest.raises(Unavailable, match="There is no container"):
            discover(docker_engine, "no-such-db", name)
    finally:
        docker_engine.api.remove_container(name, force=True)
