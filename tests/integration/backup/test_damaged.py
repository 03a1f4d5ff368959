"""A damaged backup, or one that does not belong here, is rejected before anything changes."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import pytest
from papdeploy import backup, databases
from papdeploy.core.errors import PapError, Refused
from papdeploy.databases import content_digest
from papdeploy.databases.psql import Database
from support import backup_files
from support.app_session import as_app
from support.backup import database_of, fill, forget, names

if TYPE_CHECKING:
    from support.postgres_servers import Server


@pytest.fixture(scope="module")
def taken(
    servers: dict[int, Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Database, backup.Backup]]:
    server = servers[18]
    name = server.create("damaged")
    database = fill(server, name)
    yield database, backup.take(database, tmp_path_factory.mktemp("b") / "backups", stack="st", release="r1")
    forget(server, name)


@pytest.fixture
def file(taken: tuple[Database, backup.Backup], tmp_path: Path) -> Path:
    """A copy of the good backup, to be damaged."""
    for path in taken[1].path.parent.iterdir():
        shutil.copy(path, tmp_path / path.name)
    return tmp_path / taken[1].path.name


def test_the_good_one_passes(taken: tuple[Database, backup.Backup], file: Path) -> None:
    database, good = taken
    assert backup.inspect(file, backup.Expected(stack="st", release="r1")).manifest == good.manifest
    assert backup.verify(database, file).seconds > 0


def test_truncated_at_200_offsets(file: Path) -> None:
    size = file.stat().st_size
    whole = file.read_bytes()
    offsets = sorted({0, 1, 4, 5, size - 1, size - 2, *(size * i // 195 for i in range(195))})
    assert len(offsets) >= 200
    for offset in offsets:
        file.write_bytes(whole[:offset])
        with pytest.raises(Refused, match="is damaged: it has"):
            backup.inspect(file)
    file.write_bytes(whole + b"\0")
    with pytest.raises(Refused, match="is damaged"):
        backup.inspect(file)


def test_bit_flips_anywhere(file: Path) -> None:
    whole = bytearray(file.read_bytes())
    chance = random.Random(5)
    places = [0, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(100))]
    for place in places:
        bit = 1 << chance.randrange(8)
        whole[place] ^= bit
        file.write_bytes(whole)
        with pytest.raises(Refused, match="is damaged: its SHA-256"):
            backup.inspect(file)
        whole[place] ^= bit


def test_flips_in_the_manifest(file: Path) -> None:
    path = file.with_name(file.name + ".manifest.json")
    whole = path.read_bytes()
    chance = random.Random(6)
    tried = 0
    for place in (chance.randrange(len(whole)) for _ in range(200)):
        if whole[place : place + 1].isspace():
            continue  # layout, not content
        other = b"7" if whole[place : place + 1] != b"7" else b"8"
        path.write_bytes(whole[:place] + other + whole[place + 1 :])
        with pytest.raises(Refused, match=r"damaged|cannot be read"):
            backup.load_manifest(file)
        tried += 1
    assert tried > 100


def _edit(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """A manifest that was altered by hand, with its digest left as it was."""

    def work(file: Path) -> None:
        path = file.with_name(file.name + ".manifest.json")
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))

    return work


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty archive": (lambda f: f.write_bytes(b""), "it has 0 of"),
    "archive gone": (lambda f: f.unlink(), "is gone"),
    "manifest gone": (lambda f: f.with_name(f.name + ".manifest.json").unlink(), "does not exist"),
    "manifest empty": (lambda f: f.with_name(f.name + ".manifest.json").write_text(""), "cannot be read"),
    "manifest of something else": (lambda f: f.with_name(f.name + ".manifest.json").write_text("[1]"), "damaged"),
    "manifest says other rows": (_edit(lambda m: m.update(rows=1)), "damaged"),
    "manifest says other release": (_edit(lambda m: m.update(release="r2")), "damaged"),
    "archive of equal length": (lambda f: f.write_bytes(b"PGDMP" + bytes(f.stat().st_size - 5)), "SHA-256"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_rejected(taken: tuple[Database, backup.Backup], file: Path, servers: dict[int, Server], case: str) -> None:
    """Also by restore and verify, and then nothing has been created."""
    damage, said = DAMAGE[case]
    damage(file)
    before = names(servers[18])
    for work in (backup.inspect, lambda path: backup.verify(taken[0], path)):
        with pytest.raises(Refused, match=said):
            work(file)
    with pytest.raises(Refused, match=said):
        backup.restore(taken[0], file, release="r1")
    assert names(servers[18]) == before


WRONG = {
    "stack": (backup.Expected(stack="production"), "of another stack: st, expected production"),
    "database": (backup.Expected(database="other"), "of another database"),
    "server": (backup.Expected(system_identifier="1"), "system identifier"),
    "oid": (backup.Expected(database_oid=1), "another one of the same name"),
    "release": (backup.Expected(release="r9"), "of another release: r1, expected r9"),
    "day": (backup.Expected(sha256="0" * 64), "of another backup"),
}


@pytest.mark.parametrize("case", WRONG)
def test_sound_but_not_this_one(taken: tuple[Database, backup.Backup], file: Path, case: str) -> None:
    expected, said = WRONG[case]
    with pytest.raises(Refused, match=said):
        backup.inspect(file, expected)
    with pytest.raises(Refused, match=said):
        backup.restore(taken[0], file, release="r1", expected=expected)


def test_forged_manifest_is_caught_by_the_comparison(taken: tuple[Database, backup.Backup], file: Path) -> None:
    """A manifest with a fitting digest whose content is not that of the archive."""
    good = json.loads(file.with_name(file.name + ".manifest.json").read_text())
    good["content_digest"]["tables"]["public"]["secret"]["rows"] = 3
    backup_files.write(file, good)
    with pytest.raises(PapError, match=r"table public.secret has 2 rows, 3 before"):
        backup.verify(taken[0], file)
    assert databases.existing(taken[0]) == []


def test_old_backup_is_proven_again(taken: tuple[Database, backup.Backup], file: Path) -> None:
    """Last week's file: the live database has moved on, the file is proven by its own content digest."""
    database, good = taken
    as_app(database).execute("CREATE TABLE later (a int)")
    try:
        assert content_digest.compare(good.digest, content_digest.take(database)) != []
        assert backup.verify(database, file).backup.manifest.rows == good.manifest.rows
    finally:
        as_app(database).execute("DROP TABLE later")


def test_newer_servers_backup_is_refused_on_an_older_one(
    taken: tuple[Database, backup.Backup], servers: dict[int, Server], file: Path
) -> None:
    old = servers[16]
    name = old.create("older")
    with pytest.raises(Refused, match=r"was made on PostgreSQL 18; this is 16"):
        backup.verify(database_of(old, name), file)
    old.drop(name)
