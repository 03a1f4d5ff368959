"""Equal and unequal spellings of printed expressions, without a database."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from papdeploy.sql.expressions import Context, default_key, expression_key, type_key
from papdeploy.sql.lexer import NotSql, name_key, rename_names, text_key, tokenize
from papdeploy.sql.parser import Unreadable, parse
from papdeploy.sql.quoting import quote_name, quote_text

CONTEXT = Context(
    {"s": "text", "v": "character varying(20)", "c": "character(3)", "n": "integer", "p": "numeric(10,2)", "r": "real"},
    ("public",),
)

EQUAL = [
    ("((v)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[]))",
     "((v)::text = ANY (ARRAY[('a'::character varying)::text, ('b'::character varying)::text]))"),
    ("(v)::text = 'a'::text", "v = 'a'::character varying"),
    ("(p > (0)::numeric)", "(p > 0.00)"),
    ("(n > '-1'::integer)", "(n > (- 1))"),
    ("((n > 1) AND (n < 5) AND (p > 0))", "((p > 0) AND ((n < 5) AND (n > 1)))"),
    ("(5 > n)", "(n < 5)"),
    ("(p >= n)", "(n <= p)"),
    ("public.f(n)", "f(n)"),
    ("(n = 1)", "(n = ANY (ARRAY[1]))"),
    ("(now() AT TIME ZONE 'utc'::text)", "timezone('utc'::text, CURRENT_TIMESTAMP)"),
    ("CASE WHEN (n > 1) THEN 1 ELSE NULL END", "CASE WHEN (n > 1) THEN 1 END"),
    ("COALESCE(s, ''::text)", "COALESCE(s,''::character varying)"),
    ("\"substring\"(s, 1, 2)", "substring(s, 1, 2)"),
    ("\"substring\"(s, 1, 2)", "SUBSTRING(s FROM 1 FOR 2)"),
    ("btrim(s)", "TRIM(BOTH FROM s)"),
    ("rtrim(s, 'x'::text)", "TRIM(TRAILING 'x'::text FROM s)"),
    ("\"position\"(s, 'x'::text)", "POSITION(('x'::text) IN (s))"),
    ("\"overlay\"(s, 'x'::text, 2)", "OVERLAY(s PLACING 'x'::text FROM 2)"),
    ("(char_length(s) > 1)", "(length(s) > 1)"),
    ("((n = 1) OR (n = 2))", "(n = ANY (ARRAY[2, 1]))"),
    ("((n <> 1) AND (n <> 2))", "(n <> ALL (ARRAY[1, 2]))"),
    ("((m = 'a'::mood) OR (m = 'b'::mood))", "(m = ANY (ARRAY['b'::mood, 'a'::mood]))"),
]  # fmt: skip
UNEQUAL = [
    ("((v)::character varying(5) = 'a'::text)", "((v)::text = 'a'::text)"),
    ("(c = 'a'::bpchar)", "((c)::text = 'a'::text)"),
    ("(f(n))::text", "f(n)"),
    ("(n / 2)", "(n / 2.0)"),
    ("(r > 0.1)", "(r > (0.1)::real)"),
    ("(n > 1) AND (n < 5)", "(n > 1) OR (n < 5)"),
    ("NOT (n > 1)", "(n > 1)"),
    ("(s ~ 'x'::text)", "(s ~* 'x'::text)"),
    ("(s ~~ 'x%'::text)", "(s !~~ 'x%'::text)"),
    ("audit.f(n)", "public.f(n)"),
    ("(s COLLATE \"C\")", "s"),
    ("(n - 1)", "(1 - n)"),
    ("(n < p)", "(p < n)"),
    ("(n < 1)", "(1 < n)"),
    ("('a'::text = ANY (tags))", "('a'::text = ALL (tags))"),
    ("CASE WHEN (n > 1) THEN 1 ELSE 2 END", "CASE WHEN (n > 1) THEN 2 ELSE 1 END"),
    ("EXTRACT(year FROM d)", "EXTRACT(month FROM d)"),
    ("TRIM(BOTH 'x' FROM s)", "TRIM(LEADING 'x' FROM s)"),
    ("TRIM(BOTH 'x' FROM s)", "btrim('x', s)"),
    ("\"substring\"(s, 1, 2)", "SUBSTRING(s FROM 2 FOR 1)"),
    ("\"position\"(s, 'x'::text)", "POSITION((s) IN ('x'::text))"),
    ("((n = 1) AND (n = 2))", "((n = 1) OR (n = 2))"),
    ("a[1]", "a[2]"),
    ("(row_value).x", "(row_value).y"),
    ("(n IS NULL)", "(n IS NOT NULL)"),
    ("'1'::text", "1"),
    ("'2020-01-01'::date", "'2020-01-01'::timestamp without time zone"),
    ("\"N\"", "n"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), EQUAL, ids=lambda text: text[:40])
def test_equal_spellings(one: str, other: str) -> None:
    assert expression_key(one, CONTEXT) == expression_key(other, CONTEXT)


@pytest.mark.parametrize(("one", "other"), UNEQUAL, ids=lambda text: text[:40])
def test_unequal_meanings(one: str, other: str) -> None:
    assert expression_key(one, CONTEXT) != expression_key(other, CONTEXT)
    assert expression_key(one, CONTEXT) == expression_key(one, CONTEXT)


DEFAULTS = [
    ("'x'::character varying", "'x'::text", "character varying(5)", True),
    ("'x'::character varying(1)", "'x'::text", "character varying(5)", False),
    ("'xy'::character varying(1)", "'x'::text", "character varying(5)", False),
    ("1", "1.0", "numeric", True),
    ("1", "1.0", "text", False),
    ("1.25", "1.25::numeric(10,1)", "numeric(10,2)", False),
    ("1.5", "1.5::integer", "numeric", False),
    ("'1.25'::numeric(10,2)", "1.25", "numeric(10,2)", True),
    ("'1'::text", "'1.0'::text", "text", False),
    ("0.1", "0.10", "double precision", True),
    ("NULL::character varying", None, "text", True),
    ("''::text", None, "text", False),
    ("true", "false", "boolean", False),
    ("'{1,2}'::integer[]", "ARRAY[1, 2]", "integer[]", True),
    ("'{1,2}'::integer[]", "ARRAY[2, 1]", "integer[]", False),
    ("'{}'::jsonb", "'{ }'::jsonb", "jsonb", True),
    ("'[]'::jsonb", "'{}'::jsonb", "jsonb", False),
    ("'[0.1]'::jsonb", "'[0.1000000000000000001]'::jsonb", "jsonb", False),
    ("0.12345678901234567890123456789012", "0.12345678901234567890123456789013", "numeric", False),
    ("1e20", "100000000000000000000.0", "numeric", True),
    ("'not json'::json", "'{}'::json", "json", False),
    ("now()", "CURRENT_TIMESTAMP", "timestamp with time zone", True),
    ("now()", "clock_timestamp()", "timestamp with time zone", False),
    ("LOCALTIMESTAMP", "now()", "timestamp without time zone", True),
    ("LOCALTIMESTAMP", "now()", "timestamp with time zone", False),
    ("'a'::public.mood", "'a'::mood", "mood", True),
    ("nextval('public.a_seq'::regclass)", "nextval('a_seq'::regclass)", "integer", True),
    ("nextval('a_seq'::regclass)", "nextval('b_seq'::regclass)", "integer", False),
]


@pytest.mark.parametrize(("one", "other", "kind", "same"), DEFAULTS)
def test_defaults(one: str | None, other: str | None, kind: str, same: bool) -> None:
    assert (default_key(one, kind, CONTEXT) == default_key(other, kind, CONTEXT)) is same


def test_what_cannot_be_parsed_is_compared_by_its_tokens() -> None:
    one = "(n IN ( SELECT x.a FROM public.x WHERE x.b = 'y'::text))"
    with pytest.raises(Unreadable):
        parse(one)
    assert expression_key(one, CONTEXT) == expression_key(one.replace("public.", "").replace(" = ", "  =\n"), CONTEXT)
    assert expression_key(one, CONTEXT) != expression_key(one.replace("'y'", "'z'"), CONTEXT)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('public."Mood"[]', "Mood[]"),
        ("character varying(5)", "character varying(5)"),
        ("audit.action", "audit.action"),
        ("timestamp(3) with time zone", "timestamp(3) with time zone"),
    ],
)
def test_types(text: str, key: str) -> None:
    assert type_key(text, ("public",)) == key


def test_tokens_are_what_postgresql_reads() -> None:
    sql = '''SELECT 'it\'\'s', E'a\\'b', $x$any 'thing'$x$, "Odd ""Name""" , 1.5e3 -- comment
      /* nested /* comment */ still */ + :: b'''
    assert [t.text for t in tokenize(sql)] == [
        "select", "it's", ",", "a'b", ",", "any 'thing'", ",", 'Odd "Name"', ",", "1.5e3", "+", "::", "b",
    ]  # fmt: skip
    with pytest.raises(NotSql):
        tokenize("/* open")
    assert text_key("SELECT  1 -- x") == text_key("select 1")
    assert text_key("SELECT 'A'") != text_key("SELECT 'a'")
    assert text_key('SELECT "A"') != text_key("SELECT A")


def test_renaming_leaves_strings_alone() -> None:
    assert rename_names("(mail = 'mail'::text) AND \"mail\" > x.mail", {"mail": "e mail"}) == (
        '("e mail" = \'mail\'::text) AND "e mail" > x."e mail"'
    )


@given(st.text(min_size=1, max_size=30).filter(lambda t: "\0" not in t))
@settings(max_examples=200, deadline=None)
def test_quoting_is_undone_by_reading(text: str) -> None:
    assert [t.text for t in tokenize(quote_text(text))] == [text]
    assert [t.text for t in tokenize(quote_name(text))] == [text]
    assert name_key(f"public.{quote_name(text)}", ("public",)) == text


_ATOMS = st.sampled_from(["n", "p", "1", "2", "(v)::text", "'a'::text", "now()", "f(n)", "NULL", "'x'::bpchar"])
_EXPRESSIONS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["=", "<", "+", "||", "/"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, inner).map(lambda t: f"(({t[0]} IS NULL) AND ({t[1]} = n))"),
        st.tuples(inner, inner).map(lambda t: f"((n = 1) OR (n = {t[0]}) OR ({t[1]} = 2))"),
        st.tuples(inner, inner).map(lambda t: f"((n <> 1) AND (n <> 2) AND (n <> ALL (ARRAY[{t[0]}, {t[1]}])))"),
        inner.map(lambda t: f"COALESCE({t}, 1)"),
        inner.map(lambda t: f"({t})::character varying(7)"),
        st.lists(inner, min_size=1, max_size=3).map(lambda t: f"(n = ANY (ARRAY[{', '.join(t)}]))"),
    ),
    max_leaves=8,
)


@given(_EXPRESSIONS, _EXPRESSIONS)
@settings(max_examples=300, deadline=None)
def test_the_key_follows_the_expression(one: str, other: str) -> None:
    """Spacing and doubled parentheses never matter; a length, an operator or a literal that changes always does."""
    key = expression_key(one, CONTEXT)
    assert expression_key(f"(({one.replace(' ', '  ')}))", CONTEXT) == key
    assert expression_key(f"({one} || 'w'::text)", CONTEXT) != expression_key(f"({one} || 'W'::text)", CONTEXT)
    assert expression_key(f"({one} + 1)", CONTEXT) != expression_key(f"({one} - 1)", CONTEXT)
    both, swapped = (
        expression_key(f"(({one}) AND ({other}))", CONTEXT),
        expression_key(f"(({other}) AND ({one}))", CONTEXT),
    )
    assert both == swapped
