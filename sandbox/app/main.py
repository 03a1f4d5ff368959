"""The API: ``uvicorn app.main:app``."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI

from app import (
    auth,
    config,
    release,
    routes,
    routes_settings,  # since 2.1
)
from app.startup import prepare_database

STARTED_AT = datetime.now(UTC)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    if len(config.SECRET_KEY) < 32:
        raise RuntimeError("SECRET_KEY must have at least 32 characters")
    prepare_database()
    yield


app = FastAPI(title="PAP API", version=release.VERSION, lifespan=lifespan)
app.include_router(auth.router)
app.include_router(routes.router)
app.include_router(routes_settings.router)  # since 2.1


@app.get("/health", tags=["operation"])
def health() -> Any:
    return {"status": "healthy"}


@app.get("/version", tags=["operation"])
def version() -> Any:
    """Which release answers, since when."""
    return {
        "release": release.NAME,
        "version": release.VERSION,
        "environment": config.ENVIRONMENT,
        "started_at": STARTED_AT,
        "pid": os.getpid(),
    }
