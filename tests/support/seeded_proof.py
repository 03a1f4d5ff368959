"""Make the database of a seed, and prove it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
from papdeploy import backup
from papdeploy.core.errors import Refused
from papdeploy.databases import content_digest

from support.backup import database_of, make_roles
from support.seeded_databases import Maker

if TYPE_CHECKING:
    from support.postgres_servers import Server


def prove(server: Server, database: str, folder: Path, seed: int) -> None:
    make_roles(server.sql)
    made = Maker(seed)
    refused = []
    for statement in made.statements:
        try:
            server.sql(statement, database)
        except psycopg2.Error as error:  # what random steps do not fit together is no database
            refused.append((statement, str(error)))
    assert len(refused) <= len(made.statements) // 3, refused
    target = database_of(server, database)
    try:
        taken = backup.take(target, folder / "b", stack="st", release="r1")
    except Refused as refused:  # with the next step, which is taken
        mended = re.findall(r"GRANT [^;]+;", refused.hint)
        assert mended, refused
        server.sql(" ".join(mended), database)
        taken = backup.take(target, folder / "b", stack="st", release="r1")
    assert backup.verify(target, taken.path, release="r2").seconds > 0
    assert content_digest.compare(taken.digest, content_digest.take(target)) == []
