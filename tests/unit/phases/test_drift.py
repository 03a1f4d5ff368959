"""Unexplained drift: the preflight names what was altered by hand since the last release, and nothing else."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from papdeploy.core.durable import private_folder
from papdeploy.core.errors import PapError, Refused
from papdeploy.phases import preflight, schema_before
from papdeploy.releases.journal import Journal, State
from papdeploy.releases.run import Run
from papdeploy.schema import fingerprint
from papdeploy.schema.catalog.rows import CATALOG_FORMAT, Catalog

VERSION = {"label": "pap:1.9.0", "identity": "sha256:93fe"}
SECTIONS = ("schemas", "relations", "sequences", "types", "functions", "extensions", "statistics", "default_privileges",
            "others", "elsewhere", "unreadable")  # fmt: skip


def catalog(*columns: dict[str, Any], check: str = "(n > 0)", **sections: Any) -> Catalog:
    """A described database: one table ``t`` with a check."""
    table = {
        "schema": "public", "name": "t", "kind": "r", "persistence": "p", "owner": "app", "columns": list(columns),
        "constraints": [{"name": "n_positive", "type": "check", "columns": ["n"], "expression": check}],
    }  # fmt: skip
    database = {"server_version": 160004, "path": ["public"], "name": "app"}
    found = {"format": CATALOG_FORMAT, "database": database, **{name: [] for name in SECTIONS}, "relations": [table]}
    return Catalog.from_json({**found, **sections})


N = {"name": "n", "type": "integer"}
NOTE = {"name": "note", "type": "text"}


class Bench:
    """A stack whose last release left ``before``; ``refused`` looks at it as a database that now holds ``live``."""

    def __init__(self, folder: Path, before: Catalog) -> None:
        self.state = State(folder / "state")
        who = Run(user="jane", host="away", pid=1)
        journal = self.state.begin(who, stack="pap", environment="staging", **{"from": VERSION})
        (journal.folder / "catalog.json").write_text(json.dumps(before.as_json()))
        journal.append("release", "finished", seconds=9.0, schema_fingerprint=fingerprint(before))
        self.journal = journal
        self.stack: Any = SimpleNamespace(label="pap (staging)", state=self.state)

    def look(self, live: Catalog, **options: Any) -> list[str]:
        found: Any = SimpleNamespace(live=live)
        return preflight._refuse_drift(self.stack, found, preflight.Options(**options))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, catalog(N))


def test_what_was_altered_is_named(bench: Bench) -> None:
    with pytest.raises(Refused) as refusal:
        bench.look(catalog({**N, "type": "bigint"}, NOTE))
    message = refusal.value.message
    assert f"since release {bench.journal.release}" in message
    assert "t.note: column_extra" in message
    assert "t.n: column_type" in message
    assert "t.n: the release left integer, now there is bigint" in refusal.value.data["lines"]
    assert "preflight_allow_drift" in refusal.value.hint


def test_nothing_altered_is_quiet_and_so_is_a_person_who_said_to_go_on(bench: Bench) -> None:
    assert bench.look(catalog(N)) == []
    assert bench.look(catalog(N, NOTE), allow_drift=True) == []


def test_another_spelling_is_no_drift(bench: Bench) -> None:
    """A dump that was restored prints casts and lists elsewhere; so does a rollback by restoring."""
    live = catalog(N, check="(n > '0'::integer)")
    assert fingerprint(live) != fingerprint(catalog(N))
    assert bench.look(live) == []


def test_what_the_models_leave_open_counts(bench: Bench) -> None:
    live = catalog(N)
    (table,) = live.relations
    live = replace(live, relations=(replace(table, constraints=(replace(table.constraints[0], name="renamed"),)),))
    with pytest.raises(Refused, match=r"t\.n_positive: constraint_name"):
        bench.look(live)


@pytest.mark.parametrize(
    ("section", "row", "named"),
    [
        ("schemas", {"name": "tmp", "owner": "jane"}, "schema tmp: object_extra"),
        ("extensions", {"name": "citext", "schema": "public", "version": "1.6"}, "extension citext: object_extra"),
        ("default_privileges", {"kind": "r", "public": ["SELECT"]}, "database tables: default_grant"),
        ("others", {"identity": "collation public.o", "schema": "public", "definition": "c"}, "collation o: object_extra"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_named_too(tmp_path: Path, section: str, row: dict[str, Any], named: str) -> None:
    more: dict[str, Any] = {section: [row]}
    with pytest.raises(Refused, match=named):
        Bench(tmp_path, catalog(N)).look(catalog(N, **more))
    with pytest.raises(Refused):
        Bench(tmp_path / "reverse", catalog(N, **more)).look(catalog(N))


def test_patterns_of_the_inventory_hold(bench: Bench) -> None:
    assert bench.look(catalog(N, NOTE), schema={"ignore": ["t.note"]}) == []
    with pytest.raises(Refused) as refusal:
        bench.look(catalog({**N, "not_null": True}, NOTE), schema={"ignore": ["t.note"]})
    assert refusal.value.data["drift"] == ["t.n: column_not_null"]


def test_another_major_version_or_format_cannot_be_compared_and_says_so(bench: Bench) -> None:
    present = catalog(N, NOTE)
    upgraded = replace(present, database=replace(present.database, server_version=180004))
    for live in (upgraded, replace(present, format=CATALOG_FORMAT + 1)):
        (line,) = bench.look(live)
        assert line.startswith("drift: cannot be told")


def test_without_the_catalog_of_then_the_fingerprint_alone_refuses(bench: Bench) -> None:
    (bench.journal.folder / "catalog.json").unlink()
    with pytest.raises(Refused, match="another fingerprint"):
        bench.look(catalog(N, NOTE))


def test_a_schema_that_stayed_when_the_image_went_back_is_no_drift(bench: Bench) -> None:
    def taken_back(release: str, **left: Any) -> None:
        journal = Journal(private_folder(bench.state.releases_folder / release))
        journal.append("release", "begin", number=len(bench.state.releases()) + 1)
        (journal.folder / "catalog.json").write_text(json.dumps(catalog(N, NOTE).as_json()))
        journal.append("release", "rolled_back", **left)

    taken_back("29990101T000000Z-aaaa", strategy="downgrade")  # leaves what was there before
    assert bench.look(catalog(N)) == []
    with pytest.raises(Refused, match="column_extra"):
        bench.look(catalog(N, NOTE))
    taken_back("29990102T000000Z-aaaa", strategy="image", schema_fingerprint=fingerprint(catalog(N, NOTE)))
    assert bench.look(catalog(N, NOTE)) == []
    with pytest.raises(Refused, match="column_missing"):
        bench.look(catalog(N))


@pytest.mark.parametrize(("live", "said"), [(catalog(N), ""), (catalog(NOTE), "t.n: column_missing")])
@pytest.mark.parametrize("kept", [CATALOG_FORMAT, CATALOG_FORMAT - 1])
def test_a_rollback_holds_the_schema_against_the_old_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, kept: int, live: Catalog, said: str
) -> None:
    """What was kept with the release; if pap-deploy was upgraded since and cannot read it, what the old models ask."""
    (bench.journal.folder / "before.json").write_text(json.dumps({**catalog(N).as_json(), "format": kept}))
    asked = []
    monkeypatch.setattr(schema_before, "expected_catalog", lambda *_: asked.append(kept) or catalog(N))
    app_session = SimpleNamespace(call=lambda name, *_, **__: {"catalog": live.as_json(), "digest": "93fe"})
    bench.stack.beside_models = lambda version: contextlib.nullcontext(app_session)
    bench.stack.database = SimpleNamespace(facts=lambda: SimpleNamespace(version=160004))
    bench.stack.models = ["app.models"]
    with pytest.raises(PapError, match=said) if said else contextlib.nullcontext():
        assert schema_before.validate(bench.stack, bench.journal, "restore").matches
    assert asked == ([] if kept == CATALOG_FORMAT else [kept])
