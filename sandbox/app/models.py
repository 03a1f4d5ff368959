"""The tables of users, policies, resources, enforcement points and the audit log."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Enum,
    ForeignKey,
    Identity,
    Index,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base


class Effect(enum.Enum):
    """What a policy decides."""

    allow = "allow"
    deny = "deny"


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(100), unique=True, index=True)
    email: Mapped[str] = mapped_column(String(255), unique=True)
    full_name: Mapped[str | None] = mapped_column(String(255))
    password_hash: Mapped[str] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(50), server_default="viewer")
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    force_password_change: Mapped[bool] = mapped_column(server_default=text("false"))
    preferences: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    last_login: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class UserSession(Base):
    __tablename__ = "user_sessions"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_id: Mapped[str] = mapped_column(String(64), unique=True)
    ip_address: Mapped[str | None] = mapped_column(String(45))
    user_agent: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Pep(Base):
    """A policy enforcement point ("bouncer")."""

    __tablename__ = "peps"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    environment_id: Mapped[int] = mapped_column(ForeignKey("environments.id"), index=True)
    url: Mapped[str | None] = mapped_column(String(500))
    status: Mapped[str] = mapped_column(String(20), server_default="active")
    configuration: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    is_connected: Mapped[bool] = mapped_column(server_default=text("false"))  # since 2.1
    intercepting_traffic: Mapped[bool] = mapped_column(server_default=text("false"))  # since 2.1
    last_heartbeat: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))  # since 2.1
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class ProtectedResource(Base):
    __tablename__ = "protected_resources"
    __table_args__ = (UniqueConstraint("resource_type", "name", name="uq_protected_resources_type_name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    resource_type: Mapped[str] = mapped_column(String(50), index=True)
    url: Mapped[str | None] = mapped_column(String(500))
    description: Mapped[str | None] = mapped_column(Text)
    attributes: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    # since 2.1:
    auto_discovered: Mapped[bool] = mapped_column(server_default=text("false"), index=True)
    discovered_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    bouncer_id: Mapped[int | None] = mapped_column(ForeignKey("peps.id"), index=True)
    business_context: Mapped[str | None] = mapped_column(Text)
    data_classification: Mapped[str | None] = mapped_column(String(50))
    compliance_tags: Mapped[list[str] | None] = mapped_column(JSON)
    cost_center: Mapped[str | None] = mapped_column(String(100))
    owner_email: Mapped[str | None] = mapped_column(String(255))
    owner_team: Mapped[str | None] = mapped_column(String(100))
    sla_tier: Mapped[str | None] = mapped_column(String(50))
    data_residency: Mapped[str | None] = mapped_column(String(50))
    audit_level: Mapped[str | None] = mapped_column(String(50))
    # end since
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), onupdate=func.now()
    )


class Policy(Base):
    __tablename__ = "policies"
    __table_args__ = (
        UniqueConstraint("name", "version"),
        CheckConstraint("priority BETWEEN 0 AND 1000", name="ck_policies_priority"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    version: Mapped[int] = mapped_column(server_default="1")
    description: Mapped[str | None] = mapped_column(Text)
    effect: Mapped[Effect] = mapped_column(Enum(Effect, name="policy_effect"), server_default="deny")
    priority: Mapped[int] = mapped_column(server_default="100")
    conditions: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    is_active: Mapped[bool] = mapped_column(server_default=text("true"), index=True)
    resource_id: Mapped[int | None] = mapped_column(
        ForeignKey("protected_resources.id", ondelete="SET NULL"), index=True
    )
    created_by: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    # since 2.1:
    bouncer_id: Mapped[str | None] = mapped_column(String(100))
    folder: Mapped[str] = mapped_column(String(50), server_default="enabled")
    rego_code: Mapped[str | None] = mapped_column(Text)
    context_config: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    # end since
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), onupdate=func.now()
    )


class AuditLog(Base):
    __tablename__ = "audit_logs"
    __table_args__ = (Index("ix_audit_logs_entity", "entity", "entity_id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    occurred_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now(), index=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    action: Mapped[str] = mapped_column(String(100))
    entity: Mapped[str | None] = mapped_column(String(50))
    entity_id: Mapped[str | None] = mapped_column(String(50))
    outcome: Mapped[str] = mapped_column(String(20), server_default="success")
    details: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    request_id: Mapped[str | None] = mapped_column(String(64), index=True)  # since 2.2
