"""A random walk over one stack: releases, kills, rollbacks, backups, and what people and other stacks do beside it.

It keeps a book of its own of what must be there, written independently of the product, and holds it against the server
after every step: what a person or another stack made is as it was; there is exactly one live database, whose OID the
state folder explains; and what a rollback offered is still there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Callable
from unittest import mock

from papdeploy import backup, databases, rollback
from papdeploy.core.errors import PapError, Refused
from papdeploy.core.records import as_object
from papdeploy.databases import content_digest
from papdeploy.databases.psql import Database
from papdeploy.releases import journal
from papdeploy.releases.journal import Journal, State
from papdeploy.releases.run import Run
from papdeploy.releases.version import Version
from papdeploy.rollback import restore_point

from support.app_session import as_app
from support.backup import FakeApi, database_of, forget, names, plain, run_and_die
from support.journals import last
from support.rollback import LEDGER, facts_of

if TYPE_CHECKING:
    from support.postgres_servers import Server

ME = Run(user="u", host="elsewhere", pid=1)
IGNORED: dict[str, Any] = {"ignore_schemas": ("pap_deploy",), "positions": False}


class FileApi(FakeApi):
    """Remembers in a file which version runs: the process that asks may be killed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        path.write_text("0")

    def running(self) -> Version:
        return Version(self.path.read_text(), self.path.read_text())

    def switch(self, version: Version) -> None:
        self.path.write_text(version.label)


@dataclass
class Walk:
    """``theirs``: by name the OID and the content of what is not ours. ``content``: by release, what was there before
    it. ``log``: the steps so far, for whoever has to find out."""

    server: Server
    folder: Path
    seed: int
    log: list[str] = field(default_factory=list)
    theirs: dict[str, tuple[int, content_digest.ContentDigest | None]] = field(default_factory=dict)
    content: dict[str, content_digest.ContentDigest] = field(default_factory=dict)
    number: int = 0
    clock: timedelta = timedelta()

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.name = self.server.create("walk")
        self.state = State(self.folder / "state")
        plain_ = database_of(self.server, self.name)
        self.live = replace(plain_, registry=self.state.registry("mine", self.name))
        self.other_state = State(self.folder / "other")
        self.other = replace(plain_, registry=self.other_state.registry("theirs", self.name))
        as_app(self.live).execute(
            [LEDGER, "CREATE TABLE t (id serial PRIMARY KEY, v text)", "INSERT INTO t (v) VALUES ('a')"]
        )
        self.oids = {self.oid(self.name)}
        self.api = FileApi(self.folder / "current")

    def run(self, steps: int) -> None:
        for _ in range(steps):
            step = self.chance.choice(self.possible())
            self.number += 1
            self.log.append(step.__name__)
            try:
                step()
                self.check()
            except BaseException:
                print(f"seed {self.seed}, after: {', '.join(self.log)}")
                raise
        while self.state.unfinished():
            self.roll_back(kill=False)
        self.check()
        assert databases.fence_state(self.live) is None
        assert self.oid(self.name) in self.oids

    def possible(self) -> list[Callable[[], None]]:
        app_session = [self.person_copies, self.person_renames, self.second_stack, self.clock_jumps, self.rehearsal,
                  self.person_takes_a_name]  # fmt: skip
        if self.state.unfinished():
            return [*app_session, self.roll_back, self.roll_back]
        ours = [
            self.deploy,
            self.deploy,
            self.deploy_killed,
            self.deploy_killed,
            self.nightly,
            self.drop_failed,
            self.users_write,
        ]
        return [*app_session, *ours, *([self.roll_back] * 3 if self.state.last_finished() else [])]

    # -- what pap-deploy does -----------------------------------------------------------------------------------------

    def deploy(self) -> None:
        self._deploy(self._begin())

    def deploy_killed(self) -> None:
        release = self._begin()
        run_and_die(lambda: self._deploy(release), self.chance.randrange(2, 160), in_flight=self.chance.random() < 0.3)

    def _begin(self) -> Journal:
        """A release, as the preflight opens it; its content is remembered before anything is done."""

        clock = SimpleNamespace(now=lambda tz: datetime.now(tz) + self.clock)
        with mock.patch.object(journal, "datetime", clock):
            made = self.state.begin(ME, stack="mine")
        self.state.lock.release(made.release)
        self.content[made.release] = content_digest.take(self.live)
        return made

    def _deploy(self, at: Journal) -> None:
        release, database = at.release, self.live
        with at.checkpoint("backup") as done:
            taken = backup.take(database, self.folder / "backups", stack="mine", release=release)
            done.update(plain(taken.as_dict()))
        databases.refuse_unready(database, release)
        with at.checkpoint("fence") as done:
            done.update(as_object(databases.fence(database, release, grace_s=0.1)))
        behind = databases.must_be_fenced(database, release)
        with at.checkpoint("restore_point") as done:
            kind = self.chance.choice(["backup", "snapshot"])
            point = restore_point.make(behind, release, live=self.name, backup=str(taken.path), kind=kind)
            done.update(plain(as_object(point)))
        with at.checkpoint("migrate"):
            as_app(behind).execute(
                f"BEGIN; ALTER TABLE t ADD COLUMN c{self.number} int; INSERT INTO t (v) VALUES ('{release}');"
                "INSERT INTO pap_deploy.ledger (event, identity, release)"
                f" VALUES ('applied', 'm{self.number}', '{release}'); COMMIT"
            )
        with at.checkpoint("unfence") as done:
            done.update(plain(databases.unfence(database, release)))
        with at.checkpoint("activate"):
            self.api.switch(Version(release, release))
        databases.cleanup_leftovers(database)
        at.append("release", "finished")

    def roll_back(self, *, kill: bool = True) -> None:
        at = self.state.unfinished() or self.state.last_finished()
        assert at is not None
        self._people_make_way(at.release)
        if kill and self.chance.random() < 0.4:
            run_and_die(lambda: self._roll_back(at), self.chance.randrange(3, 90), in_flight=self.chance.random() < 0.3)
        else:
            self._roll_back(at)
        if at.ended() and at.ended().event == "rolled_back":
            strategy = last(at, "rollback")["strategy"]
            self.api.path.write_text("0")
            if strategy in ("swap", "restore") or at.has("rollback.swap"):
                self.oids.add(self.oid(self.name))
                assert content_digest.compare(self.content[at.release], content_digest.take(self.live), **IGNORED) == []

    def _people_make_way(self, release: str) -> None:
        """Who took a name that this rollback needs gives it back: it is refused until then, with the name."""
        for kind in ("failed", "restored"):
            name = databases.derived(self.name, kind, release)
            if name in self.theirs:
                called = f"moved_{self.number}_{self.name}"
                self.server.sql(f'ALTER DATABASE "{name}" RENAME TO "{called}"')
                self.theirs[called] = self.theirs.pop(name)

    def _roll_back(self, at: Journal) -> None:
        facts: dict[str, Any] = {
            "release": at.release,
            "before_version": Version("0", "0"),
            "switched": at.has("activate", "begin"),
            "identity": {"stack": "mine"},
            **{key: last(at, key) for key in ("restore_point", "backup", "unfence") if at.has(key)},
        }
        plan = rollback.choose(self.live, facts_of(facts), accept_data_loss=True)
        assert not plan.refused, f"what was offered is lost: {plan.refused}"
        at.append("rollback", "begin", plan=plain(plan.as_dict()))

        def checkpoint(phase: str, event: str, data: dict[str, Any]) -> None:
            at.append(phase, event, **plain(data))

        hooks = rollback.Hooks(
            revert=lambda dbname: {}, validate=lambda strategy: {}, smoke=dict, checkpoint=checkpoint
        )
        result = rollback.run(
            plan,
            database=self.live,
            api=self.api,
            facts=facts_of(facts),
            hooks=hooks,
            accept_data_loss=True,
        )
        at.append("rollback", "done", **plain(result.as_dict()))
        at.append("release", "rolled_back", strategy=result.strategy)

    def rehearsal(self) -> None:
        """The copies of a plan and a rehearsal, which may be killed in the middle."""

        def work() -> None:
            databases.cleanup_leftovers(self.live)
            if not self.oid(self.name):  # a killed run left the fence up: no rehearsal begins there
                return
            databases.create_empty(self.live, f"plan-{self.number}")
            databases.drop_created(self.live, f"plan-{self.number}", ["scratch"])

        run_and_die(work, self.chance.randrange(2, 60), in_flight=self.chance.random() < 0.3)

    def nightly(self) -> None:
        backup.take(self.live, self.folder / "backups", stack="mine", release=f"manual-{self.number}")

    def drop_failed(self) -> None:
        for entry in databases.existing(self.live):
            if entry.kind == "failed":
                databases.drop_named(self.live, entry.name)

    # -- what others do -----------------------------------------------------------------------------------------------

    def users_write(self) -> None:
        as_app(self.live).execute(f"INSERT INTO t (v) VALUES ('a user, {self.number}')")

    def clock_jumps(self) -> None:
        self.clock = timedelta(days=self.chance.choice([-400, -1, 0, 30, 4000]))

    def person_copies(self) -> None:
        """pg_dump -C of something of ours, sometimes under a name that we would give."""
        found = [entry for entry in databases.existing(self.live) if self._opens(entry.name)]
        if not found:
            return
        entry = self.chance.choice(found)
        wanted = databases.derived(self.name, self.chance.choice(["failed", "snap", "scratch"]), entry.release)
        called = (
            wanted
            if self.chance.random() < 0.5 and wanted not in names(self.server)
            else f"a_look_{self.number}_{self.name}"
        )
        source = self.live.named(entry.name)
        script = self.live.site.run(source.tool("pg_dump", "-C"), env=source.environment(), timeout=60).stdout.decode()
        target = self.live.named("postgres")
        argv = target.tool("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1")
        self.live.site.run(argv, env=target.environment(), input=script.replace(entry.name, called).encode())
        self._note(called)

    def person_renames(self) -> None:
        """A person claims a quarantined database, works in it, and will not have it dropped."""
        found = [entry.name for entry in databases.existing(self.live) if entry.kind == "failed"]
        if found:
            called = f"rescue_{self.number}_{self.name}"
            self.server.sql(f'ALTER DATABASE "{self.chance.choice(found)}" RENAME TO "{called}"')
            self.server.sql(f"INSERT INTO t (v) VALUES ('rescued {self.number}')", called)
            self._note(called)

    def person_takes_a_name(self) -> None:
        """A foreign database under a name of a release that is over, with a look of ours."""
        over = [each.release for each in self.state.releases() if each.ended()]
        if not over:
            return
        called = databases.derived(self.name, self.chance.choice(["scratch", "restored"]), self.chance.choice(over))
        if called not in names(self.server):
            closed = " ALLOW_CONNECTIONS false CONNECTION LIMIT 4711" if self.chance.random() < 0.5 else ""
            self.server.sql(f'CREATE DATABASE "{called}"{closed}')
            self._note(called)

    def second_stack(self) -> None:
        """Another state folder on the same database makes and clears its own."""
        cleared = databases.cleanup_leftovers(self.other)
        assert set(cleared) <= set(self.theirs)
        for name in cleared:
            del self.theirs[name]
        if self.chance.random() < 0.7 and not databases.stranded(self.other):
            made = databases.create_empty(self.other, f"other-{self.number}").conninfo.dbname
            self._note(made)
        if self.chance.random() < 0.3:
            try:
                databases.unfence(self.other)
                databases.drop_created(self.other, "", ["failed"])
            except PapError:
                pass

    # -- the book -----------------------------------------------------------------------------------------------------

    def oid(self, name: str) -> int:
        rows = self.server.sql(f"SELECT oid::int FROM pg_database WHERE datname = '{name}'")
        return int(rows[0][0]) if rows else 0

    def _note(self, name: str) -> None:
        """From now on ``name`` is not ours, and must stay as it is."""
        self.theirs[name] = (self.oid(name), self._content(name))

    def _content(self, name: str) -> content_digest.ContentDigest | None:
        """None where no role may connect: then its OID alone is known."""
        return content_digest.take(self.live.named(name)) if self._opens(name) else None

    def _opens(self, name: str) -> bool:
        """Whether it accepts connections: a snapshot does not, nor does a copy whose making was killed."""
        return self.server.sql(f"SELECT datallowconn FROM pg_database WHERE datname = '{name}'") == [(True,)]

    def check(self) -> None:
        for name, (oid, content) in self.theirs.items():
            assert self.oid(name) == oid, f"{name} is gone or another"
            if content is not None:
                assert content_digest.compare(content, content_digest.take(self.live.named(name)), **IGNORED) == [], (
                    name
                )
        self._one_live_database()
        ours = {entry.name for entry in databases.existing(self.live)}
        assert not ours & set(self.theirs), "it would touch what is not ours"

    def _one_live_database(self) -> None:
        rows = self.server.sql(
            f"SELECT datname, oid::int FROM pg_database WHERE datname = '{self.name}' OR datname ~ '^{self.name}__fenced_'"
        )
        mine = [(name, int(oid)) for name, oid in rows if name not in self.theirs]
        assert len(mine) == 1, mine
        explained = self.live.registry.live_oids(mine[0][1])
        assert explained & self.oids, f"{mine} is not explained by {self.oids}"
        self.oids |= explained


def walks(server: Server, folder: Path, seed: int) -> Iterator[Walk]:
    """For a fixture: a walk that is cleared away afterwards."""
    walk = Walk(server, folder, seed)
    yield walk
    for name in walk.theirs:
        server.drop(name)
    forget(server, walk.name)


__all__ = ["Database", "Refused", "Walk", "walks"]
