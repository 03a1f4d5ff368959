"""A real Prometheus that scrapes a real node_exporter, which reads the text files of one folder."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from support import ROOT
from support.postgres_servers import free_port
from support.waiting import wait_until

RULES = ROOT / "monitoring" / "prometheus-rules.yml"
PROGRAMS = ("prometheus", "promtool", "prometheus-node-exporter")
installed = pytest.mark.skipif(
    not all(map(shutil.which, PROGRAMS)), reason="Prometheus or its node_exporter is not installed"
)


@dataclass
class Prometheus:
    url: str
    textfiles: Path

    def series(self, query: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series that answers."""
        with urlopen(f"{self.url}/api/v1/query?query={quote(query)}", timeout=10) as answer:
            found = json.load(answer)["data"]["result"]
        return [(each["metric"], float(each["value"][1])) for each in found]

    def firing(self) -> set[str]:
        """Names of the alerts that fire or are pending."""
        with urlopen(f"{self.url}/api/v1/alerts", timeout=10) as answer:
            return {alert["labels"]["alertname"] for alert in json.load(answer)["data"]["alerts"]}


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Prometheus]:
    textfiles = folder / "textfile"
    textfiles.mkdir()
    exporter, port = free_port(), free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "node", "static_configs": [{"targets": [f"127.0.0.1:{exporter}"]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    commands = (
        ["prometheus-node-exporter", "--collector.disable-defaults", "--collector.textfile",
         f"--collector.textfile.directory={textfiles}", f"--web.listen-address=127.0.0.1:{exporter}"],
        ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
         f"--web.listen-address=127.0.0.1:{port}"],
    )  # fmt: skip
    with contextlib.ExitStack() as started:
        for command in commands:
            log = started.enter_context((folder / f"{command[0]}.log").open("wb"))
            process = started.enter_context(subprocess.Popen(command, stdout=log, stderr=log))
            started.callback(process.terminate)
        made = Prometheus(f"http://127.0.0.1:{port}", textfiles)
        wait_until(lambda: _scrapes(made), lambda: (folder / "prometheus.log").read_text(), seconds=60)
        yield made


def _scrapes(prometheus: Prometheus) -> bool:
    with contextlib.suppress(OSError):
        return prometheus.series("up == 1") != []
    return False
