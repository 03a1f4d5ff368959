"""What a rehearsal finds out, on real servers with a real API: each case has a release that behaves in a known way."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from papdeploy import backup, databases
from papdeploy.core.errors import PapError
from papdeploy.phases.live_check import LiveDatabaseChanged
from papdeploy.rehearsal import RehearsalFailed
from support.journals import last
from support.rehearsal_stack import QUERIES, WHO, Bench, migration

ADD = 'db.execute("ALTER TABLE users ADD COLUMN note text")'
ADD_NOTE = migration(ADD, 'db.execute("ALTER TABLE users DROP COLUMN note")')
NOTE = "note: Mapped[str | None] = mapped_column(Text)"
PATIENT = {"online_max_lock_s": 60.0}  # a loaded machine is not what is tested


@pytest.fixture(params=[18], ids=["pg18"])
def bench(request: pytest.FixtureRequest, servers: dict[int, Any], tmp_path: Path) -> Iterator[Bench]:
    server = servers[request.param]
    made = Bench(server, tmp_path, server.create("rehearse"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def untouched(bench: Bench) -> Iterator[None]:
    """Whatever the rehearsal does: production's content, processes, databases, lock and mode of life stay."""
    before = bench.content()
    yield
    after = bench.content()
    # Logins of the baseline are counted in users.logins of the live database; nothing else may have moved.
    del before.tables["public"]["users"], after.tables["public"]["users"]
    assert before.tables == after.tables
    assert before.catalog == after.catalog
    assert bench.live.poll() is None
    assert bench.databases() == [bench.dbname]
    assert bench.stack.state.lock.holder() is None
    assert bench.stack.state.unfinished() is None


OLDER = pytest.param(16, id="pg16", marks=pytest.mark.nightly)
BOTH = pytest.mark.parametrize("bench", [OLDER, pytest.param(18, id="pg18")], indirect=True)


@BOTH
def test_a_good_release(bench: Bench, untouched: None) -> None:
    bench.write_release("new", user=NOTE)
    found = bench.rehearse({"2026_01_01_note.py": ADD_NOTE}, **PATIENT)
    assert found["verdict"] == "good"
    assert found["reversible"] is True
    assert found["old_api_works"] is True
    assert found["candidate"]["works"] is True
    assert [check["name"] for check in found["candidate"]["checks"] if check["ok"]] == [
        "login", "authenticated call", "wrong password refused", "no token refused", "GET /items", "GET /users",
    ]  # fmt: skip
    assert found["downgrade_drops"] == {"tables": {}, "columns": {"public.users.note": 0}}
    assert found["online"] == {"safe": True, "why": []}
    assert [(lock["table"], lock["mode"]) for lock in found["locks"]] == [("public.users", "AccessExclusiveLock")]
    (entry,) = found["migrations"]
    assert entry["rewritten"] == []
    assert entry["wal_bytes"] > 0
    assert {"fence", "restore_point", "migrate", "activate"} <= set(found["phases"])
    assert found["expected_unavailable_s"] >= found["phases"]["migrate"]
    assert set(found["recovery_s"]) == {"image", "downgrade", "swap"}
    assert found["own_writes"] == [{"public.users": 1}]
    tried = found["candidate"]
    assert found["phases"]["activate"] == tried["start_s"] >= tried["healthy_after_s"], "from nothing on"
    assert 0 < tried["stop_s"] < 5 and found["phases"]["fence"] > found["old_api"]["stop_s"]
    end = bench.journal().ended()
    assert end.event == "rehearsed"
    assert last(bench.journal(), "rehearse")["reversible"] is True


def test_the_copy_of_the_proven_backup_is_used_and_dropped(bench: Bench, untouched: None) -> None:
    from papdeploy.phases import backup as backup_phase
    from papdeploy.phases import rehearse
    from papdeploy.rehearsal import Options

    bench.write_release("new", user=NOTE)
    release = bench.open({"2026_01_01_note.py": ADD_NOTE})
    backup_phase.run(bench.stack, release, WHO, backup_phase.Options(keep_copy=True))
    assert len(bench.databases()) == 2
    found = rehearse.run(bench.stack, release, Options(), alone=True, nice=0).rehearsal
    assert found["copy"] == "the copy that proved the backup"
    assert "restore" in found["recovery_s"]


FAILING: dict[str, tuple[dict[str, Any], dict[str, Any], str, Callable[[RehearsalFailed], bool]]] = {
    "a NOT NULL on a column that has a NULL": (
        {"2026_01_01_email.py": migration('db.execute("ALTER TABLE users ALTER COLUMN email SET NOT NULL")',
                                          'db.execute("ALTER TABLE users ALTER COLUMN email DROP NOT NULL")')},
        {},
        "migrate",
        lambda error: "2026_01_01_email" in error.message
        and "contains null values" in error.message
        and "SET NOT NULL" in error.data["statement"],
    ),
    "a model that no migration serves": (
        {"2026_01_01_note.py": ADD_NOTE},
        {"user": NOTE, "item": "colour: Mapped[str | None] = mapped_column(Text)"},
        "migrate",
        lambda error: [d["object"] for d in error.data["differences"]] == ["items.colour"],
    ),
    "a candidate that logs in and fails one endpoint": (
        {"2026_01_01_note.py": ADD_NOTE},
        {"user": NOTE, "queries": {**QUERIES, "/items": "SELECT id, nothing FROM items"}},
        "candidate",
        lambda error: "GET /items: status 500, was 200" in error.message and "nothing" in error.data["log"],
    ),
    "a candidate whose answers lost a field": (
        {"2026_01_01_note.py": ADD_NOTE},
        {"user": NOTE, "fields": ["id"]},
        "candidate",
        lambda error: "lost []" in error.message and "text" in error.message,
    ),
    "a candidate that does not start": (
        {"2026_01_01_note.py": ADD_NOTE},
        {"user": NOTE, "dies": "no such thing"},
        "candidate",
        lambda error: "exit code 1" in error.message and "cannot start: no such thing" in error.message,
    ),
    "a candidate that drops and creates its tables at its start": (
        {"2026_01_01_note.py": ADD_NOTE},
        {"user": NOTE, "at_start": ["DROP TABLE items", "CREATE TABLE items (id serial PRIMARY KEY, user_id int, label text)",
                                    "TRUNCATE users"]},
        "candidate",
        lambda error: "New) loses data of the copy at its start: public.items was dropped and created anew (900 rows"
        " before, 0 now); public.users was truncated (301 rows before, 0 now)." in error.message.replace("(new)", "New)")
        and "pap_api_may_delete: [public.users]" in error.hint,
    ),
    "a candidate that deletes rows at a login": (
        {"2026_01_01_note.py": ADD_NOTE},
        {"user": NOTE, "at_login": ["DELETE FROM items WHERE mod(id, 3) = 0"]},
        "candidate",
        lambda error: "loses data of the copy at a login: up to 300 rows of public.items" in error.message
        or "at a login: 300 rows of public.items were deleted (900 rows before, 600 now)" in error.message,
    ),
    "another schema the second time": (
        {"2026_01_01_note.py": migration(
            """
            db.execute("ALTER TABLE users ADD COLUMN note text")
            number = db.scalar("SELECT txid_current()")
            db.execute(f"COMMENT ON TABLE users IS 'made by {number}'")
            """, """
            db.execute("ALTER TABLE users DROP COLUMN note")
            db.execute("COMMENT ON TABLE users IS NULL")
            """)},
        {"user": NOTE},
        "migrate_again",
        lambda error: "another schema" in error.message and error.data["differences"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILING)
def test_a_release_that_fails_ends_before_production(bench: Bench, untouched: None, case: str) -> None:
    sources, release, step, right = FAILING[case]
    bench.write_release("new", **release)
    with pytest.raises(RehearsalFailed) as caught:
        bench.rehearse(sources, schema={"fail_on": "error"})
    error = caught.value
    assert error.data["step"] == step, error.message
    assert right(error), (error.message, error.data)
    assert "Live database, before and after: the same schema" in error.hint
    assert error.data["ended"]
    assert bench.journal().ended().event == "refused"
    assert last(bench.journal(), "rehearse", "failed")["message"] == error.message


@BOTH
def test_a_claim_of_reversibility_is_tested(bench: Bench, untouched: None) -> None:
    bench.write_release("new")
    lossy = migration(
        """db.execute("UPDATE items SET label = upper(label)")""",
        """db.execute("UPDATE items SET label = lower(label) WHERE id > 5")""",
    )
    found = bench.rehearse({"2026_01_01_upper.py": lossy}, **PATIENT)
    assert found["reversible"] is False
    assert found["reversible_differences"] == ["table public.items has the same 900 rows by count, but other content."]
    assert "does not bring back" in found["downgrade_loses"]
    assert "downgrade" not in found["recovery_s"]
    # The trials then ran on data as the deploy will leave it, not on what the bad downgrade left.
    assert found["candidate"]["works"] is True
    assert found["migrations"][0]["rows"] == 900
    with pytest.raises(RehearsalFailed, match="not reversible"):
        bench.rehearse({"2026_01_01_upper.py": lossy}, require_reversible=True)


@pytest.mark.parametrize(
    ("downgrade", "why"),
    [(None, "cannot be reverted"), ('db.execute("ALTER TABLE users DROP COLUMN nowhere")', "a downgrade fails")],
    ids=["no downgrade", "a downgrade that raises"],
)
def test_what_cannot_be_reverted_is_said(bench: Bench, untouched: None, downgrade: str | None, why: str) -> None:
    bench.write_release("new", user=NOTE)
    found = bench.rehearse({"2026_01_01_note.py": migration(ADD, downgrade)})
    assert found["reversible"] is False
    assert why in found["reversible_why"]
    assert found["candidate"]["works"] is True


def test_an_api_that_runs_now_and_loses_data_is_no_way_back(bench: Bench, untouched: None) -> None:
    bench.write_release("new", user=NOTE)
    behaviour = bench.folder / "old" / "behaviour.json"
    behaviour.write_text(json.dumps({**json.loads(behaviour.read_text()), "at_start": ["DELETE FROM items"]}))
    with pytest.raises(
        RehearsalFailed, match=r"^The API that runs now \(old\) loses .* every row of public.items"
    ) as caught:
        bench.rehearse({"2026_01_01_note.py": ADD_NOTE})
    assert caught.value.data["step"] == "old_api"


def test_what_an_api_adds_is_listed_and_what_it_deletes_must_be_declared(bench: Bench, untouched: None) -> None:
    bench.write_release(
        "new",
        user=NOTE,
        at_start=["DELETE FROM items WHERE id <= 7", "INSERT INTO users (name, password) VALUES ('seed', 'x')",
                  "CREATE TABLE IF NOT EXISTS more (id int)", "UPDATE users SET note = 'n' WHERE id <= 5"],
    )  # fmt: skip
    bench.stack = dataclasses.replace(bench.stack, may_delete=("items",))
    found = bench.rehearse({"2026_01_01_note.py": ADD_NOTE})
    assert found["verdict"] == "good"
    wrote = found["candidate"]["wrote"]
    assert [(loss["table"], loss["rows"]) for loss in wrote["losses"]] == [("public.items", 7)]
    assert wrote["start"]["written"] == {"public.users": {"inserted": 1, "updated": 5}}
    lines = last(bench.journal(), "rehearse", "note")["lines"]
    assert [
        line for line in lines if "the new API wrote on the copy, at its start: users 1 inserted, 5 changed" in line
    ]
    assert [line for line in lines if "as declared in pap_api_may_delete: 7 rows of public.items were deleted" in line]
    assert found["old_api"]["wrote"]["losses"] == []


def test_an_old_api_that_breaks_on_the_new_schema(bench: Bench, untouched: None) -> None:
    bench.write_release("new", queries={**QUERIES, "/items": "SELECT id, title FROM items LIMIT 5"})
    models = bench.folder / "new" / "app" / "models.py"
    models.write_text(models.read_text().replace("    label: Mapped", "    title: Mapped"))
    rename = migration('db.execute("ALTER TABLE items RENAME COLUMN label TO title")',
                       'db.execute("ALTER TABLE items RENAME COLUMN title TO label")')  # fmt: skip
    found = bench.rehearse({"2026_01_01_title.py": rename}, **PATIENT)
    assert found["verdict"] == "good"
    assert found["reversible"] is True
    assert found["old_api_works"] is False
    assert "GET /items" in found["old_api"]["why"]
    assert "image" not in found["recovery_s"]
    assert not found["online"]["safe"]
    assert "does not work on the new schema" in found["online"]["why"][0]
    with pytest.raises(RehearsalFailed, match="cannot run online"):
        bench.rehearse({"2026_01_01_title.py": rename}, mode="online", **PATIENT)


SLOW = migration(
    """db.execute("UPDATE items SET label = label || pg_sleep(0.001)::text")""",
    """db.execute("UPDATE items SET label = rtrim(label)")""",
)


def test_fast_on_an_empty_table_and_slow_on_a_full_one(bench: Bench, untouched: None) -> None:
    bench.write_release("new")
    full = bench.rehearse({"2026_01_01_slow.py": SLOW}, online_max_lock_s=0.5)
    assert full["migrations"][0]["seconds"] > 0.9  # 900 rows at a millisecond each, by the server's own clock
    assert not full["online"]["safe"]
    assert any("writes 900 rows in a transaction" in why for why in full["online"]["why"])
    assert full["deadline_s"] == 30.0
    empty = bench.rehearse({"2026_01_01_slow.py": SLOW}, data="schema")
    assert empty["migrations"][0]["rows"] == 0
    assert empty["cannot_tell"]
    assert empty["expected_unavailable_s"] is None
    assert empty["reversible"] is None
    assert empty["candidate"]["works"] is None
    assert "smoke user is missing from the copy" in empty["candidate"]["why"]
    assert not empty["online"]["safe"]


def test_a_rewrite_is_seen_and_not_safe_under_traffic(bench: Bench, untouched: None) -> None:
    bench.write_release("new")
    models = bench.folder / "new" / "app" / "models.py"
    models.write_text(models.read_text().replace("mapped_column(Integer, server", "mapped_column(BigInteger, server"))
    widen = migration('db.execute("ALTER TABLE users ALTER COLUMN logins TYPE bigint")',
                      'db.execute("ALTER TABLE users ALTER COLUMN logins TYPE integer")')  # fmt: skip
    found = bench.rehearse({"2026_01_01_widen.py": widen}, **PATIENT)
    assert found["migrations"][0]["rewritten"] == ["public.users"]
    assert found["online"]["why"] == ["2026_01_01_widen rewrites public.users"]
    assert found["reversible"] is True


@BOTH
def test_a_migration_outside_of_a_transaction_is_watched_from_beside(bench: Bench, untouched: None) -> None:
    bench.write_release("new", more='\nIndex("ix_items_label", Item.label)')
    index = migration(
        """db.execute("CREATE INDEX CONCURRENTLY ix_items_label ON items (label)")""",
        """db.execute("DROP INDEX CONCURRENTLY ix_items_label")""",
        transactional=False,
    )
    found = bench.rehearse({"2026_01_01_index.py": index}, **PATIENT)
    (entry,) = found["migrations"]
    assert entry["sampled"]
    assert entry["rewritten"] == []
    assert entry["sizes"]["public.items"]["after"] > entry["sizes"]["public.items"]["before"]
    assert found["reversible"] is True
    assert found["locks"] == []
    assert found["online"] == {"safe": True, "why": []}


@BOTH
def test_a_sample_holds_what_its_rows_refer_to(bench: Bench, untouched: None) -> None:
    bench.write_release("new", user=NOTE)
    found = bench.rehearse({"2026_01_01_note.py": ADD_NOTE}, data="sample", sample_rows=20)
    # 20 items at each end of the table and 20 users at each end of theirs; every user that the items refer to is among
    # those, or was added: without it the foreign key could not have been made.
    assert found["copy"].startswith("a sample of ")
    assert 80 <= int(found["copy"].split()[3].replace(",", "")) <= 120
    assert found["candidate"]["works"] is True
    assert found["reversible"] is None
    assert found["cannot_tell"]


def test_an_api_that_has_its_database_from_elsewhere_is_found_out(bench: Bench) -> None:
    bench.write_release("new", user=NOTE, url=bench.server.url(bench.dbname))
    with pytest.raises(PapError, match=r"live database|never connected to the copy"):
        bench.rehearse({"2026_01_01_note.py": ADD_NOTE})
    assert bench.databases() == [bench.dbname]


def test_an_api_that_stays_in_the_live_database_is_ended_by_the_server(bench: Bench, untouched: None) -> None:
    bench.write_release("new", user=NOTE, url_kept=bench.server.url(bench.dbname).replace("+psycopg2", ""))
    with pytest.raises(LiveDatabaseChanged, match="The API on trial connected to the live database") as caught:
        bench.rehearse({"2026_01_01_note.py": ADD_NOTE})
    # Its name may give a session away before its process is found, which is then not told.
    leaks = caught.value.data["sessions"]
    assert leaks and all("api.py" in leak.get("program", "api.py") for leak in leaks), leaks


def test_without_a_trial_command_the_verdict_says_so(bench: Bench, untouched: None) -> None:
    bench.stack = dataclasses.replace(bench.stack, api=bench.api(trial_command=()))
    bench.write_release("new", user=NOTE)
    found = bench.rehearse({"2026_01_01_note.py": ADD_NOTE})
    assert found["candidate"]["works"] is None
    assert found["old_api_works"] is None
    assert found["expected_unavailable_s"] is None
    lines = last(bench.journal(), "rehearse", "note")["lines"]
    assert [line for line in lines if "NOT tried: pap_api_trial_command is not set" in line]


def test_a_deadline_ends_it_and_keep_keeps_the_copy(bench: Bench) -> None:
    bench.write_release("new")
    forever = migration('db.execute("SELECT pg_sleep(60)")', 'db.execute("SELECT 1")')
    with pytest.raises(RehearsalFailed) as caught:
        bench.rehearse({"2026_01_01_forever.py": forever}, migrate_deadline_s=1.0, keep=True)
    kept = caught.value.data["kept"]
    assert bench.databases() == [bench.dbname, kept]
    assert kept in caught.value.hint
    bench.write_release("newer")
    good = migration('db.execute("SELECT 1")', 'db.execute("SELECT 1")')
    bench.rehearse({"2026_01_01_forever.py": good})
    assert bench.databases() == [bench.dbname]


def test_the_backup_is_restored_again_after_a_bad_downgrade(bench: Bench, untouched: None) -> None:
    from papdeploy.phases import backup as backup_phase
    from papdeploy.phases import rehearse
    from papdeploy.rehearsal import Options

    bench.write_release("new")
    lossy = migration("""db.execute("DELETE FROM items WHERE id < 4")""", """db.execute("SELECT 1")""")
    release = bench.open({"2026_01_01_delete.py": lossy})
    taken = backup_phase.run(bench.stack, release, WHO, backup_phase.Options(keep_copy=True)).backup
    assert backup.load_manifest(taken["path"]).manifest.scratch
    found = rehearse.run(bench.stack, release, Options(), alone=True, nice=0).rehearsal
    assert found["reversible"] is False
    assert "items has 897 rows, 900 before" in found["reversible_why"]
    assert found["candidate"]["works"] is True
    assert databases.existing(bench.stack.database) == []
