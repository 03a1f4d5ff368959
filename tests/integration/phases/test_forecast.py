"""What the forecast of a cutover counts, against a cutover."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from papdeploy import backup, databases
from papdeploy.databases import relation_baseline
from papdeploy.databases.psql import Database
from papdeploy.rehearsal import expectations, verdict
from papdeploy.rollback import restore_point
from support.app_session import as_app
from support.backup import database_of, folder_of, forget
from support.rollback import SMALL

if TYPE_CHECKING:
    from support.postgres_servers import Server


def test_the_forecast_knows_how_many_sessions_the_cutover_opens(
    servers: dict[int, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them takes milliseconds on a host, and tenths of a second through a container."""
    server = servers[18]
    name = server.create("sessions")
    live = database_of(server, name)
    as_app(live).execute(SMALL)
    taken = backup.take(live, folder_of(tmp_path), stack="st", release="r1")
    opened = {"now": 0}
    real = Database.session

    def counting(self: Database, settings: Any = None) -> Any:
        opened["now"] += 1
        return real(self, settings)

    monkeypatch.setattr(Database, "session", counting)

    def count(work: Callable[[], Any]) -> int:
        opened["now"] = 0
        work()
        return opened["now"]

    passed = {
        "restore_point": count(lambda: expectations.look(live)),
        "unfence": count(lambda: expectations.leave(live)),
    }
    found = {"fence": count(lambda: databases.fence(live, "r1"))}
    behind = databases.must_be_fenced(live, "r1")
    found["restore_point"] = count(
        lambda: restore_point.make(behind, "r1", live=name, backup=str(taken.path), stack="st")
    )
    found["unfence"] = count(lambda: databases.unfence(live, "r1", last=relation_baseline.take_briefly))
    apart = {"fence": verdict.SESSIONS_TO_FENCE, "unfence": verdict.SESSIONS_TO_UNFENCE}
    assert found == {name: apart.get(name, 0) + passed.get(name, 0) for name in found}
    assert found == {"fence": 2, "restore_point": 2, "unfence": 4}, "one session, and one of the owner, for all of it"
    forget(server, name)
