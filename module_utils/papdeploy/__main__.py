"""``python -m papdeploy``: see :mod:`papdeploy.cli`."""

from __future__ import annotations

from .cli import main

raise SystemExit(main())
