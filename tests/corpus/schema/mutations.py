"""Single changes of the corpus database that the check must see, and what it must call them: (kind, object) each.

``repaired``: whether the SQL that the check proposes makes the database match again (everything that SQL can say).
``major``: the first PostgreSQL that can be changed so. ``setup``: what must be there before, in the same transaction.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutation(NamedTuple):
    name: str
    sql: str
    found: tuple[tuple[str, str], ...]
    repaired: bool = True
    major: int = 13


def one(name: str, sql: str, kind: str, place: str, *, repaired: bool = True, major: int = 13) -> Mutation:
    return Mutation(name, sql, ((kind, place),), repaired, major)


TABLES = [
    one("table dropped", "DROP TABLE bookings", "table_missing", "bookings"),
    one("table dropped with sequence in use", "DROP TABLE invoices", "table_missing", "invoices"),
    one("table in another schema dropped", "DROP TABLE audit.entries", "table_missing", "audit.entries"),
    one("table with dependents dropped", "DROP TABLE settings CASCADE", "table_missing", "settings", repaired=False),
    one("quoted table dropped", 'DROP TABLE "Odd Table"', "table_missing", "Odd Table"),
    one("table of the second metadata dropped", "DROP TABLE features", "table_missing", "features"),
    one("table extra", "CREATE TABLE leftovers (id integer)", "table_extra", "leftovers"),
    one("table extra in another schema", "CREATE TABLE audit.leftovers (id integer)", "table_extra", "audit.leftovers"),
    one("table renamed", "ALTER TABLE memberships RENAME TO members", "table_renamed", "memberships"),
    one("quoted table renamed", 'ALTER TABLE "Odd Table" RENAME TO odd_table', "table_renamed", "Odd Table"),
    one("table moved", "CREATE SCHEMA archive; ALTER TABLE invoices SET SCHEMA archive", "table_moved", "invoices"),
    one("table moved to a used schema", "ALTER TABLE cache_entries SET SCHEMA audit", "table_moved", "cache_entries"),
    one(
        "table replaced by a view",
        "DROP TABLE cache_entries; CREATE VIEW cache_entries AS SELECT ''::varchar(100) AS key, ''::text AS value",
        "table_kind",
        "cache_entries",
        repaired=False,
    ),
    one(
        "table replaced by a materialized view",
        "DROP TABLE cache_entries; CREATE MATERIALIZED VIEW cache_entries AS SELECT ''::varchar(100) AS key, ''::text AS value",
        "table_kind",
        "cache_entries",
        repaired=False,
    ),
    one(
        "table is now partitioned",
        "DROP TABLE features; CREATE TABLE features (id serial PRIMARY KEY, name varchar(40), minimum_role role) "
        "PARTITION BY RANGE (id)",
        "table_partitioning",
        "features",
        repaired=False,
    )._replace(found=(("table_partitioning", "features"), ("unique_missing", "features.features_name_key"))),
    one(
        "table became a partition",
        "ALTER TABLE bookings RENAME TO b; CREATE TABLE all_bookings (LIKE b) PARTITION BY RANGE (id); "
        "ALTER TABLE b RENAME TO bookings; ALTER TABLE all_bookings ATTACH PARTITION bookings DEFAULT",
        "table_attached",
        "bookings",
        repaired=False,
    )._replace(found=(("table_attached", "bookings"), ("table_extra", "all_bookings"))),
    one(
        "partition key changed",
        "DROP MATERIALIZED VIEW user_totals; DROP TABLE events; CREATE TABLE events (id bigint, happened_at timestamp, "
        "kind varchar(30), user_id integer REFERENCES users, PRIMARY KEY (id, happened_at)) PARTITION BY RANGE (id); "
        "CREATE TABLE events_all PARTITION OF events DEFAULT; CREATE INDEX ix_events_kind ON events (kind); "
        "CREATE MATERIALIZED VIEW user_totals AS SELECT user_id, count(*) AS number FROM events GROUP BY user_id; "
        "CREATE UNIQUE INDEX ix_user_totals ON user_totals (user_id)",
        "table_partitioning",
        "events",
        repaired=False,
    ),
    one(
        "partition strategy changed to list",
        "DROP MATERIALIZED VIEW user_totals; DROP TABLE events; CREATE TABLE events (id bigint, happened_at timestamp, "
        "kind varchar(30), user_id integer REFERENCES users, PRIMARY KEY (id, happened_at)) PARTITION BY LIST (happened_at); "
        "CREATE TABLE events_all PARTITION OF events DEFAULT; CREATE INDEX ix_events_kind ON events (kind); "
        "CREATE MATERIALIZED VIEW user_totals AS SELECT user_id, count(*) AS number FROM events GROUP BY user_id; "
        "CREATE UNIQUE INDEX ix_user_totals ON user_totals (user_id)",
        "table_partitioning",
        "events",
        repaired=False,
    ),
    one("all partitions gone", "DROP TABLE events_2026", "table_partitions", "events", repaired=False),
    Mutation(
        "partition detached",
        "ALTER TABLE events DETACH PARTITION events_2026",
        (("table_extra", "events_2026"), ("table_partitions", "events")),
        repaired=False,
    ),
    one("table unlogged", "ALTER TABLE settings SET UNLOGGED", "table_persistence", "settings"),
    one("unlogged table logged", "ALTER TABLE cache_entries SET LOGGED", "table_persistence", "cache_entries"),
    one("inheritance dropped", "ALTER TABLE cats NO INHERIT animals", "table_inheritance", "cats"),
    one(
        "inheritance added",
        "ALTER TABLE settings ADD COLUMN lives integer; ALTER TABLE settings DROP COLUMN lives; "
        "CREATE TABLE base_settings (); ALTER TABLE settings INHERIT base_settings",
        "table_inheritance",
        "settings",
    )._replace(found=(("table_inheritance", "settings"), ("table_extra", "base_settings"))),
    one("storage parameters set", "ALTER TABLE users SET (fillfactor = 50)", "table_storage", "users"),
    one("autovacuum off", "ALTER TABLE users SET (autovacuum_enabled = false)", "table_storage", "users"),
    one("table comment changed", "COMMENT ON TABLE users IS 'Persons'", "table_comment", "users"),
    one("table comment dropped", "COMMENT ON TABLE users IS NULL", "table_comment", "users"),
    one("table comment added", "COMMENT ON TABLE invoices IS 'Bills'", "table_comment", "invoices"),
    one("table owner changed", "ALTER TABLE bookings OWNER TO schema_other", "table_owner", "bookings"),
    one("view owner changed", "ALTER VIEW active_users OWNER TO schema_other", "table_owner", "active_users"),
    one("granted to everybody", "GRANT SELECT ON users TO PUBLIC", "table_grant", "users"),
    one("grant to everybody widened", "GRANT INSERT ON settings TO PUBLIC", "table_grant", "settings"),
    one("grant to everybody revoked", "REVOKE SELECT ON settings FROM PUBLIC", "table_grant", "settings"),
    one("column granted to everybody", "GRANT UPDATE (email) ON users TO PUBLIC", "column_grant", "users.email"),
    one(
        "column granted to a role",
        "GRANT UPDATE (email) ON users TO schema_other",
        "column_grant",
        "users.email",
        repaired=False,
    ),
    one("table revoked from its owner", "REVOKE INSERT ON bookings FROM CURRENT_USER", "table_grant", "bookings"),
    one(
        "partition with another default",
        "ALTER TABLE events_2026 ALTER kind SET DEFAULT 'other'",
        "column_default",
        "events.kind",
    ),
    one("replica identity nothing", "ALTER TABLE users REPLICA IDENTITY NOTHING", "table_replica_identity", "users"),
    one(
        "replica identity default",
        "ALTER TABLE settings REPLICA IDENTITY DEFAULT",
        "table_replica_identity",
        "settings",
    ),
    one(
        "replica identity by index",
        "ALTER TABLE users REPLICA IDENTITY USING INDEX ix_users_email",
        "table_replica_identity",
        "users",
    ),
    one("row security off", "ALTER TABLE documents DISABLE ROW LEVEL SECURITY", "row_security", "documents"),
    one("row security on", "ALTER TABLE users ENABLE ROW LEVEL SECURITY", "row_security", "users"),
    one("row security forced", "ALTER TABLE documents FORCE ROW LEVEL SECURITY", "row_security", "documents"),
    one(
        "clustered",
        "ALTER TABLE documents CLUSTER ON ix_documents_plain",
        "index_clustered",
        "documents.ix_documents_plain",
    ),
]

COLUMNS = [
    one("column dropped", "ALTER TABLE users DROP COLUMN api_key_sandbox", "column_missing", "users.api_key_sandbox"),
    one(
        "column with default dropped",
        "ALTER TABLE users DROP COLUMN is_active CASCADE",
        "column_missing",
        "users.is_active",
    )._replace(found=(("column_missing", "users.is_active"), ("view_missing", "active_users"))),
    one(
        "required column dropped",
        "ALTER TABLE documents DROP COLUMN reviewer_id",
        "column_missing",
        "documents.reviewer_id",
    )._replace(
        found=(
            ("column_missing", "documents.reviewer_id"),
            ("foreign_key_missing", "documents.documents_reviewer_id_fkey"),
        )
    ),
    one(
        "column of another schema dropped",
        "ALTER TABLE audit.entries DROP COLUMN payload",
        "column_missing",
        "audit.entries.payload",
    ),
    one(
        "quoted column dropped",
        'ALTER TABLE "Odd Table" DROP COLUMN "Mixed Case"',
        "column_missing",
        "Odd Table.Mixed Case",
    ),
    one("column extra", "ALTER TABLE users ADD COLUMN nickname text", "column_extra", "users.nickname"),
    one("required column extra", "ALTER TABLE users ADD COLUMN must integer NOT NULL", "column_extra", "users.must"),
    one("column renamed", "ALTER TABLE users RENAME COLUMN full_name TO fullname", "column_renamed", "users.full_name"),
    one(
        "column renamed to something else",
        "ALTER TABLE users RENAME COLUMN last_ip TO origin",
        "column_renamed",
        "users.last_ip",
    ),
    one(
        "quoted column renamed",
        'ALTER TABLE "Odd Table" RENAME COLUMN "Mixed Case" TO mixed_case',
        "column_renamed",
        "Odd Table.Mixed Case",
    ),
    one("varchar shortened", "ALTER TABLE users ALTER full_name TYPE varchar(99)", "column_type", "users.full_name"),
    one("varchar lengthened", "ALTER TABLE users ALTER full_name TYPE varchar(101)", "column_type", "users.full_name"),
    one("varchar without length", "ALTER TABLE users ALTER full_name TYPE varchar", "column_type", "users.full_name"),
    one("varchar to text", "ALTER TABLE users ALTER api_key_sandbox TYPE text", "column_type", "users.api_key_sandbox"),
    one("text to varchar", "ALTER TABLE users ALTER bio TYPE varchar", "column_type", "users.bio"),
    one(
        "char lengthened",
        "ALTER TABLE users ALTER country TYPE char(3)",
        "column_type",
        "users.country",
        repaired=False,
    ),
    one(
        "char to varchar",
        "ALTER TABLE organizations ALTER country TYPE char(2)",
        "column_type",
        "organizations.country",
    ),
    one("integer to bigint", "ALTER TABLE bookings ALTER room TYPE bigint", "column_type", "bookings.room"),
    one("integer to smallint", "ALTER TABLE bookings ALTER room TYPE smallint", "column_type", "bookings.room"),
    one("serial to bigint", "ALTER TABLE bookings ALTER id TYPE bigint", "column_type", "bookings.id"),
    one("numeric precision", "ALTER TABLE invoices ALTER amount TYPE numeric(11,4)", "column_type", "invoices.amount"),
    one("numeric scale", "ALTER TABLE invoices ALTER amount TYPE numeric(12,3)", "column_type", "invoices.amount"),
    one(
        "numeric without precision", "ALTER TABLE invoices ALTER amount TYPE numeric", "column_type", "invoices.amount"
    ),
    one("float to real", "ALTER TABLE users ALTER rating TYPE real", "column_type", "users.rating"),
    one("float to numeric", "ALTER TABLE users ALTER rating TYPE numeric", "column_type", "users.rating"),
    one(
        "timestamp gains time zone",
        "ALTER TABLE users ALTER updated_at TYPE timestamptz",
        "column_type",
        "users.updated_at",
    ),
    one(
        "timestamp loses time zone",
        "ALTER TABLE documents ALTER deleted_at TYPE timestamp",
        "column_type",
        "documents.deleted_at",
        repaired=False,
    )._replace(found=(("column_type", "documents.deleted_at"),)),
    one(
        "timestamp precision",
        "ALTER TABLE documents ALTER updated_at TYPE timestamptz(0)",
        "column_type",
        "documents.updated_at",
    ),
    one(
        "time gains time zone",
        "ALTER TABLE users ALTER wakes_at TYPE timetz USING NULL",
        "column_type",
        "users.wakes_at",
    ),
    one("interval fields", "ALTER TABLE users ALTER patience TYPE interval day", "column_type", "users.patience"),
    one("date to timestamp", "ALTER TABLE users ALTER birthday TYPE timestamp", "column_type", "users.birthday"),
    one("jsonb to json", "ALTER TABLE audit.entries ALTER payload TYPE json", "column_type", "audit.entries.payload"),
    one("inet to text", "ALTER TABLE users ALTER last_ip TYPE text", "column_type", "users.last_ip"),
    one(
        "array to text",
        "ALTER TABLE users ALTER tags DROP DEFAULT, ALTER tags TYPE text USING NULL",
        "column_type",
        "users.tags",
        repaired=False,
    )._replace(found=(("column_type", "users.tags"), ("column_default", "users.tags"))),
    one(
        "array of another type",
        "ALTER TABLE users ALTER tags DROP DEFAULT, ALTER tags TYPE varchar[], ALTER tags SET DEFAULT '{}'",
        "column_type",
        "users.tags",
    ),
    one("enum to text", "ALTER TABLE memberships ALTER role TYPE text", "column_type", "memberships.role"),
    one(
        "enum to another enum",
        "CREATE TYPE role2 AS ENUM ('admin', 'user', 'viewer'); "
        "ALTER TABLE memberships ALTER role TYPE role2 USING role::text::role2",
        "column_type",
        "memberships.role",
    )._replace(found=(("column_type", "memberships.role"), ("type_extra", "role2"))),
    one("domain to its base", "ALTER TABLE users ALTER age TYPE integer", "column_type", "users.age"),
    one(
        "uuid to text",
        "ALTER TABLE users ALTER token DROP DEFAULT, ALTER token TYPE text, ALTER token SET DEFAULT gen_random_uuid()",
        "column_type",
        "users.token",
    ),
    one("nullable", "ALTER TABLE users ALTER email DROP NOT NULL", "column_not_null", "users.email"),
    one(
        "nullable with default", "ALTER TABLE users ALTER is_active DROP NOT NULL", "column_not_null", "users.is_active"
    ),
    one("not null", "ALTER TABLE users ALTER full_name SET NOT NULL", "column_not_null", "users.full_name"),
    one(
        "not null in another schema",
        "ALTER TABLE audit.entries ALTER kind DROP NOT NULL",
        "column_not_null",
        "audit.entries.kind",
    ),
    one(
        "not null not valid",
        "ALTER TABLE users ALTER email DROP NOT NULL; "
        "ALTER TABLE users ADD CONSTRAINT users_email_not_null NOT NULL email NOT VALID",
        "constraint_not_validated",
        "users.email",
        major=18,
    ),
    one("default dropped", "ALTER TABLE users ALTER is_active DROP DEFAULT", "column_default", "users.is_active"),
    one(
        "default of nullable dropped",
        "ALTER TABLE users ALTER settings DROP DEFAULT",
        "column_default",
        "users.settings",
    ),
    one("default added", "ALTER TABLE users ALTER full_name SET DEFAULT 'nobody'", "column_default", "users.full_name"),
    one("empty default added", "ALTER TABLE users ALTER full_name SET DEFAULT ''", "column_default", "users.full_name"),
    one("default value changed", "ALTER TABLE users ALTER plan SET DEFAULT 'pro'", "column_default", "users.plan"),
    one("default spelled otherwise", "ALTER TABLE users ALTER plan SET DEFAULT 'Free'", "column_default", "users.plan"),
    one("default with a space", "ALTER TABLE users ALTER plan SET DEFAULT 'free '", "column_default", "users.plan"),
    one(
        "boolean default flipped",
        "ALTER TABLE users ALTER is_active SET DEFAULT false",
        "column_default",
        "users.is_active",
    ),
    one(
        "number default changed", "ALTER TABLE users ALTER balance SET DEFAULT 0.01", "column_default", "users.balance"
    ),
    one(
        "number default negative",
        "ALTER TABLE users ALTER login_count SET DEFAULT -1",
        "column_default",
        "users.login_count",
    ),
    one(
        "function default changed",
        "ALTER TABLE users ALTER created_at SET DEFAULT clock_timestamp()",
        "column_default",
        "users.created_at",
    ),
    one(
        "function default made constant",
        "ALTER TABLE users ALTER created_at SET DEFAULT '2026-01-01'",
        "column_default",
        "users.created_at",
    ),
    one("enum default changed", "ALTER TABLE users ALTER role SET DEFAULT 'admin'", "column_default", "users.role"),
    one(
        "json default changed",
        """ALTER TABLE users ALTER settings SET DEFAULT '{"theme": "light"}'""",
        "column_default",
        "users.settings",
    ),
    one(
        "json text default changed",
        """ALTER TABLE users ALTER extra SET DEFAULT '{"a":"1"}'""",
        "column_default",
        "users.extra",
    ),
    one("array default changed", "ALTER TABLE users ALTER tags SET DEFAULT '{new}'", "column_default", "users.tags"),
    one(
        "interval default changed",
        "ALTER TABLE users ALTER patience SET DEFAULT '24 hours'",
        "column_default",
        "users.patience",
    ),
    one("char default changed", "ALTER TABLE users ALTER country SET DEFAULT 'FR'", "column_default", "users.country"),
    one(
        "quoted default changed",
        """ALTER TABLE "Odd Table" ALTER "Mixed Case" SET DEFAULT 'Its'""",
        "column_default",
        "Odd Table.Mixed Case",
    ),
    one(
        "precise now",
        "ALTER TABLE audit.entries ALTER at SET DEFAULT CURRENT_TIMESTAMP(0)",
        "column_default",
        "audit.entries.at",
    ),
    one("serial default dropped", "ALTER TABLE bookings ALTER id DROP DEFAULT", "column_default", "bookings.id"),
    one("serial sequence dropped", "DROP SEQUENCE users_id_seq CASCADE", "column_default", "users.id"),
    one("serial default constant", "ALTER TABLE bookings ALTER id SET DEFAULT 7", "column_default", "bookings.id"),
    one("serial sequence not owned", "ALTER SEQUENCE users_id_seq OWNED BY NONE", "column_sequence_owner", "users.id"),
    one(
        "serial sequence owned by another",
        "ALTER SEQUENCE users_id_seq OWNED BY users.rank",
        "column_sequence_owner",
        "users.id",
    ),
    one("serial sequence type", "ALTER SEQUENCE users_id_seq AS bigint", "column_sequence", "users.id"),
    one(
        "serial sequence type alone",
        "ALTER SEQUENCE users_id_seq AS bigint MAXVALUE 2147483647",
        "column_sequence",
        "users.id",
    ),
    one("serial sequence smaller", "ALTER SEQUENCE users_id_seq AS smallint", "column_sequence", "users.id"),
    one("serial sequence increment", "ALTER SEQUENCE users_id_seq INCREMENT 2", "column_sequence", "users.id"),
    one("serial sequence maximum", "ALTER SEQUENCE users_id_seq MAXVALUE 1000", "column_sequence", "users.id"),
    one("serial sequence minimum", "ALTER SEQUENCE users_id_seq MINVALUE -5", "column_sequence", "users.id"),
    one("serial sequence cycles", "ALTER SEQUENCE users_id_seq CYCLE", "column_sequence", "users.id"),
    one("serial sequence cache", "ALTER SEQUENCE users_id_seq CACHE 20", "column_sequence", "users.id"),
    one(
        "serial draws from another sequence",
        "ALTER TABLE bookings ALTER id SET DEFAULT nextval('users_id_seq')",
        "column_default",
        "bookings.id",
    ),
    one(
        "identity dropped",
        "ALTER TABLE organizations ALTER number DROP IDENTITY",
        "column_identity",
        "organizations.number",
    ),
    one(
        "identity to serial",
        "ALTER TABLE organizations ALTER number DROP IDENTITY; CREATE SEQUENCE n OWNED BY organizations.number; "
        "ALTER TABLE organizations ALTER number SET DEFAULT nextval('n')",
        "column_identity",
        "organizations.number",
    ),
    one(
        "identity by default",
        "ALTER TABLE organizations ALTER id SET GENERATED BY DEFAULT",
        "column_identity",
        "organizations.id",
    ),
    one(
        "identity always",
        "ALTER TABLE organizations ALTER number SET GENERATED ALWAYS",
        "column_identity",
        "organizations.number",
    ),
    one(
        "identity increment",
        "ALTER TABLE organizations ALTER id SET INCREMENT 1",
        "column_sequence",
        "organizations.id",
    ),
    one("identity start", "ALTER TABLE organizations ALTER id SET START 1", "column_sequence", "organizations.id"),
    one(
        "identity maximum",
        "ALTER TABLE organizations ALTER number SET MAXVALUE 99",
        "column_sequence",
        "organizations.number",
    ),
    one(
        "plain column became identity",
        "ALTER TABLE bookings ALTER room SET NOT NULL; ALTER TABLE bookings ALTER room ADD GENERATED ALWAYS AS IDENTITY",
        "column_identity",
        "bookings.room",
    )._replace(found=(("column_identity", "bookings.room"), ("column_not_null", "bookings.room"))),
    one(
        "generated column became plain",
        "ALTER TABLE documents ALTER words DROP EXPRESSION",
        "column_generated",
        "documents.words",
    ),
    one(
        "generated expression changed",
        "ALTER TABLE documents DROP COLUMN words; "
        "ALTER TABLE documents ADD COLUMN words integer GENERATED ALWAYS AS (octet_length(title)) STORED",
        "column_generated",
        "documents.words",
    ),
    one(
        "generated column virtual",
        "ALTER TABLE documents DROP COLUMN words; "
        "ALTER TABLE documents ADD COLUMN words integer GENERATED ALWAYS AS (char_length(title)) VIRTUAL",
        "column_generated",
        "documents.words",
        major=18,
    ),
    one(
        "generated column has a default",
        "ALTER TABLE documents DROP COLUMN words; ALTER TABLE documents ADD COLUMN words integer DEFAULT 0",
        "column_generated",
        "documents.words",
    ),
    one(
        "plain column became generated",
        "ALTER TABLE bookings DROP COLUMN room; ALTER TABLE bookings ADD COLUMN room integer GENERATED ALWAYS AS (id % 10) STORED",
        "column_generated",
        "bookings.room",
    ),
    one(
        "text search configuration changed",
        "ALTER TABLE documents DROP COLUMN search; ALTER TABLE documents ADD COLUMN search tsvector "
        "GENERATED ALWAYS AS (to_tsvector('german'::regconfig, title)) STORED; "
        "CREATE INDEX ix_documents_search ON documents USING gin (search)",
        "column_generated",
        "documents.search",
        repaired=False,
    ),
    one(
        "collation dropped",
        'ALTER TABLE organizations ALTER name TYPE varchar(200) COLLATE "default"',
        "column_collation",
        "organizations.name",
    ),
    one(
        "collation added",
        'ALTER TABLE users ALTER full_name TYPE varchar(100) COLLATE "C"',
        "column_collation",
        "users.full_name",
    ),
    one("storage changed", "ALTER TABLE users ALTER bio SET STORAGE EXTERNAL", "column_storage", "users.bio"),
    one(
        "compression chosen",
        "ALTER TABLE users ALTER bio SET COMPRESSION pglz",
        "column_storage",
        "users.bio",
        major=14,
    ),
    one("statistics target", "ALTER TABLE users ALTER email SET STATISTICS 500", "column_statistics", "users.email"),
    one("column options", "ALTER TABLE users ALTER email SET (n_distinct = -1)", "column_options", "users.email"),
    one("column comment changed", "COMMENT ON COLUMN users.username IS 'Nick'", "column_comment", "users.username"),
    one("column comment dropped", "COMMENT ON COLUMN users.username IS NULL", "column_comment", "users.username"),
    one("column comment added", "COMMENT ON COLUMN users.email IS 'Unique'", "column_comment", "users.email"),
    one("sequence behind", "INSERT INTO bookings (id, during) VALUES (41, '[1,2)')", "sequence_behind", "bookings.id"),
    one(
        "identity behind",
        "INSERT INTO organizations (id, name) OVERRIDING SYSTEM VALUE VALUES (500, 'x')",
        "sequence_behind",
        "organizations.id",
    ),
    one(
        "sequence rewound",
        "INSERT INTO features (name) VALUES ('a'), ('b'); SELECT setval('features_id_seq', 1)",
        "sequence_behind",
        "features.id",
    ),
    one(
        "sequence rewound to the start",
        "INSERT INTO features (name) VALUES ('a'); ALTER SEQUENCE features_id_seq RESTART",
        "sequence_behind",
        "features.id",
    ),
    one(
        "sequence of another schema behind",
        "INSERT INTO audit.entries (id, kind) VALUES (9, 'insert')",
        "sequence_behind",
        "audit.entries.id",
    ),
]

CONSTRAINTS = [
    one(
        "primary key dropped",
        "ALTER TABLE settings DROP CONSTRAINT settings_pkey",
        "primary_key_missing",
        "settings.settings_pkey",
    ),
    one("primary key added", "ALTER TABLE animals ADD PRIMARY KEY (name)", "primary_key_extra", "animals.animals_pkey"),
    one(
        "primary key columns swapped",
        "ALTER TABLE memberships DROP CONSTRAINT memberships_pkey; ALTER TABLE memberships ADD PRIMARY KEY (organization_id, user_id)",
        "primary_key_changed",
        "memberships.memberships_pkey",
    ),
    one(
        "primary key on other columns",
        "ALTER TABLE cache_entries DROP CONSTRAINT cache_entries_pkey; ALTER TABLE cache_entries ALTER value SET NOT NULL; "
        "ALTER TABLE cache_entries ADD PRIMARY KEY (value)",
        "primary_key_changed",
        "cache_entries.cache_entries_pkey",
    )._replace(
        found=(("primary_key_changed", "cache_entries.cache_entries_pkey"), ("column_not_null", "cache_entries.value"))
    ),
    one(
        "primary key includes",
        "ALTER TABLE settings DROP CONSTRAINT settings_pkey; ALTER TABLE settings ADD PRIMARY KEY (name) INCLUDE (value)",
        "primary_key_changed",
        "settings.settings_pkey",
    ),
    one(
        "primary key deferrable",
        "ALTER TABLE settings DROP CONSTRAINT settings_pkey; ALTER TABLE settings ADD PRIMARY KEY (name) DEFERRABLE",
        "constraint_deferrable",
        "settings.settings_pkey",
    ),
    one(
        "primary key is only unique",
        "ALTER TABLE settings DROP CONSTRAINT settings_pkey; ALTER TABLE settings ADD UNIQUE (name)",
        "primary_key_missing",
        "settings.settings_pkey",
    )._replace(
        found=(("primary_key_missing", "settings.settings_pkey"), ("unique_extra", "settings.settings_name_key"))
    ),
    one(
        "foreign key dropped",
        "ALTER TABLE organizations DROP CONSTRAINT organizations_parent_id_fkey",
        "foreign_key_missing",
        "organizations.organizations_parent_id_fkey",
    ),
    one(
        "named foreign key dropped",
        "ALTER TABLE documents DROP CONSTRAINT fk_document_owner",
        "foreign_key_missing",
        "documents.fk_document_owner",
    ),
    one(
        "foreign key of another schema dropped",
        "ALTER TABLE audit.entries DROP CONSTRAINT entries_user_id_fkey",
        "foreign_key_missing",
        "audit.entries.entries_user_id_fkey",
    ),
    one(
        "foreign key of a partitioned table dropped",
        "ALTER TABLE events DROP CONSTRAINT events_user_id_fkey",
        "foreign_key_missing",
        "events.events_user_id_fkey",
    ),
    one(
        "foreign key added",
        "ALTER TABLE bookings ADD FOREIGN KEY (room) REFERENCES users (id)",
        "foreign_key_extra",
        "bookings.bookings_room_fkey",
    ),
    one(
        "foreign key to another table",
        "ALTER TABLE audit.entries DROP CONSTRAINT entries_user_id_fkey; "
        "ALTER TABLE audit.entries ADD FOREIGN KEY (user_id) REFERENCES bookings (id)",
        "foreign_key_changed",
        "audit.entries.entries_user_id_fkey",
    ),
    one(
        "foreign key to the same name in another schema",
        "CREATE TABLE audit.users (id integer PRIMARY KEY); ALTER TABLE audit.entries DROP CONSTRAINT entries_user_id_fkey; "
        "ALTER TABLE audit.entries ADD FOREIGN KEY (user_id) REFERENCES audit.users (id)",
        "foreign_key_changed",
        "audit.entries.entries_user_id_fkey",
    )._replace(found=(("foreign_key_changed", "audit.entries.entries_user_id_fkey"), ("table_extra", "audit.users"))),
    one(
        "foreign key to another column",
        "ALTER TABLE organizations ADD UNIQUE (number); ALTER TABLE organizations DROP CONSTRAINT organizations_parent_id_fkey; "
        "ALTER TABLE organizations ADD FOREIGN KEY (parent_id) REFERENCES organizations (number)",
        "foreign_key_changed",
        "organizations.organizations_parent_id_fkey",
        repaired=False,
    )._replace(
        found=(
            ("foreign_key_changed", "organizations.organizations_parent_id_fkey"),
            ("unique_extra", "organizations.organizations_number_key"),
        )
    ),
    one(
        "cascade dropped",
        "ALTER TABLE memberships DROP CONSTRAINT memberships_user_id_fkey; "
        "ALTER TABLE memberships ADD FOREIGN KEY (user_id) REFERENCES users (id) ON UPDATE CASCADE",
        "foreign_key_changed",
        "memberships.memberships_user_id_fkey",
    ),
    one(
        "update action dropped",
        "ALTER TABLE memberships DROP CONSTRAINT memberships_user_id_fkey; "
        "ALTER TABLE memberships ADD FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE",
        "foreign_key_changed",
        "memberships.memberships_user_id_fkey",
    ),
    one(
        "set null became cascade",
        "ALTER TABLE documents DROP CONSTRAINT documents_reviewer_id_fkey; "
        "ALTER TABLE documents ADD FOREIGN KEY (reviewer_id) REFERENCES users (id) ON DELETE CASCADE",
        "foreign_key_changed",
        "documents.documents_reviewer_id_fkey",
    ),
    one(
        "no action became restrict",
        "ALTER TABLE audit.entries DROP CONSTRAINT entries_user_id_fkey; "
        "ALTER TABLE audit.entries ADD FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE RESTRICT",
        "foreign_key_changed",
        "audit.entries.entries_user_id_fkey",
    ),
    one(
        "match full",
        "ALTER TABLE audit.entries DROP CONSTRAINT entries_user_id_fkey; "
        "ALTER TABLE audit.entries ADD FOREIGN KEY (user_id) REFERENCES users (id) MATCH FULL",
        "foreign_key_changed",
        "audit.entries.entries_user_id_fkey",
    ),
    one(
        "foreign key no longer deferrable",
        "ALTER TABLE documents ALTER CONSTRAINT fk_document_owner NOT DEFERRABLE",
        "constraint_deferrable",
        "documents.fk_document_owner",
    ),
    one(
        "foreign key initially immediate",
        "ALTER TABLE documents ALTER CONSTRAINT fk_document_owner DEFERRABLE INITIALLY IMMEDIATE",
        "constraint_deferrable",
        "documents.fk_document_owner",
    ),
    one(
        "foreign key deferrable",
        "ALTER TABLE audit.entries ALTER CONSTRAINT entries_user_id_fkey DEFERRABLE",
        "constraint_deferrable",
        "audit.entries.entries_user_id_fkey",
    ),
    one(
        "foreign key not valid",
        "ALTER TABLE audit.entries DROP CONSTRAINT entries_user_id_fkey; "
        "ALTER TABLE audit.entries ADD FOREIGN KEY (user_id) REFERENCES users (id) NOT VALID",
        "constraint_not_validated",
        "audit.entries.entries_user_id_fkey",
    ),
    one(
        "foreign key not enforced",
        "ALTER TABLE audit.entries ALTER CONSTRAINT entries_user_id_fkey NOT ENFORCED",
        "constraint_not_enforced",
        "audit.entries.entries_user_id_fkey",
        major=18,
    ),
    one(
        "foreign key triggers disabled",
        "ALTER TABLE audit.entries DISABLE TRIGGER ALL",
        "constraint_not_enforced",
        "audit.entries.entries_user_id_fkey",
    ),
    one(
        "foreign key renamed",
        "ALTER TABLE documents RENAME CONSTRAINT fk_document_owner TO fk_owner",
        "constraint_name",
        "documents.fk_document_owner",
    ),
    one(
        "unique dropped",
        "ALTER TABLE users DROP CONSTRAINT users_username_key",
        "unique_missing",
        "users.users_username_key",
    ),
    one(
        "named unique dropped",
        "ALTER TABLE organizations DROP CONSTRAINT uq_organization_name_country",
        "unique_missing",
        "organizations.uq_organization_name_country",
    ),
    one(
        "quoted unique dropped",
        'ALTER TABLE "Odd Table" DROP CONSTRAINT "Odd Unique"',
        "unique_missing",
        "Odd Table.Odd Unique",
    ),
    one("unique added", "ALTER TABLE users ADD UNIQUE (full_name)", "unique_extra", "users.users_full_name_key"),
    one(
        "unique lost a column",
        "ALTER TABLE organizations DROP CONSTRAINT uq_organization_name_country; "
        "ALTER TABLE organizations ADD CONSTRAINT uq_organization_name_country UNIQUE (name)",
        "unique_changed",
        "organizations.uq_organization_name_country",
    ),
    one(
        "unique columns swapped",
        "ALTER TABLE organizations DROP CONSTRAINT uq_organization_name_country; "
        "ALTER TABLE organizations ADD CONSTRAINT uq_organization_name_country UNIQUE (country, name)",
        "unique_changed",
        "organizations.uq_organization_name_country",
    ),
    one(
        "unique deferrable",
        "ALTER TABLE users DROP CONSTRAINT users_username_key; ALTER TABLE users ADD UNIQUE (username) DEFERRABLE",
        "constraint_deferrable",
        "users.users_username_key",
    ),
    one(
        "unique nulls not distinct",
        "ALTER TABLE users DROP CONSTRAINT users_username_key; ALTER TABLE users ADD UNIQUE NULLS NOT DISTINCT (username)",
        "unique_changed",
        "users.users_username_key",
        major=15,
    ),
    one(
        "unique includes",
        "ALTER TABLE users DROP CONSTRAINT users_username_key; ALTER TABLE users ADD UNIQUE (username) INCLUDE (email)",
        "unique_changed",
        "users.users_username_key",
    ),
    one(
        "unique became an index",
        "ALTER TABLE users DROP CONSTRAINT users_username_key; CREATE UNIQUE INDEX users_username_key ON users (username)",
        "unique_as_index",
        "users.users_username_key",
    ),
    one(
        "unique became a plain index",
        "ALTER TABLE users DROP CONSTRAINT users_username_key; CREATE INDEX users_username_idx ON users (username)",
        "unique_missing",
        "users.users_username_key",
    )._replace(found=(("unique_missing", "users.users_username_key"), ("index_extra", "users.users_username_idx"))),
    one(
        "unique index became a constraint",
        "DROP INDEX ix_users_email; ALTER TABLE users ADD CONSTRAINT ix_users_email UNIQUE (email)",
        "unique_as_index",
        "users.ix_users_email",
    ),
    one(
        "unique renamed",
        "ALTER TABLE organizations RENAME CONSTRAINT uq_organization_name_country TO uq_organization",
        "constraint_name",
        "organizations.uq_organization_name_country",
    ),
    one(
        "check dropped",
        "ALTER TABLE users DROP CONSTRAINT balance_not_negative",
        "check_missing",
        "users.balance_not_negative",
    ),
    one("check of a list dropped", "ALTER TABLE users DROP CONSTRAINT plan_known", "check_missing", "users.plan_known"),
    one(
        "check added",
        "ALTER TABLE users ADD CONSTRAINT adult CHECK (birthday < '2008-01-01')",
        "check_extra",
        "users.adult",
    ),
    *(
        one(
            f"check {what}",
            f"ALTER TABLE users DROP CONSTRAINT {name}; ALTER TABLE users ADD CONSTRAINT {name} CHECK ({rule})",
            "check_changed",
            f"users.{name}",
        )
        for what, name, rule in (
            ("is strict", "balance_not_negative", "balance > 0"),
            ("has another bound", "balance_not_negative", "balance >= 1"),
            ("has a close bound", "balance_not_negative", "balance >= 0.001"),
            ("is turned round", "balance_not_negative", "balance <= 0"),
            ("of another column", "balance_not_negative", "rating >= 0"),
            ("with an escape", "balance_not_negative", "balance >= 0 OR is_active"),
            ("lost a value", "plan_known", "plan IN ('free', 'pro')"),
            ("gained a value", "plan_known", "plan IN ('free', 'pro', 'team', 'gold')"),
            ("has a value in capitals", "plan_known", "plan IN ('free', 'PRO', 'team')"),
            ("excludes", "plan_known", "plan NOT IN ('free', 'pro', 'team')"),
            ("ignores case", "plan_known", "lower(plan) IN ('free', 'pro', 'team')"),
            ("cuts the text", "plan_known", "plan::varchar(4) IN ('free', 'pro', 'team')"),
            ("pads the text", "plan_known", "plan::char(20) IN ('free', 'pro', 'team')"),
        )
    ),
    one(
        "unnamed check changed",
        "ALTER TABLE users DROP CONSTRAINT users_login_count_check; "
        "ALTER TABLE users ADD CHECK (login_count >= 0 AND login_count <= 1000000)",
        "check_changed",
        "users.users_login_count_check",
    ),
    one(
        "and became or",
        "ALTER TABLE users DROP CONSTRAINT users_login_count_check; "
        "ALTER TABLE users ADD CHECK (login_count >= 0 OR login_count < 1000000)",
        "check_changed",
        "users.users_login_count_check",
    ),
    one(
        "check not valid",
        "ALTER TABLE users DROP CONSTRAINT balance_not_negative; "
        "ALTER TABLE users ADD CONSTRAINT balance_not_negative CHECK (balance >= 0) NOT VALID",
        "constraint_not_validated",
        "users.balance_not_negative",
    ),
    one(
        "check not enforced",
        "ALTER TABLE users DROP CONSTRAINT balance_not_negative; "
        "ALTER TABLE users ADD CONSTRAINT balance_not_negative CHECK (balance >= 0) NOT ENFORCED",
        "constraint_not_enforced",
        "users.balance_not_negative",
        major=18,
    ),
    one(
        "check no inherit",
        "ALTER TABLE users DROP CONSTRAINT balance_not_negative; "
        "ALTER TABLE users ADD CONSTRAINT balance_not_negative CHECK (balance >= 0) NO INHERIT",
        "check_changed",
        "users.balance_not_negative",
    ),
    one(
        "check renamed",
        "ALTER TABLE users RENAME CONSTRAINT plan_known TO known_plan",
        "constraint_name",
        "users.plan_known",
    ),
    one(
        "exclusion dropped",
        "ALTER TABLE bookings DROP CONSTRAINT no_overlap",
        "exclusion_missing",
        "bookings.no_overlap",
    ),
    one(
        "exclusion operator changed",
        "ALTER TABLE bookings DROP CONSTRAINT no_overlap; ALTER TABLE bookings ADD CONSTRAINT no_overlap EXCLUDE USING gist (during WITH =)",
        "exclusion_changed",
        "bookings.no_overlap",
    ),
    one(
        "exclusion made partial",
        "ALTER TABLE bookings DROP CONSTRAINT no_overlap; "
        "ALTER TABLE bookings ADD CONSTRAINT no_overlap EXCLUDE USING gist (during WITH &&) WHERE (room > 0)",
        "exclusion_changed",
        "bookings.no_overlap",
    ),
    one(
        "exclusion method changed",
        "ALTER TABLE bookings DROP CONSTRAINT no_overlap; "
        "ALTER TABLE bookings ADD CONSTRAINT no_overlap EXCLUDE USING spgist (during WITH &&)",
        "exclusion_changed",
        "bookings.no_overlap",
    ),
    one(
        "exclusion deferrable",
        "ALTER TABLE bookings DROP CONSTRAINT no_overlap; "
        "ALTER TABLE bookings ADD CONSTRAINT no_overlap EXCLUDE USING gist (during WITH &&) DEFERRABLE",
        "constraint_deferrable",
        "bookings.no_overlap",
    ),
    one(
        "constraint comment dropped",
        "COMMENT ON CONSTRAINT plan_known ON users IS NULL",
        "constraint_comment",
        "users.plan_known",
    ),
]


def _reindexed(name: str, what: str, definition: str, kind: str = "index_changed", *, major: int = 13) -> Mutation:
    return one(f"index {what}", f"DROP INDEX {name}; CREATE {definition}", kind, f"documents.{name}", major=major)


INDEXES = [
    one("index dropped", "DROP INDEX ix_documents_plain", "index_missing", "documents.ix_documents_plain"),
    one("unique index dropped", "DROP INDEX ix_users_email", "index_unique_missing", "users.ix_users_email"),
    one("expression index dropped", "DROP INDEX ix_users_lower_email", "index_missing", "users.ix_users_lower_email"),
    one(
        "index of another schema dropped",
        "DROP INDEX audit.ix_entries_at",
        "index_missing",
        "audit.entries.ix_entries_at",
    ),
    one("index of a partitioned table dropped", "DROP INDEX ix_events_kind", "index_missing", "events.ix_events_kind"),
    one(
        "index of a materialized view dropped",
        "DROP INDEX ix_user_totals",
        "index_unique_missing",
        "user_totals.ix_user_totals",
    ),
    one("quoted index dropped", 'DROP INDEX "ix_Odd Table_order"', "index_missing", "Odd Table.ix_Odd Table_order"),
    one("index added", "CREATE INDEX ON users (full_name)", "index_extra", "users.users_full_name_idx"),
    one("index doubled", "CREATE INDEX twice ON documents (created_at)", "index_extra", "documents.twice"),
    one(
        "unique index added",
        "CREATE UNIQUE INDEX only_one ON users (full_name)",
        "index_unique_extra",
        "users.only_one",
    ),
    one(
        "index renamed",
        "ALTER INDEX ix_documents_plain RENAME TO ix_plain",
        "index_name",
        "documents.ix_documents_plain",
    ),
    one(
        "unique index no longer unique",
        "DROP INDEX ix_users_email; CREATE INDEX ix_users_email ON users (email)",
        "index_changed",
        "users.ix_users_email",
    ),
    _reindexed("ix_documents_plain", "became unique", "UNIQUE INDEX ix_documents_plain ON documents (created_at)"),
    _reindexed("ix_documents_plain", "of another column", "INDEX ix_documents_plain ON documents (updated_at)"),
    _reindexed(
        "ix_documents_plain", "with one more column", "INDEX ix_documents_plain ON documents (created_at, state)"
    ),
    _reindexed("ix_documents_plain", "descending", "INDEX ix_documents_plain ON documents (created_at DESC)"),
    _reindexed(
        "ix_documents_plain", "with nulls first", "INDEX ix_documents_plain ON documents (created_at NULLS FIRST)"
    ),
    _reindexed(
        "ix_documents_plain", "with another method", "INDEX ix_documents_plain ON documents USING brin (created_at)"
    ),
    _reindexed(
        "ix_documents_plain",
        "made partial",
        "INDEX ix_documents_plain ON documents (created_at) WHERE deleted_at IS NULL",
    ),
    _reindexed(
        "ix_documents_recent", "no longer descending", "INDEX ix_documents_recent ON documents (created_at NULLS LAST)"
    ),
    _reindexed(
        "ix_documents_recent", "with nulls at the other end", "INDEX ix_documents_recent ON documents (created_at DESC)"
    ),
    _reindexed("ix_documents_open", "no longer partial", "INDEX ix_documents_open ON documents (owner_id)"),
    _reindexed(
        "ix_documents_open",
        "with another predicate",
        "INDEX ix_documents_open ON documents (owner_id) WHERE state = 'closed' AND deleted_at IS NULL",
    ),
    _reindexed(
        "ix_documents_open",
        "with half the predicate",
        "INDEX ix_documents_open ON documents (owner_id) WHERE state = 'open'",
    ),
    _reindexed(
        "ix_documents_open",
        "with the predicate negated",
        "INDEX ix_documents_open ON documents (owner_id) WHERE state = 'open' AND deleted_at IS NOT NULL",
    ),
    _reindexed("ix_documents_cover", "without INCLUDE", "INDEX ix_documents_cover ON documents (owner_id)"),
    _reindexed(
        "ix_documents_cover", "with INCLUDE made a key", "INDEX ix_documents_cover ON documents (owner_id, title)"
    ),
    _reindexed(
        "ix_documents_cover",
        "including another column",
        "INDEX ix_documents_cover ON documents (owner_id) INCLUDE (state)",
    ),
    _reindexed("ix_documents_prefix", "without operator class", "INDEX ix_documents_prefix ON documents (title)"),
    _reindexed(
        "ix_documents_prefix",
        "with another collation",
        'INDEX ix_documents_prefix ON documents (title COLLATE "C" text_pattern_ops)',
    ),
    _reindexed("ix_documents_hash", "no longer hash", "INDEX ix_documents_hash ON documents (title)"),
    _reindexed(
        "ix_documents_search", "gist instead of gin", "INDEX ix_documents_search ON documents USING gist (search)"
    ),
    _reindexed(
        "ix_documents_pair",
        "columns swapped",
        "UNIQUE INDEX ix_documents_pair ON documents (state, owner_id) WHERE state <> 'draft'",
    ),
    _reindexed("ix_documents_pair", "unique for all", "UNIQUE INDEX ix_documents_pair ON documents (owner_id, state)"),
    _reindexed(
        "ix_documents_pair",
        "nulls not distinct",
        "UNIQUE INDEX ix_documents_pair ON documents (owner_id, state) NULLS NOT DISTINCT WHERE state <> 'draft'",
        major=15,
    ),
    one(
        "expression changed",
        "DROP INDEX ix_users_lower_email; CREATE INDEX ix_users_lower_email ON users (upper(email))",
        "index_changed",
        "users.ix_users_lower_email",
    ),
    one(
        "expression became a column",
        "DROP INDEX ix_users_lower_email; CREATE INDEX ix_users_lower_email ON users (email)",
        "index_changed",
        "users.ix_users_lower_email",
    ),
    one(
        "index fill factor",
        "ALTER INDEX ix_documents_state SET (fillfactor = 90)",
        "index_storage",
        "documents.ix_documents_state",
    ),
    one(
        "index fill factor reset",
        "ALTER INDEX ix_documents_state RESET (fillfactor)",
        "index_storage",
        "documents.ix_documents_state",
    ),
    one(
        "gin option",
        "ALTER INDEX ix_documents_search SET (fastupdate = off)",
        "index_storage",
        "documents.ix_documents_search",
    ),
    one(
        "primary key fill factor",
        "ALTER INDEX settings_pkey SET (fillfactor = 50)",
        "index_storage",
        "settings.settings_pkey",
    ),
    one(
        "index invalid",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_documents_plain'::regclass",
        "index_invalid",
        "documents.ix_documents_plain",
        repaired=False,
    ),
    one(
        "unique index invalid",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_users_email'::regclass",
        "index_invalid",
        "users.ix_users_email",
        repaired=False,
    ),
    one(
        "primary key index invalid",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'settings_pkey'::regclass",
        "index_invalid",
        "settings.settings_pkey",
        repaired=False,
    ),
    one(
        "index comment changed",
        "COMMENT ON INDEX ix_documents_open IS 'x'",
        "index_comment",
        "documents.ix_documents_open",
    ),
]

TYPES = [
    one("label added", "ALTER TYPE role ADD VALUE 'guest'", "enum_label_extra", "role.guest", repaired=False),
    one(
        "label missing",
        "ALTER TYPE audit.action RENAME TO action_old; CREATE TYPE audit.action AS ENUM ('insert', 'update'); "
        "ALTER TABLE audit.entries ALTER kind TYPE audit.action USING kind::text::audit.action; DROP TYPE audit.action_old",
        "enum_label_missing",
        "audit.action.delete",
    ),
    one(
        "label missing at the start",
        "ALTER TYPE audit.action RENAME TO action_old; CREATE TYPE audit.action AS ENUM ('update', 'delete'); "
        "ALTER TABLE audit.entries ALTER kind TYPE audit.action USING kind::text::audit.action; DROP TYPE audit.action_old",
        "enum_label_missing",
        "audit.action.insert",
    ),
    one("label renamed", "ALTER TYPE role RENAME VALUE 'viewer' TO 'reader'", "enum_label_renamed", "role.viewer"),
    one("label in capitals", "ALTER TYPE role RENAME VALUE 'admin' TO 'Admin'", "enum_label_renamed", "role.admin"),
    one(
        "labels reordered",
        "ALTER TYPE audit.action RENAME TO action_old; CREATE TYPE audit.action AS ENUM ('delete', 'insert', 'update'); "
        "ALTER TABLE audit.entries ALTER kind TYPE audit.action USING kind::text::audit.action; DROP TYPE audit.action_old",
        "enum_label_order",
        "audit.action",
    ),
    one(
        "two labels swapped by name",
        "ALTER TYPE audit.action RENAME VALUE 'insert' TO 'x'; ALTER TYPE audit.action RENAME VALUE 'update' TO 'insert'; "
        "ALTER TYPE audit.action RENAME VALUE 'x' TO 'update'",
        "enum_label_order",
        "audit.action",
    ),
    one("type extra", "CREATE TYPE mood AS ENUM ('good')", "type_extra", "mood"),
    one(
        "domain check changed",
        "ALTER DOMAIN positive_integer DROP CONSTRAINT positive; ALTER DOMAIN positive_integer ADD CONSTRAINT positive CHECK (VALUE >= 0)",
        "domain_changed",
        "positive_integer",
    ),
    one(
        "domain check dropped",
        "ALTER DOMAIN positive_integer DROP CONSTRAINT positive",
        "domain_changed",
        "positive_integer",
    ),
    one(
        "domain check not valid",
        "ALTER DOMAIN positive_integer DROP CONSTRAINT positive; "
        "ALTER DOMAIN positive_integer ADD CONSTRAINT positive CHECK (VALUE > 0) NOT VALID",
        "domain_changed",
        "positive_integer",
    ),
    one("domain not null", "ALTER DOMAIN positive_integer SET NOT NULL", "domain_changed", "positive_integer"),
    one("domain default changed", "ALTER DOMAIN positive_integer SET DEFAULT 2", "domain_changed", "positive_integer"),
    one("domain default dropped", "ALTER DOMAIN positive_integer DROP DEFAULT", "domain_changed", "positive_integer"),
    one(
        "domain on another base",
        "ALTER TABLE users DROP COLUMN age; DROP DOMAIN positive_integer; "
        "CREATE DOMAIN positive_integer AS bigint DEFAULT 1 CONSTRAINT positive CHECK (VALUE > 0); "
        "ALTER TABLE users ADD COLUMN age positive_integer",
        "domain_changed",
        "positive_integer",
        repaired=False,
    ),
    one("composite attribute added", "ALTER TYPE address ADD ATTRIBUTE door text", "type_changed", "address"),
    one("composite attribute dropped", "ALTER TYPE address DROP ATTRIBUTE zip", "type_changed", "address"),
    one(
        "composite attribute longer",
        "ALTER TABLE organizations DROP COLUMN headquarters; ALTER TYPE address ALTER ATTRIBUTE city TYPE varchar(60); "
        "ALTER TABLE organizations ADD COLUMN headquarters address",
        "type_changed",
        "address",
        repaired=False,
    ),
    one("type comment dropped", "COMMENT ON TYPE role IS NULL", "type_comment", "role"),
    one("type owner changed", "ALTER TYPE role OWNER TO schema_other", "type_owner", "role"),
    one("type not for everybody", "REVOKE USAGE ON TYPE role FROM PUBLIC", "type_grant", "role"),
    one(
        "sequence dropped",
        "ALTER TABLE invoices ALTER number DROP DEFAULT; DROP SEQUENCE invoice_numbers",
        "sequence_missing",
        "invoice_numbers",
    )._replace(found=(("column_default", "invoices.number"), ("sequence_missing", "invoice_numbers"))),
    one("sequence increment", "ALTER SEQUENCE invoice_numbers INCREMENT 1", "sequence_options", "invoice_numbers"),
    one("sequence start", "ALTER SEQUENCE invoice_numbers START 1", "sequence_options", "invoice_numbers"),
    one("sequence type", "ALTER SEQUENCE invoice_numbers AS integer", "sequence_options", "invoice_numbers"),
    one("sequence maximum", "ALTER SEQUENCE invoice_numbers MAXVALUE 99999", "sequence_options", "invoice_numbers"),
    one("sequence cycles", "ALTER SEQUENCE invoice_numbers CYCLE", "sequence_options", "invoice_numbers"),
    one(
        "sequence owned",
        "ALTER SEQUENCE invoice_numbers OWNED BY invoices.number",
        "sequence_options",
        "invoice_numbers",
    ),
    one(
        "sequence unlogged",
        "ALTER SEQUENCE invoice_numbers SET UNLOGGED",
        "sequence_options",
        "invoice_numbers",
        major=15,
    ),
    one("sequence extra", "CREATE SEQUENCE spare", "sequence_extra", "spare"),
    one("sequence granted", "GRANT USAGE ON SEQUENCE invoice_numbers TO PUBLIC", "sequence_grant", "invoice_numbers"),
    one(
        "sequence revoked from its owner",
        "REVOKE USAGE ON SEQUENCE invoice_numbers FROM CURRENT_USER",
        "sequence_grant",
        "invoice_numbers",
    ),
    one(
        "function revoked from its owner",
        "REVOKE EXECUTE ON FUNCTION touch() FROM CURRENT_USER",
        "function_grant",
        "touch()",
    ),
    one("type revoked from its owner", "REVOKE USAGE ON TYPE role FROM CURRENT_USER", "type_grant", "role"),
    one("schema revoked from its owner", "REVOKE CREATE ON SCHEMA audit FROM CURRENT_USER", "schema_grant", "audit"),
    one("sequence comment", "COMMENT ON SEQUENCE invoice_numbers IS 'x'", "sequence_comment", "invoice_numbers"),
    one("sequence owner", "ALTER SEQUENCE invoice_numbers OWNER TO schema_other", "sequence_owner", "invoice_numbers"),
]

_SLUG = "slug(source text, glue text)"
OBJECTS = [
    one("trigger dropped", "DROP TRIGGER users_touch ON users", "trigger_missing", "users.users_touch"),
    one(
        "trigger added",
        "CREATE TRIGGER extra_touch BEFORE UPDATE ON settings FOR EACH ROW EXECUTE FUNCTION touch()",
        "trigger_extra",
        "settings.extra_touch",
    ),
    one("trigger disabled", "ALTER TABLE users DISABLE TRIGGER users_touch", "trigger_disabled", "users.users_touch"),
    one(
        "trigger on replicas only",
        "ALTER TABLE users ENABLE REPLICA TRIGGER users_touch",
        "trigger_disabled",
        "users.users_touch",
    ),
    one(
        "trigger always", "ALTER TABLE users ENABLE ALWAYS TRIGGER users_touch", "trigger_disabled", "users.users_touch"
    ),
    one(
        "trigger without condition",
        "DROP TRIGGER users_touch ON users; CREATE TRIGGER users_touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch()",
        "trigger_changed",
        "users.users_touch",
    ),
    one(
        "trigger at another time",
        "DROP TRIGGER documents_touch ON documents; CREATE TRIGGER documents_touch AFTER INSERT OR UPDATE ON documents "
        "FOR EACH ROW EXECUTE FUNCTION touch()",
        "trigger_changed",
        "documents.documents_touch",
    ),
    one(
        "trigger on fewer events",
        "DROP TRIGGER documents_touch ON documents; CREATE TRIGGER documents_touch BEFORE UPDATE ON documents "
        "FOR EACH ROW EXECUTE FUNCTION touch()",
        "trigger_changed",
        "documents.documents_touch",
    ),
    one(
        "trigger on one column",
        "DROP TRIGGER documents_touch ON documents; CREATE TRIGGER documents_touch BEFORE INSERT OR UPDATE OF title ON documents "
        "FOR EACH ROW EXECUTE FUNCTION touch()",
        "trigger_changed",
        "documents.documents_touch",
    ),
    one(
        "trigger calls another function",
        "CREATE FUNCTION audit.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; "
        "DROP TRIGGER documents_touch ON documents; CREATE TRIGGER documents_touch BEFORE INSERT OR UPDATE ON documents "
        "FOR EACH ROW EXECUTE FUNCTION audit.touch()",
        "trigger_changed",
        "documents.documents_touch",
    )._replace(found=(("trigger_changed", "documents.documents_touch"), ("function_extra", "audit.touch()"))),
    one("rule dropped", "DROP RULE settings_keep ON settings", "rule_missing", "settings.settings_keep"),
    one("rule added", "CREATE RULE keep AS ON DELETE TO users DO INSTEAD NOTHING", "rule_extra", "users.keep"),
    one(
        "rule changed",
        "CREATE OR REPLACE RULE settings_keep AS ON UPDATE TO settings DO INSTEAD NOTHING",
        "rule_changed",
        "settings.settings_keep",
    ),
    one("rule disabled", "ALTER TABLE settings DISABLE RULE settings_keep", "rule_changed", "settings.settings_keep"),
    one("policy dropped", "DROP POLICY documents_own ON documents", "policy_missing", "documents.documents_own"),
    one("policy added", "CREATE POLICY everything ON documents USING (true)", "policy_extra", "documents.everything"),
    one(
        "policy widened",
        "ALTER POLICY documents_own ON documents USING (true)",
        "policy_changed",
        "documents.documents_own",
    ),
    one(
        "policy checks writes",
        "ALTER POLICY documents_own ON documents WITH CHECK (false)",
        "policy_changed",
        "documents.documents_own",
    ),
    one(
        "policy for another role",
        "ALTER POLICY documents_open ON documents TO schema_other",
        "policy_changed",
        "documents.documents_open",
    ),
    one(
        "policy permissive",
        "DROP POLICY documents_open ON documents; CREATE POLICY documents_open ON documents FOR SELECT USING (state <> 'secret')",
        "policy_changed",
        "documents.documents_open",
    ),
    one(
        "policy for another command",
        "DROP POLICY documents_open ON documents; CREATE POLICY documents_open ON documents AS RESTRICTIVE FOR UPDATE "
        "USING (state <> 'secret')",
        "policy_changed",
        "documents.documents_open",
    ),
    one("view dropped", "DROP VIEW active_users", "view_missing", "active_users"),
    one("view added", "CREATE VIEW spare AS SELECT id FROM users", "view_extra", "spare"),
    one(
        "view condition changed",
        "CREATE OR REPLACE VIEW active_users AS SELECT id, email, role FROM users WHERE is_active",
        "view_definition",
        "active_users",
    ),
    one(
        "view list changed",
        "CREATE OR REPLACE VIEW active_users AS SELECT id, email, role FROM users WHERE is_active AND plan IN ('pro', 'gold')",
        "view_definition",
        "active_users",
    ),
    one(
        "view column added",
        "CREATE OR REPLACE VIEW active_users AS SELECT id, email, role, plan FROM users WHERE is_active AND plan IN ('pro', 'team')",
        "view_definition",
        "active_users",
        repaired=False,
    ),
    one(
        "view became a table",
        "DROP VIEW active_users; CREATE TABLE active_users (id integer, email varchar(255), role role)",
        "table_kind",
        "active_users",
        repaired=False,
    ),
    one("view option set", "ALTER VIEW active_users SET (security_barrier = true)", "view_options", "active_users"),
    one("view comment dropped", "COMMENT ON VIEW active_users IS NULL", "table_comment", "active_users"),
    one("materialized view dropped", "DROP MATERIALIZED VIEW user_totals", "view_missing", "user_totals"),
    one(
        "materialized view changed",
        "DROP MATERIALIZED VIEW user_totals; CREATE MATERIALIZED VIEW user_totals AS "
        "SELECT user_id, count(DISTINCT kind) AS number FROM events GROUP BY user_id; "
        "CREATE UNIQUE INDEX ix_user_totals ON user_totals (user_id)",
        "view_definition",
        "user_totals",
    ),
    one(
        "materialized view not filled",
        "REFRESH MATERIALIZED VIEW user_totals WITH NO DATA",
        "view_unpopulated",
        "user_totals",
    ),
    one("function dropped", "DROP FUNCTION slug(text, text)", "function_missing", _SLUG),
    one(
        "function added",
        "CREATE FUNCTION spare() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "function_extra",
        "spare()",
    ),
    one(
        "function overloaded",
        "CREATE FUNCTION slug(source text) RETURNS text LANGUAGE sql AS 'SELECT source'",
        "function_extra",
        "slug(source text)",
    ),
    one(
        "function body changed",
        "CREATE OR REPLACE FUNCTION slug(source text, glue text DEFAULT '-') RETURNS text LANGUAGE sql IMMUTABLE STRICT "
        "AS $$ SELECT upper(replace(source, ' ', glue)) $$",
        "function_changed",
        _SLUG,
    ),
    one(
        "trigger function body changed",
        "CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
        "function_changed",
        "touch()",
    ),
    one(
        "string in a function changed",
        "CREATE OR REPLACE FUNCTION slug(source text, glue text DEFAULT '-') RETURNS text LANGUAGE sql IMMUTABLE STRICT "
        "AS $$ SELECT lower(replace(source, '  ', glue)) $$",
        "function_changed",
        _SLUG,
    ),
    one(
        "function argument default changed",
        "CREATE OR REPLACE FUNCTION slug(source text, glue text DEFAULT '_') RETURNS text LANGUAGE sql IMMUTABLE STRICT "
        "AS $$ SELECT lower(replace(source, ' ', glue)) $$",
        "function_changed",
        _SLUG,
    ),
    one("function volatility", "ALTER FUNCTION slug(text, text) STABLE", "function_options", _SLUG),
    one("function strictness", "ALTER FUNCTION slug(text, text) CALLED ON NULL INPUT", "function_options", _SLUG),
    one("function security definer", "ALTER FUNCTION slug(text, text) SECURITY DEFINER", "function_options", _SLUG),
    one("function search path", "ALTER FUNCTION slug(text, text) SET search_path = public", "function_options", _SLUG),
    one("function cost", "ALTER FUNCTION slug(text, text) COST 5000", "function_options", _SLUG),
    one("function parallel", "ALTER FUNCTION slug(text, text) PARALLEL SAFE", "function_options", _SLUG),
    one("function owner", "ALTER FUNCTION slug(text, text) OWNER TO schema_other", "function_owner", _SLUG),
    one(
        "function not for everybody", "REVOKE EXECUTE ON FUNCTION slug(text, text) FROM PUBLIC", "function_grant", _SLUG
    ),
    one("function comment", "COMMENT ON FUNCTION slug(text, text) IS NULL", "function_comment", _SLUG),
    one("statistics dropped", "DROP STATISTICS users_plan_country", "statistics_missing", "users.users_plan_country"),
    one("statistics added", "CREATE STATISTICS more ON plan, role FROM users", "statistics_extra", "users.more"),
    one(
        "statistics changed",
        "DROP STATISTICS users_plan_country; CREATE STATISTICS users_plan_country (ndistinct) ON plan, country FROM users",
        "statistics_changed",
        "users.users_plan_country",
    ),
    one("schema granted", "GRANT CREATE ON SCHEMA audit TO PUBLIC", "schema_grant", "audit"),
    one("schema comment", "COMMENT ON SCHEMA audit IS 'x'", "schema_comment", "audit"),
    one("schema renamed", "ALTER SCHEMA audit RENAME TO auditing", "schema_missing", "audit", repaired=False)._replace(
        found=(("schema_missing", "audit"), ("type_missing", "audit.action"), ("table_moved", "audit.entries"))
    ),
    one(
        "new tables for everybody",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
        "default_grant",
        "database tables",
    ),
    one(
        "collation object added", 'CREATE COLLATION sorted FROM "C"', "object_extra", "collation sorted", repaired=False
    ),
    one(
        "operator added",
        "CREATE OPERATOR === (LEFTARG = integer, RIGHTARG = integer, FUNCTION = int4eq)",
        "object_extra",
        "operator ===(integer,integer)",
        repaired=False,
    ),
    one(
        "text search configuration added",
        "CREATE TEXT SEARCH CONFIGURATION words (COPY = simple)",
        "object_extra",
        "text search configuration words",
        repaired=False,
    ),
]

MUTATIONS = [*TABLES, *COLUMNS, *CONSTRAINTS, *INDEXES, *TYPES, *OBJECTS]
