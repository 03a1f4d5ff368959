"""What Prometheus says of the service: queries of the inventory, each of which must give one number within its bounds.

A query that gives none (no series, several, NaN, an error, no answer) is said as what it is: not measured. The last
answers, and those of before the deploy, are in ``<release>/watch-promql.json``.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional
from urllib.parse import urlencode

from ..core import http
from ..core.clock import epoch, from_epoch, now, seconds_between
from ..core.durable import write_durably
from ..core.errors import Refused
from ..core.plain_json import parse
from ..core.records import as_object, read, recorded
from ..core.redact import Redactor
from ..core.text import plural
from ..core.visible import visible
from .state import Alarm, WatchState

KIND, SOURCE = "promql", "Prometheus"
_ONE_S, _ALL_S = 5.0, 10.0
_SKEW_S = 300.0  # an answer of another time is one of a cache, or a clock is wrong
_NUMBER = re.compile(r"NaN|[+-]?(?:Inf|[0-9]{1,400}(?:\.[0-9]{1,400})?(?:e[+-]?[0-9]{1,4})?)", re.IGNORECASE)


@dataclass(frozen=True)
class Query:
    """What is asked, and between which numbers the answer must be."""

    query: str
    max: Optional[float] = None
    min: Optional[float] = None

    @property
    def bounds(self) -> str:
        parts = [f"at least {self.min:g}"] if self.min is not None else []
        return " and ".join([*parts, *([f"at most {self.max:g}"] if self.max is not None else [])])


@dataclass(frozen=True)
class Gate:
    """``unmeasured``: ``fail`` if a query that gives no number is an alarm, else ``warn``."""

    url: str = ""
    queries: tuple[Query, ...] = ()
    unmeasured: str = "warn"

    @property
    def fails(self) -> bool:
        return self.unmeasured == "fail"


NO_GATE = Gate()


@dataclass(frozen=True)
class Figure:
    """An answer: its ``value``, or ``problem``, why there is none, and ``since`` when. ``outside``:
    how it is beyond its bounds."""

    query: str
    bounds: str
    at: str
    value: str = ""
    problem: str = ""
    outside: str = ""
    since: str = ""

    @property
    def sentence(self) -> str:
        name = visible(" ".join(self.query.split()))
        if self.problem:
            return f"{name} was not measured: {self.problem}; it should be {self.bounds}"
        return f"{name} = {self.value}, {self.outside or self.bounds}"


@dataclass(frozen=True)
class Figures:
    before: tuple[Figure, ...] = ()
    last: tuple[Figure, ...] = ()

    @property
    def lines(self) -> list[str]:
        """For a person, with what a number was before the deploy."""
        before = {figure.query: figure.value for figure in self.before}
        found = []
        for figure in self.last:
            was = before.get(figure.query, "")
            found.append(figure.sentence + (f"; before: {was}" if was else ""))
        return found


def gate_of(url: str, queries: Sequence[Mapping[str, Any]], unmeasured: str) -> Gate:
    """The gate that the inventory describes; raises Refused if it cannot be asked."""
    made = Gate(url.rstrip("/"), tuple(_query(number, each) for number, each in enumerate(queries)), unmeasured)
    if made.queries and not made.url:
        raise Refused(
            "watch_promql has queries, and there is no Prometheus to ask.",
            hint="Set watch_prometheus_url, for example http://prometheus:9090.",
        )
    return made


def _query(place: int, given: Mapping[str, Any]) -> Query:
    where = f"watch_promql[{place}]"
    some = {key: value if key == "query" else number(value) for key, value in given.items() if value is not None}
    found = read(Query, some, where)
    limits = [limit for limit in (found.min, found.max) if limit is not None]
    if not found.query.strip() or not limits or any(map(math.isnan, limits)):
        raise Refused(f"{where} needs a query, and max or min as a number.", hint="See watch_promql in the reference.")
    if len(limits) == 2 and limits[0] > limits[1]:
        raise Refused(f"{where}: no number is {found.bounds}.", hint="Exchange min and max.")
    return found


def number(value: object) -> Any:
    """Ansible may have a number as text, where it was put together by a template."""
    if not isinstance(value, str):
        return value
    try:
        found = float(value)
    except ValueError:
        return value
    return int(found) if found.is_integer() else found


# Asking.


@dataclass(frozen=True)
class _Series:
    value: Optional[tuple[float, str]] = None


@dataclass(frozen=True)
class _Data:
    resultType: str = ""
    result: object = None


@dataclass(frozen=True)
class _Reply:
    status: str = ""
    error: str = ""
    warnings: tuple[str, ...] = ()
    data: _Data = _Data()


def ask(gate: Gate, token: str) -> tuple[Figure, ...]:
    """What each query gives now. It takes ten seconds at the most, and never raises for an answer."""
    began, found = time.monotonic(), []
    for query in gate.queries:
        left = _ALL_S - (time.monotonic() - began)
        figure = Figure(query.query, query.bounds, now())
        if left <= 0:
            figure = replace(figure, problem=f"the queries before it have used up the {_ALL_S:g} s for all")
        else:
            value, problem = _ask(gate.url, query.query, token, min(left, _ONE_S))
            figure = replace(figure, problem=problem) if value is None else _measured(figure, query, value)
        found.append(figure)
    return tuple(found)


def _measured(figure: Figure, query: Query, value: float) -> Figure:
    outside = ""
    if query.max is not None and value > query.max:
        outside = f"more than {query.max:g}"
    elif query.min is not None and value < query.min:
        outside = f"less than {query.min:g}"
    return replace(figure, value=f"{value:.6g}", outside=outside)


def _ask(url: str, query: str, token: str, seconds: float) -> tuple[Optional[float], str]:
    """The number, or why there is none."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = http.exchange(
        f"{url}/api/v1/query",
        method="POST",
        headers={**headers, **({"Authorization": f"Bearer {token}"} if token else {})},
        body=urlencode({"query": query}, errors="replace").encode(),
        seconds=seconds,
        proxy=True,
        secrets=[token] if token else [],
    )
    if answer.problem:
        return None, f"Prometheus: {answer.problem}"
    try:
        reply = recorded(_Reply, parse(answer.body))
    except ValueError:
        reply = _Reply()
    said = http.shown(Redactor([token] if token else []).text(" ".join((reply.error, *reply.warnings)).strip()))
    if not 200 <= answer.status < 300 or reply.status != "success":
        status = f"Prometheus answers {answer.status}" if answer.status != 200 else "Prometheus answers an error"
        why = said or ("" if reply.status else "not in the form of its API")
        return None, f"{status}{f': {why}' if why else ''}"
    if reply.warnings:
        return None, f"Prometheus warns that its answer is not whole: {said}"
    return _number(reply.data)


def _number(data: _Data) -> tuple[Optional[float], str]:
    """The one number in an answer."""
    if data.resultType == "scalar":
        series: list[object] = [{"value": data.result}]
    elif data.resultType == "vector" and isinstance(data.result, list):
        series = data.result
    else:
        kind = f"a {http.shown(data.resultType)}" if data.resultType else "nothing"
        return None, f"the query gives {kind}, which is no number"
    if len(series) != 1:
        return None, f"the query gives {plural(len(series), 'series', 'series')}, not one" if series else (
            "the query gives no series"
        )
    found = recorded(_Series, series[0]).value
    if found is None:
        return None, "the query gives a series without a number"
    at, text = found
    if not _NUMBER.fullmatch(text):
        return None, f"the query gives {http.shown(text)}, which is no number"
    if math.isnan(float(text)):
        return None, "the query gives NaN (nothing to divide by?)"
    if not abs(at - epoch(now())) <= _SKEW_S:
        return None, f"the answer is of {_moment(at)}: it comes from a cache, or a clock is wrong"
    return float(text), ""


def _moment(at: float) -> str:
    try:
        return from_epoch(at)
    except (ValueError, OverflowError, OSError):
        return f"second {at:g}"


# What is kept, and when it is an alarm.


def load(folder: Path) -> Figures:
    try:
        return recorded(Figures, parse((folder / "watch-promql.json").read_bytes()))
    except (FileNotFoundError, ValueError):
        return Figures()


def save(folder: Path, found: Figures) -> None:
    write_durably(folder / "watch-promql.json", json.dumps(as_object(found)).encode())


def look(folder: Path, gate: Gate, token: str) -> tuple[Figure, ...]:
    """Ask the gate of a release, and keep the answers; nothing without a gate."""
    if not gate.queries:
        return ()
    known = load(folder)
    since = {figure.query: figure.since for figure in known.last}
    found = tuple(
        replace(figure, since=since.get(figure.query) or figure.at) if figure.problem else figure
        for figure in ask(gate, token)
    )
    save(folder, replace(known, last=found))
    return found


def judged(state: WatchState, found: Sequence[Figure], gate: Gate, at: str, patience_s: float) -> WatchState:
    """The state of the watch after it has asked: an alarm for each number out of its bounds, and for each that has
    been missing for ``patience_s`` where that is not tolerated."""
    raised = {(alarm.kind, alarm.subject) for alarm in state.alarms if alarm.source == SOURCE}
    alarms = list(state.alarms)
    for figure in found:
        missing = figure.problem and gate.fails and seconds_between(figure.since or figure.at, at) >= patience_s
        kind = "blind" if missing else KIND  # that nothing was measured is no reason to take a release back later
        if (figure.outside or missing) and (kind, figure.query) not in raised:
            alarms.append(Alarm(at, kind, SOURCE, figure.query, 1, figure.sentence, ""))
    return replace(state, alarms=tuple(alarms))
