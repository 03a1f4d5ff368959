"""Random walks of a hundred steps over what is ours and what is not, on real PostgreSQL; see ``identity_walk``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.identity_walk import Walk, walks

if TYPE_CHECKING:
    from support.postgres_servers import Server

SEEDS = range(100, 106)


@pytest.fixture
def walk(server: Server, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Walk]:
    yield from walks(server, tmp_path, request.param)


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("walk", SEEDS, indirect=True)
def test_a_hundred_steps_lose_nothing_and_touch_nothing_of_others(walk: Walk) -> None:
    walk.run(100)
