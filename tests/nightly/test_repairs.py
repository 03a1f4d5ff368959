"""The closing rate of repairs over many generated pairs: at least 95 % close, and all run or say what stops them."""

from __future__ import annotations

from typing import Any

import pytest
from support.schema_closing import made, repaired
from support.schema_pairs import pair

SEEDS = range(1000, 1200)


@pytest.mark.timeout(3600)
def test_repairs_close(servers: Any) -> None:
    server = servers[18]
    found = {}
    for seed in SEEDS:
        given = pair(seed)
        database = made(server, given.database.metadata())
        found[seed] = repaired(server, given.models.metadata(), database)
        server.drop(database)
    silent = {seed: (one.error, one.left) for seed, one in found.items() if not one.honest}
    assert not silent
    assert sum(one.closed for one in found.values()) >= 0.95 * len(found)
