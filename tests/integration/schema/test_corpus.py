"""The corpus: every single change of a rich database is seen and called by its name, and what is proposed repairs it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support.postgres_servers import bin_dirs

CORPUS = Path(__file__).resolve().parents[2] / "corpus" / "schema"
sys.path.insert(0, str(CORPUS))

from mutations import MUTATIONS, Mutation  # noqa: E402
from papdeploy.schema import CheckOptions, CheckResult, check, expect, load_models, repair_script  # noqa: E402
from papdeploy.schema.catalog.rows import Catalog  # noqa: E402
from papdeploy.schema.checker import examine  # noqa: E402
from variations import VARIATIONS, Variation  # noqa: E402

pytestmark = pytest.mark.every_version(sample=10, newest=2)

OPTIONS = CheckOptions(today="2026-01-01")


@dataclass
class Corpus:
    """A database that the models' own create_all made, one connection to it, and the expected catalog."""

    expected: Catalog
    connection: sa.Connection
    major: int
    extension: str  # one that this server has: the embedded ones bring vector, Debian's citext

    def check(self) -> CheckResult:
        return check(self.connection, self.expected, OPTIONS)

    def run(self, sql: str) -> None:
        cursor = self.connection.connection.cursor()
        cursor.execute(sql)
        cursor.close()


@pytest.fixture(scope="session", params=sorted(bin_dirs()), ids=lambda major: f"pg{major}")
def server(request: pytest.FixtureRequest, servers: Any) -> Any:
    """Every server at hand, Debian's too where it is installed."""
    return servers[request.param]


@pytest.fixture(scope="module")
def corpus(server: Any) -> Iterator[Corpus]:
    models = load_models(["corpus_models:Base", "corpus_models:Other"], str(CORPUS))
    scratch, live = server.create("scratch"), server.create("corpus")
    server.sql("DO $$ BEGIN CREATE ROLE schema_other; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    with sa.create_engine(server.url(scratch), poolclass=sa.pool.NullPool).connect() as connection:
        expected = expect(models, connection)
    engine = sa.create_engine(server.url(live), poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA audit")
        for metadata in models.metadatas:
            metadata.create_all(connection)
    with engine.connect() as connection:
        has_vector = "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'"
        extension = "vector" if server.sql(has_vector)[0][0] else "citext"
        yield Corpus(expected, connection, server.major, extension)
        connection.rollback()
    server.drop(scratch)
    server.drop(live)


@pytest.fixture
def rolled_back(corpus: Corpus) -> Iterator[Corpus]:
    corpus.connection.begin()
    yield corpus
    corpus.connection.rollback()


def statements(corpus: Corpus) -> list[str]:
    """The proposed SQL as it can run in this test's transaction."""
    result, work = examine(corpus.connection, corpus.expected, OPTIONS, repair=True)
    script = [statement.replace(" CONCURRENTLY", "") for statement in repair_script(result.differences, work)]
    return [s for s in script if not s.splitlines()[-1].startswith("--")]


def described(result: CheckResult) -> str:
    return "\n".join(f"{d.kind} {d.object}: {d.expected} | {d.actual} | {list(d.repair)}" for d in result.differences)


def test_the_untouched_database_matches(rolled_back: Corpus) -> None:
    result = rolled_back.check()
    assert result.matches, described(result)
    assert result.checked.tables == 14
    assert result.checked.positions == 7


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name.replace(" ", "-"))
def test_mutation(rolled_back: Corpus, mutation: Mutation) -> None:
    if rolled_back.major < mutation.major:
        pytest.skip(f"needs PostgreSQL {mutation.major}")
    rolled_back.run(mutation.sql)
    result = rolled_back.check()
    assert {(d.kind, d.object) for d in result.differences} == set(mutation.found), described(result)
    assert not result.matches
    for difference in result.differences:
        assert difference.expected != difference.actual
        assert difference.why
    if mutation.repaired:
        assert all(difference.repair for difference in result.differences)
        script = statements(rolled_back)
        for statement in script:
            rolled_back.run(statement)
        again = rolled_back.check()
        assert again.matches, f"after {script}:\n{described(again)}"


# Everything to another role; REASSIGN OWNED would take the system's objects too.
_OWNERS = """
DO $$ DECLARE o record; BEGIN
  FOR o IN SELECT format('ALTER TABLE %s OWNER TO schema_other', c.oid::regclass) AS sql FROM pg_class c
    WHERE relkind IN ('r', 'p', 'v', 'm') AND relnamespace IN ('public'::regnamespace, 'audit'::regnamespace) LOOP EXECUTE o.sql; END LOOP;
  ALTER SEQUENCE invoice_numbers OWNER TO schema_other;
  ALTER TYPE role OWNER TO schema_other; ALTER TYPE address OWNER TO schema_other; ALTER TYPE audit.action OWNER TO schema_other;
  ALTER DOMAIN positive_integer OWNER TO schema_other;
  ALTER FUNCTION touch() OWNER TO schema_other; ALTER FUNCTION slug(text, text) OWNER TO schema_other;
END $$
"""


@pytest.mark.parametrize("variation", VARIATIONS, ids=lambda v: v.name.replace(" ", "-"))
def test_variation(rolled_back: Corpus, variation: Variation) -> None:
    if rolled_back.major < variation.major:
        pytest.skip(f"needs PostgreSQL {variation.major}")
    sql = _OWNERS if variation.sql == "OWNERS" else variation.sql
    rolled_back.run(sql.replace("some_extension", rolled_back.extension))
    result = rolled_back.check()
    assert result.matches, described(result)
    assert not result.differences


def test_the_corpus_is_as_large_as_it_must_be() -> None:
    assert len({m.name for m in MUTATIONS}) == len(MUTATIONS) >= 150
    assert len({v.name for v in VARIATIONS}) == len(VARIATIONS) >= 50
