"""What the preflight has measured of a release is what takes over: anything exchanged in between stops the deploy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from integration.phases.test_preflight_findings import NOTE
from papdeploy.core.errors import VerificationFailed
from papdeploy.phases import activate, migrate, receipt, validate
from papdeploy.schema import CheckOptions
from support.rehearsal_stack import API, Bench, migration

ADD_NOTE = {"2026_01_01_note.py": migration('db.execute("ALTER TABLE users ADD COLUMN note text")')}


@pytest.fixture
def bench(servers: dict[int, Any], tmp_path: Path) -> Iterator[Bench]:
    made = Bench(servers[18], tmp_path, servers[18].create("swapped"))
    made.write_release("new", user=NOTE)
    package(made, "1.0")
    (tmp_path / "env").write_text((tmp_path / "env").read_text() + f"PYTHONPATH={tmp_path / 'packages'}\n")
    made.stack = replace(made.stack, api=made.api(restart_command=("true",)))
    try:
        yield made
    finally:
        made.close()


def package(bench: Bench, version: str) -> None:
    for old in bench.folder.glob("packages/*/METADATA"):
        old.unlink()
        old.parent.rmdir()
    made = bench.folder / "packages" / f"Some_Library-{version}.dist-info"
    made.mkdir(parents=True)
    (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: Some_Library\nVersion: {version}\n")


def environment(bench: Bench) -> str:
    return (bench.folder / "env").read_text()


def edit(bench: Bench, name: str, text: str) -> None:
    (bench.folder / name).write_text(text)


SWAPS: dict[str, tuple[Callable[[Bench], object], Callable[[Bench], object], str]] = {
    "code": (lambda b: edit(b, "new/api.py", "evil"), lambda b: edit(b, "new/api.py", API), "api.py is another one"),
    "a new module": (
        lambda b: edit(b, "new/json.py", "evil"), lambda b: (b.folder / "new/json.py").unlink(), "json.py was added",
    ),
    "a package": (
        lambda b: package(b, "1.1"), lambda b: package(b, "1.0"),
        r"package: some-library \(the preflight had 1.0, here 1.1\)",
    ),
    "a variable": (
        lambda b: edit(b, "env", environment(b) + "DEBUG=1\n"), lambda b: None,
        "variable set here and not in the preflight: DEBUG",
    ),
}  # fmt: skip


def test_it_is_seen_before_the_api_stops(bench: Bench) -> None:
    release = bench.open(ADD_NOTE)
    for swap, undo, said in SWAPS.values():
        swap(bench)
        with pytest.raises(VerificationFailed, match=f"new is not what the preflight .*: before the API stops, {said}"):
            migrate.run(bench.stack, release, migrate.Options())
        undo(bench)
    assert not bench.journal().has("fence", "begin") and not bench.journal().has("migrate", "begin")
    bench.stack.state.lock.release(release)


def test_what_takes_over_is_measured_right_before_and_after(bench: Bench) -> None:
    release = bench.open(ADD_NOTE)
    current, code = bench.folder / "current", bench.folder / "new" / "api.py"
    good = code.read_text()
    code.write_text("evil")
    with pytest.raises(VerificationFailed, match=r"right before it takes over, api\.py is another one"):
        activate.run(bench.stack, release)
    assert current.resolve().name == "old"
    code.write_text(good)
    right = bench.stack
    bench.stack = replace(right, api=bench.api(restart_command=("sh", "-c", f"echo evil >> {code}")))
    with pytest.raises(VerificationFailed, match=r"right after it took over, api\.py is another one"):
        activate.run(bench.stack, release)
    assert not bench.journal().has("activate")
    code.write_text(good)
    bench.stack = right
    assert activate.run(right, release).changed and current.resolve().name == "new"
    package(bench, "2.0")
    bench.server.sql("ALTER TABLE users ADD COLUMN note text", bench.dbname)
    with pytest.raises(VerificationFailed, match="since it took over, package: some-library"):
        validate.run(right, release, CheckOptions())
    bench.stack.state.lock.release(release)


def test_values_may_change_and_the_receipt_is_about_what_was_measured(bench: Bench) -> None:
    release = bench.open(ADD_NOTE)
    before = receipt.describe(bench.stack.state, release).subject
    assert before["runtime"]["packages"]["some-library"] == "1.0"
    assert {"DATABASE_URL", "MODE"} <= set(before["runtime"]["variables"])
    assert before["release"]["checksum"].startswith("files:")
    path = bench.folder / "env"
    path.write_text(path.read_text().replace("MODE=test", "MODE=other"))
    assert activate.run(bench.stack, release).changed
    (bench.folder / "new" / "api.py").write_text("later")
    assert receipt.describe(bench.stack.state, release).subject == before
    bench.stack.state.lock.release(release)
