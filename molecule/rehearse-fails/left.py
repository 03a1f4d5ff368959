"""Print what rehearsals left behind: python left.py STATE_FOLDER RELEASES_FOLDER. Knows nothing of pap-deploy."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path

state, releases = Path(sys.argv[1]), sys.argv[2]
journals = [path.read_text() for path in (state / "releases").glob("*/journal.jsonl")]
trials = []
for process in Path("/proc").glob("[0-9]*"):
    with suppress(OSError):  # it has ended meanwhile
        words = (process / "cmdline").read_bytes().split(b"\0")
        if str((process / "cwd").readlink()).startswith(releases) and any(w.startswith(b"--port=") for w in words):
            trials.append(int(process.name))
print(
    json.dumps(
        {
            "refused": sum('"event": "refused"' in journal for journal in journals),
            "rehearsed": sum('"event": "rehearsed"' in journal for journal in journals),
            "fenced": sum('"phase": "fence"' in journal for journal in journals),
            "locked": (state / "lock.json").exists(),
            "trials": trials,
        }
    )
)
