"""Database URLs: what is read out of them, what is written, and that SQLAlchemy and libpq read the same back."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from papdeploy.core import database_url
from papdeploy.core.database_url import DatabaseUrl, find, read, read_connection_string, with_database
from papdeploy.core.errors import Refused
from psycopg2.extensions import make_dsn, parse_dsn
from sqlalchemy.engine import make_url

CASES = json.loads((Path(__file__).parents[2] / "corpus" / "database-urls.json").read_text())["urls"]
READ = [case for case in CASES if "refused" not in case]
REFUSED = [case for case in CASES if "refused" in case]


def ids(case: dict[str, Any]) -> str:
    return str(case["url"])


def hosts_of(case: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((host, port) for host, port in case["hosts"])


def as_sqlalchemy_connects(text: str) -> dict[str, str]:
    """What SQLAlchemy would hand to libpq, as libpq's own keywords."""
    url = make_url(text).set(drivername="postgresql+psycopg2")
    return plain(url.get_dialect()().create_connect_args(url)[1])


def plain(keywords: Any) -> dict[str, str]:
    """Without what is empty; ``port=,`` says as little as no port."""
    found = {key: str(value) for key, value in dict(keywords).items() if value not in (None, "")}
    return {key: value for key, value in found.items() if key != "port" or value.strip(",")}


def same(keywords: dict[str, str], url: DatabaseUrl) -> None:
    """``keywords`` lead where ``url`` leads; its options are there too, or known to be none of libpq's."""
    keywords = {key: value for key, value in keywords.items() if key not in url.not_for_libpq and key != "ssl"}
    expected = url.libpq()
    if "ssl" in dict(url.options):
        expected.pop("sslmode")
    assert keywords == expected


@pytest.mark.parametrize("case", READ, ids=ids)
def test_every_part_is_read(case: dict[str, Any]) -> None:
    url = read(case["url"])
    assert (url.user, url.password, url.hosts, url.dbname) == (
        case["user"],
        case["password"],
        hosts_of(case),
        case["dbname"],
    )
    assert case.get("libpq", {}).items() <= url.libpq().items()
    assert list(url.not_for_libpq) == case.get("not_for_libpq", [])
    assert not set(url.not_for_libpq) & set(url.libpq())


@pytest.mark.parametrize("case", READ, ids=ids)
def test_it_is_written_so_that_everybody_reads_it_back(case: dict[str, Any]) -> None:
    url = read(case["url"])
    for each in (url, url.with_database("copy"), url.with_database("o'dd \\ näme/?#%41&=@:[x]")):
        assert read(each.render()) == each
        same(as_sqlalchemy_connects(each.render()), each)
        assert plain(parse_dsn(each.connection_string())) == each.libpq()
        assert read_connection_string(each.connection_string()).libpq() == each.libpq()
        if not each.not_for_libpq and "ssl" not in dict(each.options):
            assert plain(parse_dsn(each.render(driver=""))) == each.libpq()


@pytest.mark.parametrize("case", READ, ids=ids)
def test_as_it_is_written_it_leads_to_the_copy(case: dict[str, Any]) -> None:
    text, url = case["url"], read(case["url"])
    changed = with_database(text, "copy")
    assert read(changed) == url.with_database("copy")
    assert changed.split("://")[0] == text.split("://")[0]
    assert with_database(changed, url.dbname) in (text, with_database(text, url.dbname))
    if not database_url.objection_of_sqlalchemy(text):
        same(as_sqlalchemy_connects(changed), url.with_database("copy"))
    try:
        before = parse_dsn(text)
    except psycopg2.Error:
        return
    if before == plain(url.libpq()):  # libpq reads it as SQLAlchemy does: so it must the copy's
        assert parse_dsn(changed) == {**before, "dbname": "copy"}


@pytest.mark.parametrize("case", READ, ids=ids)
def test_no_password_is_shown(case: dict[str, Any]) -> None:
    url = read(case["url"])
    known = database_url.secrets(case["url"])
    assert set(url.secrets) <= set(known)
    for shown in (str(url), repr(url), url.label):
        assert not [secret for secret in known if len(secret) > 1 and secret in shown]
    assert read(str(url)).with_database("x").hosts == url.hosts


def test_an_at_sign_in_an_option_makes_nothing_else_a_secret() -> None:
    assert database_url.secrets("postgresql://u:hunter2@host/name?application_name=a@b") == ("hunter2",)


def test_the_password_that_the_query_replaces_is_a_secret_too() -> None:
    assert set(database_url.secrets("postgresql://u:first@h/db?password=sec%20ond")) == {
        "first",
        "sec%20ond",
        "sec ond",
    }


@pytest.mark.parametrize("case", REFUSED, ids=ids)
def test_what_cannot_be_read_is_refused_without_its_password(case: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        read(case["url"])
    assert case["refused"] in str(refused.value) and str(refused.value).endswith(".")
    secret = case.get("never_shown", "")
    assert not secret or (secret not in str(refused.value.as_dict()) and secret in database_url.secrets(case["url"]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("postgresql://u:hunter2@hunter2@h/db", "%40"),
        ("postgresql://u:hunter2@hunter2/x@h/db", "%40"),
        ("postgresql://u:p@hunter2?x@h/db", "%40"),
        ("postgresql://u:p@hunter2", "database"),
        ("postgresql://hunter2@::1:5432/db", "port"),
        ("postgresql://h:0/db", "port"),
        ("postgresql://h:65536/db", "port"),
        ("postgresql://h:٣/db", "port"),
        ("postgresql://h1:1,h2/db?port=1,2,3", "ports"),
        ("postgresql://h[x/db", "host"),
        ("postgresql://h/a?dbname=b&dbname=c", "dbname more than once"),
        ("postgresql://h/a?dbname=b&database=c", "dbname more than once"),
        ("postgresql://h/a%00b", "NUL"),
        (" postgresql://h/a", "white space"),
        ("", "not of the form"),
        ("POSTGRESQL://h/a", "postgresql://"),
    ],
)
def test_more_that_is_refused(text: str, words: str) -> None:
    with pytest.raises(Refused, match=re.escape(words)) as refused:
        read(text)
    assert "hunter2" not in str(refused.value.as_dict())


def test_an_unknown_mode_of_ssl_is_refused_where_libpq_would_need_it() -> None:
    with pytest.raises(Refused, match="ssl=maybe"):
        read("postgresql+asyncpg://h/a?ssl=maybe").libpq()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("postgres://u@h/db", "postgresql://"),
        ("postgresql://h1:5432,h2:5433/db?user=u", "several hosts"),
        ("postgresql://%2Frun%2Fpostgresql/db", "socket folder"),
        ("postgresql://u:pa/ss@[::1]:5432/db", ""),
    ],
)
def test_what_sqlalchemy_itself_would_not_take_is_said(text: str, words: str) -> None:
    said = database_url.objection_of_sqlalchemy(text)
    assert words in said and bool(said) is bool(words)


@pytest.mark.parametrize(
    ("text", "user", "hosts", "label"),
    [
        ("postgresql://u:p@/db?host=/cloudsql/a:b:c", "u", (("/cloudsql/a:b:c", None),), "db on /cloudsql/a:b:c"),
        ("postgresql+pg8000://u:p@/db?unix_sock=/cloudsql/a:b:c/.s.PGSQL.5433", "u", (("/cloudsql/a:b:c", 5433),), "db on /cloudsql/a:b:c:5433"),
        ("postgresql://name@server:p@h/db", "name@server", (("h", None),), "db on h"),
        ("postgresql://u:p@[fe80::1%eth0]:5432/db", "u", (("fe80::1%eth0", 5432),), "db on [fe80::1%eth0]:5432"),
        ("postgresql:///db", "", (), "db on the local socket"),
        ("postgresql://:5433/db", "", (("", 5433),), "db on the local socket:5433"),
    ],
)  # fmt: skip
def test_forms_that_providers_hand_out(text: str, user: str, hosts: Any, label: str) -> None:
    url = read(text)
    assert (url.user, url.hosts, url.label) == (user, hosts, label)
    assert read(url.render()).hosts == hosts


def test_a_host_is_decoded_as_libpq_does() -> None:
    assert read("postgresql://u@%2Frun%2Fpostgresql:5433/db").hosts == (("/run/postgresql", 5433),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://app@pooler", "postgresql://app@pooler/copy"),
        ("postgresql://app@pooler?dbname=x", "postgresql://app@pooler?dbname=copy"),
        ("postgresql://h/a?dbname=a", "postgresql://h/copy?dbname=copy"),
        ("postgresql://h/a?dbname=&x=1", "postgresql://h/copy?dbname=copy&x=1"),
        ("postgresql+asyncpg://h/a?database=a&ssl=off", "postgresql+asyncpg://h/copy?database=copy&ssl=off"),
        ("postgres://u:pa/s?s#[@h/a", "postgres://u:pa/s?s#[@h/copy"),
        ("host=db dbname=live password='se cret'", "host=db dbname='copy' password='se cret'"),
        ("dbname = 'li\\'ve' host=db", "dbname = 'copy' host=db"),
        ("dbname=a dbname=b", "dbname='copy' dbname='copy'"),
        ("host=db user=app", "host=db user=app dbname='copy'"),
    ],
)
def test_everything_but_the_database_stays_as_it_is_written(text: str, expected: str) -> None:
    assert with_database(text, "copy") == expected


PLACES = (
    (("direct", 5432),),
    (("10.0.0.1", None),),
    (("::1", 6432),),
    (("/run/postgresql", 5433),),
    (("h1", 5432), ("h2", None)),
)


@pytest.mark.parametrize("case", READ, ids=ids)
def test_as_it_is_written_it_leads_to_another_server(case: dict[str, Any]) -> None:
    text, url = case["url"], read(case["url"])
    for hosts in PLACES:
        changed = database_url.with_server(text, hosts)
        assert read(changed) == url.with_hosts(hosts)
        if not text.startswith("postgres:"):
            same(as_sqlalchemy_connects(changed), url.with_hosts(hosts))
        string = database_url.with_server(url.connection_string(), hosts)
        assert read_connection_string(string).libpq() == url.with_hosts(hosts).libpq()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgres://u:p@a/ss@pool:6432/db?x=1", None),
        ("postgres://u:p/a@pool:6432/db?x=1", "postgres://u:p/a@direct:5432/db?x=1"),
        ("postgresql://pool:6432", "postgresql://direct:5432"),
        ("postgresql://u@/db?host=pool&port=6432&x=1", "postgresql://u@direct:5432/db?x=1"),
        ("host=pool  port=6432 password='a b'", "host='direct'  port='5432' password='a b'"),
        ("hostaddr=10.1.1.1 dbname=x", "hostaddr='' dbname=x host='direct' port='5432'"),
        ("live", None),
    ],
)
def test_everything_but_the_server_stays_as_it_is_written(text: str, expected: Any) -> None:
    if expected is None:
        with pytest.raises(Refused):
            database_url.with_server(text, (("direct", 5432),))
    else:
        assert database_url.with_server(text, (("direct", 5432),)) == expected


def test_a_name_is_written_as_the_one_before_it() -> None:
    """SQLAlchemy before 2.1 decodes no database, so what an application had to write raw stays raw."""
    assert with_database("postgresql://h/a b", "a b__copy") == "postgresql://h/a b__copy"
    assert with_database("postgresql://h/a%20b", "a b__copy") == "postgresql://h/a%20b__copy"
    assert with_database("postgresql://h/ü", "ü%__copy") == "postgresql://h/ü%25__copy"


@pytest.mark.parametrize(
    "text", ["", "live", "redis://cache/0", "sqlite:///x", "/var/lib/x", "a = b", "dbname=", "x dbname=live", "host='a"]
)
def test_other_texts_name_no_database(text: str) -> None:
    assert find(text) is None or not find(text).dbname
    if find(text) is None:
        with pytest.raises(Refused, match="neither"):
            with_database(text, "copy")


def test_a_text_says_which_database_and_server_it_names() -> None:
    for text in (
        "postgresql+asyncpg://app:x@db:5433/live?ssl=off",
        "host=db port=5433 user=app password=x dbname=live",
        "dbname = 'live' host='db' port = 5433 user=app password=x",
    ):
        url = find(text)
        assert url is not None
        assert (url.dbname, url.host, url.port, url.user, url.password) == ("live", "db", 5433, "app", "x")
    nameless = find("postgresql://db")
    assert nameless is not None and (nameless.dbname, nameless.host) == ("", "db")
    with pytest.raises(Refused, match="port"):
        find("postgresql://db:x/live")


# Any text that PostgreSQL can hold. SQLAlchemy takes a user or password of any kind where it is escaped.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
ODD = st.text(st.sampled_from("aZ0 @:/?#[]%&=+,;'\"\\{}<>^`|~!$()*._-üß漢\n\t"), max_size=12)
NAME = st.one_of(TEXT, ODD).filter(bool)
HOST = st.one_of(
    st.sampled_from(["h", "db.example", "10.0.0.1", "::1", "fe80::1%eth0", "/run/postgresql", "/var/ü dir", "host_x"]),
    st.from_regex(r"[a-z0-9.-]{1,10}", fullmatch=True),
)
PORT = st.one_of(st.none(), st.integers(1, 65535))
URLS = st.builds(
    DatabaseUrl,
    dbname=NAME,
    user=NAME,
    password=st.one_of(st.none(), NAME),
    hosts=st.lists(st.tuples(HOST, PORT), max_size=3, unique=True).map(tuple),
    driver=st.sampled_from(["", "psycopg2", "psycopg", "asyncpg"]),
    options=st.dictionaries(
        st.sampled_from(["application_name", "options", "sslmode", "sslpassword", "pgbouncer"]), NAME, max_size=3
    ).map(lambda found: tuple(found.items())),
)
SEEDED = settings(max_examples=60, deadline=None, derandomize=True)
ALL_PRINTABLE = "".join(chr(code) for code in range(32, 127)) + "ü"


@settings(SEEDED)
@given(URLS)
@example(DatabaseUrl("db", user="u", password=ALL_PRINTABLE))
def test_any_url_is_read_back_by_sqlalchemy_and_libpq(url: DatabaseUrl) -> None:
    assert read(url.render()) == url
    same(as_sqlalchemy_connects(url.render()), url)
    keywords = url.libpq()
    assert plain(parse_dsn(url.connection_string())) == keywords == plain(parse_dsn(make_dsn(**keywords)))
    if not url.not_for_libpq:
        assert plain(parse_dsn(url.render(driver=""))) == keywords
    assert read_connection_string(url.connection_string()).libpq() == keywords


@settings(SEEDED)
@given(password=ODD.filter(lambda text: "%00" not in text), dbname=NAME, copy=NAME)
@example(password=ALL_PRINTABLE.replace("@", ""), dbname="db", copy="copy")
def test_a_raw_password_is_read_as_sqlalchemy_reads_it(password: str, dbname: str, copy: str) -> None:
    text = f"postgresql://u:{password.replace('@', '')}@h:5432/{database_url.quote(dbname, safe='')}"
    assert (read(text).password or "") == (make_url(text).password or "")
    assert read(with_database(text, copy)) == read(text).with_database(copy)
    same(as_sqlalchemy_connects(with_database(text, copy)), read(text).with_database(copy))
    assert set(read(text).secrets) <= set(database_url.secrets(text))


@settings(SEEDED)
@given(st.one_of(TEXT, ODD, st.text(string.printable)).map(lambda tail: f"postgresql://u:s3cretpw@{tail}"))
@example("postgresql://u:x@s3cretpw/y?z@h/db")
@example("postgresql://u:x@y?s3cretpw@h/db")
def test_whatever_stands_after_the_password_it_is_never_shown(text: str) -> None:
    assert "s3cretpw" in database_url.secrets(text)
    try:
        url = read(text)
    except Refused as refused:
        assert "s3cretpw" not in str(refused.as_dict())
    else:
        assert "s3cretpw" not in str(url) + repr(url) + url.label


@settings(SEEDED)
@given(st.text(string.printable))
def test_no_text_crashes_the_reader(text: str) -> None:
    database_url.secrets(text)
    database_url.objection_of_sqlalchemy(text)
    try:
        found = find(text)
    except Refused:
        return
    if found is not None:
        assert (find(with_database(text, "copy")) or found).dbname == "copy"
