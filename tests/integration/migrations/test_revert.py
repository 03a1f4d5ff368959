"""Revert: downgrades in reverse, whole, and refused before anything changes if one has no downgrade."""

from __future__ import annotations

from typing import Any

import pytest
from papdeploy.core.errors import PapError, Refused
from support.migration_runner import ADD_X, CREATE_A, FILL_A, Bench, Verdict, migration
from support.postgres_servers import Server

THREE = {"2025_01_01_a.py": CREATE_A, "2025_01_02_fill.py": FILL_A, "2025_01_03_x.py": ADD_X}


@pytest.fixture
def bench(server: Server, database: str) -> Bench:
    return Bench(server, database)


def test_everything_of_a_release_in_one_transaction(bench: Bench) -> None:
    bench.apply({"2025_01_01_a.py": CREATE_A}, release="r0")
    bench.apply(THREE, release="r1")
    result = bench.revert(THREE, since_release="r1", release="r1-rollback")
    assert [ran.identity for ran in result.reverted] == ["2025_01_03_x", "2025_01_02_fill"]
    assert len(result.transactions) == 1
    assert bench.tables() == ["a"] and bench.columns() == ["id", "n"] and bench.applied() == ["2025_01_01_a"]
    assert bench.ledger("event, identity, release")[-2:] == [
        ("reverted", "2025_01_03_x", "r1-rollback"), ("reverted", "2025_01_02_fill", "r1-rollback"),
    ]  # fmt: skip
    bench.apply(THREE, release="r2")  # and forward again
    assert bench.columns() == ["id", "n", "x"] and len(bench.applied()) == 3


def test_the_newest_n(bench: Bench) -> None:
    bench.apply(THREE)
    bench.revert(THREE, count=1)
    assert bench.columns() == ["id", "n"]
    bench.revert(THREE, count=2)
    assert bench.tables() == [] and bench.applied() == []


def test_a_dry_run_says_what(bench: Bench) -> None:
    bench.apply(THREE)
    result = bench.revert(THREE, count=2, dry_run=True)
    assert result.pending == ["2025_01_03_x", "2025_01_02_fill"] and result.changed
    assert len(bench.applied()) == 3


NO_WAY_BACK = {
    "no downgrade": (migration("pass"), "it has no downgrade"),
    "raises": (migration("pass", 'raise NotImplementedError("rows are gone")'), "it has no downgrade"),
    "legacy script": (
        '"""Old.\n\nDate: 2025-01-02\n"""\n\ndef run_migration():\n    return True\n',
        "has no downgrade",
    ),
}


@pytest.mark.parametrize("case", NO_WAY_BACK)
def test_an_irreversible_one_is_refused_before_anything(bench: Bench, case: str) -> None:
    source, message = NO_WAY_BACK[case]
    sources = {"2025_01_01_a.py": CREATE_A, "2025_01_02_no.py": source, "2025_01_03_x.py": ADD_X}
    bench.apply(sources, assume_applied=("2025_01_02_no",))
    rows = len(bench.ledger())
    with pytest.raises(Refused, match=message) as caught:
        bench.revert(sources, count=3)
    assert "2025_01_02_no" in caught.value.message and "Restore the backup" in caught.value.hint
    assert bench.columns() == ["id", "n", "x"] and len(bench.ledger()) == rows
    bench.revert(sources, count=1)  # the one above it can go
    assert bench.columns() == ["id", "n"]


def test_a_failing_downgrade_rolls_all_back(bench: Bench) -> None:
    bad = migration("pass", 'db.execute("SELECT 1/0")')
    sources = {"2025_01_01_a.py": CREATE_A, "2025_01_02_bad.py": bad, "2025_01_03_x.py": ADD_X}
    bench.apply(sources)
    with pytest.raises(PapError, match="division by zero"):
        bench.revert(sources, count=3)
    assert bench.columns() == ["id", "n", "x"] and len(bench.applied()) == 3
    assert bench.ledger()[-1] == ("failed", "2025_01_02_bad")


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "not applied": ({"identities": ["2025_09_09_none"]}, "is not applied"),
    "needed by another": ({"identities": ["2025_01_01_a"]}, "2025_01_03_x, which is applied, requires it"),
    "nothing said": ({}, "Say what to revert"),
    "two things said": ({"count": 1, "since_release": "r1"}, "exactly one"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refused(bench: Bench, case: str) -> None:
    sources = {**THREE, "2025_01_03_x.py": 'requires = ["2025_01_01_a"]\n' + ADD_X}
    sources["2025_01_03_x.py"] = ADD_X.replace('"""A migration."""', '"""A migration."""\nrequires = ["2025_01_01_a"]')
    bench.apply(sources)
    arguments, message = REFUSALS[case]
    with pytest.raises(Refused, match=message):
        bench.revert(sources, **arguments)
    assert len(bench.applied()) == 3


@pytest.mark.parametrize("change", ["edited", "gone"])
def test_only_the_text_that_was_applied_is_reverted(bench: Bench, change: str) -> None:
    bench.apply(THREE)
    sources = dict(THREE)
    if change == "edited":
        sources["2025_01_03_x.py"] += "\n# another\n"
    else:
        del sources["2025_01_03_x.py"]
    with pytest.raises(Refused, match="edited" if change == "edited" else "gone"):
        bench.revert(sources, count=1)
    assert bench.columns() == ["id", "n", "x"]


def test_the_check_decides_here_too(bench: Bench) -> None:
    bench.apply(THREE)
    with pytest.raises(PapError, match="does not match"):
        bench.revert(THREE, count=1, check=lambda connection: Verdict(False))
    assert bench.columns() == ["id", "n", "x"]
    bench.revert(THREE, count=1, check=lambda connection: Verdict(True))
    assert bench.columns() == ["id", "n"]


def test_outside_a_transaction(bench: Bench) -> None:
    index = migration('db.execute("CREATE INDEX CONCURRENTLY ix ON a (n)")',
                      'db.execute("DROP INDEX CONCURRENTLY IF EXISTS ix")', head="transactional = False")  # fmt: skip
    sources = {**THREE, "2025_01_04_ix.py": index}
    bench.apply(sources)
    bench.revert(sources, count=2)
    assert bench.columns() == ["id", "n"] and bench.sql("SELECT to_regclass('ix')") == [(None,)]
    assert ("started", "2025_01_04_ix") in bench.ledger() and ("reverted", "2025_01_04_ix") in bench.ledger()
