"""Work in a child process leaves nothing behind, however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from papdeploy.core import alone
from papdeploy.core.errors import DeadlineExceeded


@pytest.mark.parametrize("confined", [False, True])
def test_its_temporary_files_go_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, confined: bool) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def work() -> dict[str, Any]:
        script = "import tempfile; print(tempfile.mkdtemp(), end='')"
        made = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
        return {"made": [tempfile.mkdtemp(), made]}

    made = alone.run(work, 60, confined=confined)["made"]
    assert all(path.startswith(f"{tmp_path}/pap-deploy-") for path in made), made
    assert list(tmp_path.iterdir()) == []
    assert "TMPDIR" not in os.environ or os.environ["TMPDIR"] not in made[0]


def test_so_they_do_when_it_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def work() -> dict[str, Any]:
        tempfile.mkdtemp()
        time.sleep(60)
        return {}

    with pytest.raises(DeadlineExceeded):
        alone.run(work, 1)
    assert list(tmp_path.iterdir()) == []
