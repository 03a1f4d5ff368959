"""Lists of policies, resources, enforcement points and the audit log, and how policies and resources are made."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError

from app.auth import CurrentUser, DbSession, audit
from app.database import Base, table_of
from app.models import AuditLog, Effect, Pep, Policy, ProtectedResource

router = APIRouter()
Limit = Annotated[int, Query(ge=1, le=500)]
Offset = Annotated[int, Query(ge=0)]


class PolicyIn(BaseModel):
    name: str = Field(max_length=200)
    version: int = 1
    description: str | None = None
    effect: Effect = Effect.deny
    priority: int = Field(100, ge=0, le=1000)
    conditions: dict[str, Any] | None = None
    resource_id: int | None = None
    # since 2.1:
    bouncer_id: str | None = Field(None, max_length=100)
    folder: str = Field("enabled", max_length=50)
    rego_code: str | None = None
    context_config: dict[str, Any] | None = None
    # end since


class ResourceIn(BaseModel):
    name: str = Field(max_length=200)
    resource_type: str = Field(max_length=50)
    url: str | None = None
    description: str | None = None
    attributes: dict[str, Any] | None = None


def page(session: DbSession, model: type[Base], limit: int, offset: int, newest_first: bool = False) -> dict[str, Any]:
    """One page of every column of ``model``, by id, with the number of all rows."""
    table = table_of(model)
    order = table.c.id.desc() if newest_first else table.c.id
    rows = session.execute(select(table).order_by(order).limit(limit).offset(offset)).mappings()
    total = session.scalar(select(func.count()).select_from(table))
    return {"items": [dict(row) for row in rows], "total": total, "limit": limit, "offset": offset}


def create(session: DbSession, user: CurrentUser, request: Request, model: type[Base], values: dict[str, Any]) -> Any:
    """Insert a row and its audit row; 409 if it exists already or refers to something that does not."""
    table = table_of(model)
    try:
        row = session.execute(insert(table).values(**values).returning(table)).mappings().one()
    except IntegrityError as error:
        raise HTTPException(409, str(error.orig).splitlines()[0]) from error
    audit(session, user, f"{table.name}.create", request, entity=table.name, entity_id=str(row["id"]))
    session.commit()
    return dict(row)


@router.get("/policies/", tags=["policies"])
def list_policies(session: DbSession, user: CurrentUser, limit: Limit = 50, offset: Offset = 0) -> Any:
    return page(session, Policy, limit, offset)


@router.post("/policies/", status_code=201, tags=["policies"])
def create_policy(body: PolicyIn, request: Request, session: DbSession, user: CurrentUser) -> Any:
    return create(session, user, request, Policy, {**body.model_dump(), "created_by": user.id})


@router.get("/resources/", tags=["resources"])
def list_resources(session: DbSession, user: CurrentUser, limit: Limit = 50, offset: Offset = 0) -> Any:
    return page(session, ProtectedResource, limit, offset)


@router.post("/resources/", status_code=201, tags=["resources"])
def create_resource(body: ResourceIn, request: Request, session: DbSession, user: CurrentUser) -> Any:
    return create(session, user, request, ProtectedResource, body.model_dump())


@router.get("/peps/", tags=["peps"])
def list_peps(session: DbSession, user: CurrentUser, limit: Limit = 50, offset: Offset = 0) -> Any:
    return page(session, Pep, limit, offset)


@router.get("/audit/", tags=["audit"])
def list_audit(session: DbSession, user: CurrentUser, limit: Limit = 50, offset: Offset = 0) -> Any:
    return page(session, AuditLog, limit, offset, newest_first=True)
