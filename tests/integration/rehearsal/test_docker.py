"""The rehearsal of a stack in containers: trials are containers of their own, and production's stay as they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker.errors
import pap_images
import pap_stack
import pytest
from papdeploy.app.inventory import from_params
from papdeploy.app.stack import Stack
from papdeploy.core.errors import PapError, Refused
from papdeploy.core.records import as_object
from papdeploy.phases import preflight, rehearse, rollback
from papdeploy.rehearsal import Options, RehearsalFailed
from papdeploy.sites.docker.engine import Engine
from support import ROOT
from support import pooler as pooler_program
from support.docker_stacks import unique
from support.rehearsal_stack import WHO, migration
from support.waiting import wait_until

from sandbox.releases import Edit, Release

pytestmark = pytest.mark.docker
# What the Ansible module does, in a process that can be killed.
SCRIPT = """
import json, sys
from papdeploy.phases import rehearse
from papdeploy.rehearsal import Options
from papdeploy.app.inventory import from_params
from papdeploy.releases.run import Run
params, release = json.load(sys.stdin)
rehearse.run(from_params(params, release), release, Options(), alone=True, nice=0)
"""
ENDPOINTS = ["/policies/", "/resources/", "/peps/", "/audit/"]


@pytest.fixture(scope="module")
def running(docker_engine: Engine) -> Iterator[pap_stack.Stack]:
    """A stack of the previous release without a published port."""
    made = pap_stack.Stack(unique("rehearse"), publish=False)
    try:
        yield made.up(percent=10)
    finally:
        made.down()


def params_of(running: pap_stack.Stack, folder: Path, release: str | Release) -> dict[str, Any]:
    """The stack as the inventory names it: containers, models and credentials; the rest is found by inspection."""
    return {
        "name": running.name,
        "environment": "staging",
        "state_dir": str(folder / "state"),
        "who": as_object(WHO),
        "database": {"container": running.db},
        "api": {
            "container": [running.api],
            "image": pap_images.api_image(running.engine, release),
            "models": ["app.models", "app.models_config", "app.database:Base"],
        },
        "smoke": {"username": "admin", "password": pap_stack.PASSWORD, "endpoints": ENDPOINTS},
    }


def stack_of(running: pap_stack.Stack, folder: Path, release: str | Release, name: str = "") -> Stack:
    return from_params(params_of(running, folder, release), name)


def opened(running: pap_stack.Stack, folder: Path, release: str | Release, more: str = "") -> str:
    """The release that the preflight opens; ``more`` is a migration beside those that ship."""
    sources = {path.name: path.read_text() for path in (ROOT / "migrations").glob("add_*.py")}
    if more:
        sources["2026_01_01_more.py"] = more
    stack = stack_of(running, folder, release)
    found = preflight.run(stack, sources, WHO, preflight.Options(), check_mode=False, versions={})
    return str(found.release)


def run(
    running: pap_stack.Stack, folder: Path, release: str | Release, more: str = "", **options: Any
) -> dict[str, Any]:
    name = opened(running, folder, release, more)
    stack = stack_of(running, folder, release, name)
    return dict(rehearse.run(stack, name, Options(**options), alone=True, nice=0).rehearsal)


def edited(name: str, *edits: Edit) -> Release:
    """The current release with a few edits."""
    return Release(name, "2.1", "of a test", edits)


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


@pytest.mark.nightly  # the scenario docker-deploy rehearses a good image too
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
    # A container is made and started as well, and every session goes through one.
    assert found["phases"]["activate"] == found["candidate"]["start_s"] > found["candidate"]["healthy_after_s"] + 0.1
    assert found["phases"]["fence"] > found["old_api"]["stop_s"] > 0.05
    assert found["expected_unavailable_s"] > 0


@pytest.mark.parametrize(
    ("release", "said"),
    [
        ("broken-login", "login: status 500"),
        pytest.param("broken-boot", "telemetry", marks=pytest.mark.nightly),
    ],
)
def test_a_bad_image_fails_before_production(
    running: pap_stack.Stack, tmp_path: Path, untouched: None, release: str, said: str
) -> None:
    with pytest.raises(RehearsalFailed) as caught:
        run(running, tmp_path, release)
    assert caught.value.data["step"] == "candidate"
    assert said in caught.value.message
    assert "Live database, before and after: the same schema" in caught.value.hint


@pytest.fixture
def pooled(running: pap_stack.Stack) -> Iterator[pap_stack.Stack]:
    """The same stack with an API that connects through a pooler in a container of its own, under another name."""
    pooler = f"{running.db}-pooler"
    image = pap_images.api_image(running.engine, "previous")
    command = [
        "python",
        "-c",
        Path(pooler_program.__file__).read_text(),
        running.db,
        "5432",
        f"app={pap_stack.DATABASE}",
    ]
    running.engine.start(running._create(pooler, image, {}, command))
    running.extra_environment["DATABASE_URL"] = running.url.replace(
        f"{running.db}:5432/{pap_stack.DATABASE}", f"{pooler}:6432/app"
    )
    try:
        running.renew_api()
        yield running
    finally:
        del running.extra_environment["DATABASE_URL"]
        running.renew_api()
        running.engine.remove_container(pooler, v=True, force=True)


@pytest.mark.nightly
def test_past_the_pooler_of_an_image(pooled: pap_stack.Stack, tmp_path: Path) -> None:
    params = params_of(pooled, tmp_path, "current")
    with pytest.raises(PapError, match=r"(?s)pap_db_name|pap_database_direct_url"):
        preflight.run(from_params(params), {}, WHO, preflight.Options(), check_mode=True, versions={})
    params["api"]["database_direct_url"] = pooled.url
    sources = {path.name: path.read_text() for path in (ROOT / "migrations").glob("add_*.py")}
    opened = preflight.run(
        from_params(params), sources, WHO, preflight.Options(rehearse=True), check_mode=False, versions={}
    )
    stack = from_params(params, str(opened.release))
    found = dict(rehearse.run(stack, str(opened.release), Options(), alone=True, nice=0).rehearsal)
    assert found["verdict"] == "good" and found["candidate"]["works"] is True, found
    assert found["candidate"]["pointed"] == ["DATABASE_URL"]
    lines = "\n".join(opened.pap.lines)
    assert "app on" in lines and f"this deploy to {pap_stack.DATABASE} on {pooled.db}:5432" in lines


def test_the_url_of_an_image_that_has_none_in_its_environment(
    running: pap_stack.Stack, tmp_path: Path, untouched: None
) -> None:
    params = params_of(running, tmp_path, "current")
    params["api"]["url_variable"] = "NO_SUCH_URL"
    with pytest.raises(Refused, match="pap_database_url to the URL itself"):
        from_params(params)
    params["api"]["database_url"] = running.url
    with from_params(params).beside_models(from_params(params).api.candidate()) as app_session:
        assert app_session.call("schema.describe", {})["catalog"]["relations"]


@pytest.mark.nightly
def test_a_migration_that_fails_on_real_data(running: pap_stack.Stack, tmp_path: Path, untouched: None) -> None:
    strict = migration('db.execute("ALTER TABLE users ALTER COLUMN full_name SET NOT NULL")',
                       'db.execute("ALTER TABLE users ALTER COLUMN full_name DROP NOT NULL")')  # fmt: skip
    with pytest.raises(RehearsalFailed) as caught:
        run(running, tmp_path, "current", strict)
    assert caught.value.data["step"] == "migrate"
    assert "2026_01_01_more" in caught.value.message
    assert 'column "full_name" of relation "users" contains null values' in caught.value.message
    assert "SET NOT NULL" in caught.value.data["statement"]


@pytest.mark.nightly
def test_slow_on_a_full_table_and_not_reversible_as_claimed(
    running: pap_stack.Stack, tmp_path: Path, untouched: None
) -> None:
    more = migration("""db.execute("UPDATE peps SET status = upper(status) || pg_sleep(0.002)::text")""",
                     """db.execute("UPDATE peps SET status = lower(status) || '.'")""")  # fmt: skip
    full = run(running, tmp_path, "current", more, online_max_lock_s=0.3)
    assert full["migrations"][-1]["seconds"] > 0.6  # 300 rows, 2 ms each, by the server's own clock
    assert any("writes 300 rows in a transaction" in why for why in full["online"]["why"])
    assert full["reversible"] is False
    assert "table public.peps has the same 300 rows by count, but other content" in full["reversible_differences"][0]
    assert "downgrade" not in full["recovery_s"]
    assert full["candidate"]["works"] is True  # on the data as the deploy will leave it
    assert full["old_api_works"] is True
    empty = run(running, tmp_path, "current", more, data="schema")
    assert empty["migrations"][-1]["rows"] == 0
    assert empty["cannot_tell"]
    assert empty["expected_unavailable_s"] is None


@pytest.mark.nightly
def test_a_candidate_that_logs_in_and_fails_one_endpoint(
    running: pap_stack.Stack, tmp_path: Path, untouched: None
) -> None:
    bad = edited("bad-peps", Edit("routes.py", "    return page(session, Pep, limit, offset)\n",
                                  "    return page(session, Pep.gone, limit, offset)\n"))  # fmt: skip
    with pytest.raises(RehearsalFailed, match="GET /peps/: status 500, was 200") as caught:
        run(running, tmp_path, bad)
    assert caught.value.data["step"] == "candidate"
    assert "has no attribute 'gone'" in caught.value.data["log"]


@pytest.mark.nightly
def test_an_old_api_that_breaks_on_the_new_schema(running: pap_stack.Stack, tmp_path: Path, untouched: None) -> None:
    renamed = edited("renamed", Edit("models.py", "    priority: Mapped", "    weight: Mapped"),
                     Edit("models.py", '"priority BETWEEN', '"weight BETWEEN'),
                     Edit("routes.py", "[dict(row) for row", '[{**row, "priority": row.get("weight")} for row'))  # fmt: skip
    rename = migration('db.execute("ALTER TABLE policies RENAME COLUMN priority TO weight")',
                       'db.execute("ALTER TABLE policies RENAME COLUMN weight TO priority")')  # fmt: skip
    found = run(running, tmp_path, renamed, rename)
    assert found["reversible"] is True
    assert found["candidate"]["works"] is True
    assert found["old_api_works"] is False
    assert "GET /policies/: status 500, was 200" in found["old_api"]["why"]
    assert "image" not in found["recovery_s"]
    assert "does not work on the new schema" in found["online"]["why"][0]


@pytest.mark.nightly
@pytest.mark.parametrize("where", ["migration", "trial"])
def test_what_a_killed_rehearsal_leaves_is_cleared_by_the_next_run(
    running: pap_stack.Stack, tmp_path: Path, untouched: None, where: str
) -> None:
    first = "from __future__ import annotations\n"
    hanging = edited("hanging", Edit("main.py", first, f"{first}import time; time.sleep(600)\n"))
    release, more = (hanging, "") if where == "trial" else ("current", migration('db.execute("SELECT pg_sleep(600)")'))
    name = opened(running, tmp_path, release, more)

    def app_session() -> list[str]:
        found = running.engine.containers(filters={"status": "running"})
        return [c["Id"] for c in found if c["Names"][0].startswith(f"/pap-deploy-{running.api}-")]

    def there() -> bool:
        if where == "migration":
            return running.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(600)%'") == "1"
        try:
            return any("uvicorn" in str(running.engine.top(one)["Processes"]) for one in app_session())
        except docker.errors.APIError:  # it has just ended
            return False

    process = subprocess.Popen([sys.executable, "-c", SCRIPT], cwd="/", text=True, stdin=subprocess.PIPE)
    try:
        process.stdin.write(json.dumps([params_of(running, tmp_path, release), name]))
        process.stdin.close()
        wait_until(there, seconds=60)
    finally:
        process.kill()
        process.wait()
    # By themselves: no process is left that could end them.
    wait_until(lambda: not app_session(), seconds=30)
    wait_until(lambda: not there(), seconds=30)
    stack = stack_of(running, tmp_path, release, name)
    assert stack.state.unfinished().release == name
    again = rollback.Options(only_unfinished=True, take_over=True)
    rollback.run(stack, "", replace(WHO, pid=os.getpid()), again)
    assert stack.state.unfinished() is None  # and what it left is gone: see the fixture
