from __future__ import annotations

import pytest
from papdeploy.core.errors import Refused
from papdeploy.databases.psql import Conninfo, Database, bind
from papdeploy.sites.host import HostSite
from papdeploy.sql.quoting import quote_ident, quote_literal


@pytest.mark.parametrize(
    ("name", "quoted"), [("users", '"users"'), ('we"ird', '"we""ird"'), ("-x", '"-x"'), ("dbname=x", '"dbname=x"')]
)
def test_identifiers_are_always_quoted(name: str, quoted: str) -> None:
    assert quote_ident(name) == quoted


@pytest.mark.parametrize("name", ["", "a\0b", "ü" * 32])
def test_impossible_identifiers_are_refused(name: str) -> None:
    with pytest.raises(Refused):
        quote_ident(name)


@pytest.mark.parametrize(
    ("value", "literal"),
    [(None, "NULL"), (True, "true"), (7, "7"), ("it's", "'it''s'"), ("a\\b", " E'a\\\\b'"), ("a\n'b", " E'a\\x0a''b'")],
)
def test_literals(value: object, literal: str) -> None:
    assert quote_literal(value) == literal


def test_names_and_literals_never_span_lines() -> None:
    for number in [*range(1, 33), 127]:
        for quoted in (quote_ident(f"a{chr(number)}b"), quote_literal(f"a{chr(number)}b")):
            assert len(quoted.splitlines()) == 1
            assert quoted.isprintable()


def test_bind_counts_its_values() -> None:
    assert bind("a = %s AND b = %s", 1, "x") == "a = 1 AND b = 'x'"
    with pytest.raises(ValueError, match="1 placeholder, 2 values"):
        bind("a = %s", 1, 2)


def test_a_database_called_like_an_option_stays_a_database() -> None:
    database = Database(HostSite(), Conninfo("dbname=other host=evil", host="h", password="geheim"), "/bin/")
    argv = database.tool("pg_dump", "--format=custom")
    assert argv[0] == "/bin/pg_dump"
    assert "dbname='dbname=other host=evil'" in argv[2]
    assert "geheim" not in " ".join(argv)
    assert "geheim" not in repr(database)
    assert database.environment()["PGPASSWORD"] == "geheim"
