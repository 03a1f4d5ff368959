"""The dress rehearsal of a deploy: on a copy of tonight's data, with everything that the deploy will do to it."""

from __future__ import annotations

from . import expectations, verdict
from .options import Options, RehearsalFailed
from .run import Subject, rehearse, warm

__all__ = ["Options", "RehearsalFailed", "Subject", "expectations", "rehearse", "verdict", "warm"]
