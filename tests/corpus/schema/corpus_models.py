"""The models of the schema check's corpus: a bit of everything that SQLAlchemy and its events can create.

Written for SQLAlchemy 1.4 and 2.x alike. Importing it prints a password, as some applications do.
"""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    DDL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    Enum,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    Interval,
    MetaData,
    Numeric,
    Sequence,
    SmallInteger,
    String,
    Table,
    Text,
    Time,
    UniqueConstraint,
    event,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import (
    CHAR,
    INET,
    INT4RANGE,
    JSON,
    JSONB,
    TIMESTAMP,
    TSVECTOR,
    UUID,
    ExcludeConstraint,
)
from sqlalchemy.orm import declarative_base
from sqlalchemy.types import UserDefinedType

print("connecting to postgresql://corpus:corpus-secret-password@db/app")

Base = declarative_base()
Other = declarative_base(metadata=MetaData())


class Named(UserDefinedType):
    """A type that an event creates: a domain or a composite type."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: object) -> str:
        return self.name


role = Enum("admin", "user", "viewer", name="role")
invoice_numbers = Sequence("invoice_numbers", start=1000, increment=5, metadata=Base.metadata)


class User(Base):
    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("balance >= 0", name="balance_not_negative"),
        CheckConstraint("plan IN ('free', 'pro', 'team')", name="plan_known"),
        CheckConstraint("login_count >= 0 AND login_count < 1000000"),
        Index("ix_users_lower_email", func.lower(Column("email", String))),
        {"comment": "People who may log in"},
    )
    id = Column(Integer, primary_key=True)
    email = Column(String(255), nullable=False, unique=True, index=True)
    username = Column(String(50), unique=True, comment="Shown to others")
    full_name = Column(String(100))
    api_key_sandbox = Column(String(64))
    bio = Column(Text)
    country = Column(CHAR(2), server_default="DE")
    plan = Column(String(20), server_default="free", nullable=False)
    balance = Column(Numeric(10, 2), server_default="0", nullable=False)
    rating = Column(Float)
    login_count = Column(Integer, server_default="0", nullable=False)
    is_active = Column(Boolean, server_default=text("true"), nullable=False)
    role = Column(role, server_default="user", nullable=False)
    settings = Column(JSONB, server_default=text("""'{"theme": "dark"}'"""))
    extra = Column(JSON, server_default=text("""'{"a"\\:1}'"""))
    tags = Column(ARRAY(Text), server_default=text("'{}'"))
    token = Column(UUID(as_uuid=True), server_default=text("gen_random_uuid()"))
    last_ip = Column(INET)
    birthday = Column(Date)
    wakes_at = Column(Time)
    patience = Column(Interval, server_default=text("'1 day'"))
    created_at = Column(DateTime(timezone=True), server_default=func.now(), nullable=False)
    updated_at = Column(DateTime)
    rank = Column(SmallInteger)
    age = Column(Named("positive_integer"))


class Organization(Base):
    __tablename__ = "organizations"
    __table_args__ = (
        UniqueConstraint("name", "country", name="uq_organization_name_country"),
        {"comment": None},
    )
    id = Column(BigInteger, Identity(always=True, start=100, increment=10), primary_key=True)
    name = Column(String(200, collation="C"), nullable=False)
    country = Column(String(2))
    parent_id = Column(BigInteger, ForeignKey("organizations.id"))
    number = Column(BigInteger, Identity(always=False))
    headquarters = Column(Named("address"))


class Membership(Base):
    __tablename__ = "memberships"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="fk_membership_organization", ondelete="CASCADE"
        ),
    )
    user_id = Column(Integer, ForeignKey("users.id", ondelete="CASCADE", onupdate="CASCADE"), primary_key=True)
    organization_id = Column(BigInteger, primary_key=True)
    role = Column(role)
    since = Column(DateTime, server_default=text("CURRENT_TIMESTAMP"))


class Document(Base):
    __tablename__ = "documents"
    __table_args__ = (
        Index("ix_documents_search", "search", postgresql_using="gin"),
        Index("ix_documents_open", "owner_id", postgresql_where=text("state = 'open' AND deleted_at IS NULL")),
        Index("ix_documents_cover", "owner_id", postgresql_include=["title"]),
        Index("ix_documents_recent", text("created_at DESC NULLS LAST")),
        Index("ix_documents_prefix", "title", postgresql_ops={"title": "text_pattern_ops"}),
        Index("ix_documents_state", "state", postgresql_with={"fillfactor": 70}),
        Index("ix_documents_pair", "owner_id", "state", unique=True, postgresql_where=text("state <> 'draft'")),
        Index("ix_documents_hash", "title", postgresql_using="hash"),
        Index("ix_documents_plain", "created_at"),
        CheckConstraint("char_length(title) > 0", name="title_not_empty"),
    )
    id = Column(UUID(as_uuid=True), primary_key=True, server_default=text("gen_random_uuid()"))
    owner_id = Column(
        Integer, ForeignKey("users.id", name="fk_document_owner", deferrable=True, initially="DEFERRED"), nullable=False
    )
    reviewer_id = Column(Integer, ForeignKey("users.id", ondelete="SET NULL"))
    title = Column(Text, nullable=False)
    state = Column(String(10), server_default="draft", nullable=False)
    words = Column(Integer, Computed("char_length(title)", persisted=True))
    search = Column(TSVECTOR, Computed("to_tsvector('english'::regconfig, title)", persisted=True))
    created_at = Column(TIMESTAMP(timezone=True, precision=3), server_default=func.now())
    deleted_at = Column(DateTime(timezone=True))
    updated_at = Column(DateTime(timezone=True))


class Booking(Base):
    __tablename__ = "bookings"
    __table_args__ = (ExcludeConstraint(("during", "&&"), using="gist", name="no_overlap"),)
    id = Column(Integer, primary_key=True)
    during = Column(INT4RANGE, nullable=False)
    room = Column(Integer)


class Invoice(Base):
    __tablename__ = "invoices"
    id = Column(Integer, primary_key=True)
    number = Column(BigInteger, invoice_numbers, server_default=invoice_numbers.next_value(), nullable=False)
    amount = Column(Numeric(12, 4))


class Event(Base):
    """Partitioned; an event creates the partitions."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_kind", "kind"),
        {"postgresql_partition_by": "RANGE (happened_at)"},
    )
    id = Column(BigInteger, primary_key=True, autoincrement=False)
    happened_at = Column(DateTime, primary_key=True)
    kind = Column(String(30))
    user_id = Column(Integer, ForeignKey("users.id"))


class Cache(Base):
    __tablename__ = "cache_entries"
    __table_args__ = ({"prefixes": ["UNLOGGED"]},)
    key = Column(String(100), primary_key=True)
    value = Column(Text)


class Setting(Base):
    """Read by everybody; replicated by the whole row."""

    __tablename__ = "settings"
    name = Column(String(50), primary_key=True)
    value = Column(Text)


Table(
    "Odd Table",
    Base.metadata,
    Column("ID", Integer, primary_key=True),
    Column("order", Integer, index=True),
    Column("Mixed Case", String(10), server_default="It's"),
    Column("user", Integer),
    UniqueConstraint("order", "user", name="Odd Unique"),
)

Table(
    "animals",
    Base.metadata,
    Column("name", Text, nullable=False),
)
Table(
    "cats",
    Base.metadata,
    Column("lives", Integer),
    postgresql_inherits="animals",
)


class Entry(Base):
    __tablename__ = "entries"
    __table_args__ = (
        Index("ix_entries_at", "at"),
        {"schema": "audit"},
    )
    id = Column(BigInteger, primary_key=True)
    user_id = Column(Integer, ForeignKey("users.id"))
    kind = Column(Enum("insert", "update", "delete", name="action", schema="audit"), nullable=False)
    at = Column(DateTime(timezone=True), server_default=func.now())
    payload = Column(JSONB)


class Feature(Other):
    """A second metadata, which shares an enum with the first."""

    __tablename__ = "features"
    id = Column(Integer, primary_key=True)
    name = Column(String(40), unique=True)
    minimum_role = Column(Enum("admin", "user", "viewer", name="role"))


_BEFORE = [
    "CREATE DOMAIN positive_integer AS integer DEFAULT 1 CONSTRAINT positive CHECK (VALUE > 0)",
    "CREATE TYPE address AS (street text, city character varying(50), zip character(5))",
    """CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.updated_at := now();  -- the clock of the transaction
        RETURN NEW;
    END
    $$""",
    "CREATE FUNCTION slug(source text, glue text DEFAULT '-') RETURNS text LANGUAGE sql IMMUTABLE STRICT "
    "AS $$ SELECT lower(replace(source, ' ', glue)) $$",
]
_AFTER = [
    "CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
    "CREATE VIEW active_users AS SELECT id, email, role FROM users WHERE is_active AND plan IN ('pro', 'team')",
    "CREATE MATERIALIZED VIEW user_totals AS SELECT user_id, count(*) AS number FROM events GROUP BY user_id",
    "CREATE UNIQUE INDEX ix_user_totals ON user_totals (user_id)",
    "CREATE TRIGGER users_touch BEFORE UPDATE ON users FOR EACH ROW "
    "WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch()",
    "CREATE TRIGGER documents_touch BEFORE INSERT OR UPDATE ON documents FOR EACH ROW EXECUTE FUNCTION touch()",
    "CREATE RULE settings_keep AS ON DELETE TO settings DO INSTEAD NOTHING",
    "ALTER TABLE documents ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY documents_own ON documents FOR ALL USING (owner_id = (current_setting('app.user', true))::integer)",
    "CREATE POLICY documents_open ON documents AS RESTRICTIVE FOR SELECT TO PUBLIC USING (state <> 'secret')",
    "ALTER TABLE settings REPLICA IDENTITY FULL",
    "GRANT SELECT ON settings TO PUBLIC",
    "CREATE STATISTICS users_plan_country ON plan, country FROM users",
    "COMMENT ON VIEW active_users IS 'Who may log in now'",
    "COMMENT ON CONSTRAINT plan_known ON users IS 'See the price list'",
    "COMMENT ON INDEX ix_documents_open IS 'The inbox'",
    "COMMENT ON TYPE role IS 'Rights'",
    "COMMENT ON FUNCTION slug(text, text) IS 'For links'",
]
for _statement in _BEFORE:
    event.listen(Base.metadata, "before_create", DDL(_statement.replace("%", "%%")))


@event.listens_for(Base.metadata, "after_create")
def _after_create(target, connection, **_):
    """A listener that is a function, asks a question first and uses driver SQL."""
    if connection.execute(text("SELECT 1 FROM pg_class WHERE relname = 'active_users'")).scalar():
        return
    for statement in _AFTER:
        connection.exec_driver_sql(statement)
