"""Images for tests without a registry: ``python tests/docker/pap_images.py`` builds what is missing, prints the names.

A base is made by debootstrap from the package source that this machine uses, then imported; cc-db and cc-pap-api are
built on it with the classic builder and no network. Everything is cached in the engine under a hash of its recipe.
With a registry at hand: PAP_TEST_DB_IMAGE=postgres:16 takes the place of the look-alike, and
PAP_TEST_PYTHON_IMAGE=python:3.12-slim that of the Debian base of the API.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import docker.errors

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from sandbox import build as sandbox_build  # noqa: E402
from sandbox.releases import RELEASES, Release  # noqa: E402

PREFIX = "pap-test"
API_PACKAGES = ("fastapi", "uvicorn", "argon2-cffi", "pyjwt", "sqlalchemy", "psycopg2-binary")
# pg_dump knows zstd and lz4 from 16 on: a suite with an older PostgreSQL gives way to a later one of the same source.
WITH_ZSTD = {"bookworm": "trixie"}
_LEFT_OUT = (
    "usr/share/doc",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/info",
    "var/cache/apt",
    "var/lib/apt/lists",
)


def main() -> None:
    engine = docker.from_env(timeout=600).api
    print(db_image(engine))
    for release in RELEASES:
        print(api_image(engine, release))
    print(variant(engine, api_image(engine, "current"), "drops-tables", ["ENV CC_DROP_TABLES=on"]))
    by_file = ["USER root", "RUN echo CC_DROP_TABLES=on > app/.env", "USER 10001:10001"]
    print(variant(engine, api_image(engine, "current"), "drops-by-file", by_file))


def db_image(engine: Any) -> str:
    """The image of cc-db."""
    given = os.environ.get("PAP_TEST_DB_IMAGE")
    if given:
        return _pulled(engine, given)
    base = _base(engine, "postgresql")
    with _building():
        found = engine.inspect_image(base)
        arguments = {"BASE": base, "BIN": found["Config"]["Labels"]["bin"]}
        return _build(engine, "cc-db", [HERE / "cc-db"], arguments, tag="latest")


def api_image(engine: Any, release: str | Release) -> str:
    """The image of cc-pap-api with a release, of the sandbox if named: ``pap-test/cc-pap-api:<release>``."""
    base = _api_base(engine)
    made = RELEASES[release] if isinstance(release, str) else release
    with tempfile.TemporaryDirectory() as folder, _building():
        (Path(folder) / "Dockerfile").write_text(f"FROM {base}\nCOPY release /app\nLABEL pap.release={made.name}\n")
        sandbox_build.build(made, Path(folder) / "release")
        shutil.rmtree(Path(folder) / "release" / "migrations")
        return _build(engine, "cc-pap-api", [Path(folder)], {}, tag=made.name)


def small_api(engine: Any, name: str, lines: Iterable[str] = ()) -> str:
    """An API without a database, for tests of the container's own ways: ``pap-test/small-<name>``."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "Dockerfile").write_text(
            "\n".join(
                [
                    f"FROM {_api_base(engine)}",
                    "COPY server.py /app/server.py",
                    f"ENV RELEASE={name} FROM_IMAGE={name}",
                    'CMD ["python", "/app/server.py"]',
                    *lines,
                ]
            )
            + "\n"
        )
        with _building():
            return _build(engine, f"small-{name}", [Path(folder), HERE / "small-api"], {}, tag="latest")


def variant(engine: Any, image: str, name: str, lines: Iterable[str]) -> str:
    """``image`` with some more Dockerfile lines: ``pap-test/<name>``."""
    with tempfile.TemporaryDirectory() as folder, _building():
        (Path(folder) / "Dockerfile").write_text("\n".join([f"FROM {image}", *lines]) + "\n")
        return _build(engine, name, [Path(folder)], {}, tag="latest", salt=engine.inspect_image(image)["Id"])


def _api_base(engine: Any) -> str:
    given = os.environ.get("PAP_TEST_PYTHON_IMAGE")
    base = _pulled(engine, given) if given else _base(engine, "python")
    with _building():
        python = _ask(engine, base, ["python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
        if tuple(map(int, python.split("."))) < (3, 11):
            raise SystemExit(f"The sandbox's API needs Python 3.11, {base} has {python}: set PAP_TEST_PYTHON_IMAGE.")
        wanted = _pins()
        recipe = "\n".join([base, python, *wanted, (HERE / "cc-pap-api" / "Dockerfile").read_text()])
        name = f"{PREFIX}/api-base:{_hash(recipe)}"
        if _exists(engine, name):
            return name
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile",
                 "--target", f"{folder}/site-packages", "--python-version", python, "--only-binary=:all:", *wanted],
                check=True,
            )  # fmt: skip
            _build(engine, "", [HERE / "cc-pap-api", Path(folder)], {"BASE": base, "PYTHON": python}, whole_name=name)
        return name


def _pins() -> list[str]:
    """The API's packages, as the repository pins them."""
    lines = [line for name in ("requirements.txt", "requirements-sandbox.txt") for line in (ROOT / name).open()]
    pins = [line.split("#")[0].split(";")[0].strip() for line in lines]
    return [pin for pin in pins if pin.split("=")[0].split(">")[0].split("[")[0].strip().lower() in API_PACKAGES]


def _base(engine: Any, kind: str) -> str:
    """A small Debian (or Ubuntu) with Python as this machine's own suite has it, or with PostgreSQL 16 or newer."""
    packages = {"python": "python3-minimal,libpython3-stdlib", "postgresql": "postgresql,pgbackrest"}[kind]
    system = platform.freedesktop_os_release()
    suite = system.get("VERSION_CODENAME", "")
    if kind == "postgresql":
        suite = WITH_ZSTD.get(suite, suite)
    name = f"{PREFIX}/{kind}:{_hash(suite, packages, *_LEFT_OUT, 'v2')}"
    with _building():
        if _exists(engine, name):
            return name
        if os.geteuid() != 0 or not shutil.which("debootstrap"):
            raise SystemExit(
                "The images of the Docker tests are made by debootstrap, as root (apt-get install debootstrap); or set"
                " PAP_TEST_DB_IMAGE and PAP_TEST_PYTHON_IMAGE to images of a registry."
            )
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            root = Path(folder) / "root"
            _debootstrap(suite, packages, system.get("ID", "debian"), root)
            labels = []
            if kind == "postgresql":
                programs = sorted((root / "usr/lib/postgresql").glob("*/bin"))[-1]
                labels = [f"LABEL bin=/{programs.relative_to(root)}"]
                shutil.rmtree(root / "var/lib/postgresql")
                (root / "var/lib/postgresql").mkdir()
            archive = Path(folder) / "root.tar"
            left_out = [f"--exclude=./{path}" for path in (*_LEFT_OUT, "dev")]
            subprocess.run(["tar", "-C", root, "--numeric-owner", *left_out, "-cf", archive, "."], check=True)
            repository, tag = name.split(":")
            engine.import_image(str(archive), repository=repository, tag=tag, changes=["CMD sh", *labels])
    return name


def _debootstrap(suite: str, packages: str, distribution: str, root: Path) -> None:
    component = "main,universe" if distribution == "ubuntu" else "main"
    log = root.with_name("log")
    with log.open("w") as output:
        done = subprocess.run(
            ["debootstrap", "--variant=minbase", f"--components={component}", f"--include={packages}", suite, root,
             _source()],
            stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
    if done.returncode:
        raise SystemExit("debootstrap failed:\n" + "\n".join(log.read_text().splitlines()[-20:]))


def _source() -> str:
    """The package source that this machine's apt uses for its main archive."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"],
        check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    suite = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    sources = [line.split()[0] for line in listed if line.split()[1:] == [suite, "main"]]
    if not sources:
        raise SystemExit(f"apt has no package source for {suite} main: run apt-get update, or set PAP_TEST_*_IMAGE.")
    return sources[0]


def _build(
    engine: Any,
    name: str,
    folders: Iterable[Path],
    arguments: dict[str, str],
    tag: str = "",
    salt: str = "",
    whole_name: str = "",
) -> str:
    """Build the context in ``folders`` unless an image of the same content has the name already."""
    context = io.BytesIO()
    digest = hashlib.sha256(repr(sorted(arguments.items())).encode() + salt.encode())
    with tarfile.open(fileobj=context, mode="w") as archive:
        for folder in folders:
            for path in sorted(folder.rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    inside = str(path.relative_to(folder))
                    archive.add(path, inside, filter=_plain)
                    if not whole_name:
                        digest.update(inside.encode() + b"\0" + path.read_bytes())
    full = whole_name or f"{PREFIX}/{name}:{tag or digest.hexdigest()[:12]}"
    try:
        if engine.inspect_image(full)["Config"]["Labels"].get("pap.recipe") == digest.hexdigest():
            return full
    except (docker.errors.ImageNotFound, TypeError, AttributeError):
        pass
    context.seek(0)
    said = []
    for event in engine.build(
        fileobj=context,
        custom_context=True,
        encoding=None,
        tag=full,
        buildargs=arguments,
        labels={"pap.recipe": digest.hexdigest()},
        network_mode="none",
        rm=True,
        forcerm=True,
        decode=True,
    ):
        said.append(str(event.get("stream", "")))
        if "error" in event:
            raise SystemExit(f"{full} cannot be built: {event['error']}\n{''.join(said)[-2000:]}")
    return full


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mtime = 0
    return entry


def _exists(engine: Any, name: str) -> bool:
    try:
        engine.inspect_image(name)
    except docker.errors.ImageNotFound:
        return False
    return True


def _pulled(engine: Any, name: str) -> str:
    if not _exists(engine, name):
        repository, _, tag = name.partition(":")
        engine.pull(repository, tag=tag or "latest")
    return name


def _ask(engine: Any, image: str, argv: list[str]) -> str:
    made = engine.create_container_from_config({"Image": image, "Cmd": argv, "Entrypoint": []})["Id"]
    try:
        engine.start(made)
        engine.wait(made)
        return str(engine.logs(made).decode()).strip()
    finally:
        engine.remove_container(made, force=True)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


@contextmanager
def _building() -> Iterator[None]:
    """One builder at a time on this machine: the second finds what the first has made."""
    with Path(tempfile.gettempdir(), "pap-test-images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    main()
