"""How long the restore point will take is tried on the copy, where hashing everything again will not do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from papdeploy import backup
from papdeploy.databases import expected
from papdeploy.rehearsal import expectations
from papdeploy.rollback import restore_point
from support.backup import database_of, forget, names

if TYPE_CHECKING:
    from support.postgres_servers import Server


def test_the_restore_point_is_tried_on_the_copy(server: Server, database: str, tmp_path: Path) -> None:
    live = database_of(server, database)
    live.execute("CREATE TABLE public.t (id int); INSERT INTO public.t VALUES (1)")
    taken = backup.take(live, tmp_path / "b", stack="st", release="r1", keep_scratch=True)
    copy, before = expected(live, str(taken.manifest.scratch), "r1"), names(server)
    try:
        found = expectations.restore_point_s(live, copy, taken, "auto")
        assert found == (round(restore_point.look_s(taken), 3), None), "nothing was written: the backup holds"
        tried_s, copy_s = expectations.restore_point_s(live, copy, taken, "snapshot")
        assert copy_s and tried_s == copy_s
        live.execute("INSERT INTO public.t VALUES (2)")
        tried_s, copy_s = expectations.restore_point_s(live, copy, taken, "auto")
        assert copy_s and tried_s == copy_s, "what was written since will not go away by looking again"
        assert names(server) == before, "what was tried is gone"
        assert expectations.restore_point_s(live, copy, taken, "dump")[0] == taken.manifest.seconds.total
    finally:
        forget(server, database)
