"""Let enforcement points report the resources that they discover, and say how they are themselves.

Date: 2025-10-06
Author: PAP team

protected_resources gain what discovery and its reviewers know of a resource; peps gain their connection's state. What
is there already was entered by a person: it is marked as not discovered. Every new column is nullable or has a constant
default: no table is rewritten, and the previous release of the API still works on the result.
"""

from __future__ import annotations

transactional = True


def upgrade(db):
    """Extend both tables, each with one statement, so that it is locked once."""
    # The constant defaults mark every existing row without writing to it. The new foreign key's column is NULL in all
    # of them, which PostgreSQL knows: it does not scan the table to validate it.
    db.execute("""
        ALTER TABLE protected_resources
            ADD COLUMN auto_discovered boolean NOT NULL DEFAULT false,
            ADD COLUMN discovered_at timestamptz,
            ADD COLUMN bouncer_id integer REFERENCES peps (id),
            ADD COLUMN business_context text,
            ADD COLUMN data_classification varchar(50),
            ADD COLUMN compliance_tags json,
            ADD COLUMN cost_center varchar(100),
            ADD COLUMN owner_email varchar(255),
            ADD COLUMN owner_team varchar(100),
            ADD COLUMN sla_tier varchar(50),
            ADD COLUMN data_residency varchar(50),
            ADD COLUMN audit_level varchar(50)
    """)
    db.execute("CREATE INDEX ix_protected_resources_auto_discovered ON protected_resources (auto_discovered)")
    db.execute("CREATE INDEX ix_protected_resources_bouncer_id ON protected_resources (bouncer_id)")
    db.execute("""
        ALTER TABLE peps
            ADD COLUMN is_connected boolean NOT NULL DEFAULT false,
            ADD COLUMN intercepting_traffic boolean NOT NULL DEFAULT false,
            ADD COLUMN last_heartbeat timestamptz
    """)


def downgrade(db):
    """Drop what upgrade() added; the columns' indexes and the foreign key go with them."""
    db.execute("""
        ALTER TABLE peps
            DROP COLUMN last_heartbeat,
            DROP COLUMN intercepting_traffic,
            DROP COLUMN is_connected
    """)
    db.execute("""
        ALTER TABLE protected_resources
            DROP COLUMN audit_level,
            DROP COLUMN data_residency,
            DROP COLUMN sla_tier,
            DROP COLUMN owner_team,
            DROP COLUMN owner_email,
            DROP COLUMN cost_center,
            DROP COLUMN compliance_tags,
            DROP COLUMN data_classification,
            DROP COLUMN business_context,
            DROP COLUMN bouncer_id,
            DROP COLUMN discovered_at,
            DROP COLUMN auto_discovered
    """)


if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "module_utils"))
    from papdeploy.migrations.cli.file import main

    raise SystemExit(main(__file__))
