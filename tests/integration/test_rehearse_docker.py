"""The rehearsal of a stack in containers: trials are containers of their own, and production's stay as they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pap_images
import pap_stack
import pytest
from docker_support import unique
from papdeploy.containers import Engine
from papdeploy.phases import preflight, rehearse
from papdeploy.rehearsal import Options, RehearsalFailed
from papdeploy.stack import Stack, from_params

pytestmark = pytest.mark.docker
ROOT = Path(__file__).resolve().parents[2]
ENDPOINTS = ["/policies/", "/resources/", "/peps/", "/audit/"]


@pytest.fixture(scope="module")
def running(docker_engine: Engine) -> Iterator[pap_stack.Stack]:
    """A stack of the previous release without a published port."""
    made = pap_stack.Stack(unique("rehearse"), publish=False)
    try:
        yield made.up(percent=10)
    finally:
        made.down()


def stack_of(running: pap_stack.Stack, folder: Path, release: str, name: str = "") -> Stack:
    """The stack as the modules see it: container names, models and credentials; the rest is found by inspection."""
    return from_params(
        {
            "name": running.name,
            "environment": "staging",
            "state_dir": str(folder / "state"),
            "database": {"container": running.db},
            "api": {
                "container": [running.api],
                "image": pap_images.api_image(running.engine, release),
                "models": ["app.models", "app.models_config", "app.database:Base"],
            },
            "smoke": {"username": "admin", "password": pap_stack.PASSWORD, "endpoints": ENDPOINTS},
        },
        name,
    )


def run(running: pap_stack.Stack, folder: Path, release: str, **options: Any) -> dict[str, Any]:
    sources = {path.name: path.read_text() for path in (ROOT / "migrations").glob("add_*.py")}
    stack = stack_of(running, folder, release)
    who = {"user": "tester", "host": "nowhere", "pid": os.getpid()}
    opened = preflight.run(stack, sources, who, preflight.Options(), check_mode=False, versions={})["release"]
    again = stack_of(running, folder, release, opened)
    return dict(rehearse.run(again, opened, Options(**options), alone=True, nice=0)["rehearsal"])


@pytest.fixture
def untouched(running: pap_stack.Stack) -> Iterator[None]:
    """The same containers, started when they were, the same tables; no other container and no other database."""

    def look() -> dict[str, Any]:
        containers = running.engine.containers(all=True)
        mine = [c for c in containers if any(running.name in name for name in c["Names"])]
        return {
            "containers": sorted((c["Names"][0], c["Id"], c["State"]) for c in mine),
            "started": [running.engine.inspect_container(n)["State"]["StartedAt"] for n in (running.api, running.db)],
            "columns": running.sql("SELECT md5(string_agg(table_name || column_name, ',' ORDER BY 1))"
                                   " FROM information_schema.columns WHERE table_schema = 'public'"),
            "policies": running.sql("SELECT count(*), sum(hashtext(p::text)::bigint) FROM policies p"),
            "databases": running.sql("SELECT string_agg(datname, ',' ORDER BY 1) FROM pg_database"),
        }  # fmt: skip

    before = look()
    yield
    assert look() == before


def test_a_good_image_is_tried_beside_the_one_that_runs(
    running: pap_stack.Stack, tmp_path: Path, untouched: None
) -> None:
    found = run(running, tmp_path, "current", online_max_lock_s=60.0)
    assert found["verdict"] == "good"
    assert found["reversible"] is True
    assert found["candidate"]["works"] is True
    assert found["candidate"]["pointed"] == ["DATABASE_URL"]
    assert found["old_api_works"] is True
    assert found["old_api"]["label"] != found["candidate"]["label"]
    assert found["online"] == {"safe": True, "why": []}
    assert found["expected_unavailable_s"] > 0


@pytest.mark.parametrize(("release", "said"), [("broken-login", "login: status 500"), ("broken-boot", "telemetry")])
def test_a_bad_image_fails_before_production(
    running: pap_stack.Stack, tmp_path: Path, untouched: None, release: str, said: str
) -> None:
    with pytest.raises(RehearsalFailed) as caught:
        run(running, tmp_path, release)
    assert caught.value.data["step"] == "candidate"
    assert said in caught.value.message
    assert "Production was not touched." in caught.value.hint
