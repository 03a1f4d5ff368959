#!/usr/bin/env python3
"""Does this database match these models? ``python check_db_schema.py --models app.models:Base``.

See docs/schema-check.md.
Runs beside the application, in its environment (SQLAlchemy 1.4 or newer, psycopg2 or psycopg). Reads only.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "module_utils"))

from papdeploy.schema.cli.command import run

if __name__ == "__main__":
    run()
