"""What the tests of the migration runner share."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from papdeploy.migrations import files
from papdeploy.migrations.options import RunOptions
from papdeploy.migrations.run import apply, revert
from papdeploy.migrations.run.apply import ApplyResult

from support.waiting import wait_until

if TYPE_CHECKING:  # which needs psycopg2; a test of another driver has none
    from support.postgres_servers import Server


def migration(upgrade: str, downgrade: str = "", head: str = "", doc: str = "A migration.") -> str:
    """The source of a migration from the bodies of its functions."""
    text = f'"""{doc}"""\n\n{textwrap.dedent(head)}\n\ndef upgrade(db):\n{_body(upgrade)}\n'
    if downgrade:
        text += f"\ndef downgrade(db):\n{_body(downgrade)}\n"
    return text


def _body(code: str) -> str:
    return textwrap.indent(textwrap.dedent(code).strip() or "pass", "    ")


CREATE_A = migration('db.execute("CREATE TABLE a (id int PRIMARY KEY, n int)")', 'db.execute("DROP TABLE a")')
ADD_X = migration('db.execute("ALTER TABLE a ADD COLUMN x text")', 'db.execute("ALTER TABLE a DROP COLUMN x")')
FILL_A = migration('db.execute("INSERT INTO a SELECT g, g FROM generate_series(1, 100) AS g")',
                   'db.execute("TRUNCATE a")')  # fmt: skip


@dataclass
class Bench:
    """One database and the means to run migrations on it and look at the result."""

    server: Server
    name: str
    events: list[dict[str, Any]] = field(default_factory=list)
    connection: Any = None

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows through one connection that is kept: opening one costs more than most queries."""
        if self.connection is None or self.connection.closed:
            self.connection = self.server.connect(self.name)
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def drop(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.server.drop(self.name)

    def scalar(self, statement: str) -> Any:
        return self.sql(statement)[0][0]

    def sessions_end(self, seconds: float = 10) -> None:
        """Wait until the runner has no session: the server learns a moment later that a client has gone."""
        ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pap-deploy:r1%'"
        wait_until(lambda: self.scalar(ours) == 0, "a session of the runner is still there", seconds=seconds)

    def apply(
        self, sources: dict[str, str], release: str = "r1", check: Any = None, dry_run: bool = False, **options: Any
    ) -> ApplyResult:
        return apply.apply(
            self.url, files.load_sources(sources), release=release, who="tester", check=check, dry_run=dry_run,
            options=RunOptions(**{"deadline_s": 60, **options}), emit=self.events.append,
        )  # fmt: skip

    def revert(self, sources: dict[str, str], release: str = "r2", **rest: Any) -> ApplyResult:
        return revert.revert(
            self.url, files.load_sources(sources), release=release, who="tester", emit=self.events.append, **rest
        )

    def ledger(self, columns: str = "event, identity") -> list[tuple[Any, ...]]:
        if not self.scalar("SELECT to_regclass('pap_deploy.ledger') IS NOT NULL"):
            return []
        return self.sql(f"SELECT {columns} FROM pap_deploy.ledger ORDER BY id")

    def applied(self) -> list[str]:
        if not self.scalar("SELECT to_regclass('pap_deploy.ledger') IS NOT NULL"):
            return []
        return [row[0] for row in self.sql("SELECT identity FROM pap_deploy.applied ORDER BY identity")]

    def tables(self) -> list[str]:
        return [
            row[0]
            for row in self.sql(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
                " ORDER BY 1"
            )
        ]

    def columns(self, table: str = "a") -> list[str]:
        return [
            row[0]
            for row in self.sql(
                f"SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('{table}') AND attnum > 0"
                " AND NOT attisdropped ORDER BY attnum"
            )
        ]

    def kinds(self) -> list[str]:
        return [event["event"] for event in self.events]


class Verdict:
    """What a schema check returns, as the runner sees it."""

    def __init__(self, matches: bool, **data: Any) -> None:
        self.matches = matches
        self.data = data

    def as_dict(self) -> dict[str, Any]:
        return {"matches": self.matches, **self.data}
