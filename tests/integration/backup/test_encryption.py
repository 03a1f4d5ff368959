"""Encryption at rest, proven by restoring from the ciphertext."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from papdeploy import backup
from papdeploy.backup.encryption import EncryptedFor
from papdeploy.core.errors import PapError, Refused
from papdeploy.databases import content_digest
from support.app_session import as_app
from support.backup import database_of, names

if TYPE_CHECKING:
    from support.postgres_servers import Server

METHODS = [
    pytest.param("age", marks=pytest.mark.skipif(not shutil.which("age"), reason="age is not installed")),
    pytest.param("gpg", marks=pytest.mark.skipif(not shutil.which("gpg"), reason="gpg is not installed")),
]


def make_key(method: str, folder: Path) -> dict[str, Any]:
    folder.mkdir(mode=0o700)
    if method == "age":
        identity = folder / "identity"
        made = subprocess.run(["age-keygen", "-o", identity], capture_output=True, text=True, check=True)
        return {"method": "age", "recipients": [made.stderr.split()[-1]], "identity": str(identity)}
    subprocess.run(
        ["gpg", "--homedir", folder, "--batch", "--passphrase", "", "--quick-generate-key", "t@example.com",
         "future-default"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return {"method": "gpg", "recipients": ["t@example.com"], "identity": str(folder)}


@pytest.mark.parametrize("method", METHODS)
def test_proven_from_the_ciphertext(server: Server, database: str, tmp_path: Path, method: str) -> None:
    target = database_of(server, database)
    as_app(target).execute("CREATE TABLE t AS SELECT g, 'plain text to look for' AS v FROM generate_series(1, 5000) g")
    key = make_key(method, tmp_path / "key")
    before = names(server)
    taken = backup.take(target, tmp_path / "b", stack="st", release="r1", encryption=backup.Encryption.of(key))
    data = taken.path.read_bytes()
    assert b"PGDMP" not in data
    assert b"plain text" not in data
    assert taken.path.name.endswith(f".dump.{method}")
    assert taken.manifest.encryption == EncryptedFor(method, tuple(key["recipients"]))
    assert taken.manifest.proof.kind == "full"
    assert backup.verify(target, taken.path, encryption=backup.Encryption.of(key)).backup.manifest.rows == 5000
    restored = backup.restore(target, taken.path, release="r1", encryption=backup.Encryption.of(key))
    assert content_digest.compare(taken.digest, content_digest.take(target)) == []
    server.drop(restored.database.conninfo.dbname)
    with pytest.raises(Refused, match=f"is encrypted by {method}"):
        backup.rebuild(target, taken.path, f"{database}_by_hand")
    backup.rebuild(target, taken.path, f"{database}_by_hand", identity_file=key["identity"])
    assert content_digest.compare(taken.digest, content_digest.take(target.named(f"{database}_by_hand"))) == []
    server.drop(f"{database}_by_hand")

    other = make_key(method, tmp_path / "other")
    with pytest.raises(PapError, match="decryption failed"):
        backup.verify(target, taken.path, encryption=backup.Encryption.of({**other, "recipients": key["recipients"]}))
    backup.must_open(taken, backup.Encryption.of(key))
    with pytest.raises(Refused, match=f"cannot be opened by {method}: the decryption failed"):
        backup.must_open(taken, backup.Encryption.of({**other, "recipients": key["recipients"]}))
    with pytest.raises(Refused, match="is encrypted"):
        backup.must_open(taken, None)
    with pytest.raises(Refused, match="is encrypted"):
        backup.verify(target, taken.path)
    taken.path.write_bytes(data[:-1000])
    with pytest.raises(Refused, match="is damaged"):
        backup.verify(target, taken.path, encryption=backup.Encryption.of(key))
    assert names(server) == before


@pytest.mark.skipif(not shutil.which("age"), reason="age is not installed")
def test_without_a_key_here_only_the_proof_is_refused(server: Server, database: str, tmp_path: Path) -> None:
    target = database_of(server, database)
    as_app(target).execute("CREATE TABLE t (a int)")
    key = {**make_key("age", tmp_path / "key"), "identity": ""}
    with pytest.raises(Refused, match="no identity is given"):
        backup.take(target, tmp_path / "b", stack="st", release="r1", encryption=backup.Encryption.of(key))
    taken = backup.take(
        target, tmp_path / "b", stack="st", release="r1", encryption=backup.Encryption.of(key), proof="none"
    )
    assert backup.inspect(taken.path).manifest.proof.kind == "none"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "rot13", "recipients": ["x"]}, "is not known"),
        ({"method": "age", "recipients": []}, "at least one recipient"),
        ({"method": "age", "recipients": ["x"], "key": "y"}, "Unknown option"),
    ],
)
def test_wrong_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        backup.Encryption.of(options)


@pytest.mark.parametrize("method", METHODS)
def test_wrong_recipient_leaves_nothing(server: Server, database: str, tmp_path: Path, method: str) -> None:
    target = database_of(server, database)
    key = {**make_key(method, tmp_path / "key"), "recipients": ["nobody"]}
    with pytest.raises(PapError, match="encryption failed"):
        backup.take(target, tmp_path / "b", stack="st", release="r1", encryption=backup.Encryption.of(key))
    assert list((tmp_path / "b").iterdir()) == []
