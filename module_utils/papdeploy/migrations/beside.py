"""The files that a migration reads: ``(Path(__file__).parent / "dump.sql").read_text()`` and its like, followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

MAX_BYTES = 32 << 20
_SAME = ("resolve", "absolute", "abspath", "realpath", "open", "Path", "PurePath", "str", "fspath")
_JOINED = ("join", "joinpath")


def called(name: str, given: list[Any]) -> Any:
    """What ``name`` makes of a path and what follows it, as pathlib and os.path do; None if that is not known here.

    An open file counts as its path.
    """
    if not given or not all(isinstance(item, (str, Path)) for item in given):
        return None
    path = Path(given[0])
    if name in _JOINED:
        return path.joinpath(*given[1:])
    if name in _SAME:
        return path
    if name == "dirname":
        return path.parent
    if name in ("with_name", "with_suffix") and len(given) == 2:
        return getattr(path, name)(given[1])
    if name in ("read", "read_text") and isinstance(given[0], Path):
        return text(path)
    return None


def text(path: Path) -> Optional[str]:
    """The text of a file that is there and not too large."""
    try:
        return path.read_text(encoding="utf-8") if path.is_file() and path.stat().st_size <= MAX_BYTES else None
    except (OSError, UnicodeDecodeError):
        return None
