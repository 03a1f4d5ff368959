"""Settings, from the environment."""

from __future__ import annotations

import os

ENVIRONMENT = os.environ.get("ENVIRONMENT", "development").strip().lower()
SECRET_KEY = os.environ.get("SECRET_KEY", "")
TOKEN_MINUTES = int(os.environ.get("TOKEN_MINUTES", "60"))
INITIAL_ADMIN_PASSWORD = os.environ.get("INITIAL_ADMIN_PASSWORD", "sandbox-only")


def drop_tables_wanted() -> bool:
    """CC_DROP_TABLES as the app reads it; honoured in development only."""
    return os.environ.get("CC_DROP_TABLES", "").strip().lower() in {"true", "1", "yes", "on"}
