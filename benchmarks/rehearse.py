"""What the rehearsal predicts against what the deploy then takes, phase by phase, and what the rehearsal itself costs.

    python benchmarks/rehearse.py [--runs 3] [--audit-rows 500000] [--release next]

The peer is the rehearsal that a careful person does by hand: restore the dump into another database, run the same SQL
there, look at the columns. It starts no API, reverts nothing and compares nothing. Both run on the sandbox, one after
the other, with audit_logs made larger so that its index takes a while.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from deploy import BIN, ENVIRONMENT, ROOT, phases, sandbox

NAMES = ("fence", "restore_point", "migrate", "unfence", "activate")


def environment(state: dict[str, Any]) -> dict[str, str]:
    server = state["postgres"]
    return {
        **os.environ,
        "PGHOST": server["host"],
        "PGPORT": str(server["port"]),
        "PGUSER": server["superuser"],
        "PGDATABASE": server["database"],
        "PGPASSWORD": Path(server["superuser_password_file"]).read_text().strip(),
        "PATH": server["bin_dir"] + os.pathsep + os.environ["PATH"],
    }


def enlarge(state: dict[str, Any], rows: int) -> None:
    """Repeat the rows of audit_logs until there are ``rows``."""
    env = environment(state)
    columns = subprocess.run(
        ["psql", "-XAtc", "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute"
         " WHERE attrelid = 'audit_logs'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'id'"],
        env=env, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    sql = (
        f"INSERT INTO audit_logs ({columns}) SELECT {columns} FROM audit_logs,"
        f" generate_series(1, ceil({rows}.0 / (SELECT count(*) FROM audit_logs))::int) LIMIT {rows};"
        "VACUUM ANALYZE audit_logs"
    )
    for statement in sql.split(";"):
        subprocess.run(["psql", "-Xqc", statement], env=env, check=True, stdout=subprocess.DEVNULL)


def deploy(home: Path, state: dict[str, Any], release: str) -> dict[str, Any]:
    done = subprocess.run(
        [
            BIN / "ansible-playbook",
            "deploy.yml",
            "-l",
            ENVIRONMENT,
            "-e",
            f"pap_sandbox_release={release} watch_enabled=false",
        ],
        cwd=ROOT,
        env={**os.environ, "PAP_SANDBOX_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    journal = max((Path(state["deploy_dir"]) / "releases").glob("*/journal.jsonl"))
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    rehearsed = next(e for e in entries if (e["phase"], e["event"]) == ("rehearse", "done"))
    finished = next(e for e in entries if (e["phase"], e["event"]) == ("release", "finished"))
    backup = next(e for e in entries if (e["phase"], e["event"]) == ("backup", "done"))
    applied = next(e for e in entries if (e["phase"], e["event"]) == ("migrate", "done"))["applied"]
    return {"predicted": rehearsed, "actual": phases(entries), "away": finished["unavailable_s"],
            "backup": backup["path"], "sql": [s["sql"] for item in applied for s in item["statements"]]}  # fmt: skip


def by_hand(state: dict[str, Any], dump: str, sql: list[str]) -> float:
    """Seconds of a rehearsal by hand: createdb, pg_restore, psql, a look."""
    env = environment(state)
    script = """set -e
createdb rehearsal_by_hand
pg_restore --exit-on-error --dbname=rehearsal_by_hand "$DUMP"
psql -Xq -v ON_ERROR_STOP=1 -1 -d rehearsal_by_hand -f "$SQL" >/dev/null
psql -XAtd rehearsal_by_hand -c "SELECT count(*) FROM information_schema.columns" >/dev/null
"""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(";\n".join(text.strip().rstrip(";") for text in sql) + ";\n")
        file.flush()
        started = time.monotonic()
        subprocess.run(["bash", "-c", script], env={**env, "DUMP": dump, "SQL": file.name}, check=True)
        seconds = time.monotonic() - started
    subprocess.run(["dropdb", "rehearsal_by_hand"], env=env, check=True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="runs; the median counts")
    parser.add_argument("--audit-rows", type=int, default=500_000, help="rows added to audit_logs")
    parser.add_argument("--release", default="next", help="sandbox release to deploy")
    given = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="pap-bench-"))
    home.chmod(0o755)
    runs, hands = [], []
    try:
        for _ in range(given.runs):
            state = sandbox("reset", home)
            enlarge(state, given.audit_rows)
            runs.append(deploy(home, state, given.release))
            hands.append(by_hand(state, runs[-1]["backup"], runs[-1]["sql"]))
    finally:
        sandbox("down", home)
        shutil.rmtree(home, ignore_errors=True)
    report(given, runs, hands)


def report(given: argparse.Namespace, runs: list[dict[str, Any]], hands: list[float]) -> None:
    def median(values: list[float]) -> float:
        return statistics.median(values)

    def line(name: str, left: float, right: float) -> None:
        print(f"{name:30}{left:12.2f}{right:12.2f}{right / left if left else float('nan'):10.2f}")

    print(f"release {given.release}, audit_logs + {given.audit_rows:,} rows, median of {len(runs)} runs, seconds")
    print(f"{'phase':30}{'rehearsed':>12}{'actual':>12}{'ratio':>10}")
    for name in NAMES:
        line(name, median([r["predicted"]["phases"][name] for r in runs]), median([r["actual"][name] for r in runs]))
    line(
        "API unavailable",
        median([r["predicted"]["expected_unavailable_s"] for r in runs]),
        median([r["away"] for r in runs]),
    )
    print("the rehearsal itself, seconds")
    for name in runs[0]["predicted"]["steps"]:
        print(f"  {name:28}{median([r['predicted']['steps'].get(name, 0.0) for r in runs]):12.2f}")
    whole, hand = median([r["predicted"]["seconds"] for r in runs]), median(hands)
    print(f"{'':30}{'rehearse':>12}{'by hand':>12}{'ratio':>10}")
    print(f"{'whole rehearsal':30}{whole:12.2f}{hand:12.2f}{whole / hand:10.2f}")


if __name__ == "__main__":
    main()
