"""What is an alarm in what was measured: each rule says what it found, when, its threshold, and what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Optional

from ..app.api_client import label
from ..app.login import REFUSED
from ..core.clock import seconds_between
from ..core.text import age, plural, size
from .looks import UNREACHABLE, WINDOW, Asked, Look, Server, Slot
from .state import Alarm, Rules

# Kinds that a release does not cause: they are told, and never take it back.
INFRASTRUCTURE = ("database", "replica", "slot")
KINDS = ("unhealthy", "login", "endpoint", "slow", "connections", "wait", "idle", *INFRASTRUCTURE)
_GONE = ("lost", "unreserved")
_READ_LOG = "Read the log of the API at that time."


@dataclass(frozen=True)
class Verdict:
    """Of one thing that was measured: ``bad`` is None while it is neither an alarm nor over."""

    kind: str
    source: str
    subject: str
    bad: Optional[bool]
    why: str = ""
    advice: str = ""
    count: int = 1

    def alarm(self, at: str) -> Alarm:
        return Alarm(at, self.kind, self.source, self.subject, self.count, self.why, self.advice)


def judged(alarms: Sequence[Alarm], verdicts: Iterable[Verdict], at: str) -> list[Alarm]:
    """The alarms after a look. One that is over is raised again when it comes back."""
    found = {(each.kind, each.subject): each for each in verdicts}
    kept = []
    for alarm in alarms:
        verdict = found.get((alarm.kind, alarm.subject))
        over = alarm.kind in KINDS and alarm.over is None and verdict is not None and verdict.bad is False
        kept.append(replace(alarm, over=at) if over else alarm)
    lasting = {(alarm.kind, alarm.subject) for alarm in kept if alarm.over is None}
    return [*kept, *(each.alarm(at) for key, each in found.items() if each.bad and key not in lasting)]


def judge(seen: Sequence[Look], before: Look, rules: Rules) -> Iterator[Verdict]:
    """The verdicts on the last of the looks ``seen``."""
    last = seen[-1]
    if last.health:
        row = _row(seen, lambda look: bool(look.health.worse) if look.health else None)
        yield _failing("unhealthy", last.health, row, rules.fails)
    if last.login:
        row = _row(seen, lambda look: bool(look.login.worse) if look.login else None)
        refused = last.login.status in REFUSED  # is no accident, and the next try is minutes away
        yield _failing("login", last.login, row, 1 if refused else rules.fails)
    for one in last.endpoints:
        yield _failing("endpoint", one, _row(seen, _failing_at(one.path)), rules.fails)
    yield from _slow(seen, before, rules)
    unreachable = next((each.why for each in last.not_looked if each.what == UNREACHABLE), "")
    if last.server or unreachable:
        row = _row(seen, lambda look: any(each.what == UNREACHABLE for each in look.not_looked))
        why = f"the database cannot be asked: {unreachable}; {_in_a_row(row)}"
        yield _verdict("database", "", row, rules.fails, why, "Look whether its server runs and takes connections.")
    if last.server:
        yield from _of_server(seen, last.server, before.server, rules)


def _row(seen: Sequence[Look], is_bad: Callable[[Look], Optional[bool]]) -> int:
    """How many looks in a row, up to the last, found it; those that could not tell are passed over."""
    count = 0
    for look in reversed(seen):
        found = is_bad(look)
        if found is False:
            break
        count += bool(found)
    return count


def _failing_at(path: str) -> Callable[[Look], Optional[bool]]:
    def failing(look: Look) -> Optional[bool]:
        return next((bool(one.worse) for one in look.endpoints if one.path == path), None)

    return failing


def _in_a_row(count: int) -> str:
    return f"{plural(count, 'look')} in a row" if count > 1 else "at the last look"


def _verdict(
    kind: str, subject: str, row: int, limit: int, why: str, advice: str, *, source: str = "database"
) -> Verdict:
    bad = True if row and row >= limit else None if row else False
    return Verdict(kind, source, subject, bad, why, advice, row)


def _failing(kind: str, one: Asked, row: int, limit: int) -> Verdict:
    what = f"POST {one.path}" if kind == "login" else label(one.path)
    return _verdict(kind, one.path, row, limit, f"{what}: {one.worse}; {_in_a_row(row)}", _READ_LOG,
                    source="api")  # fmt: skip


def _slow(seen: Sequence[Look], before: Look, rules: Rules) -> Iterator[Verdict]:
    usual = {one.path: one.p95_ms for one in before.asked if one.p95_ms is not None}
    for one in seen[-1].asked:
        p95 = usual.get(one.path)
        if p95 is None or not one.answered:
            continue
        limit = max(rules.slow_factor * p95, p95 + rules.slow_ms)
        times = [each.ms for look in seen for each in look.asked if each.path == one.path and each.answered][-WINDOW:]
        slow = [ms > limit for ms in times]
        bad = sum(slow) >= rules.slow and slow[-1]
        fine = not any(slow[-max(rules.slow, 1) :])
        why = (
            f"{one.path} is slow: {sum(slow)} of the last {plural(len(times), 'look')} took longer than {limit:.0f} ms;"
            f" p95 {one.p95_ms or 0:.0f} ms, before the deploy {p95:.0f} ms"
        )
        advice = "See what it waits for: the slowest statements in pg_stat_activity, a missing index, a cold cache."
        yield Verdict("slow", "api", one.path, True if bad else False if fine else None, why, advice, sum(slow))


def _of_server(seen: Sequence[Look], server: Server, before: Optional[Server], rules: Rules) -> Iterator[Verdict]:
    most = rules.connections * server.max_connections
    usual = before.connections if before else 0
    row = _row(seen, lambda at: at.server.connections >= most and at.server.connections > usual if at.server else None)
    why = (
        f"{server.connections} of {server.max_connections} connections of the server are in use, limit {most:.0f},"
        f" before the deploy {usual}; {_in_a_row(row)}"
    )
    advice = (
        "See who holds them: SELECT usename, application_name, state, count(*) FROM pg_stat_activity GROUP BY 1, 2, 3;"
    )
    yield _verdict("connections", "", row, rules.fails, why, advice)
    end = "If it may be ended: SELECT pg_terminate_backend(PROCESS);"
    waited = (server.longest_wait_s, before and before.longest_wait_s, rules.wait_s, server.waiting)
    idled = (server.longest_idle_s, before and before.longest_idle_s, rules.idle_s, server.idle)
    older = {before.waiting, before.idle} if before else set()  # they were there before the release
    for kind, what, (seconds, usual_s, rule_s, who) in (
        ("wait", "waits for a lock", waited),
        ("idle", "is idle in an open transaction", idled),
    ):
        if seconds is not None and not (who and who in older):
            limit_s = max(rule_s, rules.slow_factor * (usual_s or 0.0))
            why = f"a session {what} for {age(seconds)}, limit {age(limit_s)}: {who}"
            yield Verdict(kind, "database", "", seconds >= limit_s, why, end)
    yield from _of_replicas(seen, server, before, rules)
    yield from _of_slots(seen, server, before, rules)


def _of_replicas(seen: Sequence[Look], server: Server, before: Optional[Server], rules: Rules) -> Iterator[Verdict]:
    if server.replicas is None:
        return
    now = Counter(each.name for each in server.replicas)
    known = Counter({each.name: 0 for each in server.replicas})
    for each in (before, *(look.server for look in seen)):
        known |= Counter(one.name for one in (each.replicas if each else None) or ())
    for name, count in known.items():
        away_s = _lasting(seen, lambda at, name=name, count=count: _count(at, name) < count)  # type: ignore[misc]
        limit_b = rules.replica_mb * 1e6
        behind = [each for each in server.replicas if each.name == name]
        lag_s = max((each.lag_s or 0.0 for each in behind), default=0.0)
        lag_b = max((each.lag_bytes or 0 for each in behind), default=0)
        if now[name] < count:
            why = f"the standby {name} is away for {age(away_s)}, limit {age(rules.replica_s)}"
            bad = True if away_s >= rules.replica_s else None
            yield Verdict("replica", "database", name, bad, why, "Look whether it runs, and at its log.")
        else:
            why = (
                f"the standby {name} is {age(lag_s)} and {size(lag_b)} behind, limits {age(rules.replica_s)} and"
                f" {size(int(limit_b))}"
            )
            late = lag_s >= rules.replica_s or lag_b >= limit_b
            yield Verdict("replica", "database", name, late, why, "Look at its load, its disk and its network.")


def _count(server: Server, name: str) -> int:
    return sum(each.name == name for each in server.replicas or ())


def _of_slots(seen: Sequence[Look], server: Server, before: Optional[Server], rules: Rules) -> Iterator[Verdict]:
    old = {each.name: each for each in (before.slots if before else None) or ()}
    for slot in server.slots or ():
        if slot.name in old and is_dead(old[slot.name]):
            continue  # it was so before the deploy: that is told, and no alarm
        idle_s = _lasting(seen, lambda at, name=slot.name: not _is_active(at, name))  # type: ignore[misc]
        dead = slot.wal_status in _GONE or (not slot.active and idle_s >= rules.replica_s)
        why = f"{described(slot)} for {age(idle_s)}, limit {age(rules.replica_s)}"
        advice = (
            "Start what it is for. If that is no more, drop it, or the disk fills up:"
            f" SELECT pg_drop_replication_slot('{slot.name}');"
        )
        yield Verdict("slot", "database", slot.name, True if dead else False if slot.active else None, why, advice)


def _is_active(server: Server, name: str) -> bool:
    return any(each.name == name and each.active for each in server.slots or ())


def is_dead(slot: Slot) -> bool:
    return not slot.active or slot.wal_status in _GONE


def described(slot: Slot) -> str:
    """A slot without a reader."""
    lost = f" ({slot.wal_status}: what reads it must be set up anew)" if slot.wal_status in _GONE else ""
    return f"the replication slot {slot.name} has no reader and keeps {size(slot.kept_bytes or 0)} of WAL{lost}"


def dead_before(before: Optional[Look]) -> list[str]:
    """What of the replication was dead before the deploy already, for a person."""
    slots = (before.server.slots if before and before.server else None) or ()
    return [f"before the deploy already, {described(slot)}" for slot in slots if is_dead(slot)]


def _lasting(seen: Sequence[Look], is_so: Callable[[Server], bool]) -> float:
    """Seconds for which it has been so without a break, as far as the looks tell."""
    since = seen[-1].at
    for look in reversed(seen):
        if look.server is not None:
            if not is_so(look.server):
                break
            since = look.at
    return seconds_between(since, seen[-1].at)
