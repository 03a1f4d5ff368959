"""Every minute of the watch: did the live database lose anything since the fence of the release came down?

A look costs one query of the catalog; rows are read only where the server's counters of deletions moved. Users delete
rows all day, so what counts is what a table lost since the look before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional

from ..core.errors import PapError
from ..core.records import read_known
from ..databases import loss_rules, relation_baseline, relation_losses
from ..databases.psql import Conninfo, Database
from ..databases.relation_losses import Loss
from ..sites.host import HostSite
from .state import Alarm, Blind, DataSeen, WatchState

KIND = "data_loss"
_LEDGER_SCHEMA = "pap_deploy"
_PATIENCE_S = 60.0  # for a session, which may count rows; the next look is due by then


@dataclass(frozen=True)
class DatabaseSpec:
    """The database as plain data, without its password. ``may_delete``: tables that lose rows in everyday use;
    ``compared``: not in development, where an application may reset it."""

    dbname: str = ""
    container: str = ""
    become: tuple[str, ...] = ()
    bin_dir: str = ""
    host: str = ""
    port: int = 0
    user: str = ""
    may_delete: tuple[str, ...] = ()
    compared: bool = True


NO_DATABASE = DatabaseSpec()


def spec_of(database: Database, may_delete: Sequence[str], environment: str) -> DatabaseSpec:
    """Where the database is, and whether it is to be compared."""
    info = database.conninfo
    return DatabaseSpec(
        dbname=info.dbname,
        container=getattr(database.site, "name", ""),
        become=tuple(getattr(database.site, "become", ())),
        bin_dir=database.bin_dir,
        host=info.host,
        port=info.port,
        user=info.user,
        may_delete=tuple(may_delete),
        compared=environment != "development",
    )


def database_of(spec: DatabaseSpec, password: str) -> Database:
    """The database that :func:`spec_of` described. A server that hangs holds none of its sessions for long."""
    if spec.container:
        from ..app.discovery import database_at
        from ..sites.docker.engine import Engine

        made = database_at(
            Engine(), spec.container, dbname=spec.dbname, user=spec.user, password=password, become=spec.become
        )
    else:
        conninfo = Conninfo(spec.dbname, spec.host, spec.port, spec.user, password)
        made = Database(HostSite(spec.become), conninfo)
    return replace(made, bin_dir=spec.bin_dir, patience_s=_PATIENCE_S).as_release("watch")


def period_s(state: WatchState) -> float:
    """Seconds between two looks: every other step of the watch, and at least once a minute."""
    return min(60.0, 2 * state.interval_s)


@dataclass(frozen=True)
class Look:
    """``losses``: what nothing explains, and is new; ``lost``: all by now; ``error``: why it could not be seen."""

    losses: Sequence[Loss] = ()
    lost: Mapping[str, int] = field(default_factory=dict)
    error: str = ""


def look(folder: Path, state: WatchState, spec: DatabaseSpec, password: str) -> Optional[Look]:
    """What the database has lost. None where it is not compared, and while there is no baseline yet."""
    before = state.data
    path = folder / relation_baseline.FILE
    if not _is_compared(folder, spec):
        return None
    baseline = read_known(relation_baseline.Baseline, json.loads(path.read_text(encoding="utf-8")), path.name)
    try:
        found = relation_losses.compare(
            database_of(spec, password), baseline, ignore_schemas=(_LEDGER_SCHEMA,), deletions_only=True
        )
    except PapError as error:
        return Look(error=error.message)
    known = before.lost if before else {}
    fresh = [new for loss in found.losses if (new := _since(loss, known)) is not None]
    return Look(
        losses=loss_rules.intolerable(fresh, baseline, spec.may_delete, loss_rules.TRAFFIC),
        lost={_key(loss): int(loss.rows or 0) for loss in found.losses},
    )


def unseen(folder: Path, spec: DatabaseSpec, why: str) -> Optional[Look]:
    """The look where the database could not be asked; None where it is not compared."""
    return Look(error=why) if _is_compared(folder, spec) else None


def _is_compared(folder: Path, spec: DatabaseSpec) -> bool:
    return spec.compared and (folder / relation_baseline.FILE).is_file()


def _key(loss: Loss) -> str:
    return f"{loss.what} {loss.table} {loss.detail}".strip()


def _since(loss: Loss, known: Mapping[str, int]) -> Optional[Loss]:
    """The part of a loss that is new since the look before; None if nothing is."""
    if _key(loss) not in known:
        return loss
    more = int(loss.rows or 0) - int(known[_key(loss)])
    return replace(loss, rows=more) if loss.what == "deleted" and more > 0 else None


def judged(state: WatchState, found: Look, at: str) -> WatchState:
    """The state of the watch after a look: an alarm for each table that lost what nothing explains."""
    if found.error:
        since = state.blind["data"].since if "data" in state.blind else at
        blind = {**state.blind, "data": Blind(since, found.error)}
        return replace(state, blind=blind, data=DataSeen(at, state.data.lost if state.data else {}))
    alarms = list(state.alarms)
    known = {(alarm.kind, alarm.subject, alarm.why) for alarm in alarms}
    for loss in found.losses:
        alarm = Alarm(at, KIND, "database", loss.table, loss.rows or 0, f"data was lost: {loss.sentence()}", "")
        if (alarm.kind, alarm.subject, alarm.why) not in known:
            alarms.append(alarm)
    blind = {name: entry for name, entry in state.blind.items() if name != "data"}
    return replace(state, blind=blind, alarms=tuple(alarms), data=DataSeen(at, dict(found.lost)))
