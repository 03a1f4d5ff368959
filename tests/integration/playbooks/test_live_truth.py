"""What works on a copy reaches no live database, the whole way on a host and in containers: plan and rehearsal by
playbook, and the live database compared by catalog and content before and after."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.rehearsal.test_isolation import LEGACY as OF_ITEMS
from support.docker_stacks import Playbooks, pap_images, pap_stack, unique
from support.sandbox_playbooks import Place, sandbox_place

CREATE_ALL = "    Base.metadata.create_all(engine)\n"
URL_LINE = 'DATABASE_URL = os.environ.get("DATABASE_URL", "postgresql://control_core@127.0.0.1:5432/control_core_db")'
LEGACY = OF_ITEMS.replace("items", "policies")
BY_A_CHILD = '''"""A migration whose work is done by a child process that connects by itself.

Date: 2026-01-01
"""

import subprocess
import sys

CHILD = """
import os, psycopg2
os.environ.pop("PGOPTIONS", None)
url = os.environ["DATABASE_URL"].replace("+psycopg2", "")
connection = psycopg2.connect(url)
connection.autocommit = True
connection.cursor().execute("ALTER TABLE audit_logs ADD COLUMN IF NOT EXISTS colour text")
"""


def upgrade(db):
    subprocess.run([sys.executable, "-c", CHILD], check=True)


def downgrade(db):
    db.execute("ALTER TABLE audit_logs DROP COLUMN IF EXISTS colour")
'''


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with sandbox_place("live-truth") as made:
        yield made


class Live:
    """The live database as it was: catalog, and content of all tables but those that a login writes to."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.before = self.now()

    def now(self) -> Any:
        columns = self.place.stack.sql(
            "SELECT table_schema, table_name, column_name, data_type, column_default FROM information_schema.columns"
            " WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2, ordinal_position"
        )
        relations = self.place.stack.sql("SELECT oid, relname FROM pg_class WHERE oid >= 16384 ORDER BY 1")
        databases = self.place.stack.sql("SELECT datname, oid FROM pg_database ORDER BY 1")
        return columns, relations, databases, self.place.content()

    def is_unchanged(self) -> bool:
        return bool(self.now() == self.before)


def env_file(place: Place, name: str, **changed: str | None) -> str:
    """A copy of the API's environment file with some variables set, or left out where None."""
    lines = Path(place.stack.state["api"]["env_file"]).read_text().splitlines()
    kept = [line for line in lines if line.split("=", 1)[0] not in changed]
    path = place.sandbox.home / f"{name}.env"
    path.write_text(
        "\n".join([*kept, *(f"{key}={value}" for key, value in changed.items() if value is not None)]) + "\n"
    )
    path.chmod(0o600)
    return str(path)


def database_url(place: Place) -> str:
    lines = Path(place.stack.state["api"]["env_file"]).read_text().splitlines()
    return next(line.split("=", 1)[1] for line in lines if line.startswith("DATABASE_URL="))


def words(**variables: object) -> tuple[str, ...]:
    return tuple(word for name, value in variables.items() for word in ("-e", json.dumps({name: value})))


REHEARSED = words(pap_rehearse=True)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_an_engine_of_the_application_s_own_works_on_the_copy(place: Place) -> None:
    live = Live(place)
    release = place.variant(
        "own-engine", {"migrations/2026_01_01_colour.py": LEGACY},
        database=(URL_LINE, URL_LINE.replace('"DATABASE_URL"', '"APP_DB_URL"')),
    )  # fmt: skip
    own = words(
        pap_api_env_file=env_file(place, "own", DATABASE_URL=None, APP_DB_URL=database_url(place)),
        pap_database_url_variable="APP_DB_URL",
    )
    said = place.play("deploy.yml", "--check", *own, release_dir=release)
    assert "2026_01_01_colour is a legacy script: what it does is known only by running it" in said
    assert "live database, before and after: the same schema" in said and live.is_unchanged(), said
    said = place.play("rehearse.yml", *own, *REHEARSED, release_dir=release)
    assert "2026_01_01_colour" in said and live.is_unchanged(), said


@pytest.mark.timeout(600)
def test_a_child_of_a_migration_reaches_nothing_from_a_plan(place: Place) -> None:
    live = Live(place)
    release = place.variant("child", {"migrations/2026_01_01_child.py": BY_A_CHILD})
    said = place.play("deploy.yml", "--check", release_dir=release)
    assert "2026_01_01_child starts a program (python" in str(said), said
    assert live.is_unchanged()


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_a_raw_password_and_a_query_lead_to_no_live_database(place: Place) -> None:
    """A server that trusts its address lets any password pass, also one that another reader cuts off."""
    postgres = place.stack.state["postgres"]
    hba = Path(place.stack.sql("SHOW hba_file")[0][0])
    kept = hba.read_text()
    hba.write_text(f"host all all {postgres['host']}/32 trust\n{kept}")
    place.stack.sql("SELECT pg_reload_conf()")
    try:
        live = Live(place)
        address = f"{postgres['host']}:{postgres['port']}"
        for number, url in enumerate(
            (
                f"postgresql://control_core:se#cr?et@{address}/control_core_db",
                f"postgresql://control_core:x@{address}/control_core_db?dbname=control_core_db",
                f"postgresql://control_core:x@{address}/postgres?dbname=control_core_db",
            )
        ):
            own = words(pap_api_env_file=env_file(place, f"odd{number}", DATABASE_URL=url))
            said = place.play("deploy.yml", "--check", *own)
            assert "live database, before and after: the same schema" in said and live.is_unchanged(), (url, said)
        said = place.play("rehearse.yml", *own)
        assert "reversible" in said and live.is_unchanged(), said
    finally:
        hba.write_text(kept)
        place.stack.sql("SELECT pg_reload_conf()")


CATALOG = (
    "SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM (SELECT oid, relname, relfilenode FROM pg_class"
    " WHERE oid >= 16384 UNION ALL SELECT attrelid, attname, attnum FROM pg_attribute WHERE attrelid >= 16384"
    " UNION ALL SELECT oid, datname, 0 FROM pg_database) AS t"
)


@pytest.fixture(scope="module")
def containers(docker_engine: object) -> Iterator[pap_stack.Stack]:
    """A stack whose newer releases would take their URL from another variable than the one that runs."""
    made = pap_stack.Stack(unique("truth"))
    made.extra_environment["APP_DB_URL"] = f"{made.url}?dbname=control_core_db"
    try:
        yield made.up(percent=5)
    finally:
        made.down()


@pytest.mark.docker
@pytest.mark.timeout(900)
@pytest.mark.nightly
def test_in_containers_an_engine_and_a_child_work_on_the_copy(containers: pap_stack.Stack, tmp_path: Path) -> None:
    own = pap_images.variant(
        containers.engine, pap_images.api_image(containers.engine, "current"), "own-engine",
        ["USER root", "RUN sed -i 's/environ.get(\"DATABASE_URL\"/environ.get(\"APP_DB_URL\"/' app/database.py", "USER 10001"],
    )  # fmt: skip
    (tmp_path / "migrations").mkdir()
    playbooks = Playbooks(containers, tmp_path, pap_api_image=own, pap_database_url_variable="APP_DB_URL")
    playbooks.variables["pap_migrations_dirs"].append(str(tmp_path / "migrations"))
    before = containers.sql(CATALOG)

    (tmp_path / "migrations" / "2026_01_01_child.py").write_text(BY_A_CHILD.replace("DATABASE_URL", "APP_DB_URL"))
    said = playbooks.run("deploy.yml", "--check")
    assert "live database, before and after: the same schema" in said and containers.sql(CATALOG) == before, said

    (tmp_path / "migrations" / "2026_01_02_colour.py").write_text(LEGACY)
    said = playbooks.run("deploy.yml", "--check")
    assert "2026_01_02_colour is a legacy script: what it does is known only by running it" in said
    assert containers.sql(CATALOG) == before
    said = playbooks.run("rehearse.yml")
    assert "2026_01_02_colour" in said and containers.sql(CATALOG) == before, said


UNDATED = '''"""Written before anybody thought of dates."""


def upgrade(db):
    db.execute("ALTER TABLE audit_logs ADD COLUMN {name} text")


def downgrade(db):
    db.execute("ALTER TABLE audit_logs DROP COLUMN {name}")
'''
STOP = """
- name: Stop the API by hand
  ansible.builtin.command: {{argv: {argv}}}
  when: not ansible_check_mode
"""


@pytest.mark.timeout(900)
def test_what_a_plan_refuses_is_said_before_anything_is_spent(place: Place) -> None:
    live, begun = Live(place), [journal.release for journal in place.state.releases()]
    said = place.play("deploy.yml", *words(pap_smoke_password="not this one"), rc=2)
    assert "already fails at the API that runs (previous): login: status 401" in said, said
    assert [journal.release for journal in place.state.releases()] == begun
    said = place.play("deploy.yml", "--check", *words(pap_sandbox_release="broken-model"), rc=2)
    assert "policies.review_due" in said, said
    fails = place.variant(
        "fails",
        {"migrations/2026_01_01_fails.py": UNDATED.format(name="id").replace('."""', '.\n\nDate: 2026-01-01\n"""')},
    )
    said = place.play("deploy.yml", "--check", release_dir=fails, rc=2)
    assert "2026_01_01_fails" in said and "DuplicateColumn" in said, said
    said = place.play("deploy.yml", *words(pap_migrations_dirs=[]), rc=2)
    assert "pap_migrations_dirs names no migration" in said, said

    folder = place.sandbox.home / "undated"
    folder.mkdir()
    for name in ("b_second", "a_first"):
        (folder / f"{name}.py").write_text(UNDATED.format(name=name))
    folders = [str(Path(__file__).resolve().parents[3] / "migrations"), str(folder)]
    said = place.play("deploy.yml", "--check", *words(pap_migrations_dirs=folders), rc=2)
    assert "Without a date, so that the order is unknown: 2 migrations: a_first, b_second" in said, said
    order = ["add_settings_and_policy_fields", "add_auto_discovery_fields", "b_second", "a_first"]
    said = place.play("deploy.yml", "--check", *words(pap_migrations_dirs=folders, pap_migrations_order=order))
    assert "migrations pending: " + ", ".join(order) in said and "extra_column" not in said, said
    assert live.is_unchanged()


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_what_is_said_of_an_api_that_died_and_of_a_schema_that_is_ahead(place: Place) -> None:
    place.stack.sql(
        "CREATE TABLE oauth_tokens (id serial PRIMARY KEY, token_type text CHECK (token_type = 'bearer'));"
        "ALTER TABLE oauth_tokens OWNER TO control_core; ALTER SEQUENCE oauth_tokens_id_seq OWNER TO control_core"
    )
    hook = place.sandbox.home / "stop.yml"
    hook.write_text(STOP.format(argv=json.dumps(place.stack.state["api"]["stop"])))
    said = place.play("deploy.yml", *words(pap_hook_after_rehearse=str(hook)), *REHEARSED)
    gone = "the API was gone before it was stopped: "
    assert gone in said and gone in place.report(place.newest()), said
    # What is stored to be compared later is the truth, not the masked text of it.
    constraint = "ALTER TABLE oauth_tokens DROP CONSTRAINT oauth_tokens_token_type_check, ADD CHECK (token_type = '{}')"
    place.stack.sql(constraint.format("evil"), user="control_core")
    said = place.play("check.yml")
    said = place.play("deploy.yml", "--check", *words(pap_sandbox_release="next"), rc=2)
    assert "oauth_tokens" in said and "token_type" in said, said
    place.stack.sql(constraint.format("bearer"), user="control_core")
    assert "oauth_tokens" not in place.play("deploy.yml", "--check", *words(pap_sandbox_release="next"))

    assert "rollback strategy: image" in place.play("rollback.yml", *words(rollback_strategy="image"))
    for playbook in ("check.yml", "status.yml"):
        said = place.play(playbook)
        assert "the schema is ahead of the API that runs (previous)" in said and "DROP COLUMN" not in said, said
        assert "add_settings_and_policy_fields" in said
