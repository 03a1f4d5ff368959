"""Keep the settings of GitHub and OPAL in tables; let a policy have a folder, Rego code and a bouncer.

Date: 2025-09-18
Author: PAP team

New tables github_configuration, opal_configuration and bouncer_opal_configuration; policies gain bouncer_id, folder,
rego_code and context_config. Every new column is nullable or has a constant default: no table is rewritten, and the
previous release of the API still works on the result.
"""

from __future__ import annotations

transactional = True

TABLES = {
    "github_configuration": """
        CREATE TABLE github_configuration (
            id serial PRIMARY KEY,
            repo_url varchar(500),
            branch varchar(100) NOT NULL DEFAULT 'main',
            access_token varchar(500),
            auto_sync boolean NOT NULL DEFAULT false,
            sync_interval integer NOT NULL DEFAULT 300,
            webhook_url varchar(500),
            webhook_secret varchar(255),
            last_sync_time timestamptz,
            connection_status varchar(50) NOT NULL DEFAULT 'unknown',
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now()
        )""",
    "opal_configuration": """
        CREATE TABLE opal_configuration (
            id serial PRIMARY KEY,
            server_url varchar(500),
            client_url varchar(500),
            api_key varchar(500),
            broadcast_channel varchar(255) NOT NULL DEFAULT 'policy_data',
            data_update_interval integer NOT NULL DEFAULT 60,
            enable_statistics boolean NOT NULL DEFAULT true,
            connection_status varchar(50) NOT NULL DEFAULT 'unknown',
            sandbox_broadcast_channel varchar(255),
            production_broadcast_channel varchar(255),
            environment_aware boolean NOT NULL DEFAULT false,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now()
        )""",
    "bouncer_opal_configuration": """
        CREATE TABLE bouncer_opal_configuration (
            id serial PRIMARY KEY,
            bouncer_id varchar(100) NOT NULL UNIQUE,
            environment varchar(50) NOT NULL,
            resource_name varchar(200),
            use_tenant_default boolean NOT NULL DEFAULT true,
            custom_repo_url varchar(500),
            custom_branch varchar(100),
            custom_access_token varchar(500),
            folder_path varchar(500),
            polling_interval integer NOT NULL DEFAULT 30,
            webhook_enabled boolean NOT NULL DEFAULT false,
            webhook_secret varchar(255),
            policy_filters json,
            data_filters json,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now()
        )""",
}


def upgrade(db):
    """Create the three tables; extend policies."""
    for statement in TABLES.values():
        db.execute(statement)
    db.execute("CREATE INDEX ix_bouncer_opal_configuration_environment ON bouncer_opal_configuration (environment)")
    # One statement, so that the table is locked once. A constant default is not written to the rows.
    db.execute("""
        ALTER TABLE policies
            ADD COLUMN bouncer_id varchar(100),
            ADD COLUMN folder varchar(50) NOT NULL DEFAULT 'enabled',
            ADD COLUMN rego_code text,
            ADD COLUMN context_config json
    """)


def downgrade(db):
    """Drop what upgrade() added, with the settings saved since."""
    db.execute("""
        ALTER TABLE policies
            DROP COLUMN context_config,
            DROP COLUMN rego_code,
            DROP COLUMN folder,
            DROP COLUMN bouncer_id
    """)
    for table in reversed(TABLES):
        db.execute(f"DROP TABLE {table}")


if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "module_utils"))
    from papdeploy.migrations.cli.file import main

    raise SystemExit(main(__file__))
