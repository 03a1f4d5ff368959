"""Write the names of all environments in capitals: what they were before cannot be computed back."""

from __future__ import annotations


def upgrade(db):
    db.execute("UPDATE environments SET description = upper(description)")


def downgrade(db):
    raise NotImplementedError("upper case does not tell which letters were capitals")
