"""Become a server: step down, take its lock, end with the supervisor, then exec. Standard library only.

supervisord runs this in place of the server itself, for what it does not do:

* the server gets a signal when supervisord dies, so that nothing runs on unsupervised;
* a lock that the server (and every process it forks) holds keeps its successor waiting until it is wholly gone;
* the API's environment is read from its file at every start.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import signal
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1  # prctl(2), Linux
LOCK_SECONDS = 60.0


def read_environment(path: str) -> dict[str, str]:
    """KEY=VALUE lines, as in env files: comments, ``export`` and one pair of quotes are taken off."""
    values = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        key, mark, value = line.strip().partition("=")
        if not mark or key.startswith("#"):
            continue
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        values[key.removeprefix("export ").strip()] = value
    return values


def take_lock(path: str) -> None:
    """Hold the lock for the life of this process and of what it becomes; waits for the predecessor."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                sys.exit(f"the predecessor still runs after {LOCK_SECONDS:.0f} s: it holds {path}")
            time.sleep(0.05)
    os.set_inheritable(descriptor, True)


def step_down(account: str) -> None:
    """Become ``uid:gid``."""
    uid, gid = (int(part) for part in account.split(":"))
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def die_with_parent(signal_name: str) -> None:
    """Get the signal when the parent dies. After stepping down, which would forget it."""
    signal.signal(signal.Signals[signal_name], signal.SIG_DFL)  # what a shell's background job ignores stays ignored
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal.Signals[signal_name]), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() == 1:
        sys.exit("the supervisor is gone already")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--account")
    parser.add_argument("--lock", required=True)
    parser.add_argument("--die-with-parent", metavar="SIGNAL", required=True)
    parser.add_argument("--environment")
    parser.add_argument("--directory", required=True)
    parser.add_argument("argv", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
    take_lock(options.lock)
    environment = dict(os.environ)
    if options.environment:
        environment.update(read_environment(options.environment))
    if options.account:
        step_down(options.account)
    die_with_parent(options.die_with_parent)
    os.chdir(options.directory)
    os.execve(argv[0], argv, environment)


if __name__ == "__main__":
    main()
