"""One place opens the administrating role's sessions, with the pinned settings; what else opens one is listed here."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator

import pytest
from support import ROOT

PACKAGE = ROOT / "module_utils" / "papdeploy"
# By what a call is named, the modules that may make it, and as whom.
OPENERS = {
    # The administrating role, or an owner's login: Database.environment() pins the settings in the start-up packet.
    "tool": {"databases/psql.py", "backup/archive.py", "rehearsal/copies.py", "logwatch/look_server.py"},
    # The application's role, in the application's own Python: its migrations, and the description of its catalog.
    "create_engine": {"migrations/run/engine.py"},
    "connect": {
        "migrations/run/drivers.py", "migrations/run/connection.py", "migrations/run/watchdog.py",
        "migrations/run/session.py", "schema/catalog/connect.py", "schema/models/recorder.py",
        "core/timed_socket.py", "sites/docker/exec_stream.py", "sites/docker/engine.py", "sites/docker/one_off.py",  # sockets
    },
}  # fmt: skip
CLIENTS = ("psql", "pg_dump", "pg_restore", "pg_dumpall", "vacuumdb", "createdb", "dropdb", "createuser", "reindexdb")


@functools.cache
def calls() -> list[tuple[str, str, ast.Call]]:
    return list(_calls())


def _calls() -> Iterator[tuple[str, str, ast.Call]]:
    for folder in (PACKAGE, ROOT / "library", ROOT / "plugins"):
        for path in sorted(folder.rglob("*.py")):
            name = path.relative_to(PACKAGE).as_posix() if folder == PACKAGE else path.relative_to(ROOT).as_posix()
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, (ast.Attribute, ast.Name)):
                    yield name, node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id, node


@pytest.mark.parametrize("opener", OPENERS)
def test_sessions_are_opened_where_it_is_known(opener: str) -> None:
    found = {module for module, called, _ in calls() if called == opener}
    assert found == OPENERS[opener], (
        "open it by Database (databases/psql.py); or list the module in OPENERS, and say as whom it connects"
    )


def test_a_client_that_connects_is_only_named_by_tool() -> None:
    """``program`` gives a path for what connects to nothing: a version, a list, a look at a build."""
    found = set()
    for module, called, node in calls():
        named = [item for item in node.args if isinstance(item, ast.Constant) and item.value in CLIENTS]
        if named and called not in ("tool", "program", "tool_version", "_ended", "startswith"):
            found.add(f"{module}: {called}({named[0].value!r})")
    assert not found, "name the client by Database.tool(), which pins the settings of its session"
