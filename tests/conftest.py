"""Fixtures shared by all tests: real PostgreSQL servers, started once per session, and databases made for one test."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import full_disk  # noqa: F401 - so that no test takes up much of this one
from support.postgres_servers import Server, start_server, stop_server

pytest_plugins = ["support.docker_stacks"]

# Files of a few tests that deploy again and again.
WHOLE_DEPLOYS = (
    "test_docs_commands",
    "test_fleet_waves",
    "test_full_disk",
    "test_killed",
    "test_odd_password",
    "test_report_roles",
    "test_watch_deploy",
)


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[int, Server]]:
    """The running servers by major version; started when first asked for, stopped at the end."""
    base = Path(tempfile.mkdtemp(prefix="pap-tests-"))
    base.chmod(0o755)
    running: dict[int, Server] = {}

    class Lazy(dict):  # type: ignore[type-arg]
        def __missing__(self, major: int) -> Server:
            running[major] = self[major] = start_server(major, base / f"pg{major}")
            return running[major]

    try:
        yield Lazy()
    finally:
        for server in running.values():
            stop_server(server)
        shutil.rmtree(base, ignore_errors=True)


# The embedded versions; PAP_POSTGRES="15 17" tests others, of which Debian's packages are installed.
VERSIONS = [int(major) for major in os.environ.get("PAP_POSTGRES", "16 18").split()]


@pytest.fixture(scope="session", params=VERSIONS, ids=[f"pg{major}" for major in VERSIONS])
def server(request: pytest.FixtureRequest, servers: dict[int, Server]) -> Server:
    """One server per version."""
    return servers[request.param]


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The name of a new empty database on ``server``, dropped afterwards."""
    name = server.create()
    yield name
    server.drop(name)


def _engine_answers() -> bool:
    try:
        import docker

        docker.from_env(timeout=10).ping()
    except Exception:  # noqa: BLE001 - whatever the reason, there is no engine to test with
        return False
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need Docker are skipped by name where no engine answers; PAP_REQUIRE_DOCKER makes that a failure.

    For parallel runs: a file's tests stay together (they share servers), and so do all that use the one engine. What
    takes longest begins first, so that it is not what the others have to wait for.
    """
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            group = "docker" if item.get_closest_marker("docker") else str(item.path)
            item.add_marker(pytest.mark.xdist_group(name=group))
    items.sort(key=lambda item: not (item.get_closest_marker("docker") or item.path.stem in WHOLE_DEPLOYS))
    wanted = [item for item in items if item.get_closest_marker("docker")]
    if wanted and not os.environ.get("PAP_REQUIRE_DOCKER") and not _engine_answers():
        for item in wanted:
            item.add_marker(pytest.mark.skip(reason="no Docker engine answers here"))
