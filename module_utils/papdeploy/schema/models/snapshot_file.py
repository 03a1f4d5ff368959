"""The expected catalog as a file: made once, kept in the repository or a cache, used without a scratch database."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from ...core.durable import private_folder
from ...core.errors import PapError, Refused, VerificationFailed
from ...core.private import refuse_writable
from ...core.records import read
from ..catalog.rows import CATALOG_FORMAT, Catalog


def cache_folder() -> Path:
    """Where catalogs are kept between runs: ``$XDG_CACHE_HOME/pap-deploy/schema`` or ``~/.cache/…``."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "pap-deploy" / "schema"


def cached(folder: Path, digest: str) -> Catalog | None:
    """The catalog of ``digest`` from the cache, or None; a file that cannot be read, or that another user could have
    written, is as good as none."""
    path = folder / f"{digest}.json"
    try:
        refuse_writable(folder)
        refuse_writable(path)
        found = read_snapshot(path)
        verify(found, digest, path)
    except (PapError, OSError):
        return None
    return found


def keep(folder: Path, catalog: Catalog) -> None:
    """Put ``catalog`` into the cache, unless that cannot be written to or others can write there."""
    try:
        if not folder.exists():
            private_folder(folder)
        refuse_writable(folder)
        write_snapshot(folder / f"{catalog.digest}.json", catalog)
    except (PapError, OSError):
        return  # the next run makes it again


def read_snapshot(path: str | Path) -> Catalog:
    """The catalog in ``path``, of whichever models it is: see :func:`verify`."""
    try:
        found: Any = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise Refused(f"There is no snapshot {path}.", hint="Make it with --write-snapshot.") from exc
    except (OSError, ValueError) as exc:
        raise VerificationFailed(
            f"The snapshot {path} cannot be read: {exc}.", hint="Make it anew with --write-snapshot."
        ) from exc
    if not isinstance(found, dict) or found.get("format") != CATALOG_FORMAT:
        raise VerificationFailed(
            f"{path} is no snapshot of this version (format {CATALOG_FORMAT}).",
            hint="Make it anew with --write-snapshot.",
        )
    return read(Catalog, found, f"The snapshot {path}")


def verify(snapshot: Catalog, digest: str, path: str | Path) -> None:
    """Raise PapError when the snapshot of ``path`` is of other models, or of another version, than ``digest``."""
    if snapshot.digest != digest:
        major = snapshot.database.major
        raise VerificationFailed(
            f"The snapshot {path} was made of other models, or for another version of PostgreSQL than the database's "
            f"(it is for {major}).",
            hint="Make it anew with --write-snapshot, and commit it with the models.",
        )


def write_snapshot(path: str | Path, catalog: Catalog) -> None:
    """Write ``catalog`` to ``path``: whole or not at all, one object a line, so that changes can be reviewed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for key, value in catalog.as_json().items():
        if isinstance(value, list) and value:
            rows = ",\n  ".join(json.dumps(row, sort_keys=True, ensure_ascii=False) for row in value)
            lines.append(f" {json.dumps(key)}: [\n  {rows}\n ]")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value, sort_keys=True, ensure_ascii=False)}")
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
