"""The dress rehearsal of a deploy: on a copy of tonight's data, with everything that the deploy will do to it."""

from __future__ import annotations

from . import expectations, verdict
from .options import Options, RehearsalFailed
from .run import Verdict, rehearse, warm
from .work import Subject

__all__ = ["Options", "RehearsalFailed", "Subject", "Verdict", "expectations", "rehearse", "verdict", "warm"]
