"""Whether a repair runs and closes: the script of a pair of schemas, executed by psql, and the check after it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from papdeploy.schema import CheckOptions, check, expect, repair_script
from papdeploy.schema.catalog.rows import Catalog
from papdeploy.schema.checker import examine
from papdeploy.schema.models.load import ModelSet

from support.postgres_servers import Server

OPTIONS = CheckOptions(today="2026-01-01", positions=False)
# A remark in the script that stands for a statement that a person has to decide on.
_DECIDE = re.compile(r"^-- .*(?:decide|by hand|drop that first|make the table anew|run the check again)", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """``error``: what stopped it. ``left``: the differences that are still there. ``said``: it names what it leaves."""

    script: str
    error: str
    left: tuple[str, ...]
    said: bool

    @property
    def closed(self) -> bool:
        return not self.error and not self.left

    @property
    def honest(self) -> bool:
        """It closed, or the script says what it leaves to a person."""
        return not self.error and (not self.left or self.said)


def _engine(server: Server, name: str) -> sa.Engine:
    return sa.create_engine(server.url(name), poolclass=sa.pool.NullPool)


def made(server: Server, *metadatas: sa.MetaData) -> str:
    """A database with ``metadatas`` in it."""
    name = server.create("pair")
    statements = ModelSet(metadatas).ddl(server.major)
    with _engine(server, name).begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.replace("%", "%%"))
    return name


def of_sql(text: str) -> sa.MetaData:
    """Models that are made by SQL alone."""
    found = sa.MetaData()
    sa.event.listen(found, "after_create", sa.DDL(text.replace("%", "%%")))
    return found


def expected_by(server: Server, metadatas: Sequence[sa.MetaData]) -> Catalog:
    """What models want, from a database that has them for a moment."""
    scratch = server.create("pair")
    with _engine(server, scratch).connect() as connection:
        found = expect(ModelSet(metadatas), connection)
    server.drop(scratch)
    return found


def repaired(server: Server, models: sa.MetaData | Catalog, database: str) -> Outcome:
    """Repair ``database`` by the script for ``models``."""
    expected = expected_by(server, [models]) if isinstance(models, sa.MetaData) else models
    with _engine(server, database).connect() as connection:
        result, work = examine(connection, expected, OPTIONS, repair=True)
    script = "\n".join(repair_script(result.differences, work)) + "\n"
    said = subprocess.run(
        [str(server.bin_dir / "psql"), "-Xq", "-v", "ON_ERROR_STOP=1", server.url(database, "postgresql")],
        input=script,
        text=True,
        capture_output=True,
        check=False,
    )
    with _engine(server, database).connect() as connection:
        again = check(connection, expected, OPTIONS)
    left = tuple(difference.sentence() for difference in again.differences)
    return Outcome(script, said.stderr if said.returncode else "", left, bool(_DECIDE.search(script)))


def by_alembic(server: Server, models: sa.MetaData, database: str) -> Outcome:
    """The same by Alembic's autogenerate, its operations invoked as its migration would."""
    from alembic.autogenerate import produce_migrations
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.util import CommandError

    expected = expected_by(server, [models])
    error = ""
    try:
        with _engine(server, database).begin() as connection:
            options = {"compare_type": True, "compare_server_default": True}
            context = MigrationContext.configure(connection, opts=options)
            upgrade = produce_migrations(context, models).upgrade_ops
            _invoke(Operations(context), upgrade.ops if upgrade else [])
    except (sa.exc.SQLAlchemyError, CommandError) as exc:
        error = str(exc)
    with _engine(server, database).connect() as connection:
        again = check(connection, expected, OPTIONS)
    return Outcome("", error, tuple(difference.sentence() for difference in again.differences), said=False)


def _invoke(operations: Any, listed: Any) -> None:
    for operation in listed:
        if hasattr(operation, "ops"):
            _invoke(operations, operation.ops)
        else:
            operations.invoke(operation)
