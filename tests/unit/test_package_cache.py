"""The package on a target host: whole or not there, and never taken away from a run that still reads it."""

from __future__ import annotations

import base64
import io
import os
import time
import zipfile
from pathlib import Path

from library import pap_package


def archive(text: str) -> str:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as package:
        package.writestr("papdeploy/__init__.py", text)
    return base64.b64encode(made.getvalue()).decode()


def test_what_another_run_reads_is_kept_and_what_nobody_read_for_days_goes(tmp_path: Path) -> None:
    home = tmp_path / "cache"
    for number in range(5):
        place = pap_package.unpack(home, f"v{number}", archive(f"NUMBER = {number}"))
        assert (place / "papdeploy" / "__init__.py").read_text() == f"NUMBER = {number}"
    assert {path.name for path in home.iterdir()} == {"v0", "v1", "v2", "v3", "v4"}

    for number in range(5):
        at = time.time() - 3 * 86400 - 10 * number
        os.utime(home / f"v{number}", (at, at))
    pap_package.unpack(home, "v4", archive("not unpacked again"))
    assert {path.name for path in home.iterdir()} == {"v4", "v0", "v1"}
    assert (home / "v4" / "papdeploy" / "__init__.py").read_text() == "NUMBER = 4"
    assert home.stat().st_mode & 0o777 == 0o700
