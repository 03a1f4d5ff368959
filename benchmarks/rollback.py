"""Rollback by swap to a snapshot and by restore of the proven backup, against ``psql < backup.sql``.

    python benchmarks/rollback.py [--gb 0.1 1 5] [--major 18] [--clients FOLDER]

By hand is the honest version of the classic way: drop, create, psql with ON_ERROR_STOP (the version without it is
faster and leaves damage). Ours fences, counts what would be lost, restores beside, compares and swaps; the failed
database stays. The API is not part of it: stopping and starting it costs the same both ways.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any, cast

from backup_support import Cost, fill, machine, server, shell, timed, with_clients
from papdeploy import backup, databases, rollback
from papdeploy.core.records import as_object
from papdeploy.databases import content_digest
from papdeploy.databases.psql import Database
from papdeploy.rollback import restore_point
from support.postgres_servers import Server
from support.rollback import facts_of


class NoApi:
    def running(self) -> dict[str, Any]:
        return {"label": "old", "identity": "old"}

    def stop(self) -> None: ...
    def start(self) -> None: ...
    def switch(self, version: object) -> None: ...


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
    live, size = fill(running, gb)
    print(f"\ndatabase of {size / 1e9:.2f} GB")
    before = content_digest.take(live)
    plain = home / "plain.sql"
    shell(running, f"pg_dump bench > {plain}")
    by_hand = shell(running, f"dropdb bench && createdb bench && psql -q -v ON_ERROR_STOP=1 bench < {plain}")
    plain.unlink()
    print(f"  by hand: dropdb, createdb, psql < backup.sql    {by_hand}")
    for kind in ("snapshot", "backup"):
        strategy(running, live, home / f"{kind}{gb}", kind, by_hand)
        assert content_digest.compare(before, content_digest.take(live), ignore_schemas=("pap_deploy",)) == []
        for entry in databases.existing(live):
            databases.drop_created(live, entry.release, (entry.kind,))
    running.drop("bench")


def strategy(running: Server, live: Database, folder: Path, kind: str, by_hand: Cost) -> None:
    """Deploy something with a restore point of this kind, then take it back."""
    release, api = f"r-{kind}", cast(Any, NoApi())
    taken = backup.take(live, folder, stack="bench", release=release)
    fence, _ = timed(running, lambda: databases.fence(live, release))
    behind = databases.must_be_fenced(live, release)
    made, point = timed(
        running,
        lambda: restore_point.make(behind, release, live="bench", backup=str(taken.path), kind=kind, stack="bench"),
    )
    behind.execute(
        "ALTER TABLE public.users ADD COLUMN broken int; UPDATE public.users SET active = false WHERE id % 50 = 0"
    )
    lift, lifted = timed(running, lambda: databases.unfence(live, release))
    behind_migration(running, release)
    facts = facts_of(
        {"release": release, "restore_point": as_object(point), "backup": taken.as_dict(), "unfence": as_object(lifted), "switched": True,
         "identity": {"stack": "bench"}}
    )  # fmt: skip
    hooks = rollback.Hooks(lambda name: {}, lambda strategy: None, dict, lambda *a: None)
    choose, plan = timed(running, lambda: rollback.choose(live, facts))
    assert not plan.refused, plan
    seconds, result = timed(running, lambda: rollback.run(plan, database=live, api=api, facts=facts, hooks=hooks))
    print(
        f"  ours by {result.strategy:8} {choose + seconds}, of it the plan {choose.wall:.1f} s"
        f" (earlier: fence {fence.wall:.2f} s, restore point {made.wall:.1f} s, lifting the fence {lift.wall:.2f} s)"
    )
    print(f"    / by hand: {(choose + seconds).ratio(by_hand)}")


def behind_migration(running: Server, release: str) -> None:
    """The ledger row that says that the migration was committed."""
    running.sql(
        "CREATE SCHEMA IF NOT EXISTS pap_deploy; CREATE TABLE IF NOT EXISTS pap_deploy.ledger ("
        "id bigint GENERATED ALWAYS AS IDENTITY, event text, identity text, release text);"
        f"INSERT INTO pap_deploy.ledger (event, identity, release) VALUES ('applied', 'm', '{release}')",
        "bench",
    )


if __name__ == "__main__":
    main()
