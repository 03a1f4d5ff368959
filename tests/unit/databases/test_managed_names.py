"""The rule by which a database is ours, against an independent content digest; and whose a state folder is."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from papdeploy.core.durable import private_folder
from papdeploy.core.errors import Refused
from papdeploy.core.registry import Registry
from papdeploy.databases import managed_names
from papdeploy.databases.managed_names import Found
from papdeploy.releases.journal import Journal, State
from papdeploy.releases.run import Run

LIVE, RELEASE, OID = "app", "20260101T000000Z-abcd", 4242
KINDS = ("scratch", "failed", "snap", "fenced", "restored", "live", "other")
# What the comment says, beside kind and release.
RECORDS: dict[str, dict[str, Any] | str | None] = {
    "none": None,
    "a person's": "do not drop, Anna",
    "damaged": 'pap-deploy {"kind": "fai',
    "ours": {"oid": OID, "stack": "ours"},
    "of another OID": {"oid": OID + 1, "stack": "ours"},
    "of another stack": {"oid": OID, "stack": "theirs"},
    "of another live database": {"of": "other", "oid": OID, "stack": "ours"},
    "without OID": {"stack": "ours"},
    "the last version's": {},
    "the last version's, with OID": {"oid": OID},
    "the last version's, of another OID": {"oid": OID + 1},
}
NAMES = ("right", "by a person", "of another kind")
# The last word of the registry on that name.
KNOWN: dict[str, dict[str, Any] | None] = {
    "nothing": None,
    "to be made": {"oid": None},
    "it": {"oid": OID},
    "another": {"oid": OID + 1},
    "it, for another release": {"oid": OID, "release": "r0"},
}
CLOCKS = ("1999-01-01T00:00:00Z", "2999-01-01T00:00:00Z")
Case = tuple[str, str, str, str, bool, bool, str]
CASES: list[Case] = list(itertools.product(KINDS, RECORDS, NAMES, KNOWN, (True, False), (True, False), CLOCKS))


def built(case: Case, tmp: Registry) -> tuple[Found, Registry, str]:
    kind, record, name, known, unclaimed, told, at = case
    given = RECORDS[record]
    text = given if isinstance(given, str) or given is None else "pap-deploy " + json.dumps(
        {"kind": kind, "of": LIVE, "release": RELEASE, "at": at, **given}
    )  # fmt: skip
    called = {
        "right": f"app__{kind}_{RELEASE}",
        "by a person": "a_look",
        "of another kind": f"app__{'snap' if kind == 'failed' else 'failed'}_{RELEASE}",
    }[name]
    found = Found(called, OID, 1, not unclaimed, 4711 if unclaimed else -1, text, "o", 0)
    registry = Registry(explains=lambda *asked: told and asked == (kind, RELEASE, called, OID))
    registry._own_id = "ours"
    noted = KNOWN[known]
    if noted is not None:
        registry.intend(called, kind, **{"release": RELEASE, **noted})
    return found, registry, called


def digest(case: Case) -> bool:
    """Written for this test alone: what makes a database ours."""
    kind, record, name, known, unclaimed, told, _ = case
    if kind == "fenced" and known in ("it", "it, for another release"):
        return True  # we renamed exactly this one; no comment can take it from us
    if record in ("none",):
        return unclaimed and known == "to be made"
    if kind in ("live", "other") or name != "right":
        return False
    if record == "ours":
        return known in ("to be made", "it")
    if record in ("the last version's", "the last version's, with OID"):
        return told
    return False


def test_the_rule_in_every_combination() -> None:
    wrong = []
    for case in CASES:
        found, registry, _ = built(case, Registry())
        judged = managed_names.judge(found, LIVE, registry, registry.known())
        if (judged is not None and judged.ours) != digest(case):
            wrong.append((case, judged))
    assert not wrong, f"{len(wrong)} of {len(CASES)}, the first: {wrong[0]}"
    assert len(CASES) > 5000
    assert 100 < sum(map(digest, CASES)) < len(CASES) / 4


@pytest.mark.parametrize(
    ("record", "name", "known", "said"),
    [
        ("of another OID", "right", "it", f"a copy: the original has OID {OID + 1}"),
        ("ours", "by a person", "nothing", f"a copy of app__failed_{RELEASE}, or that one renamed by hand"),
        ("of another stack", "right", "nothing", "made from another state folder, by stack ? (theirs)"),
        ("ours", "right", "nothing", "this stack's state folder does not know it"),
        ("ours", "right", "another", "this stack's state folder does not know it"),
        ("none", "right", "it", "its record was replaced"),
        ("the last version's", "right", "it", "recorded by an earlier version, and no journal here tells of it"),
    ],
)
def test_why_not(record: str, name: str, known: str, said: str) -> None:
    found, registry, _ = built(("failed", record, name, known, False, False, CLOCKS[0]), Registry())
    judged = managed_names.judge(found, LIVE, registry, registry.known())
    assert judged is not None
    assert judged.why == said


@pytest.mark.parametrize("trait", [{"allow_connections": True}, {"connection_limit": -1}, {"sessions": 1},
                                   {"connections": 1}, {"comment": "x"}])  # fmt: skip
def test_unclaimed_is_one_in_which_no_session_can_have_been(trait: dict[str, Any]) -> None:
    found, registry, _ = built(("scratch", "none", "right", "to be made", True, False, CLOCKS[0]), Registry())
    for limit in (4711, -2):  # -2: its DROP was interrupted
        judged = managed_names.judge(replace(found, connection_limit=limit), LIVE, registry, registry.known())
        assert judged is not None and judged.ours
    assert managed_names.judge(replace(found, **trait), LIVE, registry, registry.known()) is None


def test_registry_survives_and_forgets(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "state")
    first = Registry(folder, name="pap", database=LIVE)
    first.claim("77")
    first.intend("a", "scratch", "r1")
    first.made("a", 5)
    first.intend("b", "failed", "r1", 6)
    (folder / "databases.jsonl").open("a").write('{"event": "gone", "name": "a"')  # torn by a kill
    again = Registry(folder, name="pap", database=LIVE)
    assert again.id == first.id
    assert {name: (k.kind, k.release, k.oid) for name, k in again.known().items()} == {
        "a": ("scratch", "r1", 5),
        "b": ("failed", "r1", 6),
    }
    again.gone("a")
    assert list(first.known()) == ["b"]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_stack_without_a_folder_remembers_for_itself_and_keeps_its_id(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "state", name="pap", database=LIVE)
    registry.claim("77")
    registry.intend("a", "scratch", "plan")
    before = registry.id
    assert list(registry.known()) == ["a"]
    assert not (tmp_path / "state").exists(), "a plan leaves no trace"
    private_folder(tmp_path / "state")
    registry.claim("77")
    assert registry.id == before == Registry(tmp_path / "state").id
    assert list(registry.known()) == ["a"]
    assert Registry(tmp_path / "state").known() == {}


def test_live_oids_that_our_renames_explain(tmp_path: Path) -> None:
    registry = Registry(private_folder(tmp_path / "state"))
    for oid, was in ((2, 1), (3, 2), (9, 8)):
        registry.intend(LIVE, "live", "r", oid, was=was)
    assert registry.live_oids(3) == {1, 2, 3}
    assert registry.live_oids(7) == {7}


OTHERS: dict[str, tuple[dict[str, str], str]] = {
    "stack": ({"name": "other"}, "belongs to another stack: pap, not other.*set pap_stack_name"),
    "database": ({"database": "other"}, "belongs to another database: app, not other.*pap_state_dir of its own"),
    "server": ({}, "belongs to another server .system identifier.: 77, not 78"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_state_folder_of_another_is_refused(tmp_path: Path, case: str) -> None:
    folder = private_folder(tmp_path / "state")
    Registry(folder, name="pap", database=LIVE).claim("77")
    given, said = OTHERS[case]
    other = Registry(folder, name=given.get("name", "pap"), database=given.get("database", LIVE))
    for work in (other.refuse_other, other.claim):
        with pytest.raises(Refused) as refusal:
            work("78")
        assert pytest.importorskip("re").search(said, str(refusal.value)), str(refusal.value)
    Registry(folder, name="pap", database=LIVE).refuse_other("77")


def test_damaged_stack_file_is_refused(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "state")
    (folder / "stack.json").write_text('{"format": 1, "id": "')
    with pytest.raises(Refused, match=r"stack\.json cannot be read"):
        _ = Registry(folder).id


ME = Run(user="u", host="elsewhere", pid=1)


def test_folder_of_the_last_version_is_adopted_by_the_stack_that_used_it_last(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    state.begin(ME, stack="pap").append("release", "finished")
    with pytest.raises(Refused, match="belongs to another stack: pap, not other"):
        state.registry("other", LIVE).refuse_other()
    ours = state.registry("pap", LIVE)
    ours.refuse_other()
    assert not (state.folder / "stack.json").exists(), "looking writes nothing"
    ours.claim("77")
    assert json.loads((state.folder / "stack.json").read_text())["name"] == "pap"


JOURNALS: dict[str, tuple[str, list[tuple[str, str, dict[str, Any]]], bool]] = {
    "fence, done": ("fenced", [("fence", "begin", {}), ("fence", "done", {"oid": OID})], True),
    "fence of another OID": ("fenced", [("fence", "begin", {}), ("fence", "done", {"oid": 1})], False),
    "fence, killed": ("fenced", [("backup", "done", {"database_oid": OID}), ("fence", "begin", {})], True),
    "fence, killed, of another OID": ("fenced", [("backup", "done", {"database_oid": 1}), ("fence", "begin", {})], False),
    "fence of the rollback": ("fenced", [("rollback.fence", "begin", {})], True),
    "no fence": ("fenced", [("backup", "begin", {})], False),
    "snapshot": ("snap", [("restore_point", "begin", {}), ("restore_point", "done", {"database": "n"})], True),
    "another snapshot": ("snap", [("restore_point", "begin", {}), ("restore_point", "done", {"database": "m"})], False),
    "swap": ("failed", [("rollback.swap", "begin", {})], True),
    "no swap": ("failed", [("rollback.restore", "begin", {})], False),
    "restored": ("restored", [("rollback.restore", "begin", {})], True),
    "copy": ("scratch", [("backup", "begin", {})], True),
    "unknown kind": ("other", [("backup", "begin", {})], False),
}  # fmt: skip


@pytest.mark.parametrize("case", JOURNALS)
def test_journals_explain_the_records_of_the_last_version(tmp_path: Path, case: str) -> None:
    kind, entries, expected = JOURNALS[case]
    state = State(tmp_path / "state")
    journal: Journal = state.begin(ME, stack="pap")
    for phase, event, data in entries:
        journal.append(phase, event, **data)
    assert state.explains(kind, journal.release, "n", OID) is expected
    assert not state.explains(kind, "../../etc", "n", OID)
    assert not state.explains(kind, "another", "n", OID)


def test_a_copy_is_in_use_while_its_maker_lives(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "state")
    code = (
        "import sys; from pathlib import Path; from papdeploy.core.registry import Registry\n"
        "Registry(Path(sys.argv[1])).intend('a', 'scratch', 'plan'); print('noted', flush=True); sys.stdin.read()"
    )
    maker = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    )
    assert maker.stdin is not None and maker.stdout is not None
    with maker:
        maker.stdout.readline()
        assert Registry(folder).known()["a"].in_use
        maker.stdin.close()
    assert not Registry(folder).known()["a"].in_use
    Registry(folder).intend("b", "scratch", "plan")
    assert not Registry(folder).known()["b"].in_use, "to the maker itself it is not"
