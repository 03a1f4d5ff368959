"""Prometheus asked during the watch: the real one, and one that answers as no Prometheus should."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from papdeploy.core.errors import PapError, Refused
from papdeploy.logwatch import process, promql, rules
from papdeploy.logwatch.confidential import Confidential
from papdeploy.logwatch.promql import Gate, Query
from papdeploy.logwatch.sources import LogSpec
from papdeploy.logwatch.state import Alarm, Rules
from papdeploy.phases import watch
from papdeploy.releases.journal import Journal, State
from papdeploy.releases.run import Run
from support import hostile_http, prometheus
from support.hostile_http import KINDS, SAID_BACK, Hostile, said_back
from support.waiting import wait_until

WHO = Run(user="jane", host="controller", pid=1)
PATH = "/api/v1/query"
TOKEN = "mo0n-prometheus-t0ken"
ERRORS = Query("sum(errors)", max=0.5)


@pytest.fixture
def server() -> Iterator[Hostile]:
    made = Hostile()
    yield made
    made.close()


def answers(server: Hostile, *bodies: Any, status: int = 200) -> None:
    """The server gives these one after another, and the last one for ever."""
    left = list(bodies)

    def speak(_: Hostile, peer: Any) -> None:
        body = left.pop(0) if len(left) > 1 else left[0]
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        peer.sendall(f"HTTP/1.1 {status} x\r\nContent-Length: {len(sent)}\r\n\r\n".encode() + sent)

    server.spoken = speak


def vector(*values: Any, at: float = 0.0, **more: Any) -> dict[str, Any]:
    series = [{"metric": {"n": str(n)}, "value": [at or time.time(), value]} for n, value in enumerate(values)]
    return {"status": "success", "data": {"resultType": "vector", "result": series}, **more}


def asked(server: Hostile, query: Query = ERRORS) -> promql.Figure:
    (found,) = promql.ask(Gate(server.url, (query,)), TOKEN)
    return found


@pytest.mark.parametrize(
    ("value", "query", "sentence"),
    [
        ("0.25", ERRORS, "sum(errors) = 0.25, at most 0.5"),
        ("0.75", ERRORS, "sum(errors) = 0.75, more than 0.5"),
        ("+Inf", ERRORS, "sum(errors) = inf, more than 0.5"),
        ("-Inf", Query("up", min=1), "up = -inf, less than 1"),
        ("1", Query("up", min=1), "up = 1, at least 1"),
        ("1e-300", Query("up", min=0, max=1), "up = 1e-300, at least 0 and at most 1"),
        ("3", Query("sum(a)\n  /\n\tsum(b) # \x1b[2J", max=2), "sum(a) / sum(b) # \\x1b[2J = 3, more than 2"),
    ],
)
def test_a_number_and_its_bounds(server: Hostile, value: str, query: Query, sentence: str) -> None:
    answers(server, vector(value))
    assert asked(server, query).sentence == sentence
    answers(server, {"status": "success", "data": {"resultType": "scalar", "result": [time.time(), value]}})
    assert asked(server, query).sentence == sentence


SERIES = {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}}]}}


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        (vector(), 200, "the query gives no series"),
        (vector("1", "2", "3"), 200, "the query gives 3 series, not one"),
        (vector("NaN"), 200, "the query gives NaN"),
        (vector("1" * 900), 200, "no number"),
        (vector("0x10"), 200, "gives 0x10, which is no number"),
        (vector("١"), 200, "no number"),
        (vector("1\n"), 200, "no number"),
        (vector(1), 200, "a series without a number"),
        (vector(None), 200, "a series without a number"),
        (vector("1", at=86400.0), 200, "the answer is of 1970-01-02T00:00:00.000Z: it comes from a cache"),
        (vector("1", at=1e300), 200, r"the answer is of second 1e\+300"),
        (vector("1", at=float("nan")), 200, "the answer is of"),
        (vector("1", warnings=["a store did not answer"]), 200, "not whole: a store did not answer"),
        (SERIES, 200, "a series without a number"),
        ({"status": "success", "data": {"resultType": "matrix", "result": []}}, 200, "gives a matrix"),
        ({"status": "success", "data": {"resultType": "vector", "result": {"0": 1}}}, 200, "which is no number"),
        ({"status": "success", "data": []}, 200, "gives nothing"),
        ({"status": "success"}, 200, "gives nothing"),
        ({"status": "error", "errorType": "bad_data", "error": "parse error: \x1b[31munexpected"}, 400,
         r"Prometheus answers 400: parse error: \\x1b\[31munexpected"),
        ({"status": "error", "error": "query timed out"}, 200, "answers an error: query timed out"),
        (b"<html>log in first</html>", 200, "answers an error: not in the form of its API"),
        (b"", 401, "Prometheus answers 401"),
        (vector("0.1"), 503, "Prometheus answers 503"),
        ([1, 2], 200, "not in the form of its API"),
        ("success", 200, "not in the form of its API"),
    ],
)  # fmt: skip
def test_what_is_no_number_is_said(server: Hostile, body: Any, status: int, why: str) -> None:
    answers(server, body, status=status)
    found = asked(server)
    assert (found.value, found.outside) == ("", "")
    assert re.search(why.replace("gives nothing", "gives a? ?nothing"), found.problem), found.problem
    assert found.sentence.startswith("sum(errors) was not measured: ") and "at most 0.5" in found.sentence


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_server_is_no_number_and_costs_no_time(
    server: Hostile, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promql, "_ONE_S", 0.3)
    server.bad[PATH] = kind
    began = time.monotonic()
    found = asked(server)
    assert found.problem and not found.value and time.monotonic() - began < 3
    assert "\x1b" not in found.sentence and "\n" not in found.sentence


def test_all_queries_together_have_a_limit(server: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promql, "_ONE_S", 0.2)
    monkeypatch.setattr(promql, "_ALL_S", 0.5)
    server.bad[PATH] = "silence"
    began = time.monotonic()
    found = promql.ask(Gate(server.url, (ERRORS,) * 50), "")
    assert time.monotonic() - began < 3 and len(found) == 50
    assert "no complete answer" in found[0].problem and "used up" in found[-1].problem


@pytest.mark.parametrize("form", SAID_BACK)
def test_the_token_is_sent_and_never_shown(server: Hostile, form: str) -> None:
    server.spoken = said_back(form)
    assert TOKEN not in asked(server).sentence and f"Bearer {TOKEN}" in server.seen[-1]
    answers(server, {"status": "error", "error": f"no user has {TOKEN}"}, status=403)
    assert "403" in asked(server).problem and TOKEN not in asked(server).problem


def test_a_damaged_answer_never_raises(server: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promql, "_ONE_S", 0.3)
    for body in hostile_http.mutations(21, 40):
        server.spoken = hostile_http.sends(body)
        assert asked(server).problem


@pytest.mark.parametrize(
    ("queries", "said"),
    [
        ([{"query": "up"}], "watch_promql[0] needs a query, and max or min"),
        ([{"query": " ", "max": 1}], "watch_promql[0] needs a query"),
        ([{"query": "up", "max": float("nan")}], "watch_promql[0] needs"),
        ([{"query": "up", "min": 1}, {"query": "up", "max": "half"}], "watch_promql[1]: max is text, not a number"),
        ([{"query": "up", "max": True}], "max is true or false, not a number"),
        ([{"query": "up", "maximum": 1}], "maximum is not known"),
        ([{"max": 1}], "query is missing"),
        ([{"query": "up", "min": 2, "max": 1}], "no number is at least 2 and at most 1"),
    ],
)
def test_a_gate_that_cannot_be_asked_is_refused(queries: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(PapError, match=re.escape(said)):
        promql.gate_of("http://prometheus:9090/", queries, "warn")
    with pytest.raises(Refused, match="no Prometheus to ask"):
        promql.gate_of("", [{"query": "up", "min": 1}], "warn")
    assert promql.gate_of("", [], "fail") == Gate("", (), "fail")
    made = promql.gate_of("http://prometheus:9090/", [{"query": "up", "min": 1, "max": None}], "warn")
    assert made == Gate("http://prometheus:9090", (Query("up", None, 1),))


def watched(folder: Path, gate: Gate, **changes: Any) -> Journal:
    state = State(folder / "state")
    journal = state.begin(WHO)
    state.lock.release(journal.release)
    log = folder / "app.log"
    log.write_text("")
    specs = {"api": LogSpec(files=(str(log),))}
    process.prepare(journal.folder, specs, hours=1, interval_s=30, rules=Rules(**changes), gate=gate)
    before = promql.ask(gate, TOKEN)
    promql.save(journal.folder, promql.Figures(before, before))
    return journal


def test_from_before_the_deploy_to_the_alarm(server: Hostile, tmp_path: Path) -> None:
    answers(server, vector("0.1"), vector("0.2"), vector(), vector("0.75"))
    journal = watched(tmp_path, Gate(server.url, (ERRORS,)))
    known = Confidential(prometheus_token=TOKEN)
    assert process.first(journal.folder, seconds=0.2, poll_s=0.1, known=known).alarms == ()
    assert promql.load(journal.folder).lines == ["sum(errors) = 0.2, at most 0.5; before: 0.1"]
    assert process.one_step(journal.folder, known).alarms == ()
    assert "gives no series; it should be at most 0.5; before: 0.1" in promql.load(journal.folder).lines[0]
    for _ in range(2):
        (alarm,) = process.one_step(journal.folder, known).alarms
        assert (alarm.kind, alarm.why) == ("promql", "sum(errors) = 0.75, more than 0.5")
    assert all(f"Bearer {TOKEN}" in head for head in server.seen)
    kept = b"".join(path.read_bytes() for path in journal.folder.iterdir() if path.is_file())
    assert TOKEN.encode() not in kept


def test_while_another_release_is_at_work_nothing_is_asked(server: Hostile, tmp_path: Path) -> None:
    answers(server, vector("0.1"), vector("0.75"))
    journal = watched(tmp_path, Gate(server.url, (ERRORS,)))
    journal.append("release", "finished")
    later = State(tmp_path / "state").begin(WHO)  # its migrations stop the API, which is no alarm of this release
    assert process.one_step(journal.folder, Confidential()).alarms == () and len(server.seen) == 1
    later.append("release", "refused")
    assert len(process.one_step(journal.folder, Confidential()).alarms) == 1


def test_in_the_first_minute_a_missing_number_fails_where_it_must(server: Hostile, tmp_path: Path) -> None:
    answers(server, vector())
    for unmeasured, alarms in (("warn", 0), ("fail", 1)):
        folder = tmp_path / unmeasured
        folder.mkdir()
        journal = watched(folder, Gate(server.url, (ERRORS,), unmeasured))
        assert len(process.first(journal.folder, seconds=0.1, poll_s=0.1).alarms) == alarms


def test_in_the_watch_a_missing_number_is_an_alarm_when_it_lasts(server: Hostile, tmp_path: Path) -> None:
    answers(server, vector())
    journal = watched(tmp_path, Gate(server.url, (ERRORS,), "fail"), blind_s=0.3)
    assert process.one_step(journal.folder, Confidential()).alarms == ()
    time.sleep(0.35)
    (alarm,) = process.one_step(journal.folder, Confidential()).alarms
    assert (alarm.kind, alarm.source) == ("blind", "Prometheus"), "no reason to take the release back"
    assert rules.status(journal.folder).state == "alarm"


@prometheus.installed
def test_the_real_prometheus(tmp_path: Path) -> None:
    with prometheus.running(tmp_path) as real:
        (real.textfiles / "app.prom").write_text('errors{path="/a"} 3\nerrors{path="/b"} 4\n')
        wait_until(lambda: len(real.series("errors")) == 2)
        queries = (
            "sum(errors)",
            "errors",
            "no_such_metric",
            "sum(errors) / 0",
            "0 * sum(errors) / 0",
            "sum(",
            "5",
            "errors[1m]",
        )
        found = promql.ask(Gate(real.url, tuple(Query(query, max=6) for query in queries)), "")
        said = [re.sub(r"; it should be at most 6$", "", figure.sentence) for figure in found]
    assert said[:5] == [
        "sum(errors) = 7, more than 6",
        "errors was not measured: the query gives 2 series, not one",
        "no_such_metric was not measured: the query gives no series",
        "sum(errors) / 0 = inf, more than 6",
        "0 * sum(errors) / 0 was not measured: the query gives NaN (nothing to divide by?)",
    ]
    assert said[5].startswith("sum( was not measured: Prometheus answers 400: invalid parameter")
    assert said[6:] == ["5 = 5, at most 6", "errors[1m] was not measured: the query gives a matrix, which is no number"]
    (gone,) = promql.ask(Gate(real.url, (ERRORS,)), "")
    assert "Prometheus: Connection refused" in gone.problem


def test_a_deploy_is_refused_before_anything_changes(server: Hostile) -> None:
    stack: Any = SimpleNamespace(label="pap (staging)")
    answers(server, vector("0.75"))
    (figure,) = watch._asked_before(stack, Gate(server.url, (ERRORS,), "fail"), "")
    assert figure.outside == "more than 0.5", "it may be what the deploy is to mend"
    answers(server, vector())
    with pytest.raises(
        Refused, match=r"pap \(staging\) cannot be measured: sum\(errors\) was not measured: .* no series"
    ):
        watch._asked_before(stack, Gate(server.url, (ERRORS,), "fail"), "")
    assert watch._asked_before(stack, Gate(server.url, (ERRORS,), "warn"), "")[0].problem
    alarm = Alarm("2026-01-01T00:00:00.000Z", promql.KIND, promql.SOURCE, ERRORS.query, 1, figure.sentence, "")
    assert str(watch._alarm(stack, [alarm]).message) == (
        "Prometheus does not say of pap (staging) what it must: sum(errors) = 0.75, more than 0.5."
    )


def test_the_preflight_and_the_plan_ask_and_say_what_they_measured(
    server: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack: Any = SimpleNamespace(label="pap (staging)")
    monkeypatch.setattr(watch, "sources", lambda _: {"api": LogSpec(files=("/x",))})
    given = {
        "runner": "process", "rules": {"factor": "2"}, "prometheus_url": server.url,
        "promql": [{"query": "sum(errors)", "max": "0.5", "min": None}], "promql_unmeasured": "warn",
    }  # fmt: skip
    answers(server, vector("0.25"), vector("0.75"), vector())
    said = [watch.look_ahead(stack, given, TOKEN) for _ in range(3)]
    assert said == [
        ["Prometheus: sum(errors) = 0.25, at most 0.5"],
        ["Prometheus: sum(errors) = 0.75, more than 0.5; if it stays so, the first minute takes the release back"],
        ["Prometheus: sum(errors) was not measured: the query gives no series; it should be at most 0.5"],
    ]
    assert f"Bearer {TOKEN}" in server.seen[-1]
    with pytest.raises(Refused, match="cannot be measured"):
        watch.look_ahead(stack, {**given, "promql_unmeasured": "fail"}, "")
    with pytest.raises(Refused, match="no option 'timer'"):
        watch.look_ahead(stack, {**given, "timer": True}, "")
    monkeypatch.setattr(watch, "sources", lambda _: {})
    (line,) = watch.look_ahead(stack, given, "")
    assert line.startswith("no log is named") and line.endswith("Prometheus will not be asked")
    with pytest.raises(Refused, match="will not be asked"):
        watch.look_ahead(stack, {**given, "promql_unmeasured": "fail"}, "")


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"connections": 90}, "connections is 90, and must be from 0.01 to 1"),
        ({"slow": 21}, "slow is 21, and must be from 1 to 20"),
        ({"fails": 0}, "fails is 0, and must be at least 1"),
        ({"min_count": 0}, "min_count is 0, and must be at least 1"),
        ({"wait_s": -1}, "wait_s is -1, and must be at least 0"),
        ({"factor": float("nan")}, "factor is nan"),
        ({"factor": "nan"}, "factor is nan"),
        ({"min_count": "2.5"}, "watch_rules: min_count is a number, not an integer"),
        ({"min_count": "inf"}, "watch_rules: min_count is a number, not an integer"),
        ({"factor": "many"}, "watch_rules: factor is text, not a number"),
        ({"min_cuont": 3}, "watch_rules: min_cuont is not known"),
    ],
)  # fmt: skip
def test_a_rule_that_would_never_or_always_hold_is_refused(rules: dict[str, Any], said: str) -> None:
    with pytest.raises(PapError, match=re.escape(said)):
        watch.rules_of(rules)
    assert watch.rules_of({"connections": 1, "slow": 20, "restarts": 0, "factor": "2.5"}) == Rules(
        connections=1, slow=20, restarts=0, factor=2.5
    )
    of_templates = {"min_count": "6", "fails": "3.0", "restarts": "0", "window_s": "60", "connections": "0.5"}
    read = watch.rules_of(of_templates)
    assert read == Rules(min_count=6, fails=3, restarts=0, window_s=60, connections=0.5)
