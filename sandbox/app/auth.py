"""Login, bearer tokens and the audit trail."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import config
from app.database import get_session
from app.models import AuditLog, User, UserSession

ALGORITHM = "HS256"
# OWASP's minimum for argon2id: about 30 ms of one core.
hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_bearer = HTTPBearer(auto_error=False)
router = APIRouter(prefix="/auth", tags=["auth"])


class Credentials(BaseModel):
    username: str
    password: str


def _password_matches(user: User | None, password: str) -> bool:
    try:
        # An unknown user costs as much time as a wrong password.
        return hasher.verify(user.password_hash if user else _NO_USER, password) and user is not None
    except (VerificationError, InvalidHashError):
        return False


_NO_USER = hasher.hash(secrets.token_hex(16))


def audit(session: Session, user: User | None, action: str, request: Request | None = None, **values: Any) -> None:
    """Add a row to the audit log, in the caller's transaction."""
    row = AuditLog(user_id=user.id if user else None, action=action, **values)
    if request is not None:
        row.request_id = request.headers.get("x-request-id")  # since 2.2
        row.details = {**(row.details or {}), "client": request.client.host if request.client else None}
    session.add(row)


def user_view(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "full_name": user.full_name,
        "role": user.role,
        "last_login": user.last_login,
    }


@router.post("/login")
def login(credentials: Credentials, request: Request, session: Annotated[Session, Depends(get_session)]) -> Any:
    user = session.scalar(select(User).where(User.username == credentials.username))
    if not _password_matches(user, credentials.password) or user is None or not user.is_active:
        audit(session, user, "auth.login", request, outcome="failure", details={"username": credentials.username})
        session.commit()
        raise HTTPException(401, "Incorrect username or password", {"WWW-Authenticate": "Bearer"})
    now = datetime.now(UTC)
    expires = now + timedelta(minutes=config.TOKEN_MINUTES)
    token_id = secrets.token_hex(16)
    claims = {"sub": str(user.id), "jti": token_id, "iat": now, "exp": expires}
    token = jwt.encode(claims, config.SECRET_KEY, ALGORITHM)
    user.last_login = now
    session.add(
        UserSession(
            user_id=user.id,
            token_id=token_id,
            ip_address=request.client.host if request.client else None,
            user_agent=request.headers.get("user-agent"),
            expires_at=expires,
        )
    )
    audit(session, user, "auth.login", request, entity="user", entity_id=str(user.id))
    session.commit()
    return {
        "access_token": token,
        "token_type": "bearer",
        "user": user_view(user),
        "force_password_change": user.force_password_change,
    }


def current_user(
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    session: Annotated[Session, Depends(get_session)],
) -> User:
    """The user whose valid, unexpired session the bearer token names; 401 otherwise."""
    refused = HTTPException(401, "Not authenticated", {"WWW-Authenticate": "Bearer"})
    if bearer is None:
        raise refused
    try:
        claims = jwt.decode(bearer.credentials, config.SECRET_KEY, [ALGORITHM], options={"require": ["exp", "jti"]})
    except jwt.InvalidTokenError as error:
        raise refused from error
    user = session.scalar(
        select(User)
        .join(UserSession, UserSession.user_id == User.id)
        .where(UserSession.token_id == claims["jti"], User.id == int(claims["sub"]), User.is_active)
    )
    if user is None:
        raise refused
    return user


CurrentUser = Annotated[User, Depends(current_user)]
DbSession = Annotated[Session, Depends(get_session)]


@router.get("/me")
def me(user: CurrentUser) -> Any:
    return user_view(user)
