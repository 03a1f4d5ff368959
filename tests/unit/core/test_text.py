"""Counts, durations and sizes: the helper, and the messages that count something, said of none, one and two."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from papdeploy.app.smoke import Baseline
from papdeploy.backup.manifest import Backup, Manifest
from papdeploy.core import text
from papdeploy.core.records import read_known
from papdeploy.databases.content_digest import comparison
from papdeploy.databases.content_digest.content import TableDigest
from papdeploy.databases.write_counts import Written, Wrote
from papdeploy.logwatch import rules
from papdeploy.migrations.cli import console
from papdeploy.migrations.cli.results import Event
from papdeploy.phases import login_baseline, migrate, preflight, progress, rehearse
from papdeploy.rehearsal import verdict
from papdeploy.releases import parts
from papdeploy.releases.parts import Endpoint, SchemaCheck
from papdeploy.releases.records import Migrated
from papdeploy.releases.rehearsed import BlockingLock, Online, Rehearsal, RehearsedMigration, Tried
from papdeploy.schema.differences.result import Checked, CheckResult, Difference
from support import backup_files, report_samples

# A number one before a plural. "1 is", "1 has" and "1 was" are sentences, not counts.
WRONG = re.compile(r"\b1 (?:(?:more|new|log|open|other) )?(?!is\b|has\b|was\b|ms\b)[a-z]+s\b")


def _difference() -> Difference:
    return Difference("column_missing", "public.t.c", "error", "c", "", "")


def _rehearsal(n: int) -> Rehearsal:
    return Rehearsal(migrations=(RehearsedMigration(),) * n, migrate_s=n, copy="c", schema=SchemaCheck())


def _migration(n: int) -> RehearsedMigration:
    return RehearsedMigration("m", seconds=n, statement_count=n, rows=n, wal_bytes=n)


def _tried(n: int) -> Tried:
    return Tried("new", works=True, healthy_after_s=n, endpoints=(parts.Tested(),) * n)


def _applied(n: int) -> Migrated:
    item = parts.Migration("m", statements=(parts.Statement(),) * n, seconds=n)
    return Migrated(applied=(item,), check=SchemaCheck(checked=parts.Checked(n)))


def _schema(n: int) -> str:
    found = preflight.Findings.__new__(preflight.Findings)
    found.differences = [_difference()] * n
    return found.schema


def _dumped(n: int) -> Any:
    tables = {"public": {"t": TableDigest(n, "1")}}
    other = {"public": {"t": TableDigest(n, "2"), "u": TableDigest(n, "1")}}
    return [str(found) for found in comparison._tables(tables, other, set(), {})]


MESSAGES: dict[str, Callable[[int], Any]] = {
    "migrate": lambda n: migrate._lines(_applied(n)),
    "rehearse migrations": lambda n: rehearse._migrated(_rehearsal(n)),
    "rehearse one": lambda n: rehearse._one(_migration(n)),
    "rehearse trial": lambda n: rehearse._tried("the new API", _tried(n)),
    "rehearse online": lambda n: rehearse._online(Online(False, ("a",) * (n + 1)), ""),
    "baseline": lambda n: login_baseline.line(Baseline((Endpoint("/", 200),) * n)),
    "schema": _schema,
    "schema check": lambda n: CheckResult(False, (_difference(),) * n, Checked()).summary(),
    "watch": lambda n: rules.told(report_samples.watch(records=n, requests=n, findings=[])),
    "written": lambda n: Written({f"t{i}": Wrote(n, n) for i in range(12 + n)}, True, "").sentence(),
    "locks": lambda n: verdict.lock_words([BlockingLock(f"t{i}", "ShareLock", n) for i in range(6 + n)]),
    "backfill": lambda n: progress.sentence(
        {"event": "progress", "identity": "m", "rows_done": n, "rows_total": n, "rows_per_second": n, "estimated": False}
    ),
    "resumed": lambda n: console.sentence(Event("resumed", identity="m", rows_done=n)),
    "content digest": _dumped,
    "span": lambda n: [text.age(n * unit) for unit in (1, 60, 3600, 86400)],
    "backup": lambda n: _backup(n).sentence(),
}  # fmt: skip


def _backup(n: int) -> Backup:
    value = backup_files.example(
        tables=n, rows=n, bytes=n, seconds={"dump": 0, "restore": 0, "content_digest": 0, "total": n}
    )
    return Backup(Path("x.dump"), read_known(Manifest, value))


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.parametrize("count", [0, 1, 2, 1234])
def test_a_count_and_its_noun_agree(name: str, count: int) -> None:
    said = MESSAGES[name](count)
    for line in [said] if isinstance(said, str) else said:
        assert not WRONG.search(line), line


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (text.plural(0, "row"), "0 rows"),
        (text.few([], 2), ""),
        (text.few(["a", "b"], 2), "a, b"),
        (text.few(["a", "b", "c"], 2), "a, b and 1 more"),
        (text.plural(1, "row"), "1 row"),
        (text.plural(1.0, "day"), "1 day"),
        (text.plural(0.5, "day"), "0.5 days"),
        (text.plural(63806, "row"), "63,806 rows"),
        (text.plural(2, "index", "indexes"), "2 indexes"),
        (text.age(119), "119 s"),
        (text.age(7300), "2 h"),
        (text.age(3 * 86400), "3 days"),
        (text.size(None), "of unknown size"),
        (text.size(18_400_000), "18.4 MB"),
        (text.seconds(0), "0 ms"),
        (text.seconds(9.96), "10 s"),
    ],
)
def test_the_helper(said: str, expected: str) -> None:
    assert said == expected
