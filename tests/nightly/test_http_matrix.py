"""Each fault of an API's answers at each place of the smoke test, and many more answers that were good once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from papdeploy.app import smoke
from papdeploy.app.api_client import SmokeConfig, request
from papdeploy.core.errors import Unavailable
from papdeploy.releases.parts import Endpoint
from support.hostile_http import KINDS, Hostile, mutations, sends

PATHS = ("/health", "/auth/login", "/auth/me", "/policies/")


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    server = Hostile()
    yield server
    server.close()


def config(server: Hostile) -> SmokeConfig:
    return SmokeConfig(
        server.url, "u", "right", endpoints=("/policies/",), health_deadline_s=0.4, request_deadline_s=0.3
    )


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_fault_everywhere(hostile: Hostile, kind: str, path: str) -> None:
    hostile.bad = {path: kind}
    smoke.baseline(config(hostile))
    with pytest.raises((smoke.SmokeFailed, Unavailable)):
        smoke.run(config(hostile), [Endpoint("/policies/", 200, 1, [{"id": "int"}])])


@pytest.mark.parametrize("seed", range(40))
def test_answers_that_were_good_once(hostile: Hostile, seed: int) -> None:
    for data in mutations(seed=seed, count=500):
        hostile.spoken = sends(data)
        answer = request(config(hostile), "/health")
        assert answer.problem.isprintable(), data
        smoke.shape(answer.body)
