"""A backup with its whole proof, against a plain dump and its restore typed by hand.

    python benchmarks/backup.py [--gb 0.1 1 5] [--major 18]

By hand proves only that psql came to its end; ours also hashes, compares every table, sequence and object, and leaves a
compressed file. Both run in the same server, one after the other, each from a warm cache.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from backup_support import fill, machine, server, shell, timed
from papdeploy import backup, oracle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gb", type=float, nargs="+", default=[0.1])
    parser.add_argument("--major", type=int, default=18)
    given = parser.parse_args()
    print(f"PostgreSQL {given.major}, {machine()}")
    with server(given.major) as running, tempfile.TemporaryDirectory() as home:
        for gb in given.gb:
            one(running, gb, Path(home))


def one(running, gb: float, home: Path) -> None:
    target, size = fill(running, gb)
    print(f"\ndatabase of {size / 1e9:.2f} GB")
    hashed, taken_oracle = timed(lambda: oracle.take(target))
    plain = home / "plain.sql"
    dump = shell(running, f"pg_dump bench > {plain}")
    restore = shell(running, f"createdb by_hand && psql -q -v ON_ERROR_STOP=1 by_hand < {plain}")
    print(f"  by hand: pg_dump {dump:.1f} s ({plain.stat().st_size / 1e6:,.0f} MB), psql < {restore:.1f} s")
    running.drop("by_hand")
    plain.unlink()
    gzip6 = shell(running, f"pg_dump -Fc bench > {home / 'six.dump'}")
    (home / "six.dump").unlink()
    seconds, taken = timed(lambda: backup.take(target, home / f"b{gb}", stack="bench", release="r1"))
    parts = taken.manifest["seconds"]
    print(
        f"  ours:    {seconds:.1f} s in all: dump {parts['dump']:.1f}, restored by {parts['restore']:.1f}, oracle"
        f" {parts['oracle']:.1f} beside them, of the copy {taken.manifest['proof']['seconds']:.1f};"
        f" {taken.manifest['bytes'] / 1e6:,.0f} MB {taken.manifest['compression']}"
    )
    bare, _ = timed(lambda: backup.take(target, home / f"n{gb}", stack="bench", release="r1", proof="none"))
    verify, _ = timed(lambda: backup.verify(target, taken.path))
    print(f"  ours without restore {bare:.1f} s; proof of an old file {verify:.1f} s; oracle alone {hashed:.1f} s")
    print(f"  pg_dump -Fc (gzip level 6) alone {gzip6:.1f} s")
    print(f"  ratio: whole proof / (plain dump + restore by hand) = {seconds / (dump + restore):.2f}")
    print(f"  ratio: whole proof / pg_dump -Fc (gzip level 6)      = {seconds / gzip6:.2f}")
    assert oracle.compare(taken_oracle, taken.oracle) == []
    running.drop("bench")


if __name__ == "__main__":
    main()
