"""Files of environment variables, as Docker and systemd read them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import PapError, Unavailable

_SETTINGS_BYTES = 256 << 10


def read_env_file(path: Path) -> dict[str, str]:
    """``KEY=VALUE`` lines; comments, ``export`` and one pair of quotes around a value are taken off."""
    values: dict[str, str] = {}
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise Unavailable(f"The environment file {path} cannot be read: {error.strerror}.") from error
    for line in text.splitlines():
        name, mark, value = line.strip().partition("=")
        if not mark or name.startswith("#"):
            continue
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        values[name.removeprefix("export ").strip()] = value
    return values


def read_above(folder: Path) -> Iterator[dict[str, str]]:
    """The variables of ``.env``, ``.env.local`` … in ``folder`` and above it, where an application that runs there may
    load its own. What cannot be read is passed over: whoever needs it to work says so."""
    with contextlib.suppress(OSError, RuntimeError):
        for place in [folder.resolve(), *folder.resolve().parents]:
            for path in sorted(place.glob(".env*")):
                if path.is_file() and path.stat().st_size <= _SETTINGS_BYTES:
                    with contextlib.suppress(PapError):
                        yield read_env_file(path)
