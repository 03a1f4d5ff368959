"""Releases that empty their database, the whole way on a host: refused, rolled back by restore, or found by a rollback.

The database is compared by content before and after. Logins of the smoke test write to three tables, which are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.journals import last
from support.sandbox_playbooks import Place, sandbox_place
from support.surroundings import made_locales

# What `load_dotenv()` does, for a Python that has no dotenv.
DOTENV = """
from pathlib import Path
for _line in Path(".env").read_text().splitlines() if Path(".env").exists() else ():
    os.environ.setdefault(*_line.split("=", 1))
"""
RESET = """
    if os.environ.get("RESET_AT_START") == "true":
        Base.metadata.drop_all(engine)
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """Played in surroundings that the nightly test has one by one."""
    with sandbox_place("destructive") as made, made_locales() as locales:
        turkish = {"LC_ALL": "tr_TR.UTF-8", "LOCPATH": str(locales)} if (locales / "tr_TR.UTF-8").is_dir() else {}
        made.sandbox.surroundings = {"TZ": "Asia/Kathmandu", **turkish}
        made.sandbox.umask = 0o077
        yield made


@pytest.mark.timeout(900)
def test_a_release_that_empties_its_database_at_its_start(place: Place) -> None:
    before = place.content()
    assert before["policies"][0] >= 5000

    # A forgotten file: the API's main module would load it, the models do not.
    forgotten = place.variant("forgotten", {".env": "# for my machine\nCC_DROP_TABLES=true\n"})
    said = place.play("deploy.yml", release_dir=forgotten, rc=2)
    assert f"CC_DROP_TABLES is set to 'true' in {forgotten}/.env, line 2 (forgotten)" in said
    assert "the same schema; no row was written" in said and place.content() == before

    # By a line that only the main module runs.
    boot = place.variant(
        "boot", main=("from fastapi ", "import os\n\nos.environ['CC_DROP_TABLES'] = 'on'\nfrom fastapi ")
    )
    said = place.play("deploy.yml", release_dir=boot, rc=2)
    assert f"CC_DROP_TABLES is set to 'on' in the environment of its program, set by {boot}/app/main.py" in said, said
    assert "the same schema; no row was written" in said and place.content() == before

    # The same by an unknown name, not rehearsed: the live database is emptied, found so, and restored.
    resets = place.variant(
        "resets",
        {".env": "RESET_AT_START=true\n"},
        config=("import os\n", "import os\n" + DOTENV),
        startup=("    Base.metadata.create_all(engine)\n", RESET + "    Base.metadata.create_all(engine)\n"),
    )
    startup = Path(resets) / "app" / "startup.py"
    startup.write_text(startup.read_text().replace("import time\n", "import os\nimport time\n", 1))
    said = place.play("deploy.yml", release_dir=resets, rc=2)
    journal = place.newest()
    assert "THE RELEASE LOST DATA" in said and "public.policies was dropped and created anew (5,000" in said, said
    assert place.running() == "previous" and place.content() == before
    end = journal.ended()
    assert end is not None and (end.event, end.strategy) in (("rolled_back", "restore"), ("rolled_back", "swap"))
    assert place.stack.log_in()[0] == 200
    kept = last(journal, "rollback")
    assert kept is not None and place.stack.sql("SELECT count(*) FROM policies", dbname=kept["kept"]) == [(0,)]
    text = place.report(journal)
    assert "The release lost data" in text and text.index("public.policies") < text.index("Login smoke test")
    assert place.state.unfinished() is None


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_a_rollback_compares_before_it_calls_anything_lossless(place: Place) -> None:
    place.play("deploy.yml")
    before = place.content()
    # A service that deletes expired sessions when it starts, as declared.
    expires = place.variant(
        "expires",
        startup=(
            "    Base.metadata.create_all(engine)\n",
            "    Base.metadata.create_all(engine)\n"
            "    with engine.begin() as connection:\n"
            "        connection.exec_driver_sql('DELETE FROM user_sessions WHERE mod(id, 2) = 0')\n",
        ),
    )
    declared = ("-e", json.dumps({"pap_api_may_delete": ["user_sessions"]}))
    said = place.play("deploy.yml", *declared, release_dir=expires)
    assert "no reason to go back: " in said and "of public.user_sessions were deleted" in said, said
    journal = place.newest()
    assert "Deleted while the release took over" in place.report(journal)
    said = place.play("rollback.yml", "--check", *declared)
    assert "rollback strategy: image" in said and "loses nothing more: no relation is gone" in said, said

    # After its end something empties two tables: no way that leaves them so is lossless, and none is gone unasked.
    place.stack.sql("TRUNCATE policies CASCADE; DELETE FROM audit_logs")
    said = place.play("rollback.yml", "--check", *declared)
    lines = [line for line in said.splitlines() if "THE RELEASE LOST DATA" in line]
    assert lines and "public.policies was truncated (5,000" in lines[0] and "public.audit_logs" in lines[0], said
    assert "rollback strategy: restore" in said or "rollback strategy: swap" in said, said

    # Who takes the image back all the same is told what stays lost, and can still have it back.
    said = place.play("rollback.yml", *declared, "-e", "rollback_strategy=image")
    assert "does not bring back what the release lost: public.policies was truncated" in said, said
    assert "rollback_strategy=restore brings it back" in said or "NOT back" in place.report(journal)
    assert place.running() == "current" and place.content()["policies"][0] == 0
    again = f"rollback_release={journal.release}"
    said = place.play("rollback.yml", *declared, "-e", again, rc=2)
    assert "Its database can follow: -e rollback_strategy=restore" in said, said
    place.play("rollback.yml", *declared, "-e", "rollback_strategy=restore", "-e", "rollback_accept_data_loss=true")
    assert place.running() == "current" and place.content() == before
    end = journal.ended()
    assert end is not None and (end.event, end.strategy) == ("rolled_back", "restore")
    assert "which is back by restore" in place.report(journal)
