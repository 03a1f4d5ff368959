"""Every pair of playbooks at every phase of the first, each controller, fate of its process, module, lease and clock."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from support.run_pairs import FIRSTS, cases, check


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", FIRSTS, ids="-".join)
def test_every_second_run_beside(first: tuple[str, str]) -> None:
    for case in cases():
        if case.first == first:
            with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
                try:
                    check(case, Path(folder), patch)
                except BaseException as error:
                    error.args = (f"{case}: {error}",)
                    raise
