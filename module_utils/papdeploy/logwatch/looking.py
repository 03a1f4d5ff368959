"""Every minute of the watch: look at the API and at the server of its database, beside reading what they log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from ..core.clock import seconds_between
from ..core.errors import PapError
from ..core.redact import Redactor
from ..databases.psql import Database
from ..releases import smoke_test_logins
from ..releases.journal import Journal, State
from ..releases.records import Preflight
from . import data_rules, look_api, look_rules, look_server, looks
from .confidential import Confidential
from .data_rules import DatabaseSpec
from .look_api import ApiAddress, Before
from .looks import Asked, Look, NotLooked, Server
from .state import WatchState


@dataclass(frozen=True)
class Found:
    """A look that is not judged yet, those before it, and what the database has lost (None where not compared)."""

    look: Look
    earlier: Sequence[Look]
    data: Optional[data_rules.Look] = None


def keep_before(folder: Path, database: Database, at: str, redactor: Redactor) -> None:
    """Keep how the API and the server do before the deploy: what its preflight measured, and a look at the server."""
    seen = look_server.look(database)
    usual = replace(before(folder).as_look(at), server=seen.server, not_looked=seen.not_looked)
    looks.keep_before(folder, _masked(usual, redactor))


def look(
    folder: Path, api: ApiAddress, spec: DatabaseSpec, state: WatchState, known: Confidential, at: str
) -> Optional[Found]:
    """What there is to be seen, if a look is due. It takes as long as the slowest answer, and never raises for one."""
    seen = looks.recent(folder)
    if state.ended is not None or (seen and seconds_between(seen[-1].at, at) < data_rules.period_s(state) - 0.5):
        return None
    busy = at_work(folder)
    if busy:  # the API is stopped and tables are locked because they are to be
        return Found(Look(at, not_looked=(NotLooked("everything", busy),)), seen)
    if not spec.dbname:
        found = _at_api(folder, api, known, seen, at)
        return Found(_with(found, NotLooked("the server of the database", "this watch does not know it")), seen)
    try:
        database = data_rules.database_of(spec, known.database_password)
    except PapError as error:  # its container, or the engine that runs it, is away
        found = _at_api(folder, api, known, seen, at)
        unseen = data_rules.unseen(folder, spec, error.message)
        return Found(_with(found, NotLooked(looks.UNREACHABLE, error.message.rstrip("."))), seen, unseen)
    with smoke_test_logins.watched(database, Journal(folder), logs_out=api.logs_out):
        found = _at_api(folder, api, known, seen, at)
    server = look_server.look(database)
    if server.silent:  # the session of a comparison would wait as well
        data = data_rules.unseen(folder, spec, server.silent)
    else:
        data = data_rules.look(folder, state, spec, known.database_password)
    return Found(_with(replace(found, server=server.server), *server.not_looked), seen, data)


def _with(found: Look, *more: NotLooked) -> Look:
    return replace(found, not_looked=(*found.not_looked, *more))


def _at_api(folder: Path, api: ApiAddress, known: Confidential, seen: list[Look], at: str) -> Look:
    if not (api.url or api.containers):
        return Look(at, not_looked=(NotLooked("the API", "its address is not known: pap_api_url"),))
    try:
        return look_api.look(api.config(known.smoke), before(folder), seen, at)
    except PapError as error:
        return look_api.unreachable(error, at)


def before(folder: Path) -> Before:
    """What the API answered before the deploy."""
    looked = Journal(folder).newest(Preflight)
    return Before(looked.health, looked.login, looked.baseline or ()) if looked else Before()


def at_work(folder: Path) -> str:
    """Which run has the API and the database in its hands, beside the deploy that this watch is a part of."""
    journal = Journal(folder)
    for later in State(folder.parent.parent).later_than(journal):
        if later.ended() is None:
            return f"release {later.release} is at work"
    if journal.has("rollback", "begin") and journal.ended() is None:
        return "this release is being rolled back"
    return ""


def judged(folder: Path, state: WatchState, found: Found, redactor: Redactor) -> tuple[WatchState, Look]:
    """The state of the watch after a look, and the look as it is recorded, without secrets."""
    look = _masked(found.look, redactor)
    usual = looks.before(folder) or Look(look.at)
    known = len(state.alarms)
    if found.data is not None:
        state = data_rules.judged(state, found.data, look.at)
    seen = [*found.earlier, look]
    alarms = look_rules.judged(state.alarms, look_rules.judge(seen, usual, state.rules), look.at)
    state = replace(state, alarms=tuple(alarms))
    lost = len({alarm.subject for alarm in alarms if alarm.kind == data_rules.KIND})
    compared = found.data is not None and not found.data.error
    fresh = tuple(alarm.why for alarm in alarms[known:])
    return state, replace(look, lost=lost if compared else None, alarms=fresh)


def _masked(look: Look, redactor: Redactor) -> Look:
    """Without secrets in what programs said."""

    def asked(one: Asked) -> Asked:
        return replace(one, problem=redactor.text(one.problem), worse=redactor.text(one.worse))

    return replace(
        look,
        health=look.health and asked(look.health),
        login=look.login and asked(look.login),
        endpoints=tuple(map(asked, look.endpoints)),
        server=look.server and _named(look.server, redactor.text),
        not_looked=tuple(replace(each, why=redactor.text(each.why)) for each in look.not_looked),
    )


def _named(server: Server, shown: Callable[[str], str]) -> Server:
    """With the names that clients and standbys gave themselves as they are shown."""
    return replace(
        server,
        waiting=shown(server.waiting),
        idle=shown(server.idle),
        replicas=None
        if server.replicas is None
        else tuple(replace(each, name=shown(each.name)) for each in server.replicas),
        slots=None if server.slots is None else tuple(replace(each, name=shown(each.name)) for each in server.slots),
    )
