"""What real servers log with every kind of ``log_line_prefix``, destination and language, read as they say they log."""

from __future__ import annotations

import gettext
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from papdeploy.databases.psql import Conninfo, Database
from papdeploy.logwatch import server_log, server_settings
from papdeploy.logwatch.classify import Known, Scan, scan
from papdeploy.logwatch.server_log import ServerLog
from papdeploy.sites.host import HostSite
from support.postgres_servers import Server, bin_dirs, start_server, stop_server
from support.waiting import wait_until

AT = "2026-01-01T10:00:00.000Z"
APP, OTHER = "app", "the other"
LOGGED = {"logging_collector": "on", "log_min_messages": "warning", "log_statement": "all"}

PREFIXES = [
    "%m [%p] %q%u@%d ", "%t [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ", "%t:%r:%u@%d:[%p]:", "%m [%p] %e %d ",
    "%n %% %6p %-20u|%20d|%a|%b|%i ", "%m %s %v %x %c %l %P %Q %d ", "<%d> ", "%d %e: ", "%q%d;%u;%r;%h;%e;", "%a@%d: ",
]  # fmt: skip
BLIND_PREFIXES = ["%m [%p] ", "", "%t %q%e "]


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
        return server_settings.ask(self.database)

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


@pytest.fixture(scope="module", params=[16, 18], ids=["pg16", "pg18"])
def logging(request: pytest.FixtureRequest) -> Iterator[Logging]:
    with running(request.param) as start:
        yield start()


class running:
    """A server of this test's own, ended with it."""

    def __init__(self, major: int, locales: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pap-logs-"))
        self.folder.chmod(0o755)
        self.major, self.locales = major, locales

    def __enter__(self) -> Callable[[], Logging]:
        self.server = start_server(self.major, self.folder / "server", settings=LOGGED, locales=self.locales)
        return lambda: Logging(self.server)

    def __exit__(self, *exception: object) -> None:
        stop_server(self.server)
        shutil.rmtree(self.folder, ignore_errors=True)


def provoked(logging: Logging, server: ServerLog, pattern: str) -> Scan:
    """Two missing columns in the watched database, three in the other one."""
    for name in (APP, OTHER, APP, OTHER, OTHER):
        logging.fails(name)
    time.sleep(0.15)  # the collector writes them
    return scan(logging.fresh(pattern), "database", at=AT, final=True, known=Known(server))


def kinds(found: Scan) -> dict[str, int]:
    return {finding.kind: finding.count for finding in found.findings.values()}


@pytest.mark.every_version
def test_every_prefix_tells_the_databases_apart(logging: Logging) -> None:
    for prefix in PREFIXES:
        server = logging.set(log_destination="stderr", log_line_prefix=prefix)
        assert (server.prefix, server.database, server.databases) == (prefix, APP, 1)
        found = provoked(logging, server, "*.log")
        assert (kinds(found), found.elsewhere) == ({"missing_column": 2}, 3), prefix
        assert found.seen.understood == found.seen.lines > 10, prefix


@pytest.mark.every_version
def test_without_a_database_in_the_prefix_all_are_counted(logging: Logging) -> None:
    for prefix in BLIND_PREFIXES:
        server = logging.set(log_destination="stderr", log_line_prefix=prefix)
        found = provoked(logging, server, "*.log")
        assert (kinds(found), found.elsewhere, server.has_database) == ({"missing_column": 5}, 0, False), prefix


@pytest.mark.every_version
@pytest.mark.parametrize("form", ["csv", "json"])
def test_fields_need_no_prefix(logging: Logging, form: str) -> None:
    server = logging.set(log_destination=f"{form}log", log_line_prefix="")
    assert server.structured and server.has_database and server.has_state
    found = provoked(logging, server, f"*.{form}")
    assert (kinds(found), found.elsewhere) == ({"missing_column": 2}, 3)
    assert found.seen.understood == found.seen.lines > 10


def test_what_a_server_says_of_itself_and_our_own_sessions(logging: Logging) -> None:
    server = logging.set(log_destination="stderr", log_line_prefix="%m [%p] %q%a %u@%d ")
    logging.database.as_release("watch").rows("SELECT 1 AS one")
    with pytest.raises(Exception, match="nothing"):
        logging.database.as_release("watch").rows("SELECT nothing")
    logging.sql("CHECKPOINT")
    logging.fails(
        APP, "DO $$ BEGIN RAISE WARNING 'FATAL:  relation \"x\" does not exist'; RAISE division_by_zero; END $$"
    )
    time.sleep(0.3)
    assert kinds(scan(logging.fresh("*.log"), "database", at=AT, final=True, known=Known(server))) == {
        "database_error": 1
    }


LANGUAGES = ("de_DE", "fr_FR", "es_ES", "ja_JP") if os.environ.get("PAP_NIGHTLY") else ("de_DE", "ja_JP")
needs_catalogs = pytest.mark.skipif(
    15 not in bin_dirs() or not shutil.which("localedef") or not Path("/usr/share/i18n/locales/de_DE").is_file(),
    reason="only Debian's server has the message catalogs, and their locales must be made (package locales)",
)


@needs_catalogs
@pytest.mark.timeout(300)
def test_translated_servers(tmp_path_factory: pytest.TempPathFactory) -> None:
    locales = Path(tempfile.mkdtemp(prefix="pap-locales-"))
    locales.chmod(0o755)
    try:
        for name in LANGUAGES:
            subprocess.run(
                ["localedef", "-i", name, "-f", "UTF-8", locales / f"{name}.UTF-8"], check=False, capture_output=True
            )
        with running(15, str(locales)) as start:
            logging = start()
            for name in LANGUAGES:
                server = logging.set(lc_messages=f"{name}.UTF-8", log_line_prefix="%m [%p] %u@%d %e ")
                assert (server.language, server.has_state) == (f"{name}.UTF-8", True)
                found = provoked(logging, server, "*.log")
                assert (kinds(found), found.elsewhere) == ({"missing_column": 2}, 3), name
                assert found.seen.understood == found.seen.lines, name
                server = logging.set(log_line_prefix="%m [%p] %u@%d ")
                found = provoked(logging, server, "*.log")
                assert (kinds(found), found.elsewhere, server.has_state) == ({"database_error": 2}, 3, False), name
                assert "nothing" in str(found.findings) and "does not exist" not in str(found.findings), name
    finally:
        shutil.rmtree(locales, ignore_errors=True)


@pytest.mark.parametrize(
    "path", sorted(Path("/usr/share/locale").glob("*/LC_MESSAGES/postgres-*.mo")), ids=lambda path: path.parts[4]
)
def test_the_severities_are_those_of_the_servers_catalogs(path: Path) -> None:
    with path.open("rb") as file:
        catalog = gettext.GNUTranslations(file)
    for severity in ("PANIC", "FATAL", "ERROR", "LOG", "INFO", "DEBUG"):
        assert server_log.SEVERITY_OF[catalog.gettext(severity)] == severity
    for severity in ("WARNING", "NOTICE"):  # one language has one word for both
        assert server_log.SEVERITY_OF[catalog.gettext(severity)] in ("WARNING", "NOTICE")
    for detail in ("STATEMENT:  ", "DETAIL:  ", "HINT:  ", "QUERY:  ", "CONTEXT:  "):
        assert catalog.gettext(detail).partition(":")[0].strip() not in server_log.SEVERITY_OF
