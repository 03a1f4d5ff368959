"""``python -m papdeploy``, or ``papdeploy`` where the package is installed: see :mod:`papdeploy.cli.command`."""

from __future__ import annotations

import gc
import signal

from .cli.command import main


def run() -> int:
    """Run one command as a process of its own; returns the exit code."""
    # Ctrl-C ends the process at once instead of after the statement that the driver waits for; the server rolls back.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Thousands of small objects live to the end of a run: looking at them again and again takes a tenth of its time.
    gc.set_threshold(50_000)
    return main()


if __name__ == "__main__":
    raise SystemExit(run())
