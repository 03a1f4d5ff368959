"""A folder of receipts in which anybody may have put anything: what is none is named and passed over, receipts count."""

from __future__ import annotations

import copy
import json
import os
import random
import resource
import signal
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from papdeploy import receipts
from papdeploy.core.errors import Refused, Unavailable
from papdeploy.core.visible import visible
from unit.receipts.test_sign import AT, PRIVATE, PUBLIC, receipt, subject

Put = Callable[[random.Random, Path], None]


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """A FIFO that is waited for ends the test, not the suite."""
    signal.alarm(120)
    yield
    signal.alarm(0)


def documents(of: dict[str, Any]) -> list[tuple[tuple[str, ...], Any]]:
    """Every place in a document, with what is there."""
    found: list[tuple[tuple[str, ...], Any]] = []

    def walk(place: tuple[str, ...], value: Any) -> None:
        found.append((place, value))
        for key, below in value.items() if isinstance(value, dict) else ():
            walk((*place, key), below)

    walk((), of)
    return found


WRONG: list[Any] = [
    None, True, 0, 1, -1, 1.5, 1e308, 10**400, "", "x", "\ud800", "\x1b[2J", [], {}, [[]], {"": {}}, ["a", {"b": None}],
    "9999-99-99", "2025-03-01", "2025-03-01T12:00:00", "2025-03-01\n12:00:00Z", "0001-01-01T00:00:00+23:59",
    "٢٠٢٥-03-01T12:00:00Z",
]  # fmt: skip


def wrong_somewhere(chance: random.Random, *, signed: bool) -> dict[str, Any]:
    """A document with a wrong value, or none, at a place of it; ``signed`` after that, by the trusted key."""
    document: dict[str, Any] = {"receipt": receipt().as_json()} if signed else receipts.sign(receipt(), PRIVATE)
    place, _ = chance.choice(documents(document)[2 if signed else 1 :])
    inside = document
    for key in place[:-1]:
        inside = inside[key]
    if chance.random() < 0.3:
        del inside[place[-1]]
    else:
        inside[place[-1]] = copy.deepcopy(chance.choice(WRONG))
    return receipts.sign(document["receipt"], PRIVATE) if signed else document


def deep(chance: random.Random) -> str:
    opening, closing = chance.choice([("[", "]"), ('{"receipt":', "}")])
    depth = chance.choice([500, 2_000, 200_000])
    return opening * depth + "1" + closing * chance.choice([depth, 0])


def deep_where_anything_may_be() -> str:
    text = json.dumps(receipts.sign(receipt(), PRIVATE))
    return text.replace('"evidence": {}', '"evidence": {"x": ' + "[" * 990 + "]" * 990 + "}", 1)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def closed(path: Path) -> None:
    path.write_text("{}")
    path.chmod(0)


JUNK: dict[str, Put] = {
    "wrong type": lambda r, p: void(p.write_text(json.dumps(wrong_somewhere(r, signed=False)))),
    "wrong type, signed": lambda r, p: void(p.write_text(json.dumps(wrong_somewhere(r, signed=True)))),
    "deep": lambda r, p: void(p.write_text(deep(r))),
    "deep evidence": lambda r, p: void(p.write_text(deep_where_anything_may_be())),
    "bytes": lambda r, p: void(p.write_bytes(r.randbytes(r.randrange(4000)))),
    "torn": lambda r, p: void(p.write_text(json.dumps(receipts.sign(receipt(), PRIVATE))[: r.randrange(600)])),
    "another encoding": lambda r, p: void(p.write_bytes(deep(r)[:999].encode(r.choice(["utf-16", "utf-32", "utf-7"])))),
    "number": lambda r, p: void(p.write_text(r.choice(["NaN", "1e999", "9" * 10_000, "-Infinity", '"\\ud800"']))),
    "sparse": lambda r, p: sparse(p),
    "fifo": lambda r, p: os.mkfifo(p),
    "folder": lambda r, p: p.mkdir(),
    "link to nothing": lambda r, p: p.symlink_to("nowhere"),
    "link to itself": lambda r, p: p.symlink_to(p.name),
    "link to a device": lambda r, p: p.symlink_to(r.choice(["/dev/zero", "/dev/tty", "/dev/stdin", "/proc/kmsg"])),
    "closed": lambda r, p: closed(p),
}  # fmt: skip
LETTERS = [
    *string.ascii_letters,
    "\n",
    "\r",
    "\t",
    "\x1b[31m",
    "\u202e",
    "\u2028",
    "é",
    "'",
    '"',
    "{{ x }}",
    "%s",
    "\\",
]


def void(_: object) -> None:
    return


def name(chance: random.Random) -> str:
    made = "".join(chance.choice(LETTERS) for _ in range(chance.randint(0, 12)))
    return chance.choice([made, "-" + made, "~" + made, made + os.fsdecode(b"\xff")]) + f"{chance.random()}.json"


@pytest.mark.parametrize("seed", range(25))
def test_junk_is_named_and_passed_over(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    put = {name(chance): chance.choice([*JUNK]) for _ in range(20)}
    if seed < len(JUNK):
        put[f"{seed}.json"] = [*JUNK][seed]
    for file, kind in put.items():
        JUNK[kind](chance, tmp_path / file)
    good = [receipt(release=f"r{number}", at=f"2025-03-01T12:00:0{number}.000Z") for number in range(3)]
    for each in good:
        receipts.write(tmp_path, receipts.sign(each, PRIVATE))
    limit = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, limit[1]))
    try:
        shelf = receipts.read(tmp_path, [PUBLIC])
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)
    found = [each for each in shelf.receipts if each in good]
    assert len(found) == 3, shelf.rejected
    # What the generator changed and signed may still be a receipt (another label); the rest is named, each on one line.
    named = {line.rsplit(".json: ", 1)[0] + ".json" for line in shelf.rejected}
    signed = {visible(file) for file, kind in put.items() if kind == "wrong type, signed"}
    assert {visible(file) for file in put} - named <= signed
    assert len(shelf.rejected) + len(shelf.receipts) == len(put) + 3
    for line in shelf.rejected:
        assert line == visible(line) and len(line) < 1500, line
    taken = receipts.demand(shelf, subject(), max_age_s=7 * 86400.0, at=AT)
    assert taken.subject.models == subject().models


STATEMENTS = {"receipt": receipt().as_json(), "revocation": receipts.revocation(receipt(), AT).as_json()}


@pytest.mark.parametrize("place", [place for place, _ in documents(STATEMENTS) if place], ids="/".join)
def test_whatever_is_signed_does_not_break_the_demand(place: tuple[str, ...], tmp_path: Path) -> None:
    """The holder of the key is trusted with what staging passed, not with the shape of a statement."""
    for number, value in enumerate(WRONG):
        document: dict[str, Any] = copy.deepcopy(STATEMENTS)
        inside = document
        for key in place[:-1]:
            inside = inside[key]
        inside[place[-1]] = value
        try:
            signed = receipts.sign(document[place[0]], PRIVATE)
        except (AttributeError, TypeError, ValueError):
            continue  # not even a statement
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "it.json").write_text(json.dumps(signed))
        shelf = receipts.read(folder, [PUBLIC])
        for wanted in (subject(), subject(models="0" * 64)):
            try:
                taken = receipts.demand(shelf, wanted, max_age_s=7 * 86400.0, at=AT)
                assert taken.subject.models == wanted.models
            except Refused as refused:
                assert refused.message == visible(refused.message)


def test_a_folder_that_cannot_be_listed_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no folder of receipts"):
        receipts.read(tmp_path / "nowhere", [PUBLIC])
    (tmp_path / "a file").write_text("")
    with pytest.raises(Unavailable, match="no folder of receipts"):
        receipts.read(tmp_path / "a file", [PUBLIC])
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(Unavailable, match="cannot be listed: Too many levels of symbolic links"):
        receipts.read(tmp_path / "loop", [PUBLIC])


def test_a_link_to_a_receipt_counts(tmp_path: Path) -> None:
    """As in a volume of Kubernetes, where every file is one."""
    made = receipts.write(tmp_path / "data", receipts.sign(receipt(), PRIVATE))
    (tmp_path / "it.json").symlink_to(made)
    assert len(receipts.read(tmp_path, [PUBLIC]).receipts) == 1
