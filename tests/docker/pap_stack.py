"""A stack in containers as people run it: ``python tests/docker/pap_stack.py up NAME`` and ``down NAME``.

cc-db from the official image (or its look-alike), superuser and owner ``control_core``, no published port; cc-pap-api
as an unprivileged user on a read-only root with a tmpfs, reached through a port on loopback, or none.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import docker.errors
import docker.utils

sys.path.insert(0, str(Path(__file__).resolve().parent))
import pap_images

DATABASE = "control_core_db"
OWNER = "control_core"
DB_PASSWORD = "db-sandbox-only"
PASSWORD = "sandbox-only"
SECRET_KEY = "sandbox-only-secret-key-of-more-than-32-characters"
_CREATE = """
from app import models, models_config
from app.auth import hasher
from app.database import Base, engine
Base.metadata.create_all(engine)
print("HASH", hasher.hash("sandbox-only"))
"""


@dataclass
class Stack:
    """The containers ``<name>-db`` and ``<name>-api`` on the network ``<name>``; with the data of the first release."""

    name: str
    engine: Any = field(default_factory=lambda: docker.from_env(timeout=120).api)
    release: str = "previous"
    environment: str = "staging"
    publish: bool = True
    read_only: bool = True
    extra_environment: dict[str, str] = field(default_factory=dict)
    restart: str = "unless-stopped"
    labels: dict[str, str] = field(default_factory=dict)
    image: str = ""
    db_image: str = ""
    db_settings: tuple[str, ...] = ()

    @property
    def db(self) -> str:
        return f"{self.name}-db"

    @property
    def api(self) -> str:
        return f"{self.name}-api"

    @property
    def url(self) -> str:
        """DATABASE_URL of the API."""
        return f"postgresql://{OWNER}:{DB_PASSWORD}@{self.db}:5432/{DATABASE}"

    def up(self, percent: int = 100) -> Stack:
        """Start all of it, with that share of the audit log; returns when the API answers."""
        self.down()
        self.engine.create_network(self.name, labels=self._labels())
        self._create(
            self.db,
            self.db_image or pap_images.db_image(self.engine),
            environment={"POSTGRES_USER": OWNER, "POSTGRES_PASSWORD": DB_PASSWORD, "POSTGRES_DB": DATABASE},
            command=["postgres", *(word for it in ("fsync=off", *self.db_settings) for word in ("-c", it))],
            host={"RestartPolicy": {"Name": self.restart}},
        )
        self.engine.start(self.db)
        self._wait(lambda: self.sql("SELECT 1") == "1")
        self._fill(percent)
        self.create_api()
        self.engine.start(self.api)
        self._wait(lambda: self.get("/health")[0] == 200)
        return self

    def create_api(self, name: str = "") -> str:
        """Create the container of the API, as its operator would have."""
        host: dict[str, Any] = {"RestartPolicy": {"Name": self.restart}, "ReadonlyRootfs": self.read_only}
        if self.read_only:
            host.update(Tmpfs={"/tmp": "size=64m"}, CapDrop=["ALL"], SecurityOpt=["no-new-privileges"])
        if self.publish:
            host["PortBindings"] = {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
        return self._create(
            name or self.api,
            self.image or pap_images.api_image(self.engine, self.release),
            environment={
                "DATABASE_URL": self.url,
                "ENVIRONMENT": self.environment,
                "SECRET_KEY": SECRET_KEY,
                **self.extra_environment,
            },
            host=host,
        )

    def renew_api(self) -> None:
        """Replace the API's container, as its operator would; returns when it answers."""
        self.engine.remove_container(self.api, force=True)
        self.create_api()
        self.engine.start(self.api)
        self._wait(lambda: self.get("/health")[0] == 200)

    def down(self) -> None:
        """Remove every container of this stack, also those that deploys set aside, with their volumes."""
        for found in self.engine.containers(all=True):
            if any(re.match(rf"/{re.escape(self.name)}-(api|db)", name) for name in found["Names"]):
                with contextlib.suppress(docker.errors.NotFound):
                    self.engine.remove_container(found["Id"], v=True, force=True)
        with contextlib.suppress(docker.errors.NotFound):
            self.engine.remove_network(self.name)

    def sql(self, statement: str, database: str = DATABASE) -> str:
        """What psql says inside the database container: the way a person would look."""
        argv = ["psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", OWNER, "-d", database, "-c", statement]
        made = self.engine.exec_create(self.db, argv)["Id"]
        output = self.engine.exec_start(made).decode()
        if self.engine.exec_inspect(made)["ExitCode"] != 0:
            raise RuntimeError(output)
        return str(output).strip()

    def base_url(self) -> str:
        inspected = self.engine.inspect_container(self.api)
        bound = inspected["NetworkSettings"]["Ports"].get("8000/tcp")
        if bound:
            return f"http://127.0.0.1:{bound[0]['HostPort']}"
        return f"http://{inspected['NetworkSettings']['Networks'][self.name]['IPAddress']}:8000"

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a GET; 0 without an answer."""
        try:
            with urllib.request.urlopen(self.base_url() + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def _fill(self, percent: int) -> None:
        first = pap_images.api_image(self.engine, "previous")
        made = self._create(f"{self.api}-fill", first, {"DATABASE_URL": self.url}, ["python", "-c", _CREATE])
        self.engine.start(made)
        code = self.engine.wait(made)["StatusCode"]
        said = self.engine.logs(made).decode()
        self.engine.remove_container(made)
        if code:
            raise RuntimeError(said)
        hashed = said.rsplit("HASH ", 1)[1].strip()
        script = (pap_images.ROOT / "sandbox" / "seed.sql").read_text(encoding="utf-8")
        script = script.replace("\\set ON_ERROR_STOP on", f"\\set ON_ERROR_STOP on\n\\set password_hash '{hashed}'")
        if percent != 100:
            script = re.sub(
                r"generate_series\(1, (\d{5,})\)", lambda m: f"generate_series(1, {int(m[1]) * percent // 100})", script
            )
        self._psql_file(script)

    def _psql_file(self, script: str) -> None:
        import io
        import tarfile

        data = script.encode()
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            entry = tarfile.TarInfo("seed.sql")
            entry.size = len(data)
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(data))
        self.engine.put_archive(self.db, "/", archive.getvalue())
        made = self.engine.exec_create(self.db, ["psql", "-X", "-q", "-U", OWNER, "-d", DATABASE, "-f", "/seed.sql"])[
            "Id"
        ]
        said = self.engine.exec_start(made).decode()
        if self.engine.exec_inspect(made)["ExitCode"]:
            raise RuntimeError(said)

    def _create(
        self,
        name: str,
        image: str,
        environment: dict[str, str],
        command: list[str] | None = None,
        host: dict[str, Any] | None = None,
    ) -> str:
        body = {
            "Image": image,
            "Env": [f"{key}={value}" for key, value in environment.items()],
            "Labels": self._labels(),
            "HostConfig": {"NetworkMode": self.name, **(host or {})},
            "NetworkingConfig": {"EndpointsConfig": {self.name: {"Aliases": [name.replace(f"{self.name}-", "cc-")]}}},
        }
        if command:
            body["Cmd"] = command
        return str(self.engine.create_container_from_config(body, name)["Id"])

    def _labels(self) -> dict[str, str]:
        return {"pap-test.stack": self.name, **self.labels}

    @staticmethod
    def _wait(ready: Any, seconds: float = 240.0) -> None:
        deadline = time.monotonic() + seconds
        while True:
            problem: Exception | None = None
            try:
                if ready():
                    return
            except (RuntimeError, docker.errors.APIError) as error:
                problem = error
            if time.monotonic() > deadline:
                raise TimeoutError(f"not ready after {seconds:g} s: {problem}")
            time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["up", "down", "api"], help="api: only the API's container, anew")
    parser.add_argument("name")
    parser.add_argument("--release", default="previous")
    parser.add_argument("--environment", default="staging")
    parser.add_argument("--percent", type=int, default=100)
    parser.add_argument("--image", default="")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--env-file", default="")
    options = parser.parse_args()
    extra = docker.utils.parse_env_file(options.env_file) if options.env_file else {}
    extra.update(entry.split("=", 1) for entry in options.env)
    stack = Stack(
        options.name,
        release=options.release,
        environment=options.environment,
        image=options.image,
        extra_environment=extra,
    )
    if options.verb == "down":
        stack.down()
        return
    if options.verb == "up":
        stack.up(options.percent)
    else:
        stack.renew_api()
    print(stack.base_url())


if __name__ == "__main__":
    main()
