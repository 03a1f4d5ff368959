"""What is written for Prometheus, read by the real one; and the files for it and for Grafana that we ship."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from papdeploy.core.durable import private_folder
from papdeploy.logwatch import metrics, process
from papdeploy.logwatch.confidential import NOTHING
from papdeploy.logwatch.rules import Rules
from papdeploy.logwatch.sources import LogSpec
from papdeploy.logwatch.textfile import Target
from papdeploy.releases.journal import State
from papdeploy.releases.run import Run
from support import ROOT, backup_files, prometheus
from support.prometheus import RULES, Prometheus
from support.waiting import wait_until

WHO = Run(user="jane", host="controller", pid=1)
DASHBOARD = ROOT / "monitoring" / "grafana-dashboard.json"
WRITTEN = {family.name for family in metrics.FAMILIES}


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with prometheus.running(tmp_path_factory.mktemp("prometheus")) as made:
        yield made


@prometheus.installed
def test_two_stacks_of_one_host_in_a_real_prometheus(scraped: Prometheus, tmp_path: Path) -> None:
    for stack, environment in (('eu "west"\\1', "staging"), ("pap/b", "production")):
        state = State(private_folder(tmp_path / environment))
        private_folder(state.backups_folder)
        backup_files.put(state.backups_folder, "r1", 3, seconds={**backup_files.SECONDS, "restore": 12.5})
        log = tmp_path / f"{environment}.log"
        log.write_text("")
        journal = state.begin(WHO, stack=stack, environment=environment, to={"label": "pap:1.9.0"})
        state.lock.release(journal.release)
        target = Target(str(scraped.textfiles), stack, environment)
        specs = {"api": LogSpec(files=(str(log),))}
        process.prepare(journal.folder, specs, hours=1, interval_s=30, rules=Rules(), target=target)
        journal.append("release", "finished", unavailable_s=5.4)
        if environment == "production":
            log.write_text("ERROR:    (psycopg2.errors.UndefinedColumn) column policies.x does not exist\n")
        for _ in range(2):  # what the detached watcher does; a record may still grow until it looks again
            process.one_step(journal.folder, NOTHING)

    wait_until(lambda: len(scraped.series("pap_watch_alarms")) == 2 and scraped.series("pap_watch_alarms == 1"))
    found = {labels["stack"]: value for labels, value in scraped.series("pap_watch_alarms")}
    assert found == {'eu "west"\\1': 0, "pap/b": 1}
    ((labels, value),) = scraped.series('pap_downtime_seconds{environment="staging"}')
    assert (labels["stack"], value) == ('eu "west"\\1', 5.4)
    ((labels, value),) = scraped.series('pap_release_info{stack="pap/b"}')
    assert (labels["version"], value) == ("pap:1.9.0", 1)
    assert scraped.series("node_textfile_scrape_error")[0][1] == 0
    wait_until(lambda: {"PapWatchAlarm", "PapNoFreshProvenBackup"} <= scraped.firing())
    assert not scraped.firing() & {"PapWatchSilent", "PapNoProvenBackup", "PapReleaseUnfinished", "PapWatchBlind"}


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_the_rules_are_sound_and_fire_when_they_should(tmp_path: Path) -> None:
    done = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, timeout=30)
    assert "SUCCESS" in done.stdout, done.stdout + done.stderr
    labels = '{stack="pap", environment="production"}'

    def alert(name: str, at: str, series: dict[str, str], fires: bool) -> dict[str, Any]:
        return {
            "interval": "1m",
            "input_series": [{"series": f"{metric}{labels}", "values": value} for metric, value in series.items()],
            "promql_expr_test": [{
                "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) or vector(0)',
                "eval_time": at, "exp_samples": [{"labels": "{}", "value": int(fires)}],
            }],
        }  # fmt: skip

    due, taken = "pap_watch_heartbeat_due_timestamp_seconds", "pap_backup_proven_timestamp_seconds"
    cases = [
        alert("PapWatchAlarm", "5m", {"pap_watch_alarms": "0x10"}, False),
        alert("PapWatchAlarm", "5m", {"pap_watch_alarms": "1x10"}, True),
        alert("PapWatchSilent", "5m", {due: "150+60x10"}, False),
        alert("PapWatchSilent", "5m", {due: "150x10"}, True),  # the file stands still, and so does the moment
        alert("PapWatchBlind", "20m", {"pap_watch_blind": "2x30"}, True),
        alert("PapReleaseUnfinished", "30m", {"pap_release_unfinished": "1x90"}, False),
        alert("PapReleaseUnfinished", "80m", {"pap_release_unfinished": "1x90"}, True),
        alert("PapNoFreshProvenBackup", "47h", {taken: "0x3000"}, False),
        alert("PapNoFreshProvenBackup", "49h", {taken: "0x3000"}, True),
        alert("PapNoProvenBackup", "2h", {"pap_release_info": "1x200"}, True),
        alert("PapNoProvenBackup", "2h", {"pap_release_info": "1x200", taken: "0x200"}, False),
    ]
    assert {case["promql_expr_test"][0]["expr"].split('"')[1] for case in cases} == {
        rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    }
    tests = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": cases}
    (tmp_path / "tests.yml").write_text(json.dumps(tests))
    done = subprocess.run(
        ["promtool", "test", "rules", tmp_path / "tests.yml"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def used(text: str) -> set[str]:
    return set(re.findall(r"\bpap_\w+", text)) - {"pap_metrics_textfile_dir"}


def test_rules_dashboard_and_page_use_what_is_written() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    assert used(RULES.read_text()) <= WRITTEN
    assert used(DASHBOARD.read_text()) <= WRITTEN
    assert set(re.findall(r"^\| `(pap_\w+)", page, re.M)) >= WRITTEN, "each is explained"
    assert {rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]} <= set(
        re.findall(r"^\| `(Pap\w+)", page, re.M)
    )


@prometheus.installed
def test_every_panel_of_the_dashboard_can_be_asked(scraped: Prometheus) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += [each["expr"] for each in dashboard["annotations"]["list"]]
    assert len(queries) > 10
    for query in queries:
        for variable, value in (("$stack", ".*"), ("$environment", ".*"), ("$__rate_interval", "4m")):
            query = query.replace(variable, value)
        scraped.series(query)  # an error of the query is one of HTTP
    grid = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(grid) == len(set(grid)) and all(
        panel["datasource"]["uid"] == "${datasource}" for panel in dashboard["panels"]
    )
