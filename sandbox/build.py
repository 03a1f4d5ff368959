"""Make the directories of the releases: each a whole copy of the app as it was or would be, importable by itself."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

from sandbox.releases import RELEASES, Release

SOURCE = Path(__file__).resolve().parent
_LINE = re.compile(r"\s*# since (\d+(?:\.\d+)*)$")
_BLOCK = re.compile(r"^\s*# since (\d+(?:\.\d+)*):$")
_END = re.compile(r"^\s*# end since$")


def version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def as_of(text: str, version: str) -> str:
    """``text`` as it is in release ``version``: later lines left out, the marks themselves gone.

    Raises ValueError for a block that is not closed, closed twice or nested.
    """
    have = version_key(version)
    kept: list[str] = []
    block: bool | None = None  # inside a block: is it in this release?
    for number, line in enumerate(text.splitlines(), 1):
        if start := _BLOCK.match(line):
            if block is not None:
                raise ValueError(f"line {number}: a block inside a block")
            block = version_key(start[1]) <= have
        elif _END.match(line):
            if block is None:
                raise ValueError(f"line {number}: the end of no block")
            block = None
        elif block is not False:
            mark = _LINE.search(line)
            if mark is None:
                kept.append(line)
            elif version_key(mark[1]) <= have:
                kept.append(line[: mark.start()])
    if block is not None:
        raise ValueError("a block is not closed")
    return "\n".join(kept).rstrip("\n") + "\n" if kept else ""


def files(release: Release) -> dict[str, str]:
    """Every file of the release's directory: relative path to text."""
    result: dict[str, str] = {}
    for source in sorted((SOURCE / "app").glob("*.py")):
        text = as_of(source.read_text(encoding="utf-8"), release.version)
        if text or not source.stat().st_size:
            result[f"app/{source.name}"] = text
    for edit in release.edits:
        path = f"app/{edit.file}"
        if result[path].count(edit.find) != 1:
            raise ValueError(f"release {release.name}: {path} does not contain exactly once: {edit.find!r}")
        result[path] = result[path].replace(edit.find, edit.replace)
    result["app/release.py"] = (
        f'"""Which release this is: {release.what}."""\n\nNAME = "{release.name}"\nVERSION = "{release.version}"\n'
    )
    for source in sorted((SOURCE / "migrations" / release.name).glob("*.py")):
        result[f"migrations/{source.name}"] = source.read_text(encoding="utf-8")
    tree = SOURCE / "trees" / release.name
    for source in sorted(path for path in tree.rglob("*.*") if path.suffix in (".py", ".ini", ".mako")):
        result[source.relative_to(tree).as_posix()] = source.read_text(encoding="utf-8")
    return result


def build(release: Release, directory: Path) -> bool:
    """Write the release to ``directory`` unless it is there already; True if something was written.

    The directory is replaced whole: a process that runs from it keeps what it has loaded.
    """
    wanted = files(release)
    digest = hashlib.sha256(repr(sorted(wanted.items())).encode()).hexdigest()
    stamp = directory / ".digest"
    if stamp.is_file() and stamp.read_text(encoding="ascii") == digest:
        return False
    fresh = directory.with_name(f".{directory.name}.new")
    old = directory.with_name(f".{directory.name}.old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    (fresh / "migrations").mkdir(parents=True)  # there in every release, empty in most
    for name, text in wanted.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (fresh / ".digest").write_text(digest, encoding="ascii")
    if directory.exists():
        directory.rename(old)
    fresh.rename(directory)
    shutil.rmtree(old, ignore_errors=True)
    return True


def build_all(folder: Path) -> None:
    """Write every release below ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for release in RELEASES.values():
        build(release, folder / release.name)
