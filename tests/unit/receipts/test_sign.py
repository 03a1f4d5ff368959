"""Receipts: what they name, that they cannot be changed, and what production says when there is none."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from papdeploy import receipts
from papdeploy.core.errors import Refused, Unavailable
from papdeploy.core.records import read_known, whole
from papdeploy.releases.records import entry_of
from papdeploy.releases.version import Version

AT = "2025-03-01T12:00:00.000Z"
WEEK = 7 * 86400.0
PRIVATE, PUBLIC = receipts.generate()


def subject(**changes: Any) -> receipts.Subject:
    made = {
        "migrations": {"20250101_a.py": "a" * 64, "20250201_b.py": "b" * 64},
        "models": "c" * 64,
        "release": {"label": "1.5", "checksum": "sha256:" + "d" * 64},
        "server_major": 16,
    }
    return read_known(receipts.Subject, {**made, **changes})


def receipt(at: str = AT, environment: str = "staging", release: str = "r1", **changes: Any) -> receipts.Statement:
    return receipts.make(subject(**changes), release=release, stack="pap", environment=environment, at=at)


def shelf(*made: receipts.Statement) -> receipts.Shelf:
    return receipts.Shelf(list(made), [])


def test_a_signed_receipt_comes_back_whole(tmp_path: Path) -> None:
    made = receipt()
    path = receipts.write(tmp_path / "receipts", receipts.sign(made, PRIVATE))
    assert path.name == "20250301T120000-staging-pap-r1.json"
    found = receipts.read(tmp_path / "receipts", [PUBLIC])
    assert found.receipts == [made] and found.rejected == []


KEPT = json.loads((Path(__file__).parents[2] / "corpus" / "receipts.json").read_text(encoding="utf-8"))


def test_receipts_that_the_last_release_signed_are_good() -> None:
    """What is signed is JSON to the byte: with a runtime, evidence, and words that this version does not know."""
    receipt, revoked, later = (receipts.verify(document, [KEPT["key"]]) for document in KEPT["documents"])
    assert receipt.holds == ("rehearsed",) and receipt.subject.runtime is not None
    assert receipt.subject.runtime.packages == {"fastapi": "0.110"}
    assert (later.release, later.subject.runtime) == ("r2", None)
    for each, document in zip((receipt, revoked), KEPT["documents"]):
        assert each.as_json() == document[each.kind]  # signed anew it would be the same
    assert receipts.revocation(receipt, revoked.revoked_at or "") == revoked


@pytest.mark.parametrize("where", [("at",), ("environment",), ("subject", "models"), ("subject", "server_major")])
def test_a_changed_receipt_is_rejected(tmp_path: Path, where: tuple[str, ...]) -> None:
    document = receipts.sign(receipt(), PRIVATE)
    target = document["receipt"]
    for key in where[:-1]:
        target = target[key]
    target[where[-1]] = "something else"
    receipts.write(tmp_path, {**document, "receipt": {**document["receipt"]}})
    found = receipts.read(tmp_path, [PUBLIC])
    assert found.receipts == [] and "changed after it was signed" in found.rejected[0]


def test_a_key_that_is_not_trusted_is_rejected_and_keys_can_be_rotated(tmp_path: Path) -> None:
    _, other = receipts.generate()
    receipts.write(tmp_path, receipts.sign(receipt(), PRIVATE))
    assert "not among the trusted" in receipts.read(tmp_path, [other]).rejected[0]
    assert len(receipts.read(tmp_path, [other, PUBLIC]).receipts) == 1


def test_other_files_are_named_and_do_not_stop_anything(tmp_path: Path) -> None:
    receipts.write(tmp_path, receipts.sign(receipt(), PRIVATE))
    (tmp_path / "zz.json").write_text('{"torn')
    (tmp_path / "yy.json").write_text("[]")
    (tmp_path / "README.md").write_text("about")
    found = receipts.read(tmp_path, [PUBLIC])
    assert len(found.receipts) == 1
    assert [line.split(":")[0] for line in found.rejected] == ["zz.json", "yy.json"]
    with pytest.raises(Unavailable, match="no folder of receipts"):
        receipts.read(tmp_path / "nowhere", [PUBLIC])


def test_keys_of_openssl_and_ssh_keygen_work(tmp_path: Path) -> None:
    pairs = [("openssl.key", "openssl.pub"), ("ssh", "ssh.pub")]
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", "openssl.key"], cwd=tmp_path, check=True)
    subprocess.run(
        ["openssl", "pkey", "-in", "openssl.key", "-pubout", "-out", "openssl.pub"], cwd=tmp_path, check=True
    )
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "ssh"], cwd=tmp_path, check=True)
    for private, public in pairs:
        document = receipts.sign(receipt(), (tmp_path / private).read_text())
        assert receipts.verify(document, [(tmp_path / public).read_text()]).release == "r1"


@pytest.mark.parametrize("text", ["", "rubbish", PUBLIC], ids=["nothing", "rubbish", "public key"])
def test_a_private_key_that_is_none(text: str) -> None:
    with pytest.raises(Refused, match="private key"):
        receipts.sign(receipt(), text)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-out", "k"], cwd=tmp_path, check=True, stderr=-3)
    with pytest.raises(Refused, match="not an Ed25519"):
        receipts.sign(receipt(), (tmp_path / "k").read_text())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, None),
        ({"models": "e" * 64}, "the models differ: staging had cccccccccccc, here eeeeeeeeeeee"),
        ({"server_major": 18}, "staging runs PostgreSQL 16, here it is PostgreSQL 18"),
        (
            {"release": {"label": "1.6", "checksum": "sha256:" + "f" * 64}},
            "the release differs: staging ran 1.5 (sha256:dddddddddddd), this would deploy 1.6 (sha256:ffffffffffff)",
        ),
        (
            {"migrations": {"20250101_a.py": "a" * 64, "20250201_b.py": "b" * 64, "20250301_c.py": "c" * 64}},
            "migration 20250301_c.py was never run in staging",
        ),
        (
            {"migrations": {"20250101_a.py": "a" * 64}},
            "migration 20250201_b.py was run in staging and is missing here",
        ),
        (
            {"migrations": {"20250101_a.py": "a" * 64, "20250201_b.py": "9" * 64}},
            "migration 20250201_b.py was edited: staging ran bbbbbbbbbbbb, here it is 999999999999",
        ),
        ({"release": {"label": "other name", "checksum": "sha256:" + "d" * 64}}, None),
    ],
)
def test_production_wants_exactly_this_and_names_what_differs(changes: dict[str, Any], sentence: str | None) -> None:
    wanted = subject(**changes)
    if sentence is None:
        assert receipts.demand(shelf(receipt()), wanted, max_age_s=WEEK, at=AT).release == "r1"
        return
    with pytest.raises(Refused) as refused:
        receipts.demand(shelf(receipt()), wanted, max_age_s=WEEK, at=AT)
    assert refused.value.data["differs"] == [sentence]
    assert sentence in refused.value.message and "deploy.yml -l staging" in refused.value.hint


def test_the_receipt_that_comes_closest_is_named() -> None:
    far = receipt(release="far", models="1" * 64, server_major=15)
    near = receipt(release="near", models="1" * 64)
    with pytest.raises(Refused, match="release near"):
        receipts.demand(shelf(far, near), subject(), max_age_s=WEEK, at=AT)


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("2025-02-01T12:00:00.000Z", "is 28 days old and may be at most 7 days"),
        ("2025-03-01T13:00:00.000Z", "has a time in the future"),
        ("2025-02-23T12:00:00.000Z", None),
        ("2025-03-01T12:01:00.000Z", None),  # clocks differ a little
    ],
)
def test_age(at: str, message: str | None) -> None:
    if message is None:
        receipts.demand(shelf(receipt(at=at)), subject(), max_age_s=WEEK, at=AT)
        return
    with pytest.raises(Refused, match=message):
        receipts.demand(shelf(receipt(at=at)), subject(), max_age_s=WEEK, at=AT)


def test_a_receipt_of_another_environment_does_not_count() -> None:
    with pytest.raises(Refused, match="no receipt of staging at all"):
        receipts.demand(shelf(receipt(environment="development")), subject(), max_age_s=WEEK, at=AT)


def test_an_override_needs_a_reason_and_records_it() -> None:
    refused = Refused("Staging has no receipt.")
    with pytest.raises(Refused, match="too little"):
        receipts.override("because", refused, {"user": "jane"})
    record = receipts.override("hotfix of incident 4711, decided by Jo", refused, {"user": "jane"})
    assert record.who == {"user": "jane"} and record.instead_of == "Staging has no receipt."


class TestChecksum:
    """A release folder is known by what is in it."""

    def make(self, folder: Path) -> Path:
        (folder / "app").mkdir(parents=True)
        (folder / "app" / "main.py").write_text("one")
        (folder / "static").symlink_to("app")
        return folder

    def test_the_same_files_elsewhere_are_the_same_release(self, tmp_path: Path) -> None:
        first, second = self.make(tmp_path / "a"), self.make(tmp_path / "b")
        (second / "app" / "__pycache__").mkdir()
        (second / "app" / "__pycache__" / "main.pyc").write_text("compiled")
        (second / ".venv").mkdir()
        (second / ".venv" / "x").write_text("y")
        assert receipts.folder_checksum(first) == receipts.folder_checksum(second)

    @pytest.mark.parametrize("change", ["content", "name", "new file", "link"])
    def test_every_change_is_another_release(self, tmp_path: Path, change: str) -> None:
        folder = self.make(tmp_path / "a")
        before = receipts.folder_checksum(folder)
        if change == "content":
            (folder / "app" / "main.py").write_text("two")
        elif change == "name":
            (folder / "app" / "main.py").rename(folder / "app" / "other.py")
        elif change == "new file":
            (folder / "app" / "empty.py").touch()
        else:
            (folder / "static").unlink()
            (folder / "static").symlink_to("elsewhere")
        assert receipts.folder_checksum(folder) != before

    def test_subject(self, tmp_path: Path) -> None:
        version = Version("a", "/srv/a", path=str(self.make(tmp_path / "a")))
        made = receipts.subject(
            {"b.py": "B", "a.py": "A", "migration_template.py": "T"},
            models_digest="m",
            version=version,
            server_version=180003,
        )
        assert list(made.migrations) == ["a.py", "b.py"] and made.server_major == 18
        assert made.release.checksum.startswith("files:")
        image = Version("x:1", "sha256:abc")
        made = receipts.subject({}, models_digest="m", version=image, server_version=160004)
        assert made.release.checksum == "sha256:abc"
        json.dumps(whole(made))


def test_the_evidence_of_a_journal() -> None:
    entries: list[dict[str, Any]] = [
        {"phase": "rehearse", "event": "done", "verdict": "good", "reversible": True, "old_api_works": False},
        {"phase": "login_smoke_test", "event": "done", "checks": [{"name": "login", "ok": True}],
         "endpoints": [{"path": "/policies/"}]},
    ]  # fmt: skip
    made: Any = receipts.evidence_of([*map(entry_of, entries)])
    assert made["rehearsal"]["verdict"] == "good" and made["checks"] == ["login"]
    assert made["endpoints"] == ["/policies/"] and made["backup_sha256"] is None
    assert receipts.evidence_of([])["rehearsal"] is None
    assert "backup_accepted" not in made
    accepted = [{"difference": "0a1b2c3d4e5f", "sentence": "s", "reason": "r", "until": "2999-12-31"}]
    backup: dict[str, Any] = {"phase": "backup", "event": "done", "sha256": "x", "accepted": accepted}
    assert receipts.evidence_of([*map(entry_of, [*entries, backup])])["backup_accepted"] == accepted


REVOKED = "2025-03-02T12:00:00.000Z"


class TestRevoked:
    """What staging took back is no receipt any more, whatever lies in the folder besides."""

    def put(self, folder: Path, *statements: receipts.Statement) -> None:
        for each in statements:
            receipts.write(folder, receipts.sign(each, PRIVATE))

    def demand(self, folder: Path, at: str = REVOKED) -> receipts.Statement:
        return receipts.demand(receipts.read(folder, [PUBLIC]), subject(), max_age_s=WEEK, at=at)

    def test_a_revocation_takes_the_place_of_the_receipt(self, tmp_path: Path) -> None:
        self.put(tmp_path, receipt())
        assert self.demand(tmp_path).release == "r1"
        self.put(tmp_path, receipts.revocation(receipt(), REVOKED))
        (only,) = tmp_path.iterdir()
        with pytest.raises(
            Refused, match=r"passed with exactly this, and then took it back: release r1 of .* rolled back"
        ):
            self.demand(tmp_path)
        only.unlink()  # deleting it brings no receipt back
        with pytest.raises(Refused, match="no receipt of staging at all"):
            self.demand(tmp_path)

    def test_a_copy_of_the_receipt_does_not_count_beside_it(self, tmp_path: Path) -> None:
        self.put(tmp_path, receipt())
        (tmp_path / "0.json").write_bytes(next(tmp_path.iterdir()).read_bytes())
        (tmp_path / "zz.json").write_bytes((tmp_path / "0.json").read_bytes())
        self.put(tmp_path, receipts.revocation(receipt(), REVOKED))
        with pytest.raises(Refused, match=r"\(release r1 of .*\) was revoked: its release was rolled back"):
            self.demand(tmp_path)

    def test_what_is_revoked_is_the_content_and_a_later_pass_counts_again(self, tmp_path: Path) -> None:
        self.put(tmp_path, receipt(release="r0", at="2025-02-28T12:00:00.000Z"))
        self.put(tmp_path, receipts.revocation(receipt(), REVOKED))
        with pytest.raises(Refused, match=r"was revoked: the same, as release r1 of .*, was rolled back"):
            self.demand(tmp_path)
        self.put(tmp_path, receipt(release="r2", at="2025-03-03T12:00:00.000Z"))
        assert self.demand(tmp_path, at="2025-03-03T12:00:00.000Z").release == "r2"

    def test_what_was_taken_back_says_nothing_of_anything_else(self, tmp_path: Path) -> None:
        self.put(tmp_path, receipt(), receipts.revocation(receipt(release="r2", models="9" * 64), REVOKED))
        self.put(tmp_path, receipts.revocation(receipt(release="r3", environment="development"), REVOKED))
        assert self.demand(tmp_path).release == "r1"

    def test_only_a_trusted_key_revokes_and_neither_is_passed_off_as_the_other(self, tmp_path: Path) -> None:
        self.put(tmp_path, receipt())
        outsider, _ = receipts.generate()
        revoked = receipts.revocation(receipt(), REVOKED)
        (tmp_path / "a.json").write_text(json.dumps(receipts.sign(revoked, outsider)))
        signed = receipts.sign(receipt(), PRIVATE)
        for name, document in {
            "b": {"revocation": revoked.as_json(), "signature": signed["signature"]},
            "c": {"revocation": signed["receipt"], "signature": signed["signature"]},
            "d": {"receipt": revoked.as_json(), "signature": receipts.sign(revoked, PRIVATE)["signature"]},
        }.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(document))
        assert self.demand(tmp_path).release == "r1"
        assert len(receipts.read(tmp_path, [PUBLIC]).rejected) == 4


def entry(phase: str, **data: Any) -> dict[str, Any]:
    return {"phase": phase, "event": "done", **data}


LOGGED_IN = entry("login_smoke_test", checks=[{"name": "login", "ok": True}])
REHEARSED, PROVEN, WATCHED = entry("rehearse"), entry("backup", proof={"kind": "full"}), entry("watch", findings={})

MEASURED = entry("data_check", final=True, unmeasured=[])


@pytest.mark.parametrize(
    ("entries", "held"),
    [
        ([], []),
        ([REHEARSED, PROVEN, LOGGED_IN, WATCHED, MEASURED], ["rehearsed", "proven", "measured", "watched"]),
        ([REHEARSED, {**MEASURED, "unmeasured": ["public.users"]}], ["rehearsed"]),
        ([MEASURED, {**MEASURED, "unmeasured": ["public.users"]}], []),
        ([{**MEASURED, "final": False}], []),
        ([{**REHEARSED, "event": "failed"}, {**PROVEN, "proof": {"kind": "schema"}}, WATCHED], []),
        ([entry("backup", engine="pgbackrest", verified=True), LOGGED_IN], []),
        ([entry("login_smoke_test", checks=[{"name": "login", "ok": False}]), WATCHED], []),
        ([PROVEN], ["proven"]),
    ],
)
def test_what_a_receipt_holds_and_what_is_demanded_of_it(entries: list[dict[str, Any]], held: list[str]) -> None:
    evidence = receipts.evidence_of([*map(entry_of, entries)])
    assert evidence["holds"] == held
    made = replace(receipt(), evidence=evidence)
    for word, (said, _) in receipts.HOLDS.items():
        terms = receipts.Terms(max_age_s=WEEK, holds=[word])
        if word in held:
            assert receipts.demanded(shelf(made), subject(), terms, AT).release == "r1"
            continue
        with pytest.raises(Refused) as refused:
            receipts.demanded(shelf(made), subject(), terms, AT)
        assert f"{word.capitalize()}: it does not state that {said}" in refused.value.message
    # One that holds it is taken before a newer one that does not.
    both = shelf(
        replace(made, at="2025-03-01T13:00:00.000Z"),
        replace(receipt(release="all"), evidence={"holds": [*receipts.HOLDS]}),
    )
    later = receipts.Terms(max_age_s=WEEK, holds=[*receipts.HOLDS])
    assert receipts.demanded(both, subject(), later, "2025-03-01T14:00:00.000Z").release in ("all", "r1")


def test_a_word_that_no_receipt_holds_is_refused() -> None:
    with pytest.raises(Refused, match="receipt_demand names what no receipt holds: blessed, rehearsd") as refused:
        receipts.demanded(shelf(receipt()), subject(), receipts.Terms(holds=["rehearsd", "proven", "blessed"]), AT)
    assert refused.value.hint == "It is a list of rehearsed, proven, measured, watched."


def test_the_inventory_may_name_exactly_what_a_receipt_can_hold() -> None:
    root = Path(__file__).resolve().parents[3]
    of_role = yaml.safe_load((root / "roles/receipt/meta/argument_specs.yml").read_text())["argument_specs"]["main"]
    assert of_role["options"]["receipt_demand"]["choices"] == [*receipts.HOLDS]
    assert f'"choices": {json.dumps([*receipts.HOLDS])}' in (root / "library/pap_receipt.py").read_text()
