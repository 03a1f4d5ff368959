"""What an API on trial lost, and when."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from papdeploy.databases.content_digest import ContentDigest
from papdeploy.databases.content_digest.content import LargeObjectsDigest
from papdeploy.databases.psql import Conninfo, Database
from papdeploy.rehearsal.api_effects import ApiEffects
from papdeploy.rehearsal.copies import Copy
from papdeploy.rehearsal.options import RehearsalFailed
from papdeploy.sites.host import HostSite

if TYPE_CHECKING:
    from support.postgres_servers import Server

ANEW = "WITH old AS (DELETE FROM kept RETURNING id) INSERT INTO kept SELECT id FROM old"


NOTHING = ContentDigest({}, {}, LargeObjectsDigest(), {}, {})
DECLARED: Any = SimpleNamespace(environment="production", may_delete=())


@pytest.mark.parametrize(
    ("at_start", "at_login", "when"),
    [
        ("DELETE FROM kept", "", "at its start"),
        ("", "DELETE FROM kept", "at a login"),
        (ANEW, "", "between its start and the end of the smoke test"),
        ("", ANEW, "at a login"),
    ],
    ids=["start", "login", "start, counted late", "login, counted late"],
)
def test_the_moment_of_a_loss_is_the_one_that_was_measured(
    servers: dict[int, Server], at_start: str, at_login: str, when: str
) -> None:
    server = servers[18]
    name = server.create("effects")
    server.sql("CREATE TABLE kept (id int); INSERT INTO kept SELECT generate_series(1, 300)", name)
    conninfo = Conninfo(name, server.host, server.port, server.user, server.password)
    copy = Copy(Database(HostSite(), conninfo, str(server.bin_dir)), NOTHING, "full", "made", 0.0)
    effects = ApiEffects(copy)
    with psycopg.connect(server.url(name, "postgresql"), autocommit=True) as api:  # its pool keeps it open
        api.execute("SELECT 1")
        for statement in filter(None, (at_start,)):
            api.execute(statement)
        effects.started()
        for statement in filter(None, (at_login,)):
            api.execute(statement)
    effects.ended()
    with pytest.raises(RehearsalFailed, match=f"loses data of the copy {when}: every row of public.kept was deleted"):
        effects.refuse_losses(DECLARED, "the new API", "candidate")
