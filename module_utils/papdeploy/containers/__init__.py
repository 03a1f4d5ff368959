"""Docker: containers as sites, and an API whose releases are images."""

from __future__ import annotations

from .engine import Engine
from .site import ContainerSite

__all__ = ["ContainerSite", "Engine"]
