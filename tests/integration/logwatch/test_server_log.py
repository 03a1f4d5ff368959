"""What real servers log with every kind of ``log_line_prefix``, destination and language, read as they say they log."""

from __future__ import annotations

import gettext
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from papdeploy.logwatch import blindness, server_log, server_settings
from papdeploy.logwatch.classify import Known, Scan, scan
from papdeploy.logwatch.server_log import ServerLog
from support.logging_server import APP, OTHER, Logging, running
from support.postgres_servers import bin_dirs

AT = "2026-01-01T10:00:00.000Z"

PREFIXES = [
    "%m [%p] %q%u@%d ", "%t [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ", "%t:%r:%u@%d:[%p]:", "%m [%p] %e %d ",
    "%n %% %6p %-20u|%20d|%a|%b|%i ", "%m %s %v %x %c %l %P %Q %d ", "<%d> ", "%d %e: ", "%q%d;%u;%r;%h;%e;", "%a@%d: ",
]  # fmt: skip
BLIND_PREFIXES = ["%m [%p] ", "", "%t %q%e "]


@pytest.fixture(scope="module", params=[16, 18], ids=["pg16", "pg18"])
def logging(request: pytest.FixtureRequest) -> Iterator[Logging]:
    with running(request.param) as server:
        yield server


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
        (blind,) = blindness.of_settings(server)
        assert (blind.kind, blind.source) == ("database", "database")
        mended = logging.mend(blind.remedy)
        assert list(blindness.of_settings(mended)) == []
        assert provoked(logging, mended, "*.log").elsewhere == 3, mended.prefix


@pytest.mark.every_version
@pytest.mark.parametrize("form", ["csv", "json"])
def test_fields_need_no_prefix(logging: Logging, form: str) -> None:
    server = logging.set(log_destination=f"{form}log", log_line_prefix="")
    assert server.structured and server.has_database and server.has_state
    found = provoked(logging, server, f"*.{form}")
    assert (kinds(found), found.elsewhere) == ({"missing_column": 2}, 3)
    assert found.seen.understood == found.seen.lines > 10


def test_a_server_that_logs_no_errors_is_blind(logging: Logging) -> None:
    server = logging.set(log_destination="stderr", log_line_prefix="%m [%p] %q%u@%d ")
    assert list(blindness.of_settings(server)) == []
    for level in ("log", "fatal", "panic"):
        logging.sql(f"ALTER DATABASE {APP} SET log_min_messages = {level}")
        (blind,) = blindness.of_settings(logging.asked())
        assert blind.kind == "level" and blind.remedy.startswith("ALTER SYSTEM SET log_min_messages = 'warning';")
    logging.sql(f"ALTER DATABASE {APP} RESET log_min_messages")


def test_a_role_without_more_rights_can_ask(logging: Logging) -> None:
    server = logging.set(log_line_prefix="%m [%p] %q%u@%d ")
    assert server.file.startswith("log/")
    logging.sql("CREATE ROLE plain LOGIN PASSWORD 'plain'")
    whole = logging.database
    plain = replace(whole, conninfo=replace(whole.conninfo, user="plain", password="plain"))
    assert server_settings.ask(plain) == replace(server, file="")


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
        with running(15, str(locales)) as logging:
            for name in LANGUAGES:
                server = logging.set(lc_messages=f"{name}.UTF-8", log_line_prefix="%m [%p] %u@%d %e ")
                assert (server.language, server.has_state) == (f"{name}.UTF-8", True)
                found = provoked(logging, server, "*.log")
                assert (kinds(found), found.elsewhere) == ({"missing_column": 2}, 3), name
                assert found.seen.understood == found.seen.lines, name
                server = logging.set(log_line_prefix="%m [%p] %u@%d ")
                found = provoked(logging, server, "*.log")
                assert (kinds(found), found.elsewhere, server.has_state) == ({"database_error": 2}, 3, False), name
                (blind,) = blindness.of_settings(server)
                assert blind.kind == "language" and name in blind.what
                mended = logging.mend(blind.remedy)
                assert list(blindness.of_settings(mended)) == [] and mended.has_state
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
