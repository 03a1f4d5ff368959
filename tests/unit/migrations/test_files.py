"""Migration files: identity, order, requirements, and what is refused before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible.plugins.loader import lookup_loader
from hypothesis import given
from hypothesis import strategies as st
from papdeploy.core.errors import Refused
from papdeploy.migrations import files
from support import ROOT

UP = "def upgrade(db):\n    pass\n"
OLD = "def run_migration():\n    return True\n"


def doc(text: str = "", body: str = UP) -> str:
    return f'"""Something.\n\n{text}\n"""\n\n{body}'


def names(sources: dict[str, str]) -> list[str]:
    return [migration.identity for migration in files.load_sources(sources)]


ORDERS: dict[str, tuple[Sequence[str | tuple[str, str]], list[str]]] = {
    "by date, then name": (["2025_01_02_b", "2025_01_02_a", "2024_12_31_z"],
                           ["2024_12_31_z", "2025_01_02_a", "2025_01_02_b"]),
    "undated by the date in the docstring": (["2025_06_01_m", ("add_key", "Date: 2025-05-31"),
                                              ("zz", "Date: 2025-06-02")],
                                             ["add_key", "2025_06_01_m", "zz"]),
    "other spellings of a date": ([("c", "Date: 3 March 2025"), ("b", "Date: March 2, 2025"),
                                   ("a", "Date:   2025/03/04")],
                                  ["b", "c", "a"]),
    "a time after the date": ([("b", "Date: 2025-03-01 10:11:12"), ("a", "Created: 02.03.2025")], ["b", "a"]),
}  # fmt: skip


@pytest.mark.parametrize("case", ORDERS)
def test_order(case: str) -> None:
    given_names, expected = ORDERS[case]
    sources = {
        f"{item}.py" if isinstance(item, str) else f"{item[0]}.py": UP if isinstance(item, str) else doc(item[1])
        for item in given_names
    }
    assert names(sources) == expected


UNDATED = {"b.py": UP, "a.py": doc("Date: soon"), "c.py": OLD, "2020_01_01_old.py": UP, "_helper.py": UP}


def test_all_without_a_date_are_named_at_once() -> None:
    with pytest.raises(Refused) as caught:
        files.load_sources(UNDATED)
    assert caught.value.message == (
        "Without a date, so that the order is unknown: 3 migrations: a (Date: 'soon'), b, c."
    )
    assert "pap_migrations_order" in caught.value.hint


def test_an_order_stands_in_for_dates() -> None:
    order = "# as they were run by hand\nc.py\n\n b  # the second\na\n"
    assert names({**UNDATED, "_order.txt": order}) == ["c", "b", "a", "2020_01_01_old"]
    first = files.load_sources({**UNDATED, "_order.txt": order})[0]
    assert first.as_dict()["date"] is None
    with pytest.raises(Refused, match="1 migration: c"):
        files.load_sources({**UNDATED, "_order.txt": "a\nb\n"})
    with pytest.raises(Refused, match=r"names what is not there: d, e, a \(twice\)\."):
        files.load_sources({**UNDATED, "_order.txt": "a\nd\nb\nc\na\ne"})
    # One that another needs comes before it, whatever the list says.
    needs = {"a.py": 'requires = ["b"]\n' + UP, "b.py": UP, "_order.txt": "a\nb\n"}
    assert names(needs) == ["b", "a"]


def test_the_order_of_a_folder(tmp_path: Path) -> None:
    for name, text in UNDATED.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "_order.txt").write_text("b\nc\na\n")
    assert [m.identity for m in files.load_folder(tmp_path)] == ["b", "c", "a", "2020_01_01_old"]


def test_the_order_of_the_inventory_goes_before_that_of_the_folder(tmp_path: Path) -> None:
    for name, text in {**UNDATED, "_order.txt": "b\nc\na\n"}.items():
        (tmp_path / name).write_text(text)
    lookup = lookup_loader.get("pap_migrations", basedir=str(ROOT))
    (found,) = lookup.run([str(tmp_path)], variables={}, order=["a", "b.py", "c"])
    assert names(found) == ["a", "b", "c", "2020_01_01_old"]
    (found,) = lookup.run([str(tmp_path)], variables={})
    assert names(found) == ["b", "c", "a", "2020_01_01_old"]
    assert lookup.run([], variables={}) == [{}], "no folder, no migration"


def test_requires_comes_first_and_the_rest_stays_in_order() -> None:
    sources = {
        "2025_01_01_a.py": 'requires = ["2025_01_03_c"]\n' + UP,
        "2025_01_02_b.py": UP,
        "2025_01_03_c.py": UP,
        "2025_01_04_d.py": 'requires = ["2025_01_01_a.py"]\n' + UP,
    }
    assert names(sources) == ["2025_01_02_b", "2025_01_03_c", "2025_01_01_a", "2025_01_04_d"]


@given(st.dictionaries(st.integers(1, 28), st.lists(st.integers(1, 28), max_size=3), min_size=1, max_size=12))
def test_any_set_is_ordered_or_refused(requirements: dict[int, list[int]]) -> None:
    sources = {
        f"2025_01_{day:02}_m.py": f"requires = {[f'2025_01_{need:02}_m' for need in needs]}\n{UP}"
        for day, needs in requirements.items()
    }
    try:
        order = names(sources)
    except Refused:
        missing = any(need not in requirements for needs in requirements.values() for need in needs)
        assert missing or _has_cycle(requirements)
        return
    assert sorted(order) == sorted(name[:-3] for name in sources)
    for day, needs in requirements.items():
        for need in needs:
            assert order.index(f"2025_01_{need:02}_m") < order.index(f"2025_01_{day:02}_m")


def _has_cycle(requirements: dict[int, list[int]]) -> bool:
    def reaches(start: int, goal: int, seen: set[int]) -> bool:
        return any(
            need == goal or (need not in seen and reaches(need, goal, seen | {need}))
            for need in requirements.get(start, ())
        )

    return any(reaches(day, day, set()) for day in requirements)


NOT_MIGRATIONS = {
    "migration_template.py": UP,
    "_helpers.py": UP,
    "__init__.py": "",
    "helpers.py": "def help():\n    pass\n",
    "broken_helper.py": "this is (not python",
    "readme.txt": UP,
}


@pytest.mark.parametrize("name", NOT_MIGRATIONS)
def test_what_is_no_migration_is_passed_over(name: str) -> None:
    assert names({name: NOT_MIGRATIONS[name], "2025_01_01_a.py": UP}) == ["2025_01_01_a"]


REFUSED = {
    "a dated file without an entry point": ({"2025_01_01_a.py": "x = 1\n"}, "neither upgrade"),
    "a dated file that is no Python": ({"2025_01_01_a.py": "def upgrade(db:\n"}, r"not valid Python \(line 1\)"),
    "an undated migration that is no Python": ({"a.py": "def upgrade(db):\n  (\n"}, "not valid Python"),
    "no such day": ({"2025_02_30_a.py": UP}, "2025-02-30 is not a date"),
    "no date": ({"add_key.py": UP}, "1 migration: add_key"),
    "a placeholder for a date": ({"add_key.py": doc("Date: YYYY-MM-DD")}, r"add_key \(Date: 'YYYY-MM-DD'\)"),
    "upgrade without db": ({"2025_01_01_a.py": "def upgrade():\n    pass\n"}, "exactly one argument"),
    "requirement that is not there": ({"2025_01_01_a.py": 'requires = ["none"]\n' + UP},
                                     "requires none, which is not there"),
    "requires itself": ({"2025_01_01_a.py": 'requires = ["2025_01_01_a"]\n' + UP},
                        "in a circle: 2025_01_01_a → 2025_01_01_a"),
    "a circle": (
        {"2025_01_01_a.py": 'requires = ["2025_01_02_b"]\n' + UP,
         "2025_01_02_b.py": 'requires = ["2025_01_01_a"]\n' + UP},
        "in a circle: 2025_01_01_a → 2025_01_02_b → 2025_01_01_a",
    ),
    "requires computed": ({"2025_01_01_a.py": "requires = list()\n" + UP}, "written as a plain value"),
    "requires of another type": ({"2025_01_01_a.py": 'requires = "x"\n' + UP}, "must be a list of migration names"),
    "transactional of another type": ({"2025_01_01_a.py": "transactional = 0\n" + UP}, "True or False, not 0"),
    "names that differ in case": ({"2025_01_01_A.py": UP, "2025_01_01_a.py": UP},
                                  "differ only in upper and lower case"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    sources, message = REFUSED[case]
    with pytest.raises(Refused, match=message):
        files.load_sources(sources)


def test_two_folders_with_one_identity(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "2025_01_01_a.py").write_text(UP)
    with pytest.raises(Refused, match="Two files are the migration 2025_01_01_a"):
        files.load_folders([tmp_path / "one", tmp_path / "two"])
    (tmp_path / "two" / "2025_01_01_a.py").rename(tmp_path / "two" / "2024_01_01_b.py")
    assert [m.identity for m in files.load_folders([tmp_path / "one", tmp_path / "two"])] == [
        "2024_01_01_b",
        "2025_01_01_a",
    ]
    with pytest.raises(Refused, match="no migrations folder"):
        files.load_folder(tmp_path / "none")


def test_what_a_file_says_of_itself() -> None:
    source = doc("Date: 2025-01-01\nAuthor: Ada", 'requires = ["b"]\ntransactional: bool = False\n' + UP)
    (migration,) = [
        m for m in files.load_sources({"a.py": source, "b.py": doc("Date: 2025-01-01", OLD)}) if m.identity == "a"
    ]
    assert (migration.description, migration.author, migration.transactional) == ("Something.", "Ada", False)
    assert (migration.requires, migration.flavour, migration.reversible) == (("b",), files.MODERN, False)
    old = files.read("b.py", doc("Date: 2025-01-01", OLD))
    assert old is not None and (old.flavour, old.transactional, old.reversible) == (files.SCRIPT, False, False)


@pytest.mark.parametrize(
    ("body", "reversible"),
    [("def downgrade(db):\n    db.execute('x')\n", True), ("def downgrade(db):\n    pass\n", True), ("", False),
     ("def downgrade(db):\n    '''Gone.'''\n    raise NotImplementedError('x')\n", False)],
)  # fmt: skip
def test_reversible(body: str, reversible: bool) -> None:
    migration = files.read("2025_01_01_a.py", UP + body)
    assert migration is not None and migration.reversible is reversible


def test_checksum_sees_edits_but_not_line_ends() -> None:
    assert files.checksum("a\nb\n") == files.checksum("a\r\nb  \r\n\r\n") == files.checksum("\ufeffa\nb")
    assert len({files.checksum(text) for text in ("a\nb", "a\nc", "a\n\nb", "ab", " a\nb")}) == 5


def test_a_copy_of_the_template_is_a_whole_migration() -> None:
    source = (ROOT / "migrations" / "migration_template.py").read_text()
    migration = files.read("2026_01_01_copy.py", source)
    assert migration is not None
    assert migration.reversible and migration.transactional and migration.flavour == files.MODERN


def test_nothing_is_executed_by_reading(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    files.load_sources({"2025_01_01_a.py": f"open({str(mark)!r}, 'w')\n{UP}"})
    assert not mark.exists()


def test_with_requirements() -> None:
    loaded = files.load_sources(
        {"2025_01_01_a.py": UP, "2025_01_02_b.py": UP, "2025_01_03_c.py": 'requires = ["2025_01_01_a"]\n' + UP}
    )
    assert [m.identity for m in files.with_requirements(loaded, ["2025_01_03_c.py"])] == [
        "2025_01_01_a",
        "2025_01_03_c",
    ]
    with pytest.raises(Refused, match="no migration none"):
        files.with_requirements(loaded, ["none"])


def test_the_head_of_a_migration_in_sql() -> None:
    text = (
        "-- Add a.\n-- Date: 2026-01-09\n-- Author: Ada\n-- transactional: false\n-- requires: 2025_01_01_x.sql, 2025_01_02_y\n"
        "SELECT 1;"
    )
    found = files.read("add_a.sql", text + "\n-- migrate: down\nSELECT 2;")
    assert found is not None and found.dated is not None
    assert (found.identity, found.filename, found.dated.isoformat()) == ("add_a", "add_a.sql", "2026-01-09")
    assert (found.description, found.author, found.transactional, found.reversible) == ("Add a.", "Ada", False, True)
    assert found.requires == ("2025_01_01_x", "2025_01_02_y")
    assert files.read("add_a.sql", text) is None  # undated, and does not say that it is one
    assert files.read("dump.sql", "\\restrict x\nCREATE TABLE a (id int);") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no statement"),
        ("-- only this", "has no statement"),
        ("-- migrate: down\nSELECT 1;", "no statement to go up"),
        ("SELECT 1;\n-- migrate: donw\nSELECT 2;", "line 2: this comment is not understood"),
        ("-- transactional: no\nSELECT 1;", "line 1: this comment is not understood"),
        ("\\restrict x\nSELECT 1;", r"\\restrict, which only psql understands"),
        ("COPY a FROM stdin;\n1\n\\.\n", "COPY … FROM stdin, which only psql understands"),
    ],
)
def test_sql_that_is_refused(text: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        files.read("2026_01_01_a.sql", text)


def test_one_identity_has_one_file() -> None:
    with pytest.raises(Refused, match=r"Two files are the migration 2026_01_01_a: 2026_01_01_a\.\w+ and 2026_01_01_a"):
        files.load_sources({"2026_01_01_a.sql": "SELECT 1", "2026_01_01_a.py": "def upgrade(db): pass"})


def test_a_name_is_the_same_in_both_forms_of_unicode_and_line_ends_do_not_count() -> None:
    composed, apart = "2026_01_01_größe", "2026_01_01_gro\u0308ße"
    later = "requires = ['2026_01_01_gro\u0308\u00dfe.py']\ndef upgrade(db): pass"
    for name in (composed, apart):
        loaded = files.load_sources({f"{name}.py": "def upgrade(db): pass", "2025_01_01_z.py": later})
        assert [m.identity for m in loaded] == [composed, "2025_01_01_z"]
        assert files.with_requirements(loaded, [apart, composed]) == loaded[:1]
    with pytest.raises(Refused, match="Two files are the migration"):
        files.load_sources({f"{composed}.py": "def upgrade(db): pass", f"{apart}.py": "def upgrade(db): pass"})
    unix, windows = (
        files.read("2026_01_01_a.sql", text) for text in ("SELECT 1;\nSELECT '\n';", "SELECT 1;\r\nSELECT '\r\n';")
    )
    assert unix is not None and windows is not None
    assert unix.checksum == windows.checksum and unix.code == windows.code
