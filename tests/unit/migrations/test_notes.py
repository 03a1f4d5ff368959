"""What the plan and the lint say before a run."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Optional

import pytest
from papdeploy.migrations import files, ledger, notes, planning
from papdeploy.migrations.authoring import lint
from papdeploy.migrations.authoring.lock_impact import TableSize

ADD = "ALTER TYPE state ADD VALUE IF NOT EXISTS 'parked' BEFORE 'shut';"
USE = "-- say\nUPDATE jobs SET state = 'parked' WHERE id = 1;"


@pytest.mark.parametrize(
    ("first", "second", "transaction", "said"),
    {
        "in two files": (ADD, USE, "all", ["2026_01_02_b, line 2"]),
        "each": (ADD, USE, "each", []),
        "committed first": ("-- transactional: false\n" + ADD, USE, "all", []),
        "in one file": (ADD + "\n" + USE, "SELECT 1", "all", ["2026_01_01_a, line 3"]),
        "a default": (ADD, "ALTER TABLE jobs ALTER state SET DEFAULT 'parked'", "all", ["2026_01_02_b, line 1"]),
        "another label": (ADD, "UPDATE jobs SET state = 'shut'", "all", []),
        "a new type": ("CREATE TYPE public.state AS ENUM ('shut');" + ADD, USE, "all", []),
        "renamed": ("ALTER TYPE state RENAME VALUE 'shut' TO 'parked'", USE, "all", []),
        "in between": ("-- transactional: false\nSELECT 1;", ADD + USE, "all", ["2026_01_02_b, line 2"]),
    }.values(),
)
def test_a_label_that_is_used_before_its_commit(first: str, second: str, transaction: str, said: list[str]) -> None:
    loaded = files.load_sources({"2026_01_01_a.sql": first, "2026_01_02_b.sql": second})
    found = notes.of(loaded, transaction)
    assert [str(note).partition(":")[0] for note in found] == said
    assert all("commit" in str(note) and "transactional = False" in note.help for note in found)
    if transaction == "all":
        ours = [f for f in lint.judge(loaded, None).findings if f.rule == "enum-label-not-committed"]
        assert [(f.file.partition(".")[0], f.line) for f in ours] == [(n.migration.identity, n.line) for n in found]


def test_a_date_in_the_future() -> None:
    ahead = date.today() + timedelta(days=40)
    name = f"{ahead:%Y_%m_%d}_a"
    sources = {f"{name}.sql": "SELECT 1", f"{date.today():%Y_%m_%d}_b.sql": "SELECT 1"}
    loaded = files.load_sources(sources)
    (note,) = notes.of(loaded)
    assert note.migration.identity == name and "out of order" in note.message
    entry = ledger.Entry(1, ledger.APPLIED, name, loaded[1].checksum, "r1", "me", "2026-01-01", 0.1, "")
    (problem,) = planning.compare(loaded, ledger.Ledger(True, (entry,))).problems
    assert problem.kind == "out_of_order" and "lies in the future" in problem.hint


@pytest.mark.parametrize(
    ("sizes", "rules"),
    [
        (None, set()),
        ({'"m"': TableSize(2_000_000, 1 << 31, {}, partitioned=True)}, set()),
        (
            {'"m"': TableSize(2_000_000, 1 << 31, {})},
            {"index-blocks-writes"},
        ),  # of an ordinary table ONLY builds it all
    ],
)
def test_an_index_of_a_partitioned_table_alone_builds_nothing(
    sizes: Optional[dict[str, TableSize]], rules: set[str]
) -> None:
    loaded = files.load_sources(
        {"2026_01_01_a.sql": "-- transactional: false\nCREATE INDEX IF NOT EXISTS ix ON ONLY m (v);"}
    )
    found = lint.judge(loaded, sizes).findings
    assert {f.rule for f in found if "index" in f.rule} == rules
