"""Changes of the corpus database that mean nothing: (name, SQL, first PostgreSQL). The check must say nothing."""

from __future__ import annotations

from typing import NamedTuple


class Variation(NamedTuple):
    name: str
    sql: str
    major: int = 13


def _check(what: str, name: str, rule: str) -> Variation:
    return Variation(
        f"check {what}", f"ALTER TABLE users DROP CONSTRAINT {name}; ALTER TABLE users ADD CONSTRAINT {name} CHECK ({rule}); "
        + ("COMMENT ON CONSTRAINT plan_known ON users IS 'See the price list'" if name == "plan_known" else ""))  # fmt: skip


def _index(what: str, name: str, definition: str) -> Variation:
    comment = "COMMENT ON INDEX ix_documents_open IS 'The inbox'" if name == "ix_documents_open" else ""
    return Variation(f"index {what}", f"DROP INDEX {name}; CREATE {definition}; {comment}")


VARIATIONS = [
    # column order
    Variation("column at the end", "ALTER TABLE users DROP COLUMN rating; ALTER TABLE users ADD COLUMN rating float"),
    Variation(
        "column in another place",
        "ALTER TABLE users DROP COLUMN bio; ALTER TABLE users ADD COLUMN bio text; "
        "ALTER TABLE users DROP COLUMN rank; ALTER TABLE users ADD COLUMN rank smallint",
    ),
    Variation(
        "view columns in another order",
        "DROP VIEW active_users; CREATE VIEW active_users AS SELECT role, id, email FROM users "
        "WHERE is_active AND plan IN ('pro', 'team'); COMMENT ON VIEW active_users IS 'Who may log in now'",
    ),
    # names that the server made up
    Variation("primary key named", "ALTER TABLE users RENAME CONSTRAINT users_pkey TO pk_people"),
    Variation("unique named", "ALTER TABLE users RENAME CONSTRAINT users_username_key TO one_name"),
    Variation("foreign key named", "ALTER TABLE audit.entries RENAME CONSTRAINT entries_user_id_fkey TO fk_entry_user"),
    Variation("check named", "ALTER TABLE users RENAME CONSTRAINT users_login_count_check TO sane_logins"),
    Variation("serial sequence named", "ALTER SEQUENCE users_id_seq RENAME TO user_numbers"),
    Variation("identity sequence named", "ALTER SEQUENCE organizations_id_seq RENAME TO organization_numbers"),
    Variation("not null named", "ALTER TABLE users RENAME CONSTRAINT users_email_not_null TO email_is_set", 18),
    Variation("domain check named", "ALTER DOMAIN positive_integer RENAME CONSTRAINT positive TO above_zero"),
    # equal spellings of defaults
    Variation("CURRENT_TIMESTAMP for now()", "ALTER TABLE users ALTER created_at SET DEFAULT CURRENT_TIMESTAMP"),
    Variation(
        "transaction_timestamp() for now()", "ALTER TABLE users ALTER created_at SET DEFAULT transaction_timestamp()"
    ),
    Variation("now() for CURRENT_TIMESTAMP", "ALTER TABLE memberships ALTER since SET DEFAULT now()"),
    Variation("LOCALTIMESTAMP for CURRENT_TIMESTAMP", "ALTER TABLE memberships ALTER since SET DEFAULT LOCALTIMESTAMP"),
    Variation("now() with a cast", "ALTER TABLE memberships ALTER since SET DEFAULT now()::timestamp"),
    Variation("default cast to text", "ALTER TABLE users ALTER plan SET DEFAULT 'free'::text"),
    Variation("default cast to varchar", "ALTER TABLE users ALTER plan SET DEFAULT 'free'::varchar"),
    Variation("default cast to its own length", "ALTER TABLE users ALTER plan SET DEFAULT 'free'::varchar(20)"),
    Variation("char default as text", "ALTER TABLE users ALTER country SET DEFAULT 'DE'::text"),
    Variation("number default as number", "ALTER TABLE users ALTER balance SET DEFAULT 0"),
    Variation("number default with a fraction", "ALTER TABLE users ALTER balance SET DEFAULT 0.00"),
    Variation("number default as bigint", "ALTER TABLE users ALTER balance SET DEFAULT 0::bigint"),
    Variation("number default as text", "ALTER TABLE users ALTER balance SET DEFAULT '0.0'::numeric"),
    Variation("integer default in parentheses", "ALTER TABLE users ALTER login_count SET DEFAULT (0)"),
    Variation("integer default as bigint", "ALTER TABLE users ALTER login_count SET DEFAULT 0::bigint"),
    Variation("boolean default as text", "ALTER TABLE users ALTER is_active SET DEFAULT 'yes'"),
    Variation("enum default through text", "ALTER TABLE users ALTER role SET DEFAULT 'user'::text::role"),
    Variation("JSON default spaced", """ALTER TABLE users ALTER extra SET DEFAULT '{ "a" : 1 }'"""),
    Variation("JSONB default spaced", """ALTER TABLE users ALTER settings SET DEFAULT '{"theme":"dark"}'::jsonb"""),
    Variation("array default as ARRAY", "ALTER TABLE users ALTER tags SET DEFAULT ARRAY[]::text[]"),
    Variation(
        "interval default in hours and days", "ALTER TABLE users ALTER patience SET DEFAULT interval '1 day 0 hours'"
    ),
    Variation("interval default cast", "ALTER TABLE users ALTER patience SET DEFAULT '1 day'::interval"),
    Variation("no default as NULL", "ALTER TABLE users ALTER full_name SET DEFAULT NULL"),
    Variation("no default as cast NULL", "ALTER TABLE users ALTER full_name SET DEFAULT NULL::varchar"),
    Variation("nextval qualified", "ALTER TABLE users ALTER id SET DEFAULT nextval('public.users_id_seq'::regclass)"),
    Variation("quoted default as E string", """ALTER TABLE "Odd Table" ALTER "Mixed Case" SET DEFAULT E'It\\'s'"""),
    # equal spellings of rules
    _check("as ANY", "plan_known", "plan = ANY (ARRAY['free', 'pro', 'team'])"),
    _check(
        "as a dump prints it",
        "plan_known",
        "((plan)::text = ANY (ARRAY[('free'::character varying)::text, ('pro'::character varying)::text, ('team'::text)]))",
    ),
    _check("as OR", "plan_known", "plan = 'free' OR plan = 'pro' OR plan = 'team'"),
    _check("with the values in another order", "plan_known", "plan IN ('team', 'pro', 'free')"),
    _check("with a value twice", "plan_known", "plan IN ('team', 'pro', 'free', 'pro')"),
    _check("as an array literal", "plan_known", "plan::text = ANY ('{free,pro,team}'::text[])"),
    _check("with a cast number", "balance_not_negative", "balance >= 0::numeric"),
    _check("with a fraction", "balance_not_negative", "balance >= 0.0"),
    _check("with a text number", "balance_not_negative", "balance >= '0'"),
    _check("turned round", "balance_not_negative", "0 <= balance"),
    _check("with parentheses", "balance_not_negative", "((balance) >= (0))"),
    _check("with the parts swapped", "users_login_count_check", "login_count < 1000000 AND login_count >= 0"),
    Variation(
        "check validated later",
        "ALTER TABLE users DROP CONSTRAINT balance_not_negative; ALTER TABLE users ADD CONSTRAINT balance_not_negative "
        "CHECK (balance >= 0) NOT VALID; ALTER TABLE users VALIDATE CONSTRAINT balance_not_negative",
    ),
    Variation(
        "foreign key spelled out",
        "ALTER TABLE audit.entries DROP CONSTRAINT entries_user_id_fkey; ALTER TABLE audit.entries ADD FOREIGN KEY (user_id) "
        "REFERENCES public.users MATCH SIMPLE ON UPDATE NO ACTION ON DELETE NO ACTION NOT DEFERRABLE INITIALLY IMMEDIATE",
    ),
    Variation(
        "foreign key validated later",
        "ALTER TABLE audit.entries DROP CONSTRAINT entries_user_id_fkey; ALTER TABLE audit.entries ADD FOREIGN KEY (user_id) "
        "REFERENCES users (id) NOT VALID; ALTER TABLE audit.entries VALIDATE CONSTRAINT entries_user_id_fkey",
    ),
    Variation(
        "triggers disabled and enabled", "ALTER TABLE users DISABLE TRIGGER ALL; ALTER TABLE users ENABLE TRIGGER ALL"
    ),
    Variation(
        "unique made from an index",
        "ALTER TABLE users DROP CONSTRAINT users_username_key; CREATE UNIQUE INDEX by_name ON users (username); "
        "ALTER TABLE users ADD CONSTRAINT users_username_key UNIQUE USING INDEX by_name",
    ),
    _index(
        "spelled out",
        "ix_documents_plain",
        "INDEX ix_documents_plain ON documents USING btree (created_at ASC NULLS LAST)",
    ),
    _index(
        "with the default operator class",
        "ix_documents_state",
        'INDEX ix_documents_state ON documents (state COLLATE "default" text_ops) WITH (fillfactor = 70)',
    ),
    _index(
        "with the predicate swapped",
        "ix_documents_open",
        "INDEX ix_documents_open ON documents (owner_id) WHERE deleted_at IS NULL AND (state)::text = 'open'::text",
    ),
    _index(
        "with the expression cast", "ix_users_lower_email", "INDEX ix_users_lower_email ON users ((lower(email::text)))"
    ),
    _index(
        "descending spelled out",
        "ix_documents_recent",
        "INDEX ix_documents_recent ON documents (created_at DESC NULLS LAST)",
    ),
    Variation(
        "index options set and reset",
        "ALTER INDEX ix_documents_plain SET (fillfactor = 60); ALTER INDEX ix_documents_plain RESET (fillfactor)",
    ),
    # what the models leave open
    Variation(
        "serial as identity",
        "ALTER TABLE bookings ALTER id DROP DEFAULT; DROP SEQUENCE bookings_id_seq; "
        "ALTER TABLE bookings ALTER id ADD GENERATED BY DEFAULT AS IDENTITY",
    ),
    Variation(
        "serial as identity always",
        "ALTER TABLE features ALTER id DROP DEFAULT; DROP SEQUENCE features_id_seq; "
        "ALTER TABLE features ALTER id ADD GENERATED ALWAYS AS IDENTITY",
    ),
    Variation(
        "statistics target reset",
        "ALTER TABLE users ALTER email SET STATISTICS 9; ALTER TABLE users ALTER email SET STATISTICS -1",
    ),
    Variation("storage as the type has it", "ALTER TABLE users ALTER bio SET STORAGE EXTENDED"),
    Variation("replica identity by default", "ALTER TABLE users REPLICA IDENTITY DEFAULT"),
    # what is not the models'
    Variation(
        "another partition",
        "CREATE TABLE events_2027 PARTITION OF events FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')",
    ),
    Variation(
        "other partitions",
        "DROP TABLE events_2026; CREATE TABLE events_rest PARTITION OF events DEFAULT; "
        "CREATE INDEX ON events_rest (user_id); COMMENT ON TABLE events_rest IS 'x'",
    ),
    Variation(
        "a partition of a partition",
        "CREATE TABLE events_2027 PARTITION OF events FOR VALUES FROM ('2027-01-01') TO ('2028-01-01') PARTITION BY RANGE (happened_at); "
        "CREATE TABLE events_2027_all PARTITION OF events_2027 DEFAULT",
    ),
    Variation(
        "tables in another schema",
        "CREATE SCHEMA reports; CREATE TABLE reports.users (id integer); CREATE VIEW reports.v AS SELECT 1",
    ),
    Variation("the ledger", "CREATE SCHEMA IF NOT EXISTS pap_deploy; CREATE TABLE pap_deploy.ledger (id integer)"),
    Variation("Alembic's table", "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)"),
    Variation("a temporary table", "CREATE TEMPORARY TABLE users_import (id integer)"),
    Variation("a temporary table that hides a real one", "CREATE TEMPORARY TABLE users (id integer)"),
    Variation("an extension", "CREATE EXTENSION some_extension"),
    Variation(
        "an extension in a schema of its own",
        "CREATE SCHEMA extensions; CREATE EXTENSION some_extension SCHEMA extensions",
    ),
    Variation("an extension among the tables of a used schema", "CREATE EXTENSION some_extension SCHEMA audit"),
    Variation("a publication", "CREATE PUBLICATION everything FOR TABLE users"),
    Variation(
        "an event trigger",
        "CREATE SCHEMA watch; CREATE FUNCTION watch.see() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; "
        "CREATE EVENT TRIGGER watching ON ddl_command_end EXECUTE FUNCTION watch.see()",
    ),
    # rights and owners
    Variation(
        "granted to a role",
        "GRANT SELECT, INSERT ON users TO schema_other; GRANT USAGE ON SCHEMA audit TO schema_other",
    ),
    Variation("grant option to a role", "GRANT ALL ON settings TO schema_other WITH GRANT OPTION"),
    Variation("rights for new tables to a role", "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO schema_other"),
    Variation("hardened schema", "REVOKE ALL ON SCHEMA public FROM PUBLIC"),
    Variation("everything owned by another role", "OWNERS"),
    # spacing
    Variation(
        "function spaced otherwise",
        "CREATE OR REPLACE FUNCTION slug(source text, glue text DEFAULT '-') RETURNS text LANGUAGE sql IMMUTABLE STRICT AS $body$\n"
        "    SELECT lower(replace(source,' ',glue)) -- the same\n$body$",
    ),
    Variation(
        "trigger function spaced otherwise",
        "CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.updated_at := now(); /* here */ RETURN NEW; END $$",
    ),
    Variation(
        "view spaced otherwise",
        "CREATE OR REPLACE VIEW active_users AS\n  SELECT users.id, users.email, users.role FROM public.users\n"
        "  WHERE (users.is_active) AND users.plan = ANY (ARRAY['pro'::varchar, 'team'::varchar])",
    ),
    Variation(
        "trigger spelled otherwise",
        "DROP TRIGGER documents_touch ON documents; CREATE TRIGGER documents_touch BEFORE UPDATE OR INSERT ON public.documents "
        "FOR EACH ROW EXECUTE PROCEDURE public.touch()",
    ),
    Variation(
        "policy spelled otherwise",
        "ALTER POLICY documents_own ON documents USING ((current_setting('app.user'::text, true))::int = owner_id)",
    ),
    Variation(
        "generated expression spelled otherwise",
        "ALTER TABLE documents DROP COLUMN words; "
        "ALTER TABLE documents ADD COLUMN words integer GENERATED ALWAYS AS ((char_length( title ))) STORED",
    ),
    # data
    Variation(
        "rows", "INSERT INTO users (email) VALUES ('a@b'), ('c@d'); INSERT INTO bookings (during) VALUES ('[1,3)')"
    ),
    Variation(
        "rows deleted and sequence ahead",
        "INSERT INTO features (name) VALUES ('a'), ('b'), ('c'); DELETE FROM features WHERE name = 'c'",
    ),
    Variation("sequence far ahead", "SELECT setval('users_id_seq', 500000)"),
    Variation(
        "sequence set to the next value",
        "INSERT INTO features (id, name) VALUES (7, 'x'); SELECT setval('features_id_seq', 8, false)",
    ),
    Variation("analyzed", "ANALYZE users"),
    Variation("materialized view refreshed", "REFRESH MATERIALIZED VIEW user_totals"),
    # settings
    Variation("session quotes all identifiers", "SET LOCAL quote_all_identifiers = on"),
    Variation(
        "session prints otherwise",
        "SET LOCAL IntervalStyle = sql_standard; SET LOCAL DateStyle = 'German, DMY'; SET LOCAL TimeZone = 'Asia/Tokyo'; "
        "SET LOCAL extra_float_digits = -5; SET LOCAL bytea_output = 'escape'",
    ),
    Variation("session reads strings otherwise", "SET LOCAL standard_conforming_strings = off"),
    Variation("search path with more schemas", "CREATE SCHEMA other; SET LOCAL search_path = other, public, audit"),
    Variation("search path with the user's schema", 'SET LOCAL search_path = "$user", nowhere, public'),
    Variation("search path with a used schema first", "SET LOCAL search_path = audit, public"),
    Variation(
        "models in another schema",
        "ALTER SCHEMA public RENAME TO app; CREATE SCHEMA public; SET LOCAL search_path = app",
    ),
    Variation(
        "models in a schema with a quoted name",
        'ALTER SCHEMA public RENAME TO "My App"; CREATE SCHEMA public; SET LOCAL search_path = "My App", public',
    ),
]
