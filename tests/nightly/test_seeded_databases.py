"""Three hundred databases from a seed, each proven; see ``seeded_databases``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.seeded_proof import prove

if TYPE_CHECKING:
    from support.postgres_servers import Server


@pytest.mark.parametrize("seed", range(100, 400))
def test_a_database_from_a_seed_is_proven(servers: dict[int, Server], tmp_path: Path, seed: int) -> None:
    server = servers[(16, 18)[seed % 2]]
    database = server.create("seed")
    try:
        prove(server, database, tmp_path, seed)
    finally:
        server.drop(database)
