"""The record of what the watch measured: written minute by minute, read whole or from its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from papdeploy.logwatch import looks
from papdeploy.logwatch.looks import Asked, Look, NotLooked, Replica, Server, Slot

FULL = Look(
    at="2026-03-01T10:21:00.000Z",
    health=Asked("/health", 200, 1.9, 2.4),
    login=Asked("/auth/login", 0, 5000.0, None, "no answer within 5 s"),
    endpoints=(Asked("/policies/", 200, 12.5, 31.0),),
    server=Server(17, 100, 0.0, 3.2, replicas=(Replica("s1", "streaming", 0.1, 0),), slots=(Slot("s1", True, 4096),)),
    lost=0,
    alarms=("something",),
    not_looked=(NotLooked("replicas", "role app may not"),),
)


def test_what_is_written_is_read_also_behind_a_torn_line(tmp_path: Path) -> None:
    assert looks.read(tmp_path) == looks.recent(tmp_path) == []
    looks.append(tmp_path, FULL)
    with looks.file_of(tmp_path).open("ab") as file:
        file.write(b'{"at": "2026-03-01T10:22:0')  # a writer that was killed
    last = Look(at="2026-03-01T10:23:00.000Z")
    looks.append(tmp_path, last)
    assert looks.read(tmp_path) == looks.recent(tmp_path) == [FULL, last]
    assert looks.file_of(tmp_path).stat().st_mode & 0o777 == 0o600


def test_a_day_is_read_from_its_end(tmp_path: Path) -> None:
    line = looks.file_of(tmp_path)
    looks.append(tmp_path, FULL)
    line.write_bytes(line.read_bytes() * 1440)
    looks.append(tmp_path, Look(at="2026-03-02T10:21:00.000Z"))
    assert len(looks.read(tmp_path)) == 1441
    tail = looks.recent(tmp_path, 3)
    assert [look.at for look in tail] == [FULL.at, FULL.at, "2026-03-02T10:21:00.000Z"]


def test_what_was_before_is_kept(tmp_path: Path) -> None:
    assert looks.before(tmp_path) is None
    looks.keep_before(tmp_path, FULL)
    assert looks.before(tmp_path) == FULL


@pytest.mark.parametrize(
    ("samples", "expected"),
    [([], None), ([3.0], 3.0), ([float(n) for n in range(1, 21)], 19.0), ([9.0, 1.0, 2.0], 9.0)],
)
def test_the_95th_percentile(samples: list[float], expected: float | None) -> None:
    assert looks.p95(samples) == expected
