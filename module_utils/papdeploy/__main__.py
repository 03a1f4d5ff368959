"""``python -m papdeploy``: see :mod:`papdeploy.cli`."""

from __future__ import annotations

import signal

from .cli import main

# Ctrl-C ends the process at once instead of after the statement that the driver waits for; the server rolls back.
signal.signal(signal.SIGINT, signal.SIG_DFL)

raise SystemExit(main())
