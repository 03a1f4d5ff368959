"""What the preflight says of a watch that would see nothing: with a real API and a real server that log that way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from papdeploy.app import smoke
from papdeploy.app.api_client import SmokeConfig, request
from papdeploy.app.stack import Stack
from papdeploy.core.errors import Refused
from papdeploy.logwatch.blindness import Blindness
from papdeploy.logwatch.files import FileLog
from papdeploy.logwatch.rules import begin, step, told
from papdeploy.logwatch.state import Rules
from papdeploy.phases import watch_sight
from support.logging_server import Logging, running
from support.postgres_servers import free_port

AT = "2030-01-01T00:00:00.000Z"
APP = """
from fastapi import FastAPI, HTTPException

app = FastAPI()

@app.get("/health")
def health():
    print("somebody asked how I am", "and I answered", "in lines", "of my own", sep="\\n", flush=True)
    return {}

@app.get("/auth/me")
def me():
    raise HTTPException(401)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Logging]:
    with running(18) as made:
        made.set(log_line_prefix="%m [%p] %q%u@%d ")
        yield made


class Api:
    """A real uvicorn, with these options."""

    def __init__(self, folder: Path, *options: str) -> None:
        (folder / "main.py").write_text(APP)
        self.log, port = folder / "api.log", free_port()
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", "main:app", "--port", str(port), *options],
                cwd=folder, stdout=output, stderr=output, env=dict(os.environ),
            )  # fmt: skip
        self.config = SmokeConfig(f"http://127.0.0.1:{port}", "u", "p")
        smoke.wait_until_healthy(self.config)

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.terminate()
        self.process.wait()


def stack(server: Logging, api: Api, database_log: str = "") -> Stack:
    """As much of a stack as is looked at."""
    made: Any = SimpleNamespace(
        api=SimpleNamespace(log_files=(str(api.log),)),
        database=server.database.as_release("r1"),
        database_logs=(database_log or str(server.server.data / "log" / "*.log"),),
        smoke=api.config,
        label="shop",
        state=SimpleNamespace(last_finished=lambda: None),
    )
    return cast("Stack", made)


def kinds(found: list[Blindness]) -> list[tuple[str, str]]:
    return [(each.kind, each.source) for each in found]


def test_a_stack_that_logs_well_is_seen(server: Logging, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("")
    with Api(tmp_path) as api:
        for _ in range(30):  # its own lines are not the most
            request(api.config, "/auth/me")
        assert watch_sight.look(stack(server, api)) == []
        assert watch_sight.lines(stack(server, api), "fail") == []


def test_an_api_without_an_access_log_is_silent(server: Logging, tmp_path: Path) -> None:
    with Api(tmp_path, "--no-access-log") as api:
        api.config = SmokeConfig(api.config.base_url, "u", "p", health_path="/auth/me")  # /health prints
        found = watch_sight.look(stack(server, api))
        assert kinds(found) == [("silent", "api")] and "requests were answered" in found[0].what
        assert watch_sight.lines(stack(server, api), "") == []
        with pytest.raises(Refused, match="the log of the api has not grown") as refused:
            watch_sight.lines(stack(server, api), "fail")
        assert refused.value.data["blindness"] == ["silent"] and "watch_blindness=warn" in refused.value.hint
        # The watch says so too, until the log grows.
        source = {"api": FileLog((str(api.log),))}
        state = step(begin("r1", source, hours=1, interval_s=1, rules=Rules(), at=AT), source, AT)
        assert state.unseen == ()
        state = step(replace(state, answered=True), source, AT)
        assert "BLIND: the log of the api has not grown although requests were answered" in told(state)
        request(api.config, "/health")
        for _ in range(2):
            state = step(state, source, AT)
        assert state.unseen == () and "BLIND" not in told(state)


def test_an_api_whose_lines_are_not_understood(server: Logging, tmp_path: Path) -> None:
    with Api(tmp_path, "--no-access-log") as api:
        for _ in range(10):
            request(api.config, "/health")
        (found,) = watch_sight.look(stack(server, api))
        assert (found.kind, found.source) == ("format", "api") and "as JSON" in found.remedy


def test_the_log_of_another_server(server: Logging, tmp_path: Path) -> None:
    other = tmp_path / "other.log"
    other.write_text("2026-01-01 10:00:00.000 UTC [12] LOG:  checkpoint starting: time\n")
    with Api(tmp_path) as api:
        for _ in range(30):
            request(api.config, "/auth/me")
        (found,) = watch_sight.look(stack(server, api, str(other)))
        assert (found.kind, found.source) == ("silent", "database")
        assert server.sql("SELECT pg_current_logfile()")[0][0] in found.remedy
        (gone,) = watch_sight.look(stack(server, api, str(tmp_path / "none.log")))
        assert gone.kind == "unreadable" and "none.log" in gone.what
