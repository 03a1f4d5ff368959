"""Whatever PostgreSQL accepts is proven and restored; a seed that fails is a case for the other tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.seeded_proof import prove

if TYPE_CHECKING:
    from support.postgres_servers import Server


@pytest.mark.parametrize("seed", range(5))
def test_a_database_from_a_seed_is_proven(server: Server, database: str, tmp_path: Path, seed: int) -> None:
    prove(server, database, tmp_path, seed)
