"""Let an audit row name the request that caused it.

Revision ID: 3f7b92c4d610
Revises: 8c1e0a5d9b32
Create Date: 2025-11-10 16:40:03
"""

import sqlalchemy as sa
from alembic import op

revision = "3f7b92c4d610"
down_revision = "8c1e0a5d9b32"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("audit_logs", sa.Column("request_id", sa.String(64)))
    op.create_index("ix_audit_logs_request_id", "audit_logs", ["request_id"])


def downgrade() -> None:
    op.drop_index("ix_audit_logs_request_id", "audit_logs")
    op.drop_column("audit_logs", "request_id")
