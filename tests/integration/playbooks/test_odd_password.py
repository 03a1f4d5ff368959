"""A deploy with a password of every printable character: it works, and the password stands in nothing that was written."""

from __future__ import annotations

import html
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
import yaml
from papdeploy.core.database_url import DatabaseUrl
from sqlalchemy import URL
from support.pooler import Pooler
from support.sandbox_stack import Sandbox, Stack

PASSWORD = "".join(chr(code) for code in range(32, 127)) + "ü"
RAW = PASSWORD.replace("@", "%40")  # SQLAlchemy takes all but that as it is
ENCODED = quote(PASSWORD, safe="")
SPELLINGS = {
    PASSWORD,
    RAW,
    ENCODED,
    quote(PASSWORD),
    quote_plus(PASSWORD),
    repr(PASSWORD)[1:-1],
    json.dumps(PASSWORD)[1:-1],
    json.dumps(PASSWORD, ensure_ascii=False)[1:-1],
    html.escape(PASSWORD),
    URL.create("postgresql", "u", PASSWORD, "h", database="d").render_as_string(hide_password=False)[15:-4],
}
PIECE = 12  # so much of it in one piece is a leak too
# What belongs to the stack itself: the sandbox's secrets, the API with its environment file and log, the server.
ITS_OWN = ("secrets", "api", "db")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    home = Path(tempfile.mkdtemp(prefix="pap-password-"))
    home.chmod(0o755)
    secrets = home / "staging" / "secrets"
    secrets.mkdir(parents=True, mode=0o755)
    (secrets / "password-control_core").write_text(PASSWORD, encoding="utf-8")
    made = Sandbox(home)
    try:
        made.command("up", "staging")
        yield made
    finally:
        made.command("down", check=False)
        shutil.rmtree(home, ignore_errors=True)


def deploy(sandbox: Sandbox, url: str, **variables: object) -> str:
    """A whole deploy by an API whose environment holds ``url``; what the terminal showed at -v."""
    path = sandbox.home / "staging" / "api" / "env"
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("DATABASE_URL=")]
    path.write_text("\n".join([f"DATABASE_URL={url}", *lines]) + "\n", encoding="utf-8")
    # The server and the API of the sandbox are up: it must not write its own spelling of the URL again.
    extra = {"pap_sandbox": False, "report_folder": str(sandbox.home / "reports"), "watch_first_s": 1, **variables}
    given = sandbox.home / "staging" / "secrets" / "extra.yml"
    given.write_text(yaml.safe_dump(extra, allow_unicode=True), encoding="utf-8")
    return sandbox.play("deploy.yml", "-v", "-e", f"@{given}")


def leaks(text: str) -> list[str]:
    pieces = {spelling[i : i + PIECE] for spelling in SPELLINGS for i in range(0, len(spelling) - PIECE, PIECE)}
    return sorted(piece for piece in {*SPELLINGS, *pieces} if piece in text)


@pytest.mark.nightly
@pytest.mark.timeout(1700)
def test_it_works_raw_and_encoded_and_is_in_nothing_that_was_written(sandbox: Sandbox) -> None:
    stack = Stack(sandbox.home / "staging")
    postgres = stack.state["postgres"]
    host, port, dbname = postgres["host"], int(postgres["port"]), postgres["database"]
    policies = stack.sql("SELECT count(*), sum(hashtext(p::text)) FROM policies AS p")

    said = deploy(sandbox, f"postgresql://control_core:{RAW}@{host}:{port}/{dbname}")
    assert "works on it: healthy" in said
    assert stack.log_in()[0] == 200 and (stack.base / "api" / "current").resolve().name == "current"

    # Again, encoded, and through a pooler that gives the database another name.
    pooler = Pooler(host, port, {"pooled": dbname})
    try:
        direct = DatabaseUrl(dbname, "control_core", PASSWORD, ((host, port),)).render()
        said += deploy(
            sandbox,
            f"postgresql://control_core:{ENCODED}@127.0.0.1:{pooler.port}/pooled",
            pap_database_direct_url=direct,
            preflight_force=True,
            pap_rehearse=False,
        )
        assert set(pooler.connected) == {"pooled"} and stack.log_in()[0] == 200
    finally:
        pooler.close()

    assert stack.sql("SELECT count(*) FROM policies")[0][0] == policies[0][0]
    assert leaks(said) == []
    written = [path for path in sandbox.home.rglob("*") if path.is_file() and not path.is_symlink()]
    own = [stack.base / name for name in ITS_OWN]
    ours = [path for path in written if not any(folder in (path, *path.parents) for folder in own)]
    assert any(path.name == "journal.jsonl" for path in ours) and any(path.suffix == ".html" for path in ours)
    for path in ours:
        assert leaks(path.read_bytes().decode("utf-8", "replace")) == [], path
