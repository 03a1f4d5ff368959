"""PostgreSQL's own regression database: everything that its developers made tests for, left as ``make installcheck``
leaves it for them to test pg_dump with.

The scripts come from PostgreSQL's source: a folder named by PAP_POSTGRES_SOURCE (``postgresql-18.6`` or the like inside
it), or Debian's source package. They run one after the other, in the order of ``parallel_schedule``. Where no C compiler
or no headers of the server are at hand, ``regress.so`` is left out, and with it the types and functions written in C.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2

if TYPE_CHECKING:
    from support.postgres_servers import Server

SUITES = ("stable", "testing", "unstable")  # Debian's, where this machine's own has no such version
# Roles of the whole server, a server's settings and other databases do not belong to this database.
LEFT_OUT = {"tablespace"}


class NoSource(Exception):
    """The source of that version cannot be had here."""


@dataclass(frozen=True)
class Made:
    """``scripts`` ran; ``with_c``: those written in C as well."""

    scripts: int
    with_c: bool


def make(server: Server, database: str, folder: Path) -> Made:
    """Run the scripts in ``database``; ``folder`` takes the source and must be readable for the server."""
    regress = source(server.major, folder) / "src/test/regress"
    (folder / "results").mkdir(exist_ok=True)
    (folder / "results").chmod(0o777)
    library = _compiled(server, regress, folder)
    environment = {
        "PATH": "/usr/bin:/bin",
        "PGHOST": server.host, "PGPORT": str(server.port), "PGUSER": server.user, "PGPASSWORD": server.password,
        "PGDATABASE": database, "PGTZ": "America/Los_Angeles", "PGDATESTYLE": "Postgres, MDY",
        "PGOPTIONS": "-c intervalstyle=postgres_verbose", "LC_ALL": "C.UTF-8",
        "PG_ABS_SRCDIR": str(regress), "PG_ABS_BUILDDIR": str(folder), "PG_LIBDIR": str(folder), "PG_DLSUFFIX": ".so",
    }  # fmt: skip
    scripts = [name for name in scheduled(regress) if name not in LEFT_OUT]
    for name in scripts:
        argv: list[str | Path] = [server.bin_dir / "psql", "-X", "-q", "-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on",
                "-f", regress / "sql" / f"{name}.sql"]  # fmt: skip
        with (folder / "results" / f"{name}.out").open("w") as out:
            subprocess.run(argv, check=False, stdout=out, stderr=out, env=environment, timeout=300, cwd=folder)
        _answers(server, name)
    return Made(len(scripts), library)


def _answers(server: Server, script: str) -> None:
    """Wait for the server: one that is older than the source may crash by what was mended since."""
    for _ in range(120):
        with contextlib.suppress(psycopg2.OperationalError):
            server.sql("SELECT 1")
            return
        time.sleep(0.5)
    raise AssertionError(f"the server does not answer any more after {script}")


def scheduled(regress: Path) -> list[str]:
    """The names of the scripts in the order of ``parallel_schedule``."""
    lines = (regress / "parallel_schedule").read_text().splitlines()
    return [name for line in lines if line.startswith("test: ") for name in line.removeprefix("test: ").split()]


def source(major: int, folder: Path) -> Path:
    """The source of that major version, or of the one before, unpacked; raises NoSource."""
    for version in (major, major - 1):
        with contextlib.suppress(NoSource):
            return _source(version, folder)
    raise NoSource(f"the source of PostgreSQL {major}: no PAP_POSTGRES_SOURCE, and apt has no package of it")


def _source(major: int, folder: Path) -> Path:
    given = os.environ.get("PAP_POSTGRES_SOURCE")
    for path in sorted(Path(given).glob(f"postgresql-{major}.*/src/test/regress/parallel_schedule")) if given else ():
        return path.parents[3]
    for number, place in enumerate(_places()):
        for archive in _download(major, place, folder / f"apt-{number}"):
            with tarfile.open(archive) as opened:
                wanted = [item for item in opened if "/src/test/regress/" in item.name or "/src/include/" in item.name]
                if hasattr(tarfile, "data_filter"):  # Python 3.11.4 and newer
                    opened.extraction_filter = tarfile.data_filter
                opened.extractall(folder, wanted)
            return next(folder.glob(f"postgresql-{major}.*/"))
    raise NoSource


def _places() -> list[str]:
    """Where this machine has its packages, each by itself (one may list what it no longer has), its own suites first."""
    if not shutil.which("apt-get"):
        return []
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages"],
        text=True, capture_output=True, check=False,
    )  # fmt: skip
    listed = [line.split() for line in sorted(set(targets.stdout.splitlines())) if len(line.split()) == 2]
    own = [f"deb-src {place} {codename} main" for place, codename in listed]
    mains = [place for place, codename in listed if codename.isalpha()]
    return [*own, *(f"deb-src {place} {suite} main" for suite in SUITES for place in mains)]


def _download(major: int, place: str, folder: Path) -> list[Path]:
    """The archive of Debian's source package from ``place``; none if that has none."""
    for sub in ("lists/partial", "cache/archives/partial", "empty"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    (folder / "sources.list").write_text(f"{place}\n")
    (folder / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{folder}/sources.list"; Dir::Etc::sourceparts "{folder}/empty";'
        f' Dir::State::lists "{folder}/lists"; Dir::Cache "{folder}/cache";'
    )
    environment = {**os.environ, "APT_CONFIG": str(folder / "apt.conf")}
    subprocess.run(["apt-get", "update"], env=environment, capture_output=True, check=False, timeout=300)
    subprocess.run(
        ["apt-get", "source", "--download-only", f"postgresql-{major}"],
        env=environment, capture_output=True, check=False, timeout=600, cwd=folder,
    )  # fmt: skip
    return sorted(folder.glob(f"postgresql-{major}_*.orig.tar.*"))


def _compiled(server: Server, regress: Path, folder: Path) -> bool:
    """Compile ``regress.so`` into ``folder``; False where that cannot be done here."""
    config = server.bin_dir / "pg_config"
    told = subprocess.run([config, "--includedir-server"], text=True, capture_output=True, check=False).stdout.strip()
    installed = re.sub(r"\s", "", told)
    if not shutil.which("cc") or not (Path(installed) / "postgres.h").exists():
        return False
    argv = ["cc", "-O1", "-w", "-fPIC", "-shared", f"-I{installed}", f"-I{installed}/internal", f"-I{regress}",
            '-DDLSUFFIX=".so"', "-o", str(folder / "regress.so"), str(regress / "regress.c")]  # fmt: skip
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0
