"""What a few commands of a shell say and print, of which that is known without running them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Optional

Known = Optional[bool]  # it is so, it is not, it is not known

# $(cd "$(dirname "$0")" && pwd), $(readlink -f x): a folder by another name.
_SAME_PLACE = re.compile(
    r"cd\s+(?:--\s+)?(.+?)\s*(?:>\s*/dev/null\s*(?:2>&1)?)?\s*(?:&&|;)\s*pwd(?:\s+-P)?"
    r"|(?:readlink\s+-f|realpath)\s+(\S+)"
)


def both(*values: Known) -> Known:
    return False if False in values else None if None in values else True


def negated(value: Known) -> Known:
    return None if value is None else not value


def plain(command: str) -> str:
    """The command by which :func:`printed` knows one that prints the same."""
    command = command.strip()
    place = _SAME_PLACE.fullmatch(command)
    return f"echo {place[1] or place[2]}" if place else re.sub(r"^<", "cat ", command)


def printed(words: Sequence[str], reading: Callable[[str], Optional[str]]) -> Optional[str]:
    """What the command prints, where it only takes words or files apart; None for any other. ``reading`` gives the
    content of a file."""
    name, *rest = words or [""]
    if not rest or any(set(word) & set(";&|") for word in words):
        return None
    if name == "basename":
        return PurePosixPath(rest[0]).name.removesuffix(rest[1] if rest[1:] else "\0")
    if name == "dirname":
        return str(PurePosixPath(rest[0]).parent)
    if name == "echo" and not rest[0].startswith("-"):
        return " ".join(rest)
    texts = [reading(path) for path in rest] if name == "cat" else [None]
    return None if None in texts else "".join(filter(None, texts)).rstrip("\n")


def without_redirections(words: Sequence[str]) -> list[str]:
    kept: list[str] = []
    left = iter(words)
    for word in left:
        if re.fullmatch(r"\d*(<|>>?|<<-?)", word):
            next(left, None)
        elif not re.match(r"\d*[<>]", word):
            kept.append(word)
    return kept


def compared(words: Sequence[str], matching: Callable[[str], Sequence[str]]) -> Known:
    """What a test of these words says. A file that is not there now may be there then."""
    if words[:1] == ["!"]:
        return negated(compared(words[1:], matching))
    for joint in ("-o", "-a"):
        if joint in words:
            number = words.index(joint)
            first, second = compared(words[:number], matching), compared(words[number + 1 :], matching)
            return both(first, second) if joint == "-a" else negated(both(negated(first), negated(second)))
    if len(words) == 3 and words[1] in ("=", "==", "!="):
        return fnmatch.fnmatchcase(words[0], words[2]) is (words[1] != "!=")
    if len(words) == 2 and words[0] in ("-n", "-z"):
        return bool(words[1]) is (words[0] == "-n")
    if len(words) == 2 and words[0] in ("-e", "-f", "-r", "-s"):
        return True if words[1] and matching(words[1]) else None
    return bool(words[0]) if len(words) == 1 else None
