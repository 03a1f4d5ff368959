"""SQL that is shown: a name of the database makes no line of its own, and the statement can still be run."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from papdeploy.sql.lexer import one_line

if TYPE_CHECKING:
    from support.postgres_servers import Server

NAMES = [
    "new\nline", "\nALTER ROLE x SUPERUSER;\n--", "tab\tcr\r", "\x1b[2Jfinished", 'quo"te\n', "it's\n", "back\\slash\n\\n", "漢字\n", "\\! sh\n", "%s\n",
]  # fmt: skip


def quoted(name: str, mark: str) -> str:
    return mark + name.replace(mark, mark * 2) + mark


@pytest.mark.parametrize("name", NAMES)
def test_it_says_the_same_on_one_line(server: Server, database: str, name: str) -> None:
    table, text = quoted(name, '"'), quoted(name, "'")
    escaped = "E" + text.replace("\\", "\\\\")
    made = f"CREATE TABLE public.{table} ({table} text DEFAULT {text} CHECK ({table} <> {escaped}))"
    said = f"COMMENT ON TABLE public.{table} IS {text}"
    assert one_line(made).isprintable() and one_line(said).isprintable()
    server.sql(one_line(made), dbname=database)
    server.sql(one_line(said), dbname=database)
    asked = (
        "SELECT c.relname, obj_description(c.oid), a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
    )
    found = server.sql(f"{asked} AND a.attnum = 1 WHERE c.relnamespace = 'public'::regnamespace", dbname=database)
    assert found == [(name, name, name)]


def test_what_has_lines_by_itself_stays() -> None:
    for text in (
        "SELECT 1\n  FROM t -- a comment\n",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$\n SELECT '\n' $$",
        "SELECT 'a' , \"b\", U&\"\\000ab\", E'\\n'",
    ):
        assert one_line(text) == text
    draw = random.Random(5)
    for _ in range(500):
        junk = "".join(draw.choice("'\"$ab\\\n\0;-*/EUN&(") for _ in range(draw.randint(0, 30)))
        one_line(junk)
