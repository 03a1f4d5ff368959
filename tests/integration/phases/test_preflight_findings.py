"""What the preflight and the plan say of a real small stack, and what they refuse."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from papdeploy.phases import preflight, report, schema_ahead, schema_before, validate
from papdeploy.schema import CheckOptions
from support.journals import last
from support.rehearsal_stack import WHO, Bench, migration

NOTE = "note: Mapped[str | None] = mapped_column(Text)"
ADD_NOTE = migration('db.execute("ALTER TABLE users ADD COLUMN note text")')
PLANS = {
    "good": ({"2026_01_01_note.py": ADD_NOTE}, ""),
    "a migration that fails": (
        {"2026_01_01_note.py": migration('db.execute("ALTER TABLE nobody ADD COLUMN note text")')},
        'the pending migrations fail on an empty copy of the schema: .*"nobody" does not exist',
    ),
    "a column that no migration adds": (
        {"2026_01_01_other.py": migration('db.execute("CREATE INDEX ON users (name)")')},
        "after it, the schema would not match the models: users.note: column_missing",
    ),
}


@pytest.fixture
def bench(servers: dict[int, Any], tmp_path: Path) -> Iterator[Bench]:
    made = Bench(servers[18], tmp_path, servers[18].create("preflight"))
    made.write_release("new", user=NOTE)
    try:
        yield made
    finally:
        made.close()


def look(bench: Bench, sources: dict[str, str], *, check: bool, **options: Any) -> preflight.Looked:
    return preflight.run(bench.stack, sources, WHO, preflight.Options(**options), check_mode=check, versions={})


@pytest.mark.parametrize("case", PLANS)
def test_a_plan_that_fails_says_so_after_all_its_lines(bench: Bench, case: str) -> None:
    sources, why = PLANS[case]
    found = look(bench, sources, check=True)
    lines = found.pap.lines
    assert any(line.startswith("a deploy would apply 1 migration (") for line in lines), lines
    assert len(found.diff) == 3
    assert re.fullmatch(f"{why}.*" if why else "", found.would_fail), found.would_fail


@dataclass(frozen=True)
class Unpointable:
    """What cannot be pointed at a copy: in the environment (``{url}``: the API's), the inventory or the program."""

    says: str
    hint: str
    env: str = "DATABASE_URL={url}\n"
    stated: str = ""
    api: str = ""
    check: bool = False


PARTS = "DB_HOST={host}\nDB_PORT={port}\nDB_USER={user}\nDB_PASSWORD={password}\n"
UNPOINTABLE = {
    "a password file": Unpointable(
        r"DATABASE_URL in the environment cannot be pointed at a copy: .*passfile=", "PGPASSFILE",
        "DATABASE_URL=postgresql://{user}@{host}:{port}/{dbname}?passfile=/etc/pgpass\n", check=True,
    ),
    "a password file, and no variable": Unpointable(
        r"pap_database_url cannot be pointed at a copy: .*passfile=", "Write the password into pap_database_url",
        PARTS + "DB_NAME={dbname}\n", "postgresql://{user}@{host}:{port}/{dbname}?passfile=/etc/pgpass",
    ),
    "half a URL": Unpointable(
        "SHARD_URL in the environment is half a URL of the live server", "pap_api_trial_env what SHARD_URL",
        "DATABASE_URL={url}\nSHARD_URL=postgresql://{user}:{password}@{host}:{port}/\n",
    ),
    "a service that LDAP answers for": Unpointable(
        "PGSERVICEFILE has a service that LDAP", "PGSERVICEFILE", "DATABASE_URL={url}\nPGSERVICEFILE={folder}/services\n"
    ),
    "no variable names the database": Unpointable(
        "Nothing in the environment of .* names database", r"pap_api_trial_command: \[\]", PARTS, "{url}"
    ),
    "an engine in the source": Unpointable(
        "would be tried on the live database .*: it makes an engine for", r"pap_api_trial_command: \[\]",
        api="class Proxy:\n    def __getattribute__(self, name):\n        raise RuntimeError\nrequest = Proxy()\nimport sqlalchemy\nengine = sqlalchemy.create_engine({url!r})\n", check=True,
    ),
}  # fmt: skip


def test_what_cannot_be_pointed_at_a_copy_is_refused_before_anything_begins(bench: Bench) -> None:
    server, api = bench.server, bench.folder / "new" / "api.py"
    given = {"host": server.host, "port": server.port, "user": server.user, "password": server.password,
             "dbname": bench.dbname, "url": server.url(bench.dbname), "folder": bench.folder}  # fmt: skip
    (bench.folder / "services").write_text("[app]\nldap://directory/services\n")
    program, stack = api.read_text(), bench.stack
    for name, case in UNPOINTABLE.items():
        (bench.folder / "env").write_text(case.env.format(**given))
        api.write_text(case.api.format(**given) + program)
        bench.stack = replace(stack, database_url=case.stated.format(**given))
        for check in {False, case.check}:
            with pytest.raises(preflight.Refused) as refused:
                look(bench, NEWER, check=check, rehearse=True)
            assert re.search(case.says, refused.value.message), (name, refused.value.message)
            assert re.search(case.hint, refused.value.hint), (name, refused.value.hint)
            assert server.password not in str(refused.value.as_dict())
            assert bench.stack.state.releases() == [] and bench.databases() == [bench.dbname]
    api.write_text(program)
    (bench.folder / "env").write_text("DATABASE_URL={url}\n".format(**given))
    bench.stack = stack
    assert look(bench, NEWER, check=False, rehearse=True).release


@pytest.mark.parametrize("check", [True, pytest.param(False, marks=pytest.mark.nightly)])
def test_a_right_that_the_backup_needs_is_missed_before_anything_begins(bench: Bench, check: bool) -> None:
    """With a role that owns the database and not every object in it; a status and a check need no such right."""
    name, live = f"{bench.dbname}_owner", bench.dbname
    bench.server.sql(f"CREATE ROLE {name} LOGIN CREATEDB PASSWORD 'pw'; GRANT pg_read_all_stats TO {name}")
    try:
        bench.server.sql(f"ALTER DATABASE {live} OWNER TO {name}")
        bench.server.sql(
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name};"
            f" GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {name}; CREATE TABLE notes (id int)",
            live,
        )
        admin = replace(bench.stack.database.conninfo, user=name, password="pw")
        bench.stack = replace(bench.stack, database=replace(bench.stack.database, conninfo=admin))
        bench.server.sql(f"ALTER ROLE {name} NOCREATEDB")
        with pytest.raises(preflight.Refused, match=f"{name} may (not create databases|not rename it)") as refused:
            look(bench, NEWER, check=check, proof="full")
        assert "CREATEDB" in str(refused.value)
        bench.server.sql(f"ALTER ROLE {name} CREATEDB")
        with pytest.raises(preflight.Refused, match=r"may not read .*table public\.notes: no SELECT on it") as refused:
            look(bench, NEWER, check=check, proof="full")
        assert f"GRANT USAGE and SELECT there to {name}" in refused.value.hint
        bench.server.sql(f"GRANT SELECT ON notes TO {name}", live)
        for proof in ("full", "schema"):
            with pytest.raises(preflight.Refused, match=r"cannot give objects to their owners: .*table public\.notes"):
                look(bench, NEWER, check=check, proof=proof)
        assert "owners" not in look(bench, NEWER, check=True, proof="none").would_fail
        assert bench.stack.state.releases() == []
        assert report.status(bench.stack, NEWER, preflight.Options()).pap.lines
    finally:
        bench.server.sql(f"REASSIGN OWNED BY {name} TO postgres; DROP OWNED BY {name}", live)
        bench.server.sql(f"ALTER DATABASE {live} OWNER TO postgres; DROP ROLE {name}")


def test_without_folders_of_migrations_that_is_said(bench: Bench) -> None:
    with pytest.raises(preflight.Refused, match=r"users\.note: column_missing") as refused:
        look(bench, {"migration_template.py": ADD_NOTE}, check=True)
    assert refused.value.hint.startswith("pap_migrations_dirs names no migration")
    bench.write_release("plain")
    bench.stack = replace(bench.stack, api=bench.api(release_dir=str(bench.folder / "plain")))
    assert "no migration pending: pap_migrations_dirs names no file" in look(bench, {}, check=True).pap.lines


def test_a_smoke_user_that_cannot_log_in_is_refused_first(bench: Bench) -> None:
    sources = {"2026_01_01_note.py": ADD_NOTE}
    right = bench.stack
    bench.stack = replace(right, smoke_settings={**right.smoke_settings, "password": "wrong"})
    with pytest.raises(
        preflight.Refused, match=r"already fails at the API that runs \(old\): login: status 401"
    ) as refused:
        look(bench, sources, check=False)
    assert "pap_smoke_password" in refused.value.hint and "preflight_allow_failing_login=true" in refused.value.hint
    assert bench.stack.state.releases() == []
    plan = look(bench, sources, check=True)
    assert plan.would_fail == "" and any(
        line.startswith("login: not tried, because a login writes;") for line in plan.pap.lines
    )
    plan = look(bench, sources, check=True, try_login=True)
    assert "login: status 401" in plan.would_fail and "a deploy would apply 1 migration" in "\n".join(plan.pap.lines)
    bench.stack = replace(right, smoke_settings={**right.smoke_settings, "me_path": "/nowhere"})
    with pytest.raises(preflight.Refused, match="authenticated call: status 500"):
        look(bench, sources, check=False)
    bench.stack = replace(right, smoke_settings={**right.smoke_settings, "password": "wrong"})
    lines = look(bench, sources, check=False, allow_failing_login=True).pap.lines
    assert (
        "baseline: the login smoke test fails at the API that runs, as allowed: login: status 401 (POST /auth/login as application/json)"
        in lines
    )


def test_where_no_api_runs_nothing_is_known_of_the_smoke_user(bench: Bench) -> None:
    bench.live.kill()
    bench.live.wait()
    lines = look(bench, {"2026_01_01_note.py": ADD_NOTE}, check=False).pap.lines
    said = "baseline: no API answers now (Connection refused), so whether the smoke user can log in is not known"
    assert said in lines
    assert last(bench.journal(), "preflight")["baseline"] is None


NEWER = {
    "2026_01_01_note.py": migration(
        """
        db.execute("ALTER TABLE users ADD COLUMN note text NOT NULL DEFAULT 'x'")
        db.execute("ALTER TABLE items ALTER COLUMN label TYPE varchar(500)")
        db.execute("CREATE TABLE keys (id serial PRIMARY KEY)")
        """
    )
}


def taken_back_by_image(bench: Bench) -> str:
    """A release of NEWER whose image alone was rolled back: ``old`` runs, the migration is in force."""
    release = bench.open(NEWER)
    journal = bench.stack.state.journal(release)
    with bench.stack.beside_models(bench.stack.api.candidate()) as app_session:
        done = app_session.call("migrations.apply", {"sources": NEWER, "release": release})
    journal.append("migrate", "done", applied=done["applied"])
    left = schema_before.left(bench.stack, journal, "image")
    journal.append("release", "rolled_back", strategy="image", unhealthy="", **left)
    bench.stack.state.lock.release(release)
    bench.stack = replace(bench.stack, api=bench.api(release_dir=str(bench.folder / "old")))
    return release


def test_a_schema_that_is_ahead_of_the_api_is_no_fault(bench: Bench) -> None:
    release = taken_back_by_image(bench)
    ahead = f"when only the image of release {release} was rolled back; in force: 1 newer migration (2026_01_01_note)"
    found = validate.run(bench.stack, "", CheckOptions(fail_on="note"))
    lines = "\n".join(found.pap.lines)
    assert found.matches and not found.differences and ahead in lines and "DROP" not in lines
    assert "note: 3 differences explained by that" in lines, lines
    said = report.status(bench.stack, NEWER, preflight.Options(schema={"fail_on": "note"})).pap.lines
    assert any(line.startswith("! the schema is ahead of the API that runs (old): since ") for line in said), said
    assert any(line.startswith("nothing to deploy") for line in said), said

    # What no migration did still fails: a column of another type, one more, one that is gone.
    bench.server.sql("ALTER TABLE users ADD COLUMN by_hand int", bench.dbname)
    bench.server.sql("ALTER TABLE users ALTER COLUMN email TYPE text", bench.dbname)
    with pytest.raises(validate.SchemaDiffers) as differs:
        validate.run(bench.stack, "", CheckOptions(fail_on="note"))
    assert {item["object"] for item in differs.value.data["differences"]} == {"users.email", "users.by_hand"}
    assert any(ahead in line for line in differs.value.data["lines"])

    # A migration that is no longer in force explains nothing.
    bench.server.sql("ALTER TABLE users DROP COLUMN by_hand", bench.dbname)
    bench.server.sql(
        "ALTER TABLE pap_deploy.ledger DISABLE TRIGGER ALL; UPDATE pap_deploy.ledger SET event = 'reverted'",
        bench.dbname,
    )
    with pytest.raises(validate.SchemaDiffers) as differs:
        validate.run(bench.stack, "", CheckOptions(fail_on="note"))
    assert "keys" in [item["object"] for item in differs.value.data["differences"]]


def test_a_later_release_ends_it(bench: Bench) -> None:
    taken_back_by_image(bench)
    later = bench.stack.state.begin(
        WHO, **{"from": {"identity": "x", "label": "x"}, "to": {"identity": "y", "label": "y"}}
    )
    later.append("release", "finished")
    assert schema_ahead.now(bench.stack) is None


def test_an_api_that_was_put_back_by_hand(bench: Bench) -> None:
    release = taken_back_by_image(bench)
    journal = bench.stack.state.journal(release)
    journal.append("release", "finished")
    found = schema_ahead.now(bench.stack)
    assert found is not None and "the API of before it was put back by hand" in found.sentence
    assert validate.run(bench.stack, "", CheckOptions()).matches
