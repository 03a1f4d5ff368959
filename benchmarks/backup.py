"""A backup with its whole proof, against a plain dump and its restore typed by hand.

    python benchmarks/backup.py [--gb 0.1 1 5] [--major 18] [--clients FOLDER]

By hand proves only that psql came to its end; ours also hashes, compares every table, sequence and object, and leaves a
compressed file. Both run in the same server, one after the other, each from a warm cache.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from backup_support import fill, machine, server, shell, timed, with_clients
from papdeploy import backup
from papdeploy.databases import content_digest
from support.postgres_servers import Server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gb", type=float, nargs="+", default=[0.1])
    parser.add_argument("--major", type=int, default=18)
    parser.add_argument("--clients", default="", help="folder of other client programs, not older than the server")
    given = parser.parse_args()
    print(f"PostgreSQL {given.major}, {machine()}")
    with server(given.major) as started, tempfile.TemporaryDirectory() as home:
        running = with_clients(started, given.clients)
        for gb in given.gb:
            one(running, gb, Path(home))


def one(running: Server, gb: float, home: Path) -> None:
    target, size = fill(running, gb)
    print(f"\ndatabase of {size / 1e9:.2f} GB")
    hashed, before = timed(running, lambda: content_digest.take(target))
    plain = home / "plain.sql"
    dump = shell(running, f"pg_dump bench > {plain}")
    restore = shell(running, f"createdb by_hand && psql -q -v ON_ERROR_STOP=1 by_hand < {plain}")
    print(f"  by hand: pg_dump {dump}, {plain.stat().st_size / 1e6:,.0f} MB; psql < file {restore}")
    running.drop("by_hand")
    plain.unlink()
    gzip6 = shell(running, f"pg_dump -Fc bench > {home / 'six.dump'}")
    (home / "six.dump").unlink()
    cost, taken = timed(running, lambda: backup.take(target, home / f"b{gb}", stack="bench", release="r1"))
    parts = taken.manifest.seconds
    print(
        f"  ours: {cost}, {taken.manifest.bytes / 1e6:,.0f} MB {taken.manifest.compression}: dump until"
        f" {parts['dump']:.1f} s, restored at {parts['restore']:.1f} s, content digest {parts['content_digest']:.1f} s beside them,"
        f" of the copy {taken.manifest.proof.seconds:.1f} s"
    )
    bare, _ = timed(running, lambda: backup.take(target, home / f"n{gb}", stack="bench", release="r1", proof="none"))
    verify, _ = timed(running, lambda: backup.verify(target, taken.path))
    print(f"  ours without a restore {bare}; proof of an old file {verify}; content digest alone {hashed}")
    print(f"  pg_dump -Fc (gzip level 6, its default) alone {gzip6}")
    print(f"  whole proof / (plain dump + restore by hand): {cost.ratio(dump + restore)}")
    print(f"  whole proof / pg_dump -Fc alone:              {cost.ratio(gzip6)}")
    assert content_digest.compare(before, taken.digest) == []
    running.drop("bench")


if __name__ == "__main__":
    main()
