"""A small real stack for the tests of the rehearsal: PostgreSQL, SQLAlchemy models, an API over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from papdeploy.app import smoke
from papdeploy.app.host_app import HostApi
from papdeploy.app.stack import Stack
from papdeploy.app.trial import free_port
from papdeploy.core.redact import Redactor
from papdeploy.databases import content_digest
from papdeploy.databases.psql import Conninfo, Database
from papdeploy.phases import preflight, rehearse
from papdeploy.rehearsal import Options
from papdeploy.releases.journal import State
from papdeploy.releases.run import Run
from papdeploy.sites.host import HostSite

if TYPE_CHECKING:
    from support.postgres_servers import Server

WHO = Run(user="tester", host="nowhere", pid=1)

MODELS = """
from sqlalchemy import Boolean, ForeignKey, Index, Integer, BigInteger, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass

class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    password: Mapped[str] = mapped_column(String(80))
    logins: Mapped[int] = mapped_column(Integer, server_default="0")
    email: Mapped[str | None] = mapped_column(String(200))
    {user}

class Item(Base):
    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    label: Mapped[str | None] = mapped_column(Text)
    {item}
{more}
"""

# A release reads how it behaves from behaviour.json in its own folder.
API = """
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import psycopg2

behaviour = json.load(open("behaviour.json"))
url = behaviour.get("url") or os.environ["DATABASE_URL"]
url = url.replace("postgresql+psycopg2://", "postgresql://")
if behaviour.get("dies"):
    sys.exit("cannot start: " + behaviour["dies"])
if behaviour.get("hangs"):
    open(behaviour["hangs"], "w").write(str(os.getpid()))
    time.sleep(600)

if behaviour.get("url_kept"):
    kept = psycopg2.connect(behaviour["url_kept"])
    while True:  # until it is ended
        kept.cursor().execute("SELECT 1")
        time.sleep(0.05)

def query(sql, values=()):
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()

for statement in behaviour.get("at_start", ()):
    query(statement)

class Handler(BaseHTTPRequestHandler):
    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        print(*arguments)

    def handle_one(self):
        user = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.path == "/health":
            return 200, {"ok": True}
        if self.path == "/auth/login":
            given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            for statement in behaviour.get("at_login", ()):
                query(statement)
            found = query("UPDATE users SET logins = logins + 1 WHERE name = %s AND password = %s RETURNING name",
                          (given["username"], given["password"]))
            return (200, {"access_token": found[0][0]}) if found else (401, {"detail": "no"})
        if not user or user == self.headers.get("Authorization"):
            return 401, {"detail": "log in first"}
        if self.path == "/auth/me":
            return 200, {"name": user}
        rows = query(behaviour["queries"][self.path])
        return 200, [dict(zip(behaviour["fields"], row)) for row in rows]

    def do_GET(self):
        try:
            self.answer(*self.handle_one())
        except Exception as error:
            print("500:", error)
            self.answer(500, {"detail": "error"})

    do_POST = do_GET

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

QUERIES = {"/items": "SELECT id, label FROM items LIMIT 5", "/users": "SELECT id, name FROM users LIMIT 5"}


def migration(upgrade: str, downgrade: str | None = None, *, transactional: bool = True) -> str:
    """The text of a migration file from the bodies of its functions."""
    text = f'"""A change.\n\nDate: 2026-01-01\nAuthor: tests\n"""\n\ntransactional = {transactional}\n\n\n'
    text += "def upgrade(db):\n"
    text += textwrap.indent(textwrap.dedent(upgrade).strip(), "    ") + "\n"
    if downgrade is not None:
        text += "\n\ndef downgrade(db):\n" + textwrap.indent(textwrap.dedent(downgrade).strip(), "    ") + "\n"
    return text


@dataclass
class Bench:
    """One stack whose API ``old`` runs on the live database, and everything to rehearse the release ``new``."""

    server: Server
    folder: Path
    dbname: str
    rows: int = 300
    stack: Stack = field(init=False)
    live: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.write_release("old")
        (self.folder / "current").symlink_to("old")
        (self.folder / "env").write_text(f"DATABASE_URL={self.server.url(self.dbname)}\nMODE=test\n")
        self.server.sql(
            "CREATE TABLE users (id serial PRIMARY KEY, name varchar(80) NOT NULL UNIQUE,"
            " password varchar(80) NOT NULL, logins integer NOT NULL DEFAULT 0, email varchar(200));"
            "CREATE TABLE items (id serial PRIMARY KEY, user_id integer NOT NULL REFERENCES users (id), label text);"
            "INSERT INTO users (name, password, email) VALUES ('admin', 'secret', NULL);"
            "INSERT INTO users (name, password, email) SELECT 'Üser ' || n, 'pw', nullif('u' || n || '@x', 'u7@x')"
            f" FROM generate_series(1, {self.rows}) AS n;"
            "INSERT INTO items (user_id, label) SELECT 1 + n % (SELECT count(*) FROM users), 'label ' || n"
            f" FROM generate_series(1, {self.rows * 3}) AS n",
            self.dbname,
        )
        port = free_port()
        environment = {**os.environ, "DATABASE_URL": self.server.url(self.dbname)}
        self.live = subprocess.Popen(
            [sys.executable, "api.py", str(port)], cwd=self.folder / "old", env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        conninfo = Conninfo(self.dbname, self.server.host, self.server.port, self.server.user, self.server.password)
        state = State(self.folder / "state")
        database = Database(
            HostSite(), conninfo, str(self.server.bin_dir), registry=state.registry("bench", self.dbname)
        )
        self.stack = Stack(
            name="bench",
            environment="staging",
            state=state,
            database=database,
            api=self.api(),
            models=("app.models:Base",),
            smoke_settings={"username": "admin", "password": "secret", "endpoints": tuple(QUERIES),
                            "health_deadline_s": 20.0},
            url=f"http://127.0.0.1:{port}",
            redactor=Redactor([self.server.password]),
        )  # fmt: skip
        smoke.wait_until_healthy(self.stack.smoke)

    def api(self, **changes: Any) -> HostApi:
        command = ("false",)  # nothing here may start or stop the API that runs
        made = HostApi(
            folder=str(self.folder), python=sys.executable, release_dir=str(self.folder / "new"),
            start_command=command, stop_command=command, restart_command=command, env_file=str(self.folder / "env"),
            trial_command=(sys.executable, "api.py", "{port}"),
        )  # fmt: skip
        return replace(made, **changes)

    def write_release(self, name: str, *, user: str = "", item: str = "", more: str = "", **behaviour: Any) -> None:
        """A release directory. ``user``, ``item``, ``more`` go into the models, the rest says how the API behaves."""
        folder = self.folder / name
        (folder / "app").mkdir(parents=True)
        (folder / "app" / "__init__.py").write_text("")
        models = MODELS.replace("{user}", user).replace("{item}", item).replace("{more}", more)
        (folder / "app" / "models.py").write_text(models)
        (folder / "api.py").write_text(API)
        chosen = {"queries": QUERIES, "fields": ["id", "text"], **behaviour}
        (folder / "behaviour.json").write_text(json.dumps(chosen))

    def open(self, sources: dict[str, str]) -> str:
        """The preflight of a deploy of ``new``: opens a release."""
        found = preflight.run(self.stack, sources, WHO, preflight.Options(), check_mode=False, versions={})
        return str(found.release)

    def rehearse(self, sources: dict[str, str], **options: Any) -> dict[str, Any]:
        """Preflight and rehearsal, without a backup before; the verdict."""
        release = self.open(sources)
        result = rehearse.run(self.stack, release, Options(**options), alone=True, nice=0)
        assert result.pap.lines
        return dict(result.rehearsal)

    def journal(self) -> Any:
        return self.stack.state.releases()[-1]

    def content(self) -> Any:
        """The content digest of the live database, without what a login writes."""
        return content_digest.take(self.stack.database)

    def databases(self) -> list[str]:
        """Every database that belongs to this stack."""
        rows = self.server.sql(f"SELECT datname FROM pg_database WHERE datname LIKE '{self.dbname}%' ORDER BY 1")
        return [row[0] for row in rows]

    def close(self) -> None:
        self.live.kill()
        self.live.wait()
        for name in self.databases():
            if name != self.dbname:
                self.server.drop(name)
