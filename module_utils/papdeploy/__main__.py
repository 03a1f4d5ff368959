"""``python -m papdeploy``: see :mod:`papdeploy.cli.command`."""

from __future__ import annotations

import gc
import signal

from .cli.command import main

# Ctrl-C ends the process at once instead of after the statement that the driver waits for; the server rolls back.
signal.signal(signal.SIGINT, signal.SIG_DFL)
# Thousands of small objects live to the end of a run: looking at them again and again takes a tenth of its CPU time.
gc.set_threshold(50_000)

raise SystemExit(main())
