"""Deploy a database-backed API with proven backups, one-transaction migrations and an honest rollback."""

from __future__ import annotations

__version__ = "0.1.0"
