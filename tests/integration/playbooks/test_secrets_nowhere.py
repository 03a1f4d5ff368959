"""An application that tells everybody everything: none of its secrets is in what a deploy prints, keeps or fetches."""

from __future__ import annotations

import html
import json
import shutil
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from papdeploy.core.redact import MASK, TEXTS
from papdeploy.logwatch import rules
from sqlalchemy.engine import URL
from support.journals import entries
from support.sandbox_stack import PASSWORD, Sandbox
from support.waiting import wait_until

LINES = ["MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", "BKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"]
SECRETS = {
    "STRIPE_KEY": "sk_live_51HxYzAbCdEf",
    "SMTP_PASS": "s&p<a>s'w/ö %x+y\\z",
    "JWT_PRIVATE": "\\n".join(["-----BEGIN PRIVATE KEY-----", *LINES, "-----END PRIVATE KEY-----"]),
    "SENTRY_DSN": "https://0123456789abcdef@o1.ingest.example/55",
    "PEPPER_OF_OURS": "correcthorsebattery",
    "NOBODY_KNOWS_WHAT": "Zx9!kq-77",
}
LEAKS = '''
import html, json, os, sys
from urllib.parse import quote, quote_plus
from sqlalchemy.engine import URL

NAMES = [*{names}, "DATABASE_URL", "SECRET_KEY"]

def spellings(secret):
    return [secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret), html.escape(secret), repr(secret),
            secret.replace("\\\\n", "\\n"), URL.create("x", "u", secret).render_as_string(hide_password=False)]

def told(*more):
    """Every secret in every spelling."""
    return [spelled for secret in [*(os.environ.get(name, "") for name in NAMES), *more] for spelled in spellings(secret)]

def say(where, *more):
    for spelled in told(*more):
        print(f"ERROR:    {{where}}: the vault does not know {{spelled}}", file=sys.stderr, flush=True)
'''
MIGRATION = '''
"""Tell everything."""
import os, sys
sys.path.insert(0, {release!r})
from app import leaks

def upgrade(db):
    leaks.say("a migration")
    db.execute("COMMENT ON TABLE policies IS 'password: see the docs'")
    if {fails}:
        raise RuntimeError(" and ".join(leaks.told()))

def downgrade(db):
    leaks.say("rolling back")
    db.execute("COMMENT ON TABLE policies IS NULL")
'''


def spellings(secret: str) -> set[str]:
    rendered = URL.create("x", "u", secret).render_as_string(hide_password=False).partition(":u:")[2]
    texts = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1],
             json.dumps(secret, ensure_ascii=False)[1:-1], html.escape(secret), repr(secret)[1:-1], rendered}  # fmt: skip
    return {text for text in texts if text}


class Talking:
    """A sandbox whose new release tells every secret when it starts, at every login, and in a migration."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        facts = sandbox.stack().state
        self.env_file = Path(facts["api"]["env_file"])
        self.release = Path(facts["releases_dir"]) / "current"
        self.url_password = ""
        for line in self.env_file.read_text().splitlines():
            if line.startswith("DATABASE_URL="):
                self.url_password = line.split(":")[2].rpartition("@")[0]
        self.said: list[str] = []
        with self.env_file.open("a") as file:
            file.write("".join(f"{name}={value}\n" for name, value in SECRETS.items()))
        app = self.release / "app"
        (app / "leaks.py").write_text(LEAKS.format(names=list(SECRETS)))
        main = app / "main.py"
        main.write_text(main.read_text().replace("from app import (", "from app import leaks\nfrom app import (", 1)
                        .replace("    prepare_database()\n", "    prepare_database()\n    leaks.say('starting')\n", 1))  # fmt: skip
        self.auth = (app / "auth.py").read_text()
        self.login(fails=False)

    def login(self, *, fails: bool) -> None:
        body = "    from app import leaks\n    leaks.say('login', credentials.password)\n"
        body += "    raise RuntimeError(' and '.join(leaks.told(credentials.password)))\n" if fails else ""
        head = "-> Any:\n    user = session.scalar(select(User).where(User.username == credentials.username))\n"
        assert self.auth.count(head) == 1
        (self.release / "app" / "auth.py").write_text(
            self.auth.replace(head, head.replace("    user", f"{body}    user", 1))
        )

    def migration(self, *, fails: bool) -> None:
        folder = self.release / "migrations"
        folder.mkdir(exist_ok=True)
        text = MIGRATION.format(release=str(self.release), fails=fails)
        (folder / "2031_01_01_tell_everything.py").write_text(textwrap.dedent(text).lstrip())

    def play(self, playbook: str, *options: str, rc: tuple[int, ...] = (0,)) -> str:
        # An API that logs so many errors is no reason to go back here.
        quick = {"watch_first_s": 1, "watch_interval_s": 1, "watch_rules": {"min_count": 100_000}}
        said = self.sandbox.play(playbook, *options, rc=rc, report_folder=self.sandbox.home / "reports", **quick)
        self.said.append(said)
        return said

    def leaks(self) -> list[str]:
        """Where a secret is, in what was printed and in every file that a deploy keeps or fetches."""
        folder = Path(self.sandbox.stack().state["deploy_dir"])
        files = [path for place in (folder, self.sandbox.home / "reports", self.sandbox.home / "receipts")
                 for path in place.rglob("*") if path.is_file() and path.suffix not in (".dump", ".zip")]  # fmt: skip
        texts = {str(path): path.read_text(errors="replace") for path in files}
        texts.update({f"output {number}": said for number, said in enumerate(self.said)})
        secrets = [*SECRETS.values(), *LINES, PASSWORD, self.url_password]
        return [
            f"{place}: {spelled} in …{text[max(0, text.index(spelled) - 80) : text.index(spelled) + 120]}…"
            for place, text in texts.items() for secret in secrets for spelled in spellings(secret) if spelled in text
        ]  # fmt: skip


def sentences_elsewhere(value: Any, key: str = "") -> list[str]:
    """Sentences of a record under keys that are not declared to hold text, so that nothing would be masked there."""
    if isinstance(value, dict):
        return [found for name, item in value.items() if name not in TEXTS for found in sentences_elsewhere(item, name)]
    if isinstance(value, list):
        return [found for item in value for found in sentences_elsewhere(item, key)]
    ours = ("name", "copy", "when")  # of a check, of a copy, of a look: they hold nothing from elsewhere
    return [f"{key}: {value}"] if isinstance(value, str) and value.count(" ") > 2 and key not in ours else []


def watched_records(folder: Path) -> int:
    state = rules.load(folder)
    return state.records if state else 0


@pytest.fixture
def talking() -> Iterator[Talking]:
    home = Path(tempfile.mkdtemp(prefix="pap-secrets-"))
    home.chmod(0o755)
    sandbox = Sandbox(home)
    try:
        sandbox.command("up", "staging")
        yield Talking(sandbox)
    finally:
        sandbox.command("down", check=False)
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.timeout(1800)
def test_no_secret_is_anywhere(talking: Talking) -> None:
    talking.migration(fails=True)
    said = talking.play("deploy.yml", "--check", "--diff", rc=(0, 2))
    assert "2031_01_01_tell_everything failed" in said and MASK in said
    talking.migration(fails=False)
    talking.login(fails=True)
    said = talking.play("deploy.yml", rc=(2,))
    assert "does NOT work" in said or "does not work" in said, said
    assert MASK in said
    talking.login(fails=False)
    said = talking.play("deploy.yml", "-e", "pap_rehearse=false", "-v")
    assert "finished" in said and "COMMENT ON TABLE policies IS 'password: see the docs'" in said
    folder = talking.sandbox.stack().remembers.releases()[-1].folder
    records = watched_records(folder)
    stack = talking.sandbox.stack()
    assert stack.request("/policies/", token=stack.token())[0] == 200
    wait_until(lambda: watched_records(folder) > records, seconds=60)
    # A start that fails says what it has on its way out.
    tells = {"pap_api_restart_command": ["sh", "-c", f"cat {talking.env_file} >&2; echo {PASSWORD} >&2; exit 3"]}
    said = talking.play("rollback.yml", "-e", json.dumps(tells), rc=(0, 2))
    assert "could not be started" in said
    assert MASK in (folder / "journal.jsonl").read_text()
    samples = (folder / "watch.json").read_text()
    assert "the vault does not know" in samples and MASK in samples
    assert talking.leaks() == []
    noted = [entry for journal in talking.sandbox.stack().remembers.releases() for entry in entries(journal)]
    elsewhere = sentences_elsewhere(noted)
    assert not elsewhere, "\n".join(elsewhere)
