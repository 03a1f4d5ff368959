"""A scratch database of our own: created on a server, used for the expected catalog, dropped again."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator

from ...core.errors import CommandFailed, Refused
from ...core.text import plural
from ...sql.quoting import quote_literal, quote_name
from ..catalog.build import describe
from ..catalog.connect import open_session
from ..catalog.connection import Session, first_line, sqlstate
from ..catalog.rows import Catalog
from .expected import create, expect, finish, user_objects
from .load import ModelSet

PREFIX = "pap_schema_"
_INSUFFICIENT_PRIVILEGE = "42501"
_OTHER_LOCALE = "22023"  # the server's own locale is for another encoding


def expected_on(models: ModelSet, url: str, *, application: str = "pap-deploy:cli") -> tuple[Catalog, int]:
    """(the expected catalog, messages sent), made on the server of ``url``.

    A database is created there and dropped again. Where the role may not create one, and the database that ``url``
    names is empty, the models are created in it in one transaction that is rolled back. Raises PapError when neither
    can be done.
    """
    with open_session(url, application=application) as session:
        name = PREFIX + secrets.token_hex(6)
        try:
            _create_database(session, name)
        except Exception as exc:
            if sqlstate(exc) != _INSUFFICIENT_PRIVILEGE:
                raise CommandFailed(f"The scratch database cannot be created: {first_line(exc)}.") from exc
            return _rolled_back(models, session), session.messages
        try:
            with open_session(url, application=application, database=name) as scratch:
                catalog = expect(models, scratch)
                messages = scratch.messages
        finally:
            session.execute(f"DROP DATABASE {quote_name(name)}")
        return catalog, messages + session.messages


def _create_database(session: Session, name: str) -> None:
    """An empty database in the encoding of the session's own: the models' texts must fit there as they do here."""
    create = f"CREATE DATABASE {quote_name(name)} TEMPLATE template0"
    encoding = session.encoding()
    try:
        session.execute(f"{create} ENCODING {quote_literal(encoding)}" if encoding else create)
    except Exception as exc:
        if sqlstate(exc) != _OTHER_LOCALE:
            raise
        provider = " LOCALE_PROVIDER libc" if session.major >= 15 else ""
        session.execute(f"{create} ENCODING {quote_literal(encoding)} LC_COLLATE 'C' LC_CTYPE 'C'{provider}")


def _rolled_back(models: ModelSet, session: Session) -> Catalog:
    found = user_objects(session)
    if found:
        raise Refused(
            "The role may not create a database on this server, and the one it is connected to is not empty "
            f"({plural(found, 'object')}).",
            hint="Grant CREATEDB, name an empty database or another server (--scratch-url), or use a --snapshot.",
        )
    with _transaction(session):
        create(session, models.ddl(session.server_version), one_transaction=True)
        return finish(describe(session, dependencies=True), models)


@contextlib.contextmanager
def _transaction(session: Session) -> Iterator[None]:
    session.execute("BEGIN")
    try:
        yield
    finally:
        session.execute("ROLLBACK")
