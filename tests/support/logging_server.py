"""A real PostgreSQL server that logs into files of its own, and two databases on it."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from papdeploy.databases.psql import Conninfo, Database
from papdeploy.logwatch import server_settings
from papdeploy.logwatch.server_log import ServerLog
from papdeploy.sites.host import HostSite

from support.postgres_servers import Server, start_server, stop_server
from support.waiting import wait_until

APP, OTHER = "app", "the other"
LOGGED = {"logging_collector": "on", "log_min_messages": "warning", "log_statement": "all"}


class Logging:
    """A server that logs into files of its own, and what was logged since the last look."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.size: dict[Path, int] = {}
        self.open = {"postgres": server.connect()}
        for name in (APP, OTHER):
            self.sql(f'CREATE DATABASE "{name}"')
            self.open[name] = server.connect(name)
        self.fresh()

    def sql(self, statement: str, name: str = "postgres") -> list[tuple[Any, ...]]:
        with self.open[name].cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @property
    def database(self) -> Database:
        it = self.server
        return Database(HostSite(), Conninfo(APP, it.host, it.port, it.user, it.password), bin_dir=str(it.bin_dir))

    def set(self, **settings: str) -> ServerLog:
        for name, value in settings.items():
            self.sql(f"ALTER SYSTEM SET {name} = '{value}'")
        self.sql("SELECT pg_reload_conf()")
        wait_until(lambda: all(self._has(each, settings) for each in self.open), seconds=10)
        wait_until(lambda: self.sql("SELECT pg_current_logfile()") != [(None,)], seconds=10)
        self.fresh()
        return self.asked()

    def asked(self) -> ServerLog:
        return server_settings.ask(self.database)

    def mend(self, remedy: str) -> ServerLog:
        """Type what a remedy says, as a person would; it takes effect in every session."""
        for statement in filter(None, map(str.strip, remedy.split(";"))):
            self.sql(statement)
        (wanted,) = re.findall(r"log_line_prefix = '(.*)'", remedy)
        wait_until(lambda: all(self._has(each, {"log_line_prefix": wanted}) for each in self.open), seconds=10)
        self.fresh()
        return self.asked()

    def _has(self, name: str, settings: Mapping[str, str]) -> bool:
        return all(self.sql(f"SHOW {setting}", name) == [(value,)] for setting, value in settings.items())

    def fails(self, name: str, statement: str = "SELECT nothing\n\t+ 'ERROR:  x'") -> None:
        with pytest.raises(psycopg2.Error):
            self.sql(statement, name)

    def fresh(self, pattern: str = "*") -> str:
        texts = []
        for path in sorted((self.server.data / "log").glob(pattern)):
            data = path.read_bytes()
            texts.append(data[self.size.get(path, 0) :].decode())
            self.size[path] = len(data)
        return "".join(texts)


class running:
    """A server of this test's own, ended with it."""

    def __init__(self, major: int, locales: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pap-logs-"))
        self.folder.chmod(0o755)
        self.major, self.locales = major, locales

    def __enter__(self) -> Logging:
        self.server = start_server(self.major, self.folder / "server", settings=LOGGED, locales=self.locales)
        return Logging(self.server)

    def __exit__(self, *exception: object) -> None:
        stop_server(self.server)
        shutil.rmtree(self.folder, ignore_errors=True)
