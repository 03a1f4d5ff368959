"""``python -m sandbox`` from the repository's root, or ``python path/to/sandbox`` from anywhere."""

import sys
from pathlib import Path

# Python has put this folder (or the current one) first; its modules are to be found as ``sandbox.…`` only.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from sandbox.cli import main  # noqa: E402

raise SystemExit(main())
