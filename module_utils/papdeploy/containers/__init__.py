"""Docker: containers as sites, and an API whose releases are images."""

from __future__ import annotations

from .api import DockerApi
from .compose import Compose
from .discover import database_at, discover, shown
from .engine import Engine
from .oneoff import OneOffSite
from .site import ContainerSite

__all__ = ["Compose", "ContainerSite", "DockerApi", "Engine", "OneOffSite", "database_at", "discover", "shown"]
