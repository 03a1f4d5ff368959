"""The report of a release: one record (``report.json``) and one self-contained page (``report.html``)."""

from __future__ import annotations

from .build import build, build_from
from .overview import overview
from .page import render

__all__ = ["build", "build_from", "overview", "render"]
