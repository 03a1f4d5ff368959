"""Begin with Alembic: the schema as it was is what the tree stands on.

Revision ID: 8c1e0a5d9b32
Revises:
Create Date: 2025-11-08 09:12:41
"""

revision = "8c1e0a5d9b32"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
