from __future__ import annotations

import sys
import threading
import time

import pytest
from papdeploy.core.errors import CommandFailed, DeadlineExceeded, Unavailable
from papdeploy.sites.host import HostSite, deadline


def test_output_input_and_errors_travel_apart() -> None:
    done = HostSite().run(["sh", "-c", "cat; echo oops >&2"], input=b"in\n")
    assert (done.rc, done.stdout, done.stderr.strip()) == (0, b"in\n", "oops")


def test_a_failure_names_program_code_and_last_words_without_secrets() -> None:
    with pytest.raises(CommandFailed) as caught:
        HostSite().run(["sh", "-c", "echo password=hunter2 >&2; exit 3"])
    assert caught.value.data["rc"] == 3
    assert "hunter2" not in str(caught.value) + repr(caught.value.data["stderr"])


def test_a_missing_program_is_named() -> None:
    with pytest.raises(Unavailable, match="no-such-program cannot be started"):
        HostSite().run(["no-such-program"])


def test_a_deadline_ends_the_program_with_its_children() -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"did not end within 0\.3 s"):
        HostSite().run(["sh", "-c", "sleep 60 & sleep 60"], timeout=0.3)
    assert time.monotonic() - started < 30


def test_much_output_on_both_streams_does_not_block() -> None:
    script = "import sys; sys.stderr.write('e'*2_000_000); sys.stdout.write('o'*2_000_000)"
    done = HostSite().run([sys.executable, "-c", script])
    assert len(done.stdout) == 2_000_000
    assert len(done.stderr) <= 64 * 1024


def test_a_deadline_leaves_the_streams_to_who_uses_them() -> None:
    argv = ["sh", "-c", "echo one; printf two; exec sleep 60"]
    with HostSite().popen(argv, stdin=True) as process, deadline(process, 0.3) as expired:
        assert process.stdout.readline() == b"one\n" and process.stdin is not None
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer):
                thread.join(20)
        assert expired.is_set() and process.wait(20) == -9
        assert [process.stdout.readline(), process.stdout.readline()] == [b"two", b""]
        with pytest.raises(BrokenPipeError):
            process.stdin.write(b"x")
    assert process.stdout.closed and process.stdin.closed
