"""The configuration tables. ``app.models`` refers to them, so the metadata is whole only with both imported."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    DateTime,
    String,
    Text,
    func,
    text,  # since 2.1
)
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base


class Environment(Base):
    __tablename__ = "environments"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    description: Mapped[str | None] = mapped_column(Text)
    settings: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


# since 2.1:
class GithubConfiguration(Base):
    """Where policies are kept under version control; one row."""

    __tablename__ = "github_configuration"

    id: Mapped[int] = mapped_column(primary_key=True)
    repo_url: Mapped[str | None] = mapped_column(String(500))
    branch: Mapped[str] = mapped_column(String(100), server_default="main")
    access_token: Mapped[str | None] = mapped_column(String(500))
    auto_sync: Mapped[bool] = mapped_column(server_default=text("false"))
    sync_interval: Mapped[int] = mapped_column(server_default="300")
    webhook_url: Mapped[str | None] = mapped_column(String(500))
    webhook_secret: Mapped[str | None] = mapped_column(String(255))
    last_sync_time: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    connection_status: Mapped[str] = mapped_column(String(50), server_default="unknown")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), onupdate=func.now()
    )


class OpalConfiguration(Base):
    """How policy data is broadcast to the enforcement points; one row."""

    __tablename__ = "opal_configuration"

    id: Mapped[int] = mapped_column(primary_key=True)
    server_url: Mapped[str | None] = mapped_column(String(500))
    client_url: Mapped[str | None] = mapped_column(String(500))
    api_key: Mapped[str | None] = mapped_column(String(500))
    broadcast_channel: Mapped[str] = mapped_column(String(255), server_default="policy_data")
    data_update_interval: Mapped[int] = mapped_column(server_default="60")
    enable_statistics: Mapped[bool] = mapped_column(server_default=text("true"))
    connection_status: Mapped[str] = mapped_column(String(50), server_default="unknown")
    sandbox_broadcast_channel: Mapped[str | None] = mapped_column(String(255))
    production_broadcast_channel: Mapped[str | None] = mapped_column(String(255))
    environment_aware: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), onupdate=func.now()
    )


class BouncerOpalConfiguration(Base):
    """What one enforcement point does differently from the tenant's configuration."""

    __tablename__ = "bouncer_opal_configuration"

    id: Mapped[int] = mapped_column(primary_key=True)
    bouncer_id: Mapped[str] = mapped_column(String(100), unique=True)
    environment: Mapped[str] = mapped_column(String(50), index=True)
    resource_name: Mapped[str | None] = mapped_column(String(200))
    use_tenant_default: Mapped[bool] = mapped_column(server_default=text("true"))
    custom_repo_url: Mapped[str | None] = mapped_column(String(500))
    custom_branch: Mapped[str | None] = mapped_column(String(100))
    custom_access_token: Mapped[str | None] = mapped_column(String(500))
    folder_path: Mapped[str | None] = mapped_column(String(500))
    polling_interval: Mapped[int] = mapped_column(server_default="30")
    webhook_enabled: Mapped[bool] = mapped_column(server_default=text("false"))
    webhook_secret: Mapped[str | None] = mapped_column(String(255))
    policy_filters: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    data_filters: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), onupdate=func.now()
    )


# end since
