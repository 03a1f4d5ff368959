"""A seeded part of the table of pairs of runs; ``tests/nightly`` walks through all of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.run_pairs import Case, check, sample


@pytest.mark.parametrize("case", sample(20260101, 80), ids=str)
def test_a_second_run_beside_a_first(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(case, tmp_path, monkeypatch)
