"""A reason that a person gives for going on all the same: it is recorded, so it has to say something."""

from __future__ import annotations

import re

from .errors import Refused
from .visible import visible

_LONGEST = 1000
# Scripts that put no spaces between words (Thai and beyond, Chinese, Japanese): each letter counts as a word.
_WITHOUT_SPACES = "\u0e00"


def stated(reason: str, what: str, hint: str, *, words: int = 2) -> str:
    """``reason`` on one line. Raises Refused unless it says something: some ``words`` of letters, and no treatise.
    ``what`` needs the reason, as the beginning of a sentence; ``hint`` says how it is given."""
    text = " ".join(reason.split())
    if not text:
        raise Refused(f"{what} needs a reason.", hint=hint)
    if len(text) > _LONGEST:
        raise Refused(f"{what} needs a reason of at most {_LONGEST:,} characters; this has {len(text):,}.", hint=hint)
    if not _says_something(text, words):
        raise Refused(
            f"{what} needs a reason, and the one that was given says too little: '{visible(text[:80])}'.",
            hint=f"{hint} Say who decided and why, in at least {words} words.",
        )
    return text


def _says_something(text: str, words: int) -> bool:
    letters = [letter for letter in text.casefold() if letter.isalpha()]
    alone = sum(letter >= _WITHOUT_SPACES for letter in letters)
    found = re.findall(r"[^\W\d_]+", text)
    return (
        max(len(found), alone) >= words
        and len(letters) + alone >= 5 * (words - 1)
        and len(set(letters)) >= 4
        and (alone > 0 or any(len(word) > 2 for word in found))
    )
