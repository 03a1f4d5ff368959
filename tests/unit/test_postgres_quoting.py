from __future__ import annotations

import pytest
from papdeploy.errors import Refused
from papdeploy.postgres import (
    Conninfo,
    Database,
    bind,
    escape_conninfo,
    quote_ident,
    quote_literal,
    url_with_database,
)
from papdeploy.sites import HostSite


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
    [(None, "NULL"), (True, "true"), (7, "7"), ("it's", "'it''s'"), ("a\\b", " E'a\\\\b'")],
)
def test_literals(value: object, literal: str) -> None:
    assert quote_literal(value) == literal


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


@pytest.mark.parametrize("value", ["it's", "back\\slash", "spa ce"])
def test_conninfo_values_are_escaped(value: str) -> None:
    assert escape_conninfo(value) == "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def test_urls() -> None:
    info = Conninfo.from_url("postgresql+psycopg2://pap:p%40ss@db.example:5433/control%20core?sslmode=require")
    assert (info.host, info.port, info.user, info.password, info.dbname) == (
        "db.example",
        5433,
        "pap",
        "p@ss",
        "control core",
    )
    assert (
        url_with_database("postgresql+psycopg://u:p@h:1/a?x=y", "ü b") == "postgresql+psycopg://u:p@h:1/%C3%BC%20b?x=y"
    )
    with pytest.raises(Refused, match="mysql"):
        Conninfo.from_url("mysql://h/x")
