"""A trial's environment, its port, its process: what keeps it apart from the API that runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from papdeploy.api import HostApi
from papdeploy.errors import Refused
from papdeploy.rehearsal import trials
from papdeploy.sites import HostSite
from papdeploy.trial import Trial, exit_code, held, with_port
from waiting import gone, wait_until

URL = "postgresql+psycopg2://app:se%40cret@db:5433/live"


def test_every_way_to_the_live_database_leads_to_the_copy() -> None:
    environment = {
        "DATABASE_URL": URL,
        "ASYNC_URL": "postgresql+asyncpg://app:x@db/live?ssl=off",
        "REPORTS_URL": "postgresql://app:x@db/reports",
        "POSTGRES_DB": "live",
        "APP_NAME": "live",
        "REDIS_URL": "redis://cache/0",
    }
    change = trials.environment_changes(environment, "DATABASE_URL", "live", "live__scratch", "t", {"MAIL": "off"})
    assert change.variables == {
        "DATABASE_URL": "postgresql+psycopg2://app:se%40cret@db:5433/live__scratch",
        "ASYNC_URL": "postgresql+asyncpg://app:x@db/live__scratch?ssl=off",
        "POSTGRES_DB": "live__scratch",
        "PYTHONUNBUFFERED": "1",
        "PGAPPNAME": "t",
        "MAIL": "off",
    }
    assert change.pointed == ["ASYNC_URL", "DATABASE_URL", "POSTGRES_DB"]
    assert "se%40cret" not in repr(change)


@pytest.mark.parametrize(
    ("value", "pointed"),
    [
        ("host=db dbname=live password='se cret'", "host=db dbname='live__scratch' password='se cret'"),
        ("dbname = 'live' host=db", "dbname = 'live__scratch' host=db"),
        ("host=pooler dbname=other", "host=pooler dbname='live__scratch'"),
        ("live", "live__scratch"),
        ("host=pooler user=app", "host=pooler user=app dbname='live__scratch'"),
        ("postgresql://app@pooler", "postgresql://app@pooler/live__scratch"),
        ("postgresql://app@db/live?dbname=live", "postgresql://app@db/live__scratch?dbname=live__scratch"),
        ("postgresql://app:a/b#c?d@db/live", "postgresql://app:a/b#c?d@db/live__scratch"),
    ],
)
def test_a_connection_string_or_a_name_is_pointed_too(value: str, pointed: str) -> None:
    change = trials.environment_changes({"PAP_DB": value}, "PAP_DB", "live", "live__scratch", "t", {})
    assert change.variables["PAP_DB"] == pointed
    beside = trials.environment_changes({"DATABASE_URL": URL, "JOBS": value}, "DATABASE_URL", "live", "c", "t", {})
    assert ("JOBS" in beside.pointed) is (("dbname" in value and "live" in value) or "db/live" in value)


@pytest.mark.parametrize("value", ["a = b", "sqlite:///x", "elsewhere", ""])
def test_what_cannot_be_pointed_is_refused(value: str) -> None:
    with pytest.raises(Refused, match="PAP_DB holds neither"):
        trials.environment_changes({"PAP_DB": value}, "PAP_DB", "live", "copy", "t", {})


def test_a_url_that_cannot_be_read_is_refused_by_the_name_of_its_variable() -> None:
    environment = {"DATABASE_URL": URL, "JOBS": "postgresql://u:hunter2@db:port/live"}
    with pytest.raises(Refused, match="JOBS of the API's environment: The port") as refused:
        trials.environment_changes(environment, "DATABASE_URL", "live", "copy", "t", {})
    assert "hunter2" not in str(refused.value.as_dict())


POOLED = {
    "DATABASE_URL": "postgres://app:p/w@pooler:6432/alias?x=1",
    "ASYNC_URL": "postgresql+asyncpg://app@pooler:6432/live",
    "DB_HOST": "pooler",
    "DB_PORT": "6432",
    "DB_NAME": "live",
    "CACHE_HOST": "pooler-cache",
    "CACHE_PORT": "6432",
    "WEB_PORT": "6432",
}


def test_a_trial_goes_past_the_pooler() -> None:
    """The pooler does not know the copy: whatever leads to it leads to the server itself."""
    hosts = (("direct", None),)
    change = trials.environment_changes(POOLED, "DATABASE_URL", "live", "copy", "t", {}, hosts=hosts)
    expected = {
        "DATABASE_URL": "postgres://app:p/w@direct/copy?x=1",
        "ASYNC_URL": "postgresql+asyncpg://app@direct/copy",
        "DB_HOST": "direct",
        "DB_PORT": "5432",
        "DB_NAME": "copy",
    }
    assert {key: change.variables[key] for key in change.pointed} == expected


def test_the_parts_of_the_inventory_s_url_are_pointed_too() -> None:
    parts = {key: value for key, value in POOLED.items() if "URL" not in key}
    url = "postgresql://app:pw@pooler:6432/live"
    change = trials.environment_changes(parts, "DATABASE_URL", "live", "copy", "t", {}, url=url)
    assert {key: change.variables[key] for key in change.pointed} == {"DB_NAME": "copy"}
    hosts = (("direct", 5433),)
    change = trials.environment_changes(parts, "DATABASE_URL", "live", "copy", "t", {}, url=url, hosts=hosts)
    assert {key: change.variables[key] for key in change.pointed} == {
        "DB_HOST": "direct",
        "DB_PORT": "5433",
        "DB_NAME": "copy",
    }
    with pytest.raises(Refused, match="Nothing in the environment of the API names the database live"):
        trials.environment_changes({"A": "b"}, "DATABASE_URL", "live", "copy", "t", {}, url=url)


def test_openapi_proposes_the_gets_that_need_nothing() -> None:
    document = {
        "paths": {
            "/policies/": {"get": {"parameters": [{"name": "skip", "in": "query", "required": False}]}, "post": {}},
            "/policies/{id}": {"get": {}},
            "/search": {"get": {"parameters": [{"name": "q", "in": "query", "required": True}]}},
            "/auth/login": {"post": {}},
            "/health": {"get": {}},
        }
    }
    assert trials.proposed_endpoints(document) == ["/health", "/policies/"]
    for nothing in (None, [], {"paths": None}, {"paths": {"/x": None}}):
        assert trials.proposed_endpoints(nothing) == []


def test_without_a_url_nothing_is_tried() -> None:
    with pytest.raises(Refused, match="DB_URL is not set"):
        trials.environment_changes({"DATABASE_URL": URL}, "DB_URL", "live", "copy", "t", {})


def test_the_command_must_take_the_port() -> None:
    assert with_port(["api", "--port={port}"], 81) == ["api", "--port=81"]
    with pytest.raises(Refused, match=r"no \{port\} in it"):
        with_port(["api"], 81)


def test_a_host_without_a_trial_command_says_so() -> None:
    api = HostApi(
        folder="/x", python=sys.executable, release_dir="", start_command=(), stop_command=(), restart_command=()
    )
    assert api.trial_obstacle({}) == "pap_api_trial_command is not set"
    with pytest.raises(Refused, match="pap_api_trial_command is not set"), api.trial({"path": "/"}, {}):
        pass


def written_pid(path: Path) -> int:
    limit = time.monotonic() + 15
    while not (path.exists() and path.read_text().strip()) and time.monotonic() < limit:
        time.sleep(0.02)
    return int(path.read_text())


def test_a_trial_ends_with_its_block_and_its_log_is_kept(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    words = ["sh", "-c", f"echo hello; echo $$ > {pid}; sleep 60"]
    with held(HostSite(), sys.executable, words, cwd=str(tmp_path), env={}) as process:
        number = written_pid(pid)
        assert exit_code(process) is None
    wait_until(lambda: gone(number))
    assert "hello" in process.errors()


def test_a_trial_that_ends_by_itself_tells_its_exit_code(tmp_path: Path) -> None:
    with held(HostSite(), sys.executable, ["sh", "-c", "exit 7"], cwd=str(tmp_path), env={}) as process:
        assert process.wait(15) == 7
        assert exit_code(process) == 7


def test_what_is_logged_a_moment_after_the_answer_is_in_the_log() -> None:
    began = time.monotonic()
    trial = Trial(
        "", lambda: "".join(f"line {n}\n" for n in range(4) if time.monotonic() - began > n / 5), lambda: None
    )
    assert trials._tail(trial).splitlines()[-1] == "line 3"  # which is there after 0.6 s


def test_a_trial_dies_with_the_process_that_holds_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = (
        "import sys, time\n"
        "from papdeploy.sites import HostSite\nfrom papdeploy.trial import held\n"
        f"with held(HostSite(), sys.executable, ['sh', '-c', 'echo $$ > {pid}; sleep 60'], cwd='/', env={{}}):\n"
        "    time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    try:
        number = written_pid(pid)
        os.kill(holder.pid, signal.SIGKILL)
        wait_until(lambda: gone(number))
    finally:
        holder.kill()
        holder.wait()
