"""Fixtures of the integration tests beside those of tests/conftest.py."""

from __future__ import annotations

from docker_support import docker_engine, docker_stack, small, small_images

__all__ = ["docker_engine", "docker_stack", "small", "small_images"]
