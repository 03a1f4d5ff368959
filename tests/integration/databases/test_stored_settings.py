"""What a role stores as a setting is data: it is carried over as it is, and never run as SQL."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from papdeploy.databases import properties
from papdeploy.sql.quoting import quote_ident, quote_literal
from support.backup import database_of

if TYPE_CHECKING:
    from support.postgres_servers import Server

pytestmark = pytest.mark.every_version

OWNER = "settings_owner"
# What set_config takes for a path: any text of identifiers without a space. FROM CURRENT stores it unquoted.
STORED = [
    "x;CREATE/**/ROLE/**/planted_by_a_setting/**/SUPERUSER;--",
    '"$user", public',
    '"a, b", c',
    '"quo""ted", "new\nline"',
    "",
    '""',
]


def some_path(source: random.Random) -> str:
    letters = "ab\"',;-/*\\\n$ ü"
    names = ["".join(source.choice(letters) for _ in range(source.randint(1, 8))) for _ in range(source.randint(1, 4))]
    return ", ".join('"' + name.replace('"', '""') + '"' for name in names)


@pytest.mark.parametrize("path", [*STORED, *(some_path(random.Random(seed)) for seed in range(20))])
def test_a_stored_search_path_is_carried_over_and_not_run(server: Server, database: str, path: str) -> None:
    server.sql(f"DO $d$ BEGIN CREATE ROLE {OWNER} LOGIN PASSWORD 'pw'; EXCEPTION WHEN duplicate_object THEN END $d$")
    name = quote_ident(database)
    server.sql(f"ALTER DATABASE {name} OWNER TO {OWNER}")
    server.sql(
        f"SELECT set_config('search_path', {quote_literal(path)}, false); SET ROLE {OWNER};"
        f"ALTER DATABASE {name} SET search_path FROM CURRENT"
    )
    live = database_of(server, database)
    with live.session() as session:
        before = properties.capture(session, database)
        for statement in properties.apply(database, before):
            session.execute(statement)
        after = properties.capture(session, database)
        assert session.rows("SELECT rolname FROM pg_roles WHERE rolname = 'planted_by_a_setting'") == []
    ((_, kept),), ((_, again),) = before.settings, after.settings
    stored = [properties._elements(settings[0].partition("=")[2]) for settings in (kept or (), again or ())]
    assert stored[0] == stored[1]
    sql = properties.as_sql(database, before, [], 180000)
    assert not any(line.startswith(("CREATE ROLE", ";")) for line in sql.splitlines())
