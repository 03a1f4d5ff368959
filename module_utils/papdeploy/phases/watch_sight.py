"""What the watch after this deploy will not see: measured before it, with a request and a line that must be logged."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping

from ..app.api_client import request
from ..app.stack import Stack
from ..core.clock import now
from ..core.errors import PapError, Refused
from ..logwatch import blindness, rules, server_settings
from ..logwatch.blindness import Blindness
from ..logwatch.classify import Known, scan
from ..logwatch.files import LogSource
from ..logwatch.server_log import ServerLog
from ..logwatch.sources import from_spec
from ..sql.quoting import quote_literal
from . import watch

_PATIENCE_S = 3.0
_RECENT_BYTES = 256 << 10


def lines(stack: Stack, gate: str) -> list[str]:
    """What a person should know; empty if nothing is watched (``gate`` is empty). With ``gate`` fail, blindness is
    refused."""
    found, last = (look(stack), _last(stack)) if gate else ([], [])
    if found and gate == "fail":
        raise Refused(
            f"After a deploy of {stack.label} {found[0].sentence}.",
            hint="To deploy nevertheless: -e watch_blindness=warn",
            blindness=[each.kind for each in found],
            lines=[each.sentence for each in found],
        )
    return [*last, *(each.sentence for each in found)]


def _last(stack: Stack) -> list[str]:
    """What is open of the watch over the release in force: this deploy ends it."""
    journal = stack.state.last_finished()
    status = rules.status(journal.folder) if journal else None
    return [f"release {journal.release}: {status.summary}"] if journal and status and not status.ok else []


def look(stack: Stack) -> list[Blindness]:
    """Everything that the logs of this stack cannot tell."""
    sources = {name: from_spec(spec) for name, spec in watch.sources(stack).items()}
    found: list[Blindness] = []
    server = server_settings.ask(stack.database)
    try:
        if "database" in sources:
            found += [*blindness.of_settings(server), *_silent_server(stack, sources["database"], server)]
        found += _silent_api(stack, sources)
        for name, source in sources.items():
            before = scan(source.recent(_RECENT_BYTES), name, at=now(), final=True, known=Known(server))
            found += blindness.of_lines({name: before.seen})
    except PapError as error:  # the watch itself refuses a log that cannot be read, before the fence
        found.append(Blindness("unreadable", "", error.message, error.hint))
    return found


def _silent_server(stack: Stack, source: LogSource, server: ServerLog) -> list[Blindness]:
    """Let the server log one line, and look for it."""
    if server.min_messages in ("fatal", "panic"):
        return []
    token, mark = f"pap-deploy looks for this line: {secrets.token_hex(8)}", source.now()
    with stack.database.session() as session:
        session.execute(f"DO $do$ BEGIN RAISE LOG USING MESSAGE = {quote_literal(token)}; END $do$")
    if _comes(lambda: token in source.since(mark).text):
        return []
    where = f"the server writes {server.file}" if server.file else "see log_destination and logging_collector"
    return [blindness.silent("database", "the server was told to log a line", f"correct pap_db_log_files: {where}")]


def _silent_api(stack: Stack, sources: Mapping[str, LogSource]) -> list[Blindness]:
    """Ask the API for what it must refuse, without logging in, and look for that."""
    logs = {name: source for name, source in sources.items() if name != "database"}
    marks = {name: source.now() for name, source in logs.items()}
    answers = [request(stack.smoke, path) for path in (stack.smoke.health_path, stack.smoke.me_path)]
    if not logs or not any(answer.status for answer in answers):
        return []
    if _comes(lambda: any(source.since(marks[name]).text for name, source in logs.items())):
        return []
    return [blindness.silent(next(iter(logs)), "requests were answered")]


def _comes(is_there: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _PATIENCE_S
    while not is_there():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
