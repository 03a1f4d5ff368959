# since 2.1:
"""The settings of GitHub and OPAL: one row each, made when first saved. Secrets are written, never read back."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict
from sqlalchemy import insert, select, update

from app.auth import CurrentUser, DbSession, audit
from app.database import Base, table_of
from app.models_config import BouncerOpalConfiguration, GithubConfiguration, OpalConfiguration

router = APIRouter(prefix="/settings", tags=["settings"])
SECRETS = {"access_token", "webhook_secret", "api_key", "custom_access_token"}


class GithubIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    repo_url: str | None = None
    branch: str = "main"
    access_token: str | None = None
    auto_sync: bool = False
    sync_interval: int = 300
    webhook_url: str | None = None
    webhook_secret: str | None = None


class OpalIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    server_url: str | None = None
    client_url: str | None = None
    api_key: str | None = None
    broadcast_channel: str = "policy_data"
    data_update_interval: int = 60
    enable_statistics: bool = True
    sandbox_broadcast_channel: str | None = None
    production_broadcast_channel: str | None = None
    environment_aware: bool = False


def _view(row: Any) -> dict[str, Any]:
    """A row with "is it set" in place of each secret."""
    return {f"{key}_set" if key in SECRETS else key: bool(v) if key in SECRETS else v for key, v in row.items()}


def _read(session: DbSession, model: type[Base]) -> dict[str, Any]:
    table = table_of(model)
    row = session.execute(select(table).order_by(table.c.id).limit(1)).mappings().first()
    return {"configured": False} if row is None else {"configured": True, **_view(row)}


def _save(session: DbSession, user: CurrentUser, request: Request, model: type[Base], body: BaseModel) -> Any:
    table = table_of(model)
    values = body.model_dump(exclude_unset=True)
    known = session.scalar(select(table.c.id).order_by(table.c.id).limit(1).with_for_update())
    if known is None:
        session.execute(insert(table).values(**values))
    elif values:
        session.execute(update(table).where(table.c.id == known).values(**values))
    audit(session, user, "settings.update", request, entity=table.name, details={"fields": sorted(values)})
    session.commit()
    return _read(session, model)


@router.get("/github")
def github(session: DbSession, user: CurrentUser) -> Any:
    return _read(session, GithubConfiguration)


@router.put("/github")
def save_github(body: GithubIn, request: Request, session: DbSession, user: CurrentUser) -> Any:
    return _save(session, user, request, GithubConfiguration, body)


@router.get("/opal")
def opal(session: DbSession, user: CurrentUser) -> Any:
    return _read(session, OpalConfiguration)


@router.put("/opal")
def save_opal(body: OpalIn, request: Request, session: DbSession, user: CurrentUser) -> Any:
    return _save(session, user, request, OpalConfiguration, body)


@router.get("/opal/bouncers")
def opal_bouncers(session: DbSession, user: CurrentUser) -> Any:
    table = table_of(BouncerOpalConfiguration)
    return {"items": [_view(row) for row in session.execute(select(table).order_by(table.c.id)).mappings()]}


# end since
