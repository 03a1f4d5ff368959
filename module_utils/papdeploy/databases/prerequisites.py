"""What a deploy or its rollback will need of the server, looked at before anything is changed."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.errors import Refused
from ..sql.quoting import quote_ident, quote_literal
from .fence import fence_state, obstacles, stranded
from .lifecycle import bound, refuse_taken
from .managed_names import CLIENT, KINDS, admin_session, look
from .psql import Database, Session


def refuse_absent(database: Database) -> None:
    """Raise Refused if the live database does not exist under its name, saying what is in its place."""
    live = database.conninfo.dbname
    with admin_session(database) as session:
        if look(session, live) is not None:
            return
    state = fence_state(database)
    if state is not None:
        raise Refused(
            f"Database {live} is behind the fence of release {state.release}, as {state.database}.",
            hint="End that release: run rollback.yml.",
            database=state.database,
        )
    raise Refused(
        f"There is no database named {live} on this server.",
        hint=stranded(database) or "Check pap_db_name, and whether it was renamed or dropped.",
        database=live,
    )


def refuse_other_stack(database: Database) -> None:
    """Raise Refused if the state folder is that of another stack, database or server."""
    with admin_session(database) as session:
        identifier = session.scalar("SELECT system_identifier::text AS i FROM pg_control_system()")
    database.registry.refuse_other(str(identifier))


def refuse_unready(database: Database, release: str = "", kinds: Sequence[str] = KINDS) -> None:
    """Raise Refused if the fence could not be raised around the live database now, or if a name of the ``kinds`` that
    ``release`` may need is taken by what is not ours or cannot be dropped."""
    live = database.conninfo.dbname
    with admin_session(database, release or "cli") as session:
        problems = [*obstacles(session, live), *_unendable(session, live)]
        if problems:
            raise Refused(
                f"The fence cannot be raised around {live}: {problems[0]}",
                hint=" ".join(problems[1:]) or "Clear that, then run this again.",
                obstacles=problems,
            )
        if release:
            refuse_taken(session, database, release, kinds)


def refuse_uncopyable(database: Database) -> None:
    """Raise Refused if the server would not copy the live database as a snapshot (PostgreSQL documentation, ALTER
    DATABASE, notes on collation versions)."""
    with admin_session(database) as session:
        # Of a row as JSON, because the column and the function came with 15.
        found = f"FROM pg_database d WHERE d.datname = {quote_literal(database.conninfo.dbname)}"
        noted = session.scalar(f"SELECT to_jsonb(d) ->> 'datcollversion' AS noted {found}")
        now = noted and session.scalar(f"SELECT pg_database_collation_actual_version(d.oid) AS version {found}")
    if now != noted:
        name = quote_ident(database.conninfo.dbname)
        raise Refused(
            f"The server would not copy {database.conninfo.dbname} as a snapshot: it was made with version"
            f" {noted} of its collation, and the operating system provides {now or 'none'}.",
            hint=f"REINDEX DATABASE {name}; ALTER DATABASE {name} REFRESH COLLATION VERSION; or set"
            " migrate_restore_point to auto or dump.",
        )


def no_swap(database: Database) -> list[str]:
    """Why a rollback could not put another database in the place of the live one, each with what to do."""
    with admin_session(database) as session:
        return bound(session, database.conninfo.dbname)


def _unendable(session: Session, name: str) -> list[str]:
    """Whose sessions in ``name`` this role may not end, as sentences."""
    roles = session.column(
        "SELECT DISTINCT a.usename AS role FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid,"
        " pg_roles me WHERE me.rolname = current_user AND NOT me.rolsuper"
        f" AND a.datname = {quote_literal(name)} AND {CLIENT} AND NOT pg_has_role(me.oid, r.oid, 'USAGE')"
        " AND (r.rolsuper OR NOT pg_has_role(me.oid, 'pg_signal_backend', 'USAGE')) ORDER BY 1"
    )
    return [
        f"this role may not end the sessions of {role} in it: give it pg_signal_backend, or use a superuser."
        for role in roles
    ]
