"""Whatever form the way to the live database has in an environment, on a copy it leads to the copy, or is refused."""

from __future__ import annotations

import json
import random
from base64 import b64encode, urlsafe_b64encode
from typing import Any, Callable
from urllib.parse import quote

import psycopg2.extensions
import pytest
from papdeploy.core.errors import Refused
from papdeploy.environment import copy_environment, libpq_files
from papdeploy.environment.copy_environment import Aim, Surroundings, leads_to_live
from sqlalchemy.engine import make_url

LIVE, COPY = "control_core_db", "control_core_db__scratch_r1"
AIM = Aim(LIVE, COPY, folder="/tmp/for-the-copy")
MAIN = {"DATABASE_URL": f"postgresql://app:pw@db/{LIVE}"}


def of(environment: dict[str, str], aim: Aim = AIM, **more: dict[str, str]) -> dict[str, str]:
    return copy_environment.of(Surroundings(environment, **more), aim).variables


# -- every name, form and driver, held against the libraries that read them -------------------------------------------

SCHEMES = ["postgresql", "postgresql+psycopg2", "postgresql+psycopg", "postgresql+asyncpg", "postgresql+psycopg_async",
           "postgres", "postgis", "psql", "pgsql", "asyncpg", "jdbc:postgresql", "postgresql+pg8000"]  # fmt: skip
NAMES = [
    "DATABASE_URL",
    "APP_DB_URL",
    "SQLALCHEMY_DATABASE_URI",
    "db_url",
    "REPORTS",
    "X",
    "app__storage__dsn",
    "QUEUE_BROKER",
]
PASSWORDS = ["pw", "p%40w", "p#w", "p?w", "p/w", "p&w=", "p;w", "p,w", "'p|w'", "ü ö", ""]


def url_forms(random_: random.Random) -> tuple[str, Callable[[str], str]]:
    """A URL of the live database in some spelling, and how a library reads the database from it."""
    scheme, password = random_.choice(SCHEMES), random_.choice(PASSWORDS)
    host = random_.choice(["db", "127.0.0.1:5433", "[::1]:5432", "db.example.org", ""])
    query = random_.choice(["", "?sslmode=disable", "?application_name=a%20b&options=-c%20a%3Db"])
    credentials = f"app:{password}@" if password else "app@"
    form = random_.choice(["path", "query", "both"])
    named = f"dbname={LIVE}"
    if form == "path":
        text = f"{scheme}://{credentials}{host}/{LIVE}{query}"
    elif form == "query":
        text = f"{scheme}://{credentials}{host}/{query}{'&' if query else '?'}{named}"
    else:
        text = f"{scheme}://{credentials}{host}/elsewhere{query}{'&' if query else '?'}{named}"

    def database(value: str) -> str:
        assert value.startswith(f"{scheme}://"), value
        read = make_url("postgresql" + value[len(scheme) :])
        assert read.password == make_url("postgresql" + text[len(scheme) :]).password
        return str(read.query.get("dbname") or read.database)

    return text, database


def conninfo_form(random_: random.Random) -> tuple[str, Callable[[str], str]]:
    parts = ["host=db", f"dbname={random_.choice([LIVE, repr(LIVE)])}", "user = app", r"password='a\'b c'", "port=5432"]
    random_.shuffle(parts)
    return " ".join(parts), lambda value: str(psycopg2.extensions.parse_dsn(value)["dbname"])


def json_form(random_: random.Random) -> tuple[str, Callable[[str], str]]:
    url, database = url_forms(random_)
    if random_.random() < 0.5:
        return json.dumps({"default": {"url": url}, "pool": 5}), lambda v: database(json.loads(v)["default"]["url"])
    data = {"app": LIVE, "database": {"host": "db", "user": LIVE, "name": LIVE}}

    def of_parts(value: str) -> str:
        read = json.loads(value)
        assert read["app"] == read["database"]["user"] == LIVE
        return str(read["database"]["name"])

    return json.dumps(data), of_parts


def list_form(random_: random.Random) -> tuple[str, Callable[[str], str]]:
    text = f"postgresql://a:b@h1,h2:5433/{LIVE},postgresql+asyncpg://a@h3/other"

    def first(value: str) -> str:
        assert value.endswith(",postgresql+asyncpg://a@h3/other")
        return value.split("/")[3].split(",")[0]

    return text, first


@pytest.mark.parametrize("seed", range(300))
def test_every_form_leads_to_the_copy(seed: int) -> None:
    random_ = random.Random(seed)
    text, database = random_.choice([url_forms, url_forms, conninfo_form, json_form, list_form])(random_)
    name = random_.choice(NAMES)
    where = random_.choice(["environment", "settings", "secrets", "file"])
    if set(text) & set("'#\""):  # dotenv quotes such a value in its own way
        where = "environment"
    assert database(text) == LIVE, "the generator made another database's URL"
    if where == "environment":
        found = of({name: text})
    elif where == "settings":
        found = of({}, settings={"/srv/app/.env": f"# the database\nexport {name}={text}\nOTHER=1\n"})
        assert "OTHER" not in found
    elif where == "secrets":
        found = of({}, secrets={f"/run/secrets/{name}": text + "\n"})
    else:
        made = copy_environment.of(Surroundings({f"{name}_FILE": "/run/x"}, named={f"{name}_FILE": text + "\n"}), AIM)
        path = made.variables[f"{name}_FILE"]
        assert path.startswith(AIM.folder)
        found = {name: made.files[path]}
    assert database(found[name]) == COPY
    assert LIVE not in found[name].replace(COPY, "") or text.startswith("{")


PARTS = [
    ({"POSTGRES_SERVER": "db", "POSTGRES_USER": LIVE, "POSTGRES_PASSWORD": LIVE, "POSTGRES_DB": LIVE}, "POSTGRES_DB"),
    ({"PGHOST": "db", "PGUSER": LIVE, "PGDATABASE": LIVE}, "PGDATABASE"),
    ({"DB_HOST": LIVE, "DB_USERNAME": LIVE, "DB_NAME": LIVE, "DB_SCHEMA": LIVE}, "DB_NAME"),
    ({"DATABASE_HOST": "db", "DATABASE_USER": "a", "DATABASE_NAME": LIVE}, "DATABASE_NAME"),
    ({"APP__DATABASE__HOST": "db", "APP__DATABASE__NAME": LIVE, "APP_NAME": LIVE}, "APP__DATABASE__NAME"),
    ({"dbName": LIVE, "dbUser": LIVE, "SERVICE_NAME": LIVE, "COMPOSE_PROJECT_NAME": LIVE}, "dbName"),
    # No variable names it: the program has a default of its own.
    ({"POSTGRES_SERVER": "db", "POSTGRES_USER": "a", "POSTGRES_PASSWORD": "b"}, "POSTGRES_DB"),
    ({"DB_HOST": "db", "DB_PASSWORD": "b", "DB_USER": "a"}, "DB_NAME"),
    ({"PGHOST": "db", "PGUSER": LIVE}, "PGDATABASE"),
]


@pytest.mark.parametrize(("environment", "name"), PARTS)
def test_of_parts_the_one_that_names_the_database_is_pointed(environment: dict[str, str], name: str) -> None:
    found = of(environment)
    assert found[name] == COPY
    assert found["PGDATABASE"] == COPY
    assert not {key for key in found if key in environment} - {name, "PGDATABASE"}


RELATIONS = {"database": [{"host": "db", "path": LIVE, "username": LIVE, "password": "b", "scheme": "pgsql"}]}
POINTED = {"database": [{"host": "db", "path": COPY, "username": LIVE, "password": "b", "scheme": "pgsql"}]}
ENCODED = {
    "base64": (b64encode(MAIN["DATABASE_URL"].encode()), b64encode(f"postgresql://app:pw@db/{COPY}".encode())),
    "base64 without its end": (
        b64encode(f"host=db dbname={LIVE}".encode()).rstrip(b"="),
        b64encode(f"host=db dbname='{COPY}'".encode()),
    ),
    "base64 of URLs": (
        urlsafe_b64encode(f"postgresql://app:???>>>@db/{LIVE}".encode()),
        urlsafe_b64encode(f"postgresql://app:???>>>@db/{COPY}".encode()),
    ),
    "JSON in base64": (b64encode(json.dumps(RELATIONS).encode()), b64encode(json.dumps(POINTED).encode())),
    "percent": (
        quote(MAIN["DATABASE_URL"], safe="").encode(),
        quote(f"postgresql://app:pw@db/{COPY}", safe="").encode(),
    ),
}


@pytest.mark.parametrize("case", ENCODED)
def test_what_is_written_in_another_alphabet_leads_to_the_copy_too(case: str) -> None:
    value, pointed = (each.decode() for each in ENCODED[case])
    assert of({**MAIN, "PLATFORM": value})["PLATFORM"] == pointed
    assert leads_to_live("PLATFORM", value, LIVE) and not leads_to_live("PLATFORM", pointed, LIVE)


@pytest.mark.parametrize(
    "environment",
    [
        {"TOKEN": b64encode(b"nothing of a database in here").decode(), "KEY": "a" * 64, "HEX": "0f" * 32},
        {
            "NEXT": quote("https://example.org/?a=b", safe=""),
            "ELSEWHERE": b64encode(b"postgresql://a@db/other").decode(),
        },
        {"REPORTS_URL": "postgresql://app:x@db/reports"},
        {"REDIS_URL": f"redis://cache/{LIVE}", "PAGE": f"https://example.org/{LIVE}", "APP_NAME": LIVE, "LOG": "a{b"},
        {"MAINTENANCE": "host=db dbname=postgres", "NOTHING": "", "FLAGS": "[1, 2"},
        {"DB_URL": "postgresql://${USER}:x@db/${DB}"},
    ],
)
def test_what_leads_elsewhere_stays(environment: dict[str, str]) -> None:
    assert of({**MAIN, **environment}).keys() == {"DATABASE_URL", "PGDATABASE"}


def test_the_variable_of_the_api_is_pointed_whatever_it_names() -> None:
    aim = Aim(LIVE, COPY, variable="PAP_DB")
    assert of({"PAP_DB": "postgresql://app@pooler:6432/alias"}, aim)["PAP_DB"] == f"postgresql://app@pooler:6432/{COPY}"
    assert of({"PAP_DB": LIVE}, aim)["PAP_DB"] == COPY
    for value in ("elsewhere", "sqlite:///x", ""):
        with pytest.raises(Refused, match="PAP_DB holds neither a URL, nor a connection string, nor the name"):
            of({"PAP_DB": value}, aim)
    with pytest.raises(Refused, match="PAP_DB is not set"):
        of({}, aim)


POOLED = {
    "DATABASE_URL": "postgres://app:p/w@pooler:6432/alias?x=1",
    "ASYNC_URL": f"postgresql+asyncpg://app@pooler:6432/{LIVE}",
    "DB_HOST": "pooler",
    "DB_PORT": "6432",
    "DB_NAME": LIVE,
    "CACHE_HOST": "pooler-cache",
    "CACHE_PORT": "6432",
    "WEB_PORT": "6432",
}


def test_work_on_a_copy_goes_past_the_pooler() -> None:
    """The pooler does not know the copy: whatever leads to it leads to the server itself."""
    aim = Aim(LIVE, COPY, variable="DATABASE_URL", url=POOLED["DATABASE_URL"], hosts=(("direct", None),))
    made = copy_environment.of(Surroundings(POOLED), aim)
    assert {name: made.variables[name] for name in made.pointed} == {
        "DATABASE_URL": f"postgres://app:p/w@direct/{COPY}?x=1",
        "ASYNC_URL": f"postgresql+asyncpg://app@direct/{COPY}",
        "DB_HOST": "direct",
        "DB_PORT": "5432",
        "DB_NAME": COPY,
    }
    parts = {name: value for name, value in POOLED.items() if "URL" not in name}
    aim = Aim(LIVE, COPY, url=f"postgresql://app:pw@pooler:6432/{LIVE}", hosts=(("direct", 5433),))
    made = copy_environment.of(Surroundings(parts), aim)
    assert {name: made.variables[name] for name in made.pointed} == {
        "DB_HOST": "direct",
        "DB_PORT": "5433",
        "DB_NAME": COPY,
    }


@pytest.mark.parametrize(
    ("value", "pointed"),
    [
        (f"host=db dbname={LIVE} password='se cret'", f"host=db dbname='{COPY}' password='se cret'"),
        (f"dbname = '{LIVE}' host=db", f"dbname = '{COPY}' host=db"),
        ("host=pooler dbname=other", f"host=pooler dbname='{COPY}'"),
        (LIVE, COPY),
        ("host=pooler user=app", f"host=pooler user=app dbname='{COPY}'"),
        ("postgresql://app@pooler", f"postgresql://app@pooler/{COPY}"),
        (f"postgresql://app@db/{LIVE}?dbname={LIVE}", f"postgresql://app@db/{COPY}?dbname={COPY}"),
        (f"postgresql://app:a/b#c?d@db/{LIVE}", f"postgresql://app:a/b#c?d@db/{COPY}"),
    ],
)
def test_everything_else_stays_as_it_is_written(value: str, pointed: str) -> None:
    assert of({"PAP_DB": value}, Aim(LIVE, COPY, variable="PAP_DB"))["PAP_DB"] == pointed


REFUSED: dict[str, tuple[dict[str, str], dict[str, Any], str]] = {
    "half a URL": (
        {**MAIN, "DB_SERVER_URL": "postgresql://app:geheim@db"},
        {},
        "DB_SERVER_URL in the environment is half",
    ),
    "a URL with a place for the name": (
        {**MAIN, "DB_PATTERN": "postgresql://app:geheim@db/%s", "APP_DATA": LIVE},
        {},
        "DB_PATTERN in the environment is half",
    ),
    "a URL with a name to put in": (
        {**MAIN, "DB_PATTERN": "postgresql://app:geheim@db/{name}"},
        {},
        "DB_PATTERN in the environment is half",
    ),
    "a URL that cannot be read": ({**MAIN, "JOBS": f"postgresql://a:ge@heim@db/{LIVE}"}, {}, "JOBS in the environment"),
    "a file of settings": (
        {**MAIN, "APP_CONFIG": "/etc/app.yaml"},
        {"named": {"APP_CONFIG": f"pool: 5\nurl: postgresql://app:geheim@db/{LIVE}\n"}},
        "APP_CONFIG names a file that leads to the live database",
    ),
    "parts in a file of settings": (
        {**MAIN, "APP_CONFIG": "/etc/app.ini"},
        {"named": {"APP_CONFIG": f"[database]\nhost = db\nname = {LIVE}\n"}},
        "APP_CONFIG names a file",
    ),
    "a service that LDAP answers for": (
        {**MAIN, "PGSERVICEFILE": "/x"},
        {"named": {"PGSERVICEFILE": "[prod]\nldap://dir/x\n"}},
        "PGSERVICEFILE",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_pointed_is_refused_by_its_name(case: str) -> None:
    environment, more, said = REFUSED[case]
    with pytest.raises(Refused, match=said) as caught:
        of(environment, **more)
    assert "geheim" not in str(caught.value) and "heim" not in caught.value.message
    name = said.split()[0]
    assert f"pap_api_trial_env what {name} is to be" in caught.value.hint
    # The operator's word is the way out, unless it leads to the live database as well; and under the fence nothing is.
    aim = Aim(LIVE, COPY, extra={name: "postgresql://app@db/other"}, folder="/tmp/x")
    assert of(environment, aim, **more)[name] == "postgresql://app@db/other"
    with pytest.raises(Refused, match=f"pap_api_trial_env sets {name} to something that leads to the live database"):
        of(environment, Aim(LIVE, COPY, extra={name: MAIN["DATABASE_URL"]}), **more)


def test_a_variable_of_the_process_wins_over_its_settings_files() -> None:
    settings = {
        "/srv/app/.env": f"DATABASE_URL=postgresql://app@db/{LIVE}\nDB_NAME={LIVE} # the name\nURL=postgresql://a@db/${{DB_NAME}}"
    }
    found = of({"DATABASE_URL": f"postgresql://other@db/{LIVE}"}, settings=settings)
    assert found["DATABASE_URL"] == f"postgresql://other@db/{COPY}"
    assert found["DB_NAME"] == COPY
    assert found["URL"] == f"postgresql://a@db/{COPY}"


def test_files_of_libpq_get_the_copy() -> None:
    services = f"# ours\n[prod]\nhost=db\ndbname={LIVE}\nuser=app\n\n[by_user]\nuser={LIVE}\n[other]\ndbname=reports\n"
    passwords = f"# comment\ndb:5432:{LIVE}:app:a\\:b\n*:*:reports:app:c\n*:*:*:root:d\n"
    found = libpq_files.pointed({"PGSERVICEFILE": services, "PGPASSFILE": passwords}, LIVE, COPY)
    read: dict[str, dict[str, str]] = {}
    for line in found["PGSERVICEFILE"].splitlines():
        if line.startswith("["):
            read[line[1:-1]] = {}
        elif "=" in line:
            key, _, value = line.partition("=")
            read[list(read)[-1]][key] = value
    assert read == {
        "prod": {"dbname": COPY, "host": "db", "user": "app"},
        "by_user": {"dbname": COPY, "user": LIVE},
        "other": {"dbname": "reports"},
    }
    assert found["PGPASSFILE"] == f"db:5432:{COPY}:app:a\\:b\n{passwords}"
    assert libpq_files.pointed({"PGSERVICEFILE": "[a]\ndbname=x\n", "PGPASSFILE": "*:*:*:a:b\n"}, LIVE, COPY) == {}


def test_secrets_are_not_in_what_it_prints_of_itself() -> None:
    made = copy_environment.of(Surroundings({"DATABASE_URL": f"postgresql://app:geheim@db/{LIVE}"}), AIM)
    assert "geheim" not in repr(made)
    assert quote("geheim") in made.variables["DATABASE_URL"]


@pytest.mark.parametrize(
    "url",
    [f"postgresql://app@db/{LIVE}?passfile=/etc/app/pgpass", f"postgresql+psycopg://app@/{LIVE}?host=/run&passfile=p"],
)
def test_a_password_file_that_a_url_names_is_refused_with_the_variable(url: str) -> None:
    with pytest.raises(
        Refused, match=r"APP_DB_URL in the environment cannot be pointed at a copy: .*passfile="
    ) as caught:
        of({**MAIN, "APP_DB_URL": url})
    assert "PGPASSFILE" in caught.value.hint
    assert of({"DATABASE_URL": url.replace("app@", "app:pw@")})["DATABASE_URL"].count(COPY) == 1
