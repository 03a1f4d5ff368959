"""Streams of a backup: a reader that has enough is no error, one that fails is, and a full disk is told as that alone."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest
from papdeploy.backup.pipeline import Pipeline
from papdeploy.backup.restore_errors import explained
from papdeploy.core.errors import CommandFailed, PapError
from papdeploy.databases.psql import Conninfo, Database
from papdeploy.sites.host import HostSite, Process

DATA = os.urandom(1 << 16) * 64
READERS = {
    "reads all": "cat >/dev/null",
    "has enough": "head -c 10 >/dev/null",
    "reads nothing": "exec <&-; sleep 0.2",
}


def program(script: str, *, stdin: bool = False) -> Process:
    return HostSite().popen(["sh", "-c", script], stdin=stdin)


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_may_have_enough(tmp_path: Path, reader: str) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA)
    sha256 = hashlib.sha256(DATA).hexdigest()
    read, _ = Pipeline().read_only(lambda: program(READERS[reader], stdin=True), source, None)
    assert read == sha256
    with (tmp_path / "file").open("wb") as file:
        streamed = Pipeline().run(
            lambda: program(f"cat {source}"),
            lambda: program(READERS[reader], stdin=True),
            tmp_path / "file",
            file,
            None,
        )
    assert (streamed.sha256, streamed.read_sha256, streamed.bytes) == (sha256, sha256, len(DATA))


def test_a_reader_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    failing = "head -c 10 >/dev/null; echo 'pg_restore: error: no such thing' >&2; exit 1"
    with pytest.raises(CommandFailed, match="no such thing"):
        Pipeline().read_only(lambda: program(failing, stdin=True), tmp_path / "file", None)


def test_what_ends_a_pipeline_from_outside_is_what_is_heard(tmp_path: Path) -> None:
    pipeline = Pipeline()

    def dump() -> Process:
        pipeline.fail(CommandFailed("permission denied for table t"))
        return program("echo 'pg_dump: error: snapshot does not exist' >&2; exit 1")

    with (tmp_path / "file").open("wb") as file, pytest.raises(CommandFailed, match="permission denied for table t"):
        pipeline.run(dump, lambda: program("cat >/dev/null", stdin=True), tmp_path / "file", file, None)


@pytest.mark.parametrize(
    ("number", "says", "hint"),
    [
        (errno.ENOSPC, "The disk is full", "Make room there"),
        (errno.EIO, "input/output error", "Have the disk looked at"),
        (errno.EPIPE, "Broken pipe", "The unfinished file was removed"),
    ],
)
def test_only_a_full_disk_is_called_that(tmp_path: Path, number: int, says: str, hint: str) -> None:
    nowhere = Database(HostSite(), Conninfo("d"))
    with pytest.raises(PapError, match=says) as failed, explained(nowhere, tmp_path, 1.0):
        raise OSError(number, os.strerror(number))
    assert failed.value.hint.startswith(hint)


def test_an_error_that_quotes_a_lot_is_still_read(tmp_path: Path) -> None:
    """pg_dump quotes the statement that failed: with thousands of tables, one that locks all of them."""
    (tmp_path / "file").write_bytes(DATA)
    script = "cat >/dev/null; echo 'error: out of shared memory' >&2; yes public.t | head -c 500000 >&2; exit 1"
    with pytest.raises(CommandFailed, match="exit code 1: error: out of shared memory"):
        Pipeline().read_only(lambda: program(script, stdin=True), tmp_path / "file", None)
