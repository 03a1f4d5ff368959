"""Let an audit row name the request that caused it.

Date: 2025-11-10
Author: PAP team
"""

from __future__ import annotations

transactional = True


def upgrade(db):
    db.execute("ALTER TABLE audit_logs ADD COLUMN request_id varchar(64)")
    db.execute("CREATE INDEX ix_audit_logs_request_id ON audit_logs (request_id)")


def downgrade(db):
    db.execute("ALTER TABLE audit_logs DROP COLUMN request_id")
