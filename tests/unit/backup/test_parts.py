"""The parts of backup and rollback that need no database: names, folders, argument lists, manifests, retention."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from papdeploy.backup import archive, encryption, files, manifest, pgbackrest
from papdeploy.core.errors import Refused
from papdeploy.core.records import read_known
from papdeploy.databases import managed_names, properties, write_counts
from papdeploy.databases.content_digest import ContentDigest, compare
from papdeploy.databases.content_digest.content import LargeObjectsDigest
from papdeploy.databases.psql import Conninfo, Database
from papdeploy.databases.write_counts import Wrote
from papdeploy.sites.host import HostSite
from support import backup_files

DAY = 86400.0
NOW = 1_800_000_000.0


@pytest.mark.parametrize("kind", managed_names.KINDS)
def test_derived_names_fit_and_differ(kind: str) -> None:
    assert managed_names.derived("app", kind, "r1") == f"app__{kind}_r1"
    seen = set()
    for live in ("x" * 63, "x" * 62 + "y", "数" * 21, "a" * 40):
        for release in ("20250101T000000Z-abcd", "20250101T000000Z-abce"):
            name = managed_names.derived(live, kind, release)
            assert len(name.encode()) <= 63
            assert f"__{kind}_" in name
            assert name == managed_names.derived(live, kind, release)
            seen.add(name)
    assert len(seen) == 8


def test_unknown_kind_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="other"):
        managed_names.derived("app", "other", "r1")


@pytest.mark.parametrize(
    "comment",
    [None, "a person's comment", "pap-deploy", "pap-deploy not json", "pap-deploy [1]", 'pap-deploy {"of": "app"}'],
)
def test_what_is_no_record(comment: str | None) -> None:
    assert managed_names.record_of(comment) is None
    assert managed_names.plain_comment(comment) == comment


def test_record_survives_quotes() -> None:
    text = managed_names.record_text(DB, "fenced", "it's", 'r"1', 7, before={"comment": 'it\'s \\ "x" ü'})
    found = managed_names.Found("n", 1, 0, True, -1, text, "o", 0)
    assert found.record is not None
    assert found.record.before.comment == 'it\'s \\ "x" ü'
    assert managed_names.plain_comment(text) == 'it\'s \\ "x" ü'
    assert managed_names.plain_comment(managed_names.record_text(DB, "scratch", "app", "r", 7)) is None


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("staging", "app", "r1", "T"), "staging_app_r1_T"),
        (("a/b", "../../etc/passwd", "r 1", "T"), "a-b_etc-passwd_r-1_T"),
        (("-x", "'; rm", "ü", "T"), "x_rm_x_T"),
    ],
)
def test_stem_is_plain(parts: tuple[str, str, str, str], expected: str) -> None:
    assert files.stem(*parts) == expected


ARCHIVE = "st_app_r1_20260101T000000.123Z.dump"


def test_partial_file_is_private_and_goes(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with files.partial(tmp_path, ARCHIVE) as (path, file):
            assert path.stat().st_mode & 0o777 == 0o600
            file.write(b"data")
            manifest.settle(tmp_path, "st", "app")
            assert path.exists(), "its lock says that it is in use"
    finally:
        os.umask(old)
    assert list(tmp_path.iterdir()) == []
    for name in (ARCHIVE, f"{ARCHIVE}.manifest.json", f"{ARCHIVE}.age.globals.sql", f"{ARCHIVE}.gpg"):
        (tmp_path / f".partial-{name}").write_bytes(b"")
    manifest.settle(tmp_path, "st", "app")
    assert list(tmp_path.iterdir()) == []


def test_what_only_looks_like_a_partial_file_stays_and_stops_nothing(tmp_path: Path) -> None:
    texts = ("notes.txt", ARCHIVE + ".bak", "KEEP-" + ARCHIVE, ARCHIVE.replace("app", "other"), "st_app_r1_x.dump", "")
    for name in texts:
        (tmp_path / f".partial-{name}").write_text("a person's")
    os.mkfifo(tmp_path / f".partial-{ARCHIVE}")
    (tmp_path / f".partial-{ARCHIVE}.age").mkdir()
    victim = tmp_path / "victim"
    victim.write_text("")
    (tmp_path / f".partial-{ARCHIVE}.gpg").symlink_to(victim)
    (tmp_path / f".partial-{ARCHIVE}.globals.sql").write_text("a killed run's")
    before = {path.name for path in tmp_path.iterdir()}
    manifest.settle(tmp_path, "st", "app")
    assert before - {path.name for path in tmp_path.iterdir()} == {f".partial-{ARCHIVE}.globals.sql"}


@pytest.mark.parametrize("what", ["fifo", "folder", "device", "brackets"])
def test_a_manifest_that_is_no_file_is_refused_at_once(tmp_path: Path, what: str) -> None:
    path = tmp_path / f"{ARCHIVE}.manifest.json"
    if what == "fifo":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_text("[" * 200_000)
    with pytest.raises(Refused, match="cannot be read"):
        manifest.load_manifest(path)


def test_partial_never_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / ".partial-x").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError), files.partial(tmp_path, "x"):
        pass
    assert not (tmp_path / "victim").exists()


def test_commit_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "final").write_text("older")
    with files.partial(tmp_path, "x") as (path, file), pytest.raises(Refused, match="never overwritten"):
        files.commit(path, file, tmp_path / "final")
    assert (tmp_path / "final").read_text() == "older"


DB = Database(HostSite(), Conninfo("it's -x dbname=y", "h", 5432, "u", "secret"), "/bin/pg")


def test_argument_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Database, "tool_version", lambda self, name: 18)
    argv = archive.dump_argv(DB, snapshot="0001-1", compression="zstd:1", lock_wait_s=2.5)
    assert argv[0] == "/bin/pg/pg_dump"
    assert "--compress=zstd:1" in argv
    assert "--lock-wait-timeout=2500" in argv
    assert "--snapshot=0001-1" in argv
    assert any("dbname='it\\'s -x dbname=y'" in word for word in argv)
    assert "secret" not in " ".join(argv)
    restore = archive.restore_argv(DB, "--schema-only")
    assert {"--exit-on-error", "--no-subscriptions", "--schema-only"} <= set(restore)
    assert not any(word.startswith(("--clean", "--create")) for word in restore)
    monkeypatch.setattr(Database, "tool_version", lambda self, name: 15)
    assert "--compress=1" in archive.dump_argv(DB, snapshot=None, compression="gzip:1", lock_wait_s=1)
    with pytest.raises(Refused, match="cannot compress by zstd"):
        archive.dump_argv(DB, snapshot=None, compression="zstd:1", lock_wait_s=1)


@pytest.mark.parametrize("wanted", ["none", "0", "gzip:0", "zstd:0"])
def test_uncompressed_is_refused(wanted: str) -> None:
    with pytest.raises(Refused, match="without compression"):
        archive.best_compression(DB, wanted)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, "gzip:1"),
        ({"zstd": 'error: connection to server on socket "/nonexistent/.s.PGSQL" failed'}, "zstd:1"),
        ({"lz4": "error: connection to server on socket"}, "lz4:1"),
        ({"zstd": "error: connection to server", "lz4": "error: connection to server"}, "zstd:1"),
    ],
)
def test_best_compression_asks_the_build(
    said: dict[str, str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "".join(f"case $* in *{method}*) echo '{text}' >&2; exit 1;; esac\n" for method, text in said.items())
    program = tmp_path / "pg_dump"
    program.write_text(f"#!/bin/sh\n{script}echo 'this build does not support compression' >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(Database, "tool_version", lambda self, name: 16)
    assert archive.best_compression(Database(HostSite(), DB.conninfo, str(tmp_path))) == expected


@pytest.mark.parametrize(
    ("clients", "server", "said"),
    [
        (16, 18, "older than the server"),
        (17, 16, "does not know a setting"),
        (18, 15, "does not know a setting"),
        (16, 15, ""),
        (18, 17, ""),
        (16, 16, ""),
    ],
)
def test_clients_that_cannot_do_both_are_refused(
    monkeypatch: pytest.MonkeyPatch, clients: int, server: int, said: str
) -> None:
    """pg_restore since 17 sets transaction_timeout, which an older server does not know: the restore would end there."""
    monkeypatch.setattr(Database, "tool_version", lambda self, name: clients)
    database = Database(HostSite(), Conninfo("d"))
    if not said:
        archive.refuse_clients(database, server)
        return
    with pytest.raises(Refused, match=said) as refused:
        archive.refuse_clients(database, server)
    assert f"client programs of PostgreSQL {server}" in refused.value.hint


def test_a_server_that_is_too_old_is_refused() -> None:
    with pytest.raises(Refused, match="is PostgreSQL 13; pap-deploy works from 14 on"):
        archive.refuse_clients(Database(HostSite(), Conninfo("d")), 13)


def test_encryption_argument_lists() -> None:
    age = encryption.Encryption("age", ("age1x", "age1y"), "/key")
    assert age.encrypt_argv() == ["age", "--encrypt", "--recipient", "age1x", "--recipient", "age1y"]
    assert age.decrypt_argv() == ["age", "--decrypt", "--identity", "/key"]
    gpg = encryption.Encryption("gpg", ("A", "B"), "/home", "/phrase")
    assert gpg.encrypt_argv()[-5:] == ["--encrypt", "--recipient", "A", "--recipient", "B"]
    assert "--passphrase-file" in gpg.decrypt_argv()


def test_properties_become_statements() -> None:
    noted = {
        "owner": 'o"wner',
        "grants": [["0", "unknown (OID=0)", "TEMPORARY", False], ["17", "r'ole", "CONNECT", True]],
        "settings": [[None, ['search_path=a, "B c"', "work_mem=4MB", "app.name=it's"]], ["role", ["jit=off"]]],
        "connection_limit": -1, "allow_connections": True, "privileges": [], "encoding": "UTF8", "lc_collate": "C",
        "lc_ctype": "C", "provider": "c", "locale": None, "icu_rules": None, "tablespace": "pg_default",
        "comment": None, "of a later version": 1,
    }  # fmt: skip
    traits = read_known(properties.Properties, noted)
    assert properties.apply("d%s", traits) == [
        'ALTER DATABASE "d%s" OWNER TO "o""wner"',
        'REVOKE ALL ON DATABASE "d%s" FROM PUBLIC, "o""wner"',
        'GRANT TEMPORARY ON DATABASE "d%s" TO PUBLIC',
        'GRANT CONNECT ON DATABASE "d%s" TO "r\'ole" WITH GRANT OPTION',
        "ALTER DATABASE \"d%s\" SET \"search_path\" TO 'a', 'B c'",
        'ALTER DATABASE "d%s" SET "work_mem" TO \'4MB\'',
        'ALTER DATABASE "d%s" SET "app"."name" TO \'it\'\'s\'',
        'ALTER ROLE "role" IN DATABASE "d%s" SET "jit" TO \'off\'',
    ]
    assert properties.apply("d", replace(traits, grants=None, settings=()))[1:] == [
        'REVOKE ALL ON DATABASE "d" FROM PUBLIC, "o""wner"',
        'GRANT ALL ON DATABASE "d" TO "o""wner"',
        'GRANT CONNECT, TEMPORARY ON DATABASE "d" TO PUBLIC',
    ], "the default in words, for a database that was closed while it was unproven"


def digest_of(**definition: str) -> ContentDigest:
    return ContentDigest({}, {}, LargeObjectsDigest(), {"public": {"constraint t.c": dict(definition)}}, {})


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ("(v)::text = ANY ((ARRAY['a'::character varying])::text[])",
         "(v)::text = ANY (ARRAY[('a'::character varying)::text])", True),
        ("v = 'a'::text", "v = 'b'::text", False),
        ("v = 'a (b)'", "v = 'a b'", False),
        ("v = 'a::text'", "v = 'a'", False),
        ('"a b" > 1', '"ab" > 1', False),
        ("v > 1", "v >  1", True),
        ("v = 1::bigint", "v = 1", False),
        ("v = 'it''s'", "v = 'its'", False),
    ],
)  # fmt: skip
def test_normalised_expressions(left: str, right: str, equal: bool) -> None:
    before, after = digest_of(definition=left), digest_of(definition=right)
    assert (compare(before, after) == []) is equal
    assert (before.digest == after.digest) is equal
    assert compare(digest_of(source=left), digest_of(source=right)) != [] or left == right, "function bodies are exact"


def test_written_adds_up() -> None:
    one = write_counts.Written({"a": Wrote(2, 1)}, True, "x")
    emptied = Wrote(1, 0, emptied=True)
    both = one.plus(write_counts.Written({"a": Wrote(3, None), "b": emptied}, False, "y"))
    assert both.tables == {"a": Wrote(5, None), "b": emptied}
    said = {"a": {"rows": 5, "deleted": None}, "b": {"rows": 1, "deleted": 0, "emptied": True}}
    assert both.as_dict()["tables"] == said
    assert write_counts.Written.from_dict(both.as_dict()) == both
    assert (both.certain, both.rows, both.why) == (False, 6, "y")
    assert "a: 5 written; b: 1 written, emptied (y)" in both.sentence()
    assert write_counts.Written({}, True, "w").nothing
    assert not write_counts.Written({}, False, "w").nothing


@pytest.mark.parametrize(
    ("case", "finished"),
    [("whole", True), ("torn manifest", False), ("another file", False), ("cut archive", False), ("no archive", False)],
)
def test_a_killed_backup_is_finished_by_its_record_alone(tmp_path: Path, case: str, finished: bool) -> None:
    (tmp_path / ARCHIVE).write_bytes(b"x" * (1 if case == "cut archive" else 2))
    (tmp_path / "foreign.dump").write_bytes(b"no record of ours names it")
    named = "old.dump" if case == "another file" else ARCHIVE
    text = backup_files.text(backup_files.example(file=named))
    (tmp_path / f".partial-{ARCHIVE}.globals.sql").write_text("sql")
    (tmp_path / f".partial-{ARCHIVE}.manifest.json").write_text(text[:-9] if case == "torn manifest" else text)
    if case == "no archive":
        (tmp_path / ARCHIVE).unlink()
    manifest.settle(tmp_path, "st", "app")
    left = {path.name for path in tmp_path.iterdir()} - {ARCHIVE, "foreign.dump"}
    assert left == ({f"{ARCHIVE}.globals.sql", f"{ARCHIVE}.manifest.json"} if finished else set())
    assert (tmp_path / "foreign.dump").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [({}, "No stanza is named"), ({"stanza": "main", "repo": "x"}, "Unknown option: repo")],
)
def test_pgbackrest_options_are_checked(options: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        pgbackrest.PgBackRest.of(options)
    assert pgbackrest.PgBackRest.of({"stanza": "main", "type": "full"}).argv("info")[:2] == [
        "pgbackrest",
        "--stanza=main",
    ]


def _of_an_earlier_version() -> dict[str, Any]:
    """What releases before 0.2 wrote: the content digest was the ``oracle``."""
    value = backup_files.example()
    for name in ("accepted", "owners", "needs_superuser", "content_digest", "content_hash"):
        del value[name]
    seconds = {"dump": 1.0, "restore": 2.0, "oracle": 0.5, "total": 3.0}
    tables = {"public": {"oracle": {"rows": 2, "hash": "3"}}}
    return {
        **value,
        "oracle": {**backup_files.CONTENT, "tables": tables},
        "oracle_digest": "2" * 64,
        "seconds": seconds,
    }


def test_a_manifest_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """With defaults for what it lacks; a table of the name ``oracle`` keeps it."""
    old = manifest.load_manifest(backup_files.write(tmp_path / ARCHIVE, _of_an_earlier_version()))
    assert old.digest.tables["public"]["oracle"].rows == 2 and old.manifest.seconds.content_digest == 0.5
    assert (old.manifest.content_hash, old.manifest.accepted, old.manifest.needs_superuser) == ("2" * 64, (), ())
    assert old.manifest.may_own == ["app"], "it noted no owners: all roles, but for superusers"
    assert old.lines()[0] == "2 B in 3.0 s, sha256 000000000000…, restored and compared: 3 tables, 5 rows"


def test_a_manifest_is_written_as_it_was_read(tmp_path: Path) -> None:
    accepted = {"difference": "d", "sentence": "s", "reason": "r", "until": "2999-01-01"}
    value = backup_files.example(
        accepted=[accepted], encryption={"method": "age", "recipients": ["key"]}, scratch="copy"
    )
    read = manifest.load_manifest(backup_files.write(tmp_path / ARCHIVE, value)).manifest
    assert read.as_json() == {**value, "digest": manifest.digest_of(value)}
    assert read.sealed() == read


def test_what_a_newer_version_notes_is_passed_over_and_what_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / ARCHIVE
    later = backup_files.example(
        later=1, content_digest={"format": 99}, proof={"kind": "none", "seconds": 0, "by": "x"}
    )
    read = manifest.load_manifest(backup_files.write(path, later))
    assert read.manifest.proof.kind == "none"
    with pytest.raises(Refused, match="format 99 cannot be compared"):
        _ = read.digest
    for name in set(backup_files.example()) - {"format", "needs_superuser", "owners", "accepted", "scratch"}:
        value = backup_files.example()
        del value[name]
        with pytest.raises(Refused, match=rf"The manifest .*: {name} is missing"):
            manifest.load_manifest(backup_files.write(path, value))
    with pytest.raises(Refused, match="has format 2; this version reads format 1"):
        manifest.load_manifest(backup_files.write(path, backup_files.example(format=2)))
