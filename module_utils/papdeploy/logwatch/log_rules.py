"""When what the logs say since the deploy is an alarm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..core.clock import later, seconds_between
from ..core.text import age, plural
from .classify import Finding
from .kinds import KINDS
from .state import Alarm, Rules, WatchState

# One of these, about something that was not complained of before, is caused by the deploy.
AT_ONCE = ("missing_column", "missing_table", "missing_function", "missing_object", "permission", "crash")


def judge(state: WatchState, at: str) -> Iterator[Alarm]:
    """The alarms for which there is a reason now; those that were raised already are among them."""
    rules = state.rules
    known = {subject for usual in state.baseline.values() for subject in usual.subjects}
    for finding in state.findings:
        if finding.kind in AT_ONCE and f"{finding.kind}|{finding.subject}" not in known:
            yield _alarm(
                at, finding, finding.count, f"{KINDS[finding.kind]}: {finding.subject}; not once before the deploy"
            )
        if finding.kind == "restart":
            extra = times(state, "restart", finding.source) - state.expected_restarts.get(finding.source, 0)
            if extra > rules.restarts:
                yield _alarm(
                    at, finding, extra, f"the {finding.source} started again {plural(extra, 'time')} since the deploy"
                )
    for source in state.baseline:
        for kind in KINDS:
            newest = max((f for f in state.findings if (f.kind, f.source) == (kind, source)),
                         key=lambda f: f.last, default=None)  # fmt: skip
            if newest and kind != "restart":
                yield from _judge_rate(state, rules, newest, at)
    for name, blind in state.blind.items():
        if seconds_between(blind.since, at) >= rules.blind_s:
            what = "the live database cannot be compared" if name == "data" else f"the log of the {name} cannot be read"
            yield Alarm(at, "blind", name, "", 1, f"{what} since {blind.since}", blind.message)


def _judge_rate(state: WatchState, rules: Rules, newest: Finding, at: str) -> Iterator[Alarm]:
    """Compare the whole time since the deploy, and its last minutes, with the time before."""
    kind, source = newest.kind, newest.source
    before = state.baseline[source]
    usual = before.kinds.get(kind, 0)
    elapsed = max(seconds_between(state.started, at), 1.0)
    recent_from = later(at, -rules.window_s)
    for span_s, since in ((elapsed, ""), (min(elapsed, rules.window_s), recent_from)):
        told = [point.logs[source] for point in state.series if source in point.logs and point.at >= since]
        count = sum(counted.kinds.get(kind, 0) for counted in told)
        requests = sum(counted.requests for counted in told)
        if before.requests and requests:
            share = requests / before.requests
            rate = f"{count} in {plural(requests, 'request')}; before: {usual} in {before.requests}"
        elif before.seconds >= 60:
            share = span_s / before.seconds
            rate = f"{count} in {age(span_s)}; before: {usual} in {age(before.seconds)}"
        else:
            share, rate = 1.0, f"{count}; before: {usual} in the log"
        # One more than was seen before: nothing in a short log does not mean that it never happens.
        if count >= rules.min_count and count > rules.factor * (usual + 1) * share:
            yield replace(_alarm(at, newest, count, f"{KINDS[kind]}: {rate}"), subject="")
            return


def _alarm(at: str, finding: Finding, count: int, why: str) -> Alarm:
    return Alarm(at, finding.kind, finding.source, finding.subject, count, why, finding.last_sample)


def times(state: WatchState, kind: str, source: str) -> int:
    """How often a log told of a kind since the deploy."""
    return sum(f.count for f in state.findings if (f.kind, f.source) == (kind, source))
