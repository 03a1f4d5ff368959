"""The looks of the watch as a picture: what was measured is in it, in its description and in its line for a terminal."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from papdeploy.core.clock import seconds_between
from papdeploy.core.records import plain, recorded
from papdeploy.logwatch import looks
from papdeploy.logwatch.looks import Asked, Look, NotLooked
from papdeploy.report import looks_picture
from papdeploy.report.looks_picture import Picture, draw, gathered, sketch
from support import report_samples as samples

SWITCH = samples.at(400)


def day(minutes: int = 1440, failing: range = range(0)) -> list[Look]:
    """A look each minute; the policies get slower from noon on."""
    found = []
    for minute in range(minutes):
        ok = minute not in failing
        slow = 30.0 if minute < minutes / 2 else 90.0
        asked = tuple(Asked(path, 200 if ok else 503, 5.0, p95_ms=ms if ok else None)
                      for path, ms in (("/policies/", slow), ("/peps/", 12.0), ("/resources/", 40.0), ("/teams/", 41.0)))  # fmt: skip
        found.append(Look(samples.at(420 + 60 * minute), health=Asked("/health", 200, 2.0, 2.5), endpoints=asked))
    return found


BEFORE = Look(samples.at(0), health=Asked("/health", 200, 2.0, 2.4),
              endpoints=(Asked("/policies/", 200, 20.0, 30.0), Asked("/peps/", 200, 9.0, 12.0)))  # fmt: skip


def picture(minutes: int = 1440, failing: range = range(0)) -> Picture:
    made = gathered(day(minutes, failing), BEFORE, SWITCH)
    assert made is not None
    return made


def test_before_and_after_by_what_rose_most() -> None:
    made = picture(failing=range(100, 103))
    assert (made.begin, made.switch, sum(made.looks), sum(made.failed), made.omitted) == (SWITCH, SWITCH, 1440, 3, 2)
    assert len(made.looks) <= 121 and made.bin_s == 720
    assert [(curve.path, curve.before_ms, curve.last_ms) for curve in made.curves] == [
        ("/policies/", 30.0, 90.0), ("/health", 2.4, 2.5), ("/peps/", 12.0, 12.0),
    ]  # fmt: skip
    assert made.curves[0].sentence == "/policies/: p95 30 ms before, 90 ms now, 90 ms at most"
    bare = gathered(day(), None, SWITCH)
    assert bare is not None and "p95 not recorded before" in bare.curves[0].sentence
    assert made.sentence.startswith(
        "1,440 looks, in 3 of them a request failed; the switch was at 2025-03-01 01:36:40 UTC"
    )


@pytest.mark.parametrize("minutes", [1, 2, 59, 119, 120, 121, 1440, 4000])
def test_every_look_is_in_one_bin(minutes: int) -> None:
    made = picture(minutes)
    assert sum(made.looks) == minutes and len(made.looks) <= 122
    assert all(len(curve.p95_ms) == len(made.looks) == len(made.failed) for curve in made.curves)
    end = seconds_between(made.begin, samples.at(420 + 60 * (minutes - 1)))
    assert len(made.looks) * made.bin_s > end


def test_where_nothing_was_answered_there_is_a_gap() -> None:
    made = gathered(day(30, range(10, 20)), BEFORE, SWITCH)
    assert made is not None
    policies = next(curve for curve in made.curves if curve.path == "/policies/")
    assert [value is None for value in policies.p95_ms[10:20]].count(True) >= 9
    assert draw(made).count("<polyline") == 8, (
        "three levels of before, two curves in two pieces, that of the health in one"
    )
    assert sketch(made)[0].count("x") == 10


def test_nothing_to_draw() -> None:
    blind = Look(samples.at(500), not_looked=(NotLooked("the API", "its address is not known"),))
    assert gathered([], None, None) is None and gathered([blind], None, SWITCH) is None
    assert looks_picture.section(None, ()) == looks_picture.section(Picture(), ()) == ""
    said = looks_picture.section(None, ["sum(a) < 1 = 2, more than 1"])
    assert "<code>sum(a) &lt; 1 = 2, more than 1</code>" in said and "<svg" not in said


def test_the_svg_is_sound_and_says_what_it_shows() -> None:
    hostile = [replace(look, health=Asked('/<script>"\u202e', 200, 1.0, 1.0)) for look in day(5)]
    made = gathered(hostile, None, SWITCH)
    assert made is not None
    text = looks_picture.section(made, ())
    assert "<script" not in text and "\u202e" not in text
    assert text.count('role="img"') == text.count("<desc>") == text.count("<title>How long") == 1
    assert "switch" in text and "before" in text
    numbers = [float(value) for value in re.findall(r'(?:x|y|x1|x2|y1|y2|width)="(-?[\d.]+)"', text)]
    assert numbers and min(numbers) >= 0 and max(numbers) <= 1000
    assert "nan" not in text and "inf" not in text


def test_it_survives_its_json() -> None:
    made = picture()
    assert recorded(Picture, plain(made)) == made


def test_from_the_file_of_the_watch(tmp_path: Path) -> None:
    for look in day(3):
        looks.append(tmp_path, look)
    looks.keep_before(tmp_path, BEFORE)
    made = gathered(looks.read(tmp_path), looks.before(tmp_path), None)
    assert made is not None and made.curves[-1].before_ms is not None and made.switch is None
    assert "switch" not in draw(made)


def test_a_line_for_a_terminal() -> None:
    lines = sketch(picture(failing=range(100, 103)))
    assert lines[0] == "▃▃x" + "▃" * 17 + "█" * 20 + " /policies/: p95 30 ms before, 90 ms now, 90 ms at most"
    assert lines[2] == "██x" + "█" * 37 + " /peps/: p95 12 ms before, 12 ms now, 12 ms at most"
    assert all(len(line.split(" ")[0]) <= 41 for minutes in (1, 41, 97, 4000) for line in sketch(picture(minutes)))
