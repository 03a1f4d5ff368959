"""A short random walk; tests/nightly goes on with a hundred steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.identity_walk import Walk, walks

if TYPE_CHECKING:
    from support.postgres_servers import Server


@pytest.fixture
def walk(servers: dict[int, Server], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Walk]:
    yield from walks(servers[18], tmp_path, request.param)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("walk", [1], indirect=True)
def test_short_walk(walk: Walk) -> None:
    walk.run(14)
