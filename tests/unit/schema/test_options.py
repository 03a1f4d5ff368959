"""What a person may say about a check, and how a result is judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from papdeploy.core.errors import PapError
from papdeploy.schema import Allowance, CheckOptions, Difference, judge, repair_script
from papdeploy.schema.cli import command
from papdeploy.schema.cli import configuration as configuration_module
from papdeploy.schema.cli.configuration import load_configuration
from papdeploy.schema.cli.formats import FORMATS, render
from papdeploy.schema.differences.generated_names import made_by_server
from papdeploy.schema.differences.options import allowance, matches_object
from papdeploy.schema.differences.result import Checked, CheckResult, result_from_dict
from papdeploy.schema.differences.rules import RULES
from papdeploy.schema.repair.order import Step, in_order
from papdeploy.schema.repair.ranks import rank
from support import ROOT


def difference(
    kind: str = "column_extra", name: str = "users.note", severity: str = "warning", repair: tuple[str, ...] = ()
) -> Difference:
    return Difference(kind, name, severity, "nothing", "note text", "no model knows it", tuple(repair))


@pytest.mark.parametrize(
    ("pattern", "name", "covered"),
    [
        ("users", "users", True),
        ("users", "users.email", True),
        ("users.email", "users.email", True),
        ("users.email", "users", False),
        ("legacy_*", "legacy_import.id", True),
        ("legacy_*", "users.legacy_id", False),
        ("*.legacy_*", "users.legacy_id", True),
        ("audit.*", "audit.entries", True),
        ("audit", "audit.entries.kind", True),
        ("USERS", "users", False),
        ("user?", "users", True),
    ],
)
def test_patterns(pattern: str, name: str, covered: bool) -> None:
    assert matches_object(pattern, name) is covered
    assert CheckOptions(ignore=[pattern]).ignores("column_extra", name) is covered
    assert CheckOptions(ignore=[f"column_extra:{pattern}"]).ignores("column_extra", name) is covered
    assert not CheckOptions(ignore=[f"index_*:{pattern}"]).ignores("column_extra", name)


def test_alembics_table_is_always_ignored() -> None:
    assert CheckOptions().ignores("table_extra", "alembic_version")


@pytest.mark.parametrize(
    ("today", "matches"), [("2026-03-31", True), ("2026-04-01", False)], ids=["last-day", "day-after"]
)
def test_an_allowance_holds_to_its_last_day(today: str, matches: bool) -> None:
    entry = Allowance("users.note", "dropped in March", "2026-03-31")
    result = judge([difference()], Checked(), CheckOptions(allow=(entry,), today=today))
    assert result.matches is matches
    assert len(result.allowed) == (1 if matches else 0)
    assert not result.notices


def test_an_unused_allowance_is_reported_and_fails_nothing() -> None:
    entry = Allowance("users.gone", "it was there", "2026-03-31", kind="column_extra")
    result = judge([], Checked(), CheckOptions(allow=(entry,), today="2026-01-01"))
    assert result.matches
    assert result.notices == (
        "The allowance for column_extra:users.gone (it was there) matches no difference: remove it.",
    )


def test_the_kind_of_an_allowance_counts() -> None:
    entry = Allowance("users.note", "x", "2026-03-31", kind="column_type")
    assert not judge([difference()], Checked(), CheckOptions(allow=(entry,), today="2026-01-01")).matches


@pytest.mark.parametrize("fail_on", ["error", "warning", "note", "never"])
@pytest.mark.parametrize("severity", ["error", "warning", "note"])
def test_the_threshold(fail_on: str, severity: str) -> None:
    order = ["never", "error", "warning", "note"]
    result = judge([difference(severity=severity)], Checked(), CheckOptions(fail_on=fail_on))
    assert result.matches is (order.index(severity) > order.index(fail_on))
    assert len(result.differences) == 1


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"reason": "x", "expires": "2026-01-01"}, "names no object"),
        ({"object": "a", "expires": "2026-01-01"}, "gives no reason"),
        ({"object": "a", "reason": " ", "expires": "2026-01-01"}, "gives no reason"),
        ({"object": "a", "reason": "x"}, "no valid expiry date"),
        ({"object": "a", "reason": "x", "expires": "soon"}, "no valid expiry date"),
        ({"object": "a", "reason": "x", "expires": "2026-01-01", "until": 1}, "unknown keys: until"),
    ],
)
def test_bad_allowances(entry: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PapError, match=sentence):
        allowance(entry)


def test_options_cross_a_process_as_plain_data() -> None:
    options = CheckOptions(
        ignore=("a",), allow=(Allowance("x", "y", "2026-01-01"),), fail_on="error", severities={"check_missing": "note"}
    )
    again = CheckOptions.from_dict(json.loads(json.dumps(options.as_dict())))
    assert again == options
    for wrong in ({"fail_on": "panic"}, {"nonsense": 1}, {"severities": {"x": "fatal"}}):
        with pytest.raises(PapError):
            CheckOptions.from_dict(wrong)


def test_results_cross_a_process_as_plain_data() -> None:
    entry = Allowance("users.note", "x", "2026-03-31")
    result = judge(
        [difference(), difference(name="b.c")],
        Checked(tables=2),
        CheckOptions(allow=(entry,), today="2026-01-01"),
        ["said"],
    )
    assert result_from_dict(json.loads(json.dumps(result.as_dict()))) == result
    assert result.summary() == "1 warning"


@pytest.mark.parametrize(
    ("name", "table", "kind", "made"),
    [
        ("users_pkey", "users", "primary key", True),
        ("users_email_key", "users", "unique", True),
        ("users_email_key1", "users", "unique", True),
        ("uq_users_email", "users", "unique", False),
        ("users_email_key", "users", "foreign key", False),
        ("orders_user_id_fkey", "orders", "foreign key", True),
        ("people_pkey", "users", "primary key", False),
        ("users_check", "users", "check", True),
        ("users2_pkey", "users", "primary key", False),
    ],
)
def test_names_that_the_server_made_up(name: str, table: str, kind: str, made: bool) -> None:
    assert made_by_server(name, table, kind) is made


def test_without_catalogs_the_kinds_decide_the_order() -> None:
    kinds = [
        ("foreign_key_missing", "t.f", ("ALTER TABLE t ADD FOREIGN KEY;",)),
        ("table_missing", "t", ("CREATE TABLE t;",)),
        ("column_extra", "u.c", ("-- destroys", "ALTER TABLE u DROP COLUMN c;")),
        ("type_missing", "k", ("CREATE TYPE k;",)),
        ("table_renamed", "u", ("ALTER TABLE w RENAME TO u;",)),
    ]
    script = repair_script([difference(kind, name, repair=repair) for kind, name, repair in kinds])
    assert script == [
        "CREATE TYPE k;",
        "ALTER TABLE w RENAME TO u;",
        "CREATE TABLE t;",
        "ALTER TABLE t ADD FOREIGN KEY;",
        "-- destroys\nALTER TABLE u DROP COLUMN c;",
    ]


def test_steps_follow_what_their_objects_stand_on() -> None:
    table, key, column = ("relation", "s", "t"), ("constraint", "s", "t", "pk"), ("column", "s", "t", "c")
    view, function, other = ("relation", "s", "v"), ("function", "s", "f", ""), ("constraint", "s", "u", "fk")

    def order(steps: list[Step], wanted: Any = None, present: Any = None) -> list[str]:
        return [step.name for step in in_order(steps, wanted or {}, present or {})]

    made = [Step(1, "table", [], makes={table}), Step(9, "function", [], makes={function})]
    assert order(made) == ["table", "function"]
    assert order(made, {("default", "s", "t", "c"): {function}}) == ["function", "table"]
    changed = [Step(1, "key", [], makes={key}), Step(9, "drop", [], drops={other}), Step(0, "again", [], makes={other})]
    assert order(changed, {other: {key}}, {other: {key}}) == ["drop", "key", "again"]
    gone = [Step(1, "column", [], drops={column}), Step(2, "view", [], makes={view})]
    assert order(gone, {}, {view: {column}}) == ["view", "column"]  # the view no longer reads it
    circle = [Step(2, "b", [], makes={view}), Step(1, "a", [], makes={table})]
    assert order(circle, {view: {table}, table: {view}}) == ["a", "b"]


def test_every_kind_has_a_place_in_the_script_and_in_the_documentation() -> None:
    late = ("default_grant", "schema_comment", "schema_grant", "schema_owner", "sequence_behind", "object_missing")
    documentation = (ROOT / "docs" / "schema-check.md").read_text()
    for kind, rule in RULES.items():
        assert rank(kind) < 23 or kind in late
        assert f"`{kind}`" in documentation, f"{kind} is not documented"
        assert f"| `{kind}` | {rule.severity} |" in documentation


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_shows_every_difference_whatever_it_holds(name: str) -> None:
    odd = Difference(
        "check_changed", 'odd "t".x', "error", "CHECK (a <> '<&>%,:\n')", "\x1b[0m]]>", "because", ("ALTER …;",)
    )
    allowed = Difference(
        "column_extra", "users.note", "warning", "nothing", "note", "x", allowed="known (until 2030-01-01)"
    )
    result = CheckResult(False, (odd,), Checked(database="d", tables=1), (allowed,), ("a notice",))
    text = render(result, name)
    assert "because" in text
    assert "a notice" in text
    if name == "junit":
        import xml.etree.ElementTree as ET

        assert ET.fromstring(text).get("failures") == "1"
    if name in ("json", "sarif"):
        json.loads(text)


def test_without_a_toml_reader_the_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = configuration_module.importlib.import_module

    def missing(name: str) -> object:
        if name in ("tomllib", "tomli"):
            raise ModuleNotFoundError(name)
        return real(name)

    monkeypatch.setattr(configuration_module.importlib, "import_module", missing)
    (tmp_path / "pyproject.toml").write_text("[tool.other]\nx = 1\n")
    assert load_configuration(folder=tmp_path).models == []
    (tmp_path / "pyproject.toml").write_text('[tool.papdeploy.schema]\nmodels = ["a"]\n')
    with pytest.raises(PapError, match=r"which this Python cannot read.*pap-deploy\.json"):
        load_configuration(folder=tmp_path)
    (tmp_path / "pap-deploy.json").write_text('{"models": ["a:B"]}')
    assert load_configuration(folder=tmp_path).models == ["a:B"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('models = "a"', "models must be a list"),
        ("fail_on = 3", "fail_on must be a text"),
        ("schema = 3", r"\[schema\] must be a table"),
        ('used_by = ["x"]', "used_by must be a table"),
        ("modles = []", "unknown keys: modles"),
        ("[", "cannot be read"),
        ('allow_file = "none.toml"', "cannot be read"),
    ],
)
def test_bad_configuration(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "pap-deploy.toml").write_text(text)
    with pytest.raises(PapError, match=sentence):
        load_configuration(folder=tmp_path)


def test_a_defect_of_the_check_is_not_a_difference(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python would exit with 1, which says that the database differs."""

    def broken(*_: object) -> int:
        raise IndexError("at postgresql://app:hush-hush@db/app")

    monkeypatch.setattr(command, "_run", broken)
    assert command.main([]) == command.NOT_CHECKED
    said = capsys.readouterr()
    assert said.out == ""
    assert "unexpected IndexError" in said.err
    assert "hush-hush" not in said.err
