"""kill -9 in the middle of a rehearsal: no process stays, and the next run clears the copy away."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from papdeploy.phases import rollback
from support.rehearsal_stack import WHO, Bench, migration
from support.waiting import gone, wait_until

NOTE = "note: Mapped[str | None] = mapped_column(Text)"
ADD_NOTE = migration(
    'db.execute("ALTER TABLE users ADD COLUMN note text")', 'db.execute("ALTER TABLE users DROP COLUMN note")'
)
SLEEP = migration('db.execute("SELECT pg_sleep(120)")', 'db.execute("SELECT 1")')

# What the Ansible module does, in a process that can be killed.
SCRIPT = """
import pickle, sys
from papdeploy.phases import rehearse
from papdeploy.rehearsal import Options
from papdeploy.releases.run import Run
with open(sys.argv[1], "rb") as file:
    stack, release = pickle.load(file)
rehearse.run(stack, release, Options(), alone=True, nice=0)
"""


@pytest.fixture
def bench(servers: dict[int, Any], tmp_path: Path) -> Iterator[Bench]:
    made = Bench(servers[18], tmp_path, servers[18].create("killed"))
    try:
        yield made
    finally:
        made.close()


@pytest.mark.nightly  # by day tests/scenarios/test_killed.py
@pytest.mark.parametrize("where", ["migration", "trial"])
def test_what_a_killed_rehearsal_leaves_is_cleared_by_the_next_run(bench: Bench, tmp_path: Path, where: str) -> None:
    hanging = tmp_path / "pid"
    bench.write_release("new", user=NOTE, **({"hangs": str(hanging)} if where == "trial" else {}))
    sources = {"2026_01_01_note.py": ADD_NOTE}
    if where == "migration":
        sources["2026_01_02_sleep.py"] = SLEEP
    before = bench.content().tables["public"]["items"]
    release = bench.open(sources)
    hanging.unlink(missing_ok=True)  # the guard of the preflight has started the program as well
    state = tmp_path / "stack"
    state.write_bytes(pickle.dumps((bench.stack, release)))
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(state)], cwd="/", start_new_session=True, stderr=subprocess.DEVNULL
    )

    def sessions() -> int:
        return int(
            bench.server.sql(
                "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE"
                f" '{bench.dbname}\\_\\_%' AND backend_type = 'client backend'"
            )[0][0]
        )

    def sleeping() -> bool:
        return bool(bench.server.sql("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(120)%'"))

    def tried() -> bool:
        return hanging.exists() and len(bench.databases()) == 2

    try:
        wait_until(sleeping if where == "migration" else tried, seconds=60)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_until(lambda: not sessions(), seconds=30)  # the migration's session on the copy ends with its caller
    finally:
        process.kill()
        process.wait()
    if where == "trial":
        wait_until(lambda: gone(int(hanging.read_text())), seconds=30)
    assert len(bench.databases()) == 2
    assert bench.stack.state.unfinished().release == release
    assert bench.live.poll() is None

    # The next run ends what was interrupted and clears away what it left.
    runs = dataclasses.replace(bench.stack, api=bench.api(start_command=("true",)))  # it still runs: nothing to do
    rollback.run(runs, "", replace(WHO, pid=os.getpid()), rollback.Options(only_unfinished=True, take_over=True))
    assert bench.stack.state.unfinished() is None
    assert bench.databases() == [bench.dbname]
    (bench.folder / "new").rename(bench.folder / "hanging")
    bench.write_release("new", user=NOTE)
    assert bench.rehearse({"2026_01_01_note.py": ADD_NOTE})["verdict"] == "good"
    assert bench.databases() == [bench.dbname]
    assert bench.content().tables["public"]["items"] == before
