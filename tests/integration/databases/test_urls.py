"""Database URLs all the way: status, check and trial by each form of URL; parts in the inventory; past a pooler."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from papdeploy.core import database_url
from papdeploy.core.errors import PapError, Refused
from papdeploy.phases import preflight, report, validate
from papdeploy.rehearsal import trials
from papdeploy.schema import CheckOptions
from support.journals import last
from support.pooler import Pooler
from support.rehearsal_stack import API, Bench, migration

CASES = json.loads((Path(__file__).parents[2] / "corpus" / "database-urls.json").read_text())["urls"]
# The test servers speak no TLS.
READ = [case for case in CASES if "refused" not in case and case.get("libpq", {}).get("sslmode") != "require"]
# One of each kind that is read in a way of its own; all of them are in tests/nightly.
KINDS = ("pa/ss@", "ssl=disable", "host=/run/postgresql&port", "h1:5432,h2", "dbname=other")
SHORT = [case for case in READ if any(kind in case["url"] for kind in KINDS)]

# How an application reads its URL: by SQLAlchemy, after it has seen to what that does not take, else by its driver.
CONNECT = """
from sqlalchemy.engine import make_url

def connect(text):
    try:
        made = make_url("postgresql" + text[len("postgres"):] if text.startswith("postgres://") else text)
    except ValueError:
        return psycopg2.connect(text)
    made = made.set(drivername="postgresql+psycopg2").difference_update_query(["ssl", "pgbouncer", "prepared_statement_cache_size"])
    return psycopg2.connect(**made.get_dialect()().create_connect_args(made)[1])
"""
OF_ANY_URL = API.replace("psycopg2.connect(url)", "connect(url)").replace(
    "behaviour = json", CONNECT + "\nbehaviour = json", 1
)
OF_PARTS = API.replace(
    'os.environ["DATABASE_URL"]',
    '"host={DB_HOST} port={DB_PORT} user={DB_USER} password={DB_PASSWORD} dbname={DB_NAME}".format(**os.environ)',
)
ADD_NOTE = {
    "2026_01_01_note.py": migration(
        'db.execute("ALTER TABLE users ADD COLUMN note text")', 'db.execute("ALTER TABLE users DROP COLUMN note")'
    )
}
NOTE = "note: Mapped[str | None] = mapped_column(Text)"


@pytest.fixture(scope="module")
def any_url(servers: dict[int, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A stack whose API takes any form of URL."""
    yield from made(servers[18], tmp_path_factory.mktemp("any_url"), OF_ANY_URL)


@pytest.fixture
def bench(servers: dict[int, Any], tmp_path: Path) -> Iterator[Bench]:
    yield from made(servers[18], tmp_path)


def made(server: Any, folder: Path, api: str = "") -> Iterator[Bench]:
    bench = Bench(server, folder, server.create("urls"))
    try:
        if api:
            release(bench, api)
        yield bench
    finally:
        bench.close()
        server.drop(bench.dbname)


def release(bench: Bench, api: str, **fields: Any) -> None:
    for name in ("old", "new"):
        if not (bench.folder / name).exists():
            bench.write_release(name, **fields)
        (bench.folder / name / "api.py").write_text(api)


def on_this_server(case: dict[str, Any], bench: Bench) -> str:
    """The URL of a case with this server's address and database in the place of the case's, else as it is written."""
    server, text = bench.server, case["url"]
    for given, here in (
        ("[::1]:5432", f"[::1]:{server.port}"),
        ("127.0.0.1:5433", f"127.0.0.1:{server.port}"),
        ("/run/postgresql&port=5433", f"{server.data.parent}&port={server.port}"),
        ("/run/postgresql", str(server.data.parent)),
        ("host=other&port=5433", f"host=127.0.0.1&port={server.port}"),
        ("h1:5432", "127.0.0.1:1"),  # nothing listens there: the next one is tried
        ("h2:5433", f"127.0.0.1:{server.port}"),
        ("h:5432/", f"127.0.0.1:{server.port}/"),
        ("dbname=other", f"dbname={bench.dbname}"),
    ):
        text = text.replace(given, here)
    if "host=127" not in text:
        text = re.sub(r"(@|//)h/", rf"\g<1>127.0.0.1:{server.port}/", text)
    return re.sub(r"/db(?=\?|$)", f"/{bench.dbname}", text)


def through_everything(bench: Bench, case: dict[str, Any]) -> None:
    """A whole status, a whole check and a trial of an API whose environment holds the URL of the case."""
    server, user = bench.server, case["user"]
    text = on_this_server(case, bench)
    password = case["password"] or "only-in-PGPASSWORD"
    server.sql(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'")
    copy = f"{bench.dbname}__copy"
    try:
        server.sql(f"ALTER DATABASE {bench.dbname} OWNER TO {user}")
        server.sql(f"ALTER TABLE users OWNER TO {user}; ALTER TABLE items OWNER TO {user}", bench.dbname)
        environment = {"DATABASE_URL": text, "PGPORT": str(server.port), "PGPASSWORD": "only-in-PGPASSWORD"}
        (bench.folder / "env").write_text("".join(f"{key}={value}\n" for key, value in environment.items()))
        status = report.status(bench.stack, {}, preflight.Options())
        said = "\n".join(status.pap.lines)
        assert bench.folder.joinpath("current").resolve().name in said and not status.status.attention, said
        assert validate.run(bench.stack, "", CheckOptions()).matches
        server.sql(f'CREATE DATABASE "{copy}" TEMPLATE "{bench.dbname}"')
        before = bench.server.sql("SELECT sum(logins) FROM users", bench.dbname)
        candidate = bench.stack.api.candidate()
        made = bench.stack.environment_on(candidate, copy)
        terms = trials.Terms("r1", made, rows=True, deadline=time.monotonic() + 60)
        found = trials.attempt(bench.stack, candidate, bench.stack.database.named(copy), terms)
        assert found.works, found
        assert "DATABASE_URL" in found.pointed
        # The copy has the login of the trial, the live database has not.
        assert bench.server.sql("SELECT sum(logins) FROM users", copy) != before
        assert bench.server.sql("SELECT sum(logins) FROM users", bench.dbname) == before
        assert not case["password"] or len(password) < 4 or password not in json.dumps([status, found], default=str)
    finally:
        server.drop(copy)
        server.sql(f"REASSIGN OWNED BY {user} TO {server.user}", bench.dbname)
        server.sql(f"DROP ROLE {user}")


@pytest.mark.parametrize("case", SHORT, ids=lambda case: case["url"])
def test_status_check_and_trial_by_each_kind_of_url(any_url: Bench, case: dict[str, Any]) -> None:
    through_everything(any_url, case)


@pytest.mark.parametrize("case", [case for case in CASES if "refused" in case], ids=lambda case: case["url"])
def test_a_url_that_cannot_be_read_is_refused_by_the_name_of_its_variable(any_url: Bench, case: dict[str, Any]) -> None:
    bench = any_url
    (bench.folder / "env").write_text(f"DATABASE_URL={case['url']}\n")
    with pytest.raises(Refused, match="DATABASE_URL in the environment of the API") as refused:
        validate.run(bench.stack, "", CheckOptions())
    status = report.status(bench.stack, {}, preflight.Options())
    for said in (str(refused.value.as_dict()), json.dumps(status, default=str)):
        assert case["refused"] in said
        assert not case.get("never_shown") or case["never_shown"] not in said


def test_an_api_that_has_the_parts_of_its_url_is_told_by_the_inventory(bench: Bench) -> None:
    server = bench.server
    release(bench, OF_PARTS, user=NOTE)
    parts = {"DB_HOST": server.host, "DB_PORT": server.port, "DB_USER": server.user, "DB_PASSWORD": server.password}
    (bench.folder / "env").write_text("".join(f"{k}={v}\n" for k, v in {**parts, "DB_NAME": bench.dbname}.items()))
    with pytest.raises(Refused, match="pap_database_url to the URL itself"):
        bench.open(ADD_NOTE)
    bench.stack = dataclasses.replace(bench.stack, database_url=server.url(bench.dbname, "postgresql"))
    before = bench.content().tables["public"]["items"]
    verdict = bench.rehearse(ADD_NOTE)
    assert verdict["verdict"] == "good", verdict
    assert [verdict[name]["pointed"] for name in ("candidate", "old_api")] == [["DB_NAME"]] * 2
    assert bench.content().tables["public"]["items"] == before
    assert server.password not in bench.journal().path.read_text()


def test_past_the_pooler(bench: Bench) -> None:
    server = bench.server
    pooler = Pooler(server.host, server.port, {"app": bench.dbname})
    try:
        release(bench, OF_ANY_URL, user=NOTE)
        pooled = f"postgresql+psycopg2://{server.user}:{server.password}@127.0.0.1:{pooler.port}/app"
        (bench.folder / "env").write_text(f"DATABASE_URL={pooled}\n")
        with pytest.raises(PapError, match="pap_database_direct_url"):
            bench.open(ADD_NOTE)

        # A way past it that leads elsewhere is found out, and so is a pooler that does.
        other = server.create(f"{bench.dbname}_elsewhere")  # the bench drops it
        bench.stack = dataclasses.replace(bench.stack, direct_url=server.url(other))
        with pytest.raises(Refused, match=f"leads to another database.*{other}"):
            bench.open(ADD_NOTE)
        bench.stack = dataclasses.replace(bench.stack, direct_url=server.url(bench.dbname))
        pooler.names["app"] = other
        with pytest.raises(Refused, match=r"leads to another database.*app on 127\.0\.0\.1"):
            bench.open(ADD_NOTE)
        pooler.names["app"] = bench.dbname

        pooler.connected.clear()
        verdict = bench.rehearse(ADD_NOTE)
        assert verdict["verdict"] == "good", verdict
        assert pooler.connected == ["app"]  # the proof of the preflight; the trials went past it
        lines = last(bench.journal(), "preflight")["lines"]
        assert f"database: the API connects to app on 127.0.0.1:{pooler.port}, this deploy to" in "\n".join(lines)
        assert database_url.read(pooled).label in "\n".join(lines)
    finally:
        pooler.close()
