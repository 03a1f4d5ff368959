"""How the releases are derived from one source."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from sandbox.build import SOURCE, as_of, build, files, version_key
from sandbox.releases import DEFAULT_CANDIDATE, FIRST, RELEASES, Edit, Release

SOURCE_TEXT = """\
always = 1
later = 2  # since 2.1
# since 2.1:
block = 3
    indented = 4  # since 2.2
# end since
last = 5
"""


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2.0", ["always = 1", "last = 5"]),
        ("2.1", ["always = 1", "later = 2", "block = 3", "last = 5"]),
        ("2.2", ["always = 1", "later = 2", "block = 3", "    indented = 4", "last = 5"]),
        ("2.10", ["always = 1", "later = 2", "block = 3", "    indented = 4", "last = 5"]),
        ("10.0", ["always = 1", "later = 2", "block = 3", "    indented = 4", "last = 5"]),
    ],
)
def test_a_release_has_what_was_there_by_then(version: str, expected: list[str]) -> None:
    assert as_of(SOURCE_TEXT, version).splitlines() == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("# since 2.1:\nx = 1\n", "not closed"),
        ("x = 1\n# end since\n", "end of no block"),
        ("# since 2.1:\n# since 2.2:\n# end since\n# end since\n", "block inside a block"),
    ],
)
def test_marks_that_do_not_pair_are_an_error(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        as_of(text, "2.0")


def test_a_file_of_a_later_release_is_not_there() -> None:
    assert "app/routes_settings.py" not in files(RELEASES["previous"])
    assert "app/routes_settings.py" in files(RELEASES["current"])


@pytest.mark.parametrize("release", RELEASES.values(), ids=RELEASES)
def test_every_release_is_plain_python_without_marks(release: Release) -> None:
    for name, text in files(release).items():
        if name.endswith(".py") and name != "app/__init__.py":
            assert ast.parse(text).body, name
        assert not re.search(r"# (end )?since", text), name


def changed_lines(release: Release, base: str) -> list[str]:
    """The lines of the release that its base does not have, without the release's own name tag."""
    ours, theirs = files(release), files(RELEASES[base])
    return [
        line.strip()
        for name, text in ours.items()
        if name.startswith("app/") and name != "app/release.py"
        for line in text.splitlines()
        if line not in theirs[name].splitlines()
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("broken-migration", "display_name: Mapped"),
        ("broken-model", "review_due: Mapped"),
        ("broken-login", '"role": user.role.value,'),
        ("broken-boot", "telemetry,"),
        ("broken-data", "Base.metadata.drop_all(engine)"),
        ("next", "request_id"),
    ],
)
def test_a_release_differs_from_current_in_what_it_claims_only(name: str, expected: str) -> None:
    lines = changed_lines(RELEASES[name], "current")
    assert lines
    assert all(expected in line for line in lines), lines


def test_only_releases_with_a_schema_of_their_own_have_migrations() -> None:
    with_migrations = {name for name in RELEASES if any(f.startswith("migrations/") for f in files(RELEASES[name]))}
    assert with_migrations == {"next", "broken-migration"}
    assert {path.name for path in (SOURCE / "migrations").iterdir()} == with_migrations


def test_versions_are_ordered_as_the_names_say() -> None:
    keys = [version_key(RELEASES[name].version) for name in (FIRST, DEFAULT_CANDIDATE, "next")]
    assert keys == sorted(set(keys))


def test_an_edit_that_does_not_fit_exactly_once_is_an_error() -> None:
    for find in ("no such text", "Mapped"):
        with pytest.raises(ValueError, match="exactly once"):
            files(Release("bad", "2.1", "an edit that does not fit", (Edit("models.py", find, ""),)))


def test_building_again_writes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "current"
    assert build(RELEASES["current"], target)
    made = (target / "app" / "models.py").stat().st_mtime_ns
    assert not build(RELEASES["current"], target)
    assert (target / "app" / "models.py").stat().st_mtime_ns == made
    assert (target / "migrations").is_dir()


def test_another_source_replaces_the_directory_whole(tmp_path: Path) -> None:
    target = tmp_path / "release"
    build(RELEASES["current"], target)
    (target / "app" / "left_over.py").write_text("")
    assert build(RELEASES["previous"], target)
    assert not (target / "app" / "left_over.py").exists()
    assert not (target / "app" / "routes_settings.py").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["release"]
