"""Fixtures shared by all tests: real PostgreSQL servers, started once per session, and databases made for one test.

And the order of a run: tests of one group run in one process one after another, so that they share servers and stacks.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import ansible.module_utils
import pytest
from support import (
    ROOT,
    full_disk,  # noqa: F401 - so that no test takes up much of this one
)
from support.postgres_servers import Server, start_server, stop_server

ansible.module_utils.__path__.append(str(ROOT / "module_utils"))  # as ansible.cfg tells Ansible
pytest_plugins = ["support.docker_stacks"]

# Whatever the environment says: else each worker, and each process that the tests start, compiles all of it anew.
sys.dont_write_bytecode = False

# Groups that take longest, in this order: what begins first is not what the others have to wait for at the end.
LONGEST = (
    "scenarios/test_killed",
    "integration/rehearsal/test_docker-docker",
    "integration/playbooks/test_watch_deploy",
    "molecule-docker-rollback",
    "molecule-rehearse-fails",
    "molecule-docker-drop-tables",
    "integration/rehearsal/test_verdicts",
    "integration/rollback/test_kill",
    "docker-stack",
    "integration/rollback/test_strategies",
    "molecule-rollback",
    "integration/playbooks/test_secrets_nowhere",
    "integration/playbooks/test_report_roles",
    "integration/playbooks/test_live_truth-docker",
    "molecule-docker-deploy",
    "integration/backup/test_docker-docker",
    "integration/sandbox/test_stack",
    "integration/backup/test_proof",
    "molecule-default",
    "integration/rehearsal/test_isolation",
    "integration/backup/test_take",
    "integration/app/test_docker_api-docker",
    "scenarios/test_full_disk",
    "scenarios/test_docker_remote-docker",
    "scenarios/test_retention_playbooks",
    "integration/playbooks/test_live_truth",
    "integration/playbooks/test_planted_playbooks",
    "integration/playbooks/test_fleet_waves",
    "integration/playbooks/test_docs_commands",
    "integration/playbooks/test_odd_password",
    "integration/backup/test_pgbackrest",
    "integration/databases/test_server_wide",
)


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[int, Server]]:
    """The running servers by major version; started when first asked for, stopped at the end."""
    base = Path(tempfile.mkdtemp(prefix="pap-tests-"))
    base.chmod(0o755)
    running: dict[int, Server] = {}

    class Lazy(dict[int, Server]):
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
    """One server per version: the newest, and the others for tests marked ``every_version`` and by night (PAP_NIGHTLY)."""
    return servers[request.param]


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The name of a new empty database on ``server``, dropped afterwards."""
    name = server.create()
    yield name
    server.drop(name)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    _only_the_newest_version(config, items)
    _skip_what_needs_docker([item for item in items if item.get_closest_marker("docker")])
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(name=_group(item)))
    items.sort(key=_turn)


def _only_the_newest_version(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("PAP_NIGHTLY"):
        return
    repeated = [item for item in items if not _by_day(item)]
    config.hook.pytest_deselected(items=repeated)
    items[:] = [item for item in items if item not in set(repeated)]


def _by_day(item: pytest.Item) -> bool:
    """On the newest version everything, of a long table one row in ``newest``; on the others what is marked
    ``every_version``, of a table one row in ``sample``."""
    version = item.callspec.params.get("server") if getattr(item, "callspec", None) else None  # type: ignore[attr-defined]
    marker = item.get_closest_marker("every_version")
    if not isinstance(version, int):
        return True
    if version < VERSIONS[-1] and not marker:
        return False
    rows = int((marker.kwargs if marker else {}).get("newest" if version >= VERSIONS[-1] else "sample", 1))
    return zlib.crc32(f"{version} {item.nodeid}".encode()) % rows == 0


def _skip_what_needs_docker(items: list[pytest.Item]) -> None:
    """By name where no engine answers; PAP_REQUIRE_DOCKER makes that a failure."""
    if items and not os.environ.get("PAP_REQUIRE_DOCKER") and not _engine_answers():
        for item in items:
            item.add_marker(pytest.mark.skip(reason="no Docker engine answers here"))


def _engine_answers() -> bool:
    try:
        import docker

        docker.from_env(timeout=10).ping()
    except Exception:  # noqa: BLE001 - whatever the reason, there is no engine to test with
        return False
    return True


def _group(item: pytest.Item) -> str:
    """A file, in which those that need Docker are apart; and all that use the one stack in containers."""
    if "docker_stack" in getattr(item, "fixturenames", ()):
        return "docker-stack"
    path = item.path.relative_to(ROOT / "tests").with_suffix("")
    return f"{path}-docker" if item.get_closest_marker("docker") else str(path)


def _turn(item: pytest.Item) -> int:
    marker = item.get_closest_marker("xdist_group")
    group = marker.kwargs["name"] if marker else ""
    return LONGEST.index(group) if group in LONGEST else len(LONGEST)
