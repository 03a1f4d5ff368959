"""Journals as releases leave them: a long production deploy, a rolled-back one; and a watch with an alarm."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from papdeploy.core.records import recorded, whole
from papdeploy.logwatch.state import WatchState
from papdeploy.releases.records import entry_of
from papdeploy.report.build import Kept, build_from
from papdeploy.report.records import Watch

START = datetime(2025, 3, 1, 1, 30, 0, tzinfo=timezone.utc)

SETTINGS = "20250210_add_settings_and_policy_fields"
DISCOVERY = "20250224_add_auto_discovery_fields"


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def entry(after: float, phase: str, event: str, /, **data: Any) -> dict[str, Any]:
    return {"at": at(after), "phase": phase, "event": event, **data}


def header() -> dict[str, Any]:
    return entry(
        6, "release", "begin",
        release="20250301T013006Z-9f3c", stack="pap-eu-1", environment="production",
        who={"user": "jane", "host": "deploy-1", "pid": 4711},
        **{"from": {"label": "registry.example.org/pap:1.8.2", "identity": "sha256:77aa"},
           "to": {"label": "registry.example.org/pap:1.9.0", "identity": "sha256:93fe"}},
        pending=[SETTINGS, DISCOVERY], server_version=160004, versions={"ansible": "2.19.14", "pap-deploy": "0.1.0"},
    )  # fmt: skip


BASELINE = [
    {"path": "/policies/", "status": 200, "ms": 41.0, "shape": {}},
    {"path": "/resources/", "status": 200, "ms": 38.0, "shape": {}},
    {"path": "/peps/", "status": 200, "ms": 12.0, "shape": {}},
    {"path": "/settings/github", "status": 404, "ms": 4.0, "shape": {}},
]

STATEMENTS = [
    {"sql": "CREATE TABLE github_configuration (\n  id SERIAL NOT NULL,\n  repo_url VARCHAR(500),\n"
            "  branch VARCHAR(100),\n  auto_sync BOOLEAN DEFAULT 'false' NOT NULL,\n  PRIMARY KEY (id)\n)", "ms": 14.2},
    {"sql": "ALTER TABLE policies ADD COLUMN bouncer_id VARCHAR(100)", "ms": 1.3},
    {"sql": "ALTER TABLE policies ADD COLUMN folder VARCHAR(50) DEFAULT 'enabled'", "ms": 1.9},
    {"sql": "ALTER TABLE policies ADD COLUMN context_config JSON", "ms": 1.1},
]  # fmt: skip
BACKFILL = [
    {"sql": "ALTER TABLE protected_resources ADD COLUMN auto_discovered BOOLEAN", "ms": 2.1},
    {"sql": "UPDATE protected_resources SET auto_discovered = false WHERE auto_discovered IS NULL", "ms": 1843.0,
     "rows": 412_873},
    {"sql": "CREATE INDEX ix_protected_resources_auto_discovered ON protected_resources (auto_discovered)",
     "ms": 311.0},
    {"sql": "ALTER TABLE protected_resources ADD CONSTRAINT fk_resources_bouncer FOREIGN KEY (bouncer_id) "
            "REFERENCES peps (id) ON DELETE SET NULL", "ms": 96.0},
]  # fmt: skip
LOCKS = [
    {"table": "public.policies", "mode": "AccessExclusiveLock"},
    {"table": "public.protected_resources", "mode": "AccessExclusiveLock"},
    {"table": "public.peps", "mode": "ShareRowExclusiveLock"},
]

REHEARSAL = {
    "verdict": "good",
    "phases": {"migrate": 2.9, "activate": 1.6, "login_smoke_test": 0.9},
    "migrations": [
        {"identity": SETTINGS, "seconds": 0.03, "statements": STATEMENTS, "locks": LOCKS[:1], "rewritten": [],
         "wal_bytes": 41_200},
        {"identity": DISCOVERY, "seconds": 2.6, "statements": BACKFILL, "locks": LOCKS[1:],
         "rewritten": ["public.protected_resources"], "wal_bytes": 148_000_000},
    ],
    "reversible": True, "old_api_works": False, "expected_unavailable_s": 6.4,
}  # fmt: skip

CHECKS = [
    {"name": "login", "ok": True, "status": 200, "ms": 71.0, "detail": ""},
    {"name": "authenticated call", "ok": True, "status": 200, "ms": 9.0, "detail": ""},
    {"name": "wrong password refused", "ok": True, "status": 401, "ms": 58.0, "detail": ""},
    {"name": "no token refused", "ok": True, "status": 401, "ms": 3.0, "detail": ""},
]


def _before_the_fence() -> list[dict[str, Any]]:
    return [
        header(),
        entry(6, "preflight", "done", seconds=5.8, lines=["pap-eu-1: PostgreSQL 16.4"], baseline=BASELINE),
        entry(7, "backup", "begin"),
        entry(191, "backup", "done", path="/var/lib/pap-deploy/backups/20250301T013006Z-9f3c.dump",
              bytes=18_442_000_123,
              sha256="9b74c9897bac770ffc029102a200c5de5f6d1f3c9c2c4a1f1b6a7a3c4f8e0d21", seconds=141.0, tables=14,
              rows=61_204_331, restore_seconds=183.0,
              proof={"kind": "full", "sentence": "restored into a scratch database and compared: 14 tables, "
                                                 "61,204,331 rows, checksums and sequences equal"}),
        entry(192, "rehearse", "begin"),
        entry(214, "rehearse", "done", **copy.deepcopy(REHEARSAL)),
        entry(215, "fence", "begin"),
        entry(215.4, "fence", "done", ended=[1, 2, 3]),
        entry(215.4, "restore_point", "begin"),
        entry(215.5, "restore_point", "done", kind="backup",
              sentence="nothing was written since the backup: it is the restore point"),
        entry(215.5, "migrate", "begin"),
    ]  # fmt: skip


def finished() -> list[dict[str, Any]]:
    """A release that went well: minutes of backup, seconds of fence."""
    applied = [
        {"identity": SETTINGS, "seconds": 0.03, "statements": STATEMENTS, "statement_count": 4},
        {"identity": DISCOVERY, "seconds": 2.31, "statements": BACKFILL, "statement_count": 4},
    ]
    endpoints = [{"path": item["path"], "before": item["status"], "after": 200, "ms": 31.0} for item in BASELINE]
    checks = CHECKS + [{"name": f"GET {e['path']}", "ok": True, "status": 200, "ms": 31.0} for e in endpoints]
    return [
        *_before_the_fence(),
        entry(218.0, "migrate", "done", applied=applied,
              schema={"matches": True, "differences": [], "checked": {"tables": 14}}),
        entry(218.1, "unfence", "begin"),
        entry(218.2, "unfence", "done"),
        entry(218.2, "activate", "begin"),
        entry(219.9, "activate", "done", seconds=1.7),
        entry(220.0, "login_smoke_test", "begin"),
        entry(221.0, "login_smoke_test", "done", checks=checks, endpoints=endpoints, healthy_after_s=0.41),
        entry(221.1, "watch", "begin"),
        entry(281.1, "watch", "done", lines=["60 s watched"], findings=0),
        entry(281.5, "release", "finished", seconds=275.5, unavailable_s=5.4),
    ]  # fmt: skip


def rolled_back() -> list[dict[str, Any]]:
    """A migration that fails on real data under the fence."""
    plan = {"strategy": "image only", "steps": ["start the old release of the API"]}
    return [
        *_before_the_fence(),
        entry(217.2, "migrate", "failed", error="MigrationError",
              message="Migration 20250224_add_auto_discovery_fields failed on its statement 4: column \"bouncer_id\" "
                      "of relation \"protected_resources\" contains null values.",
              hint="Give the rows a value first, in the same migration; nothing of it was committed.",
              data={"statement": "ALTER TABLE protected_resources ALTER COLUMN bouncer_id SET NOT NULL",
                    "lines": ["sqlstate 23502", "412,873 rows have no bouncer_id"]}),
        entry(217.6, "rollback", "begin", plan=plan),
        entry(217.6, "rollback.unfence", "begin"),
        entry(217.7, "rollback.unfence", "done"),
        entry(217.7, "rollback.activate", "begin"),
        entry(219.0, "rollback.activate", "done"),
        entry(219.0, "rollback.login_smoke_test", "begin"),
        entry(219.6, "rollback.login_smoke_test", "done", checks=CHECKS, healthy_after_s=0.3),
        entry(219.7, "rollback", "done", strategy="image only", why="no migration of it is committed", cost={}, seconds=2.1,
              lines=["rolled back in 2.1 s"]),
        entry(219.8, "release", "rolled_back", seconds=213.8, message="the migration failed"),
    ]  # fmt: skip


def taken_back() -> list[dict[str, Any]]:
    """It had finished, and hours later the watch raised an alarm."""
    return [
        *finished(),
        entry(50000, "rollback", "begin", reason="alarm of the watch: a column that the code uses is not there"),
        entry(50000, "rollback.activate", "begin"),
        entry(50003, "rollback.activate", "done"),
        entry(
            50004,
            "rollback",
            "done",
            strategy="image",
            why="the old release works on this schema",
            cost={},
            seconds=4.0,
        ),
        entry(50004, "release", "rolled_back", seconds=4.0, message="alarm of the watch"),
    ]


def unfinished() -> list[dict[str, Any]]:
    """The controller was killed while the migration ran."""
    return _before_the_fence()


def catalogs() -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema before and after."""
    policies = {
        "kind": "r", "schema": "public", "name": "policies",
        "columns": [
            {"name": "id", "type": "integer", "not_null": True, "default": "nextval('policies_id_seq'::regclass)"},
            {"name": "name", "type": "character varying(255)", "not_null": True},
            {"name": "status", "type": "character varying(20)"},
        ],
        "constraints": [{"name": "policies_pkey", "type": "primary key", "columns": ["id"]}],
        "indexes": [{"name": "ix_policies_name", "method": "btree", "keys": [{"column": "name"}]}],
    }  # fmt: skip
    sequence = {"schema": "public", "name": "policies_id_seq", "of": ["public", "policies", "id"]}
    before: dict[str, Any] = {"relations": [policies], "sequences": [sequence]}
    after = copy.deepcopy(before)
    after["relations"][0]["columns"] += [
        {"name": "bouncer_id", "type": "character varying(100)"},
        {"name": "folder", "type": "character varying(50)", "default": "'enabled'::character varying"},
        {"name": "context_config", "type": "json"},
    ]
    after["relations"].append(
        {
            "kind": "r", "schema": "public", "name": "github_configuration",
            "columns": [{"name": "id", "type": "integer", "not_null": True}, {"name": "repo_url", "type": "text"}],
            "constraints": [{"name": "github_pkey", "type": "primary key", "columns": ["id"]},
                            {"name": "fk", "type": "foreign key", "columns": ["id"], "target": ["public", "policies"],
                             "target_columns": ["id"], "on_delete": "SET NULL"}],
        }
    )  # fmt: skip
    return before, after


def kept() -> dict[str, Any]:
    before, after = catalogs()
    difference = {"kind": "column_missing", "object": "policies.folder", "severity": "error",
                  "expected": "character varying(50) default 'enabled'", "actual": "", "why": "",
                  "repair": []}  # fmt: skip
    return {"before": before, "catalog": after, "differences": [difference], "expected": None}


def watch_state(alarm: bool = True, hours: float = 24) -> dict[str, Any]:
    """A day of logs: traffic by the hour, logins that fail, and (with ``alarm``) a missing column in the afternoon."""
    series = []
    step = hours * 3600 / 720
    for number in range(0, 560, 2):
        seconds = 281 + number * step
        busy = int(220 + 180 * math.sin(number / 560 * 2 * math.pi - 1.2)) + number % 7 * 6
        kinds = {"authentication": 1} if number % 22 == 0 else {}
        if number in (96, 98, 260):
            kinds["lock"] = 2
        if alarm and number >= 420 and number % 10 == 0:
            kinds["missing_column"] = 1 + number % 3
            kinds["server_error"] = 1 + number % 3
        series.append({"at": at(seconds), "api": {"requests": busy, "kinds": kinds}})

    def finding(kind: str, source: str, subject: str, count: int, sample: str) -> dict[str, Any]:
        first, last = at(281 + 420 * step), at(281 + 559 * step)
        return {"kind": kind, "source": source, "subject": subject, "count": count, "first": first, "last": last,
                "first_sample": sample, "last_sample": sample}  # fmt: skip

    findings = [
        finding("authentication", "api", "POST /auth/login 401", 26, "POST /auth/login 401"),
        finding("lock", "database", "deadlock detected", 6, "ERROR: deadlock detected"),
    ]
    alarms = []
    if alarm:
        sample = "(psycopg2.errors.UndefinedColumn) column reports.legacy_flag does not exist"
        findings += [
            finding("missing_column", "api", "reports.legacy_flag", 24, sample),
            finding("server_error", "api", "GET /reports/{id} 500", 24, "GET /reports/{id} 500"),
        ]
        alarms = [
            {"at": at(281 + 420 * step), "kind": "missing_column", "source": "api", "subject": "reports.legacy_flag",
             "count": 1, "sample": sample,
             "why": "a column that the code uses is not there: reports.legacy_flag; not once before the deploy"}
        ]  # fmt: skip
    return {
        "release": "20250301T013006Z-9f3c", "started": at(281), "until": at(281 + hours * 3600), "interval_s": 30,
        "bucket_s": step, "heartbeat": at(281 + 560 * step), "requests": 83_220, "records": 84_031, "steps": 2240,
        "findings": findings, "alarms": alarms, "series": series, "baseline": {}, "gaps": [], "blind": {},
        "ended": None,
    }  # fmt: skip


def watch_status(alarm: bool = True) -> dict[str, Any]:
    summary = (
        "ALARM: a column that the code uses is not there: reports.legacy_flag; not once before the deploy"
        if alarm
        else "watching until 2025-03-02T01:34:41.000Z; 84031 log records, 83220 requests: 26 authentication, 6 lock"
    )
    return {"state": "alarm" if alarm else "watching", "ok": not alarm, "summary": summary}


def watch(**fields: Any) -> WatchState:
    """The same as the watcher keeps it, with ``fields`` as given."""
    own: dict[str, Any] = {"rules": {}, "labels": {}, "marks": {}, "carry": {}, "expected_restarts": {}}
    return WatchState.from_json({**watch_state(alarm=False), **own, **fields})


def report(
    journal: Sequence[Mapping[str, Any]],
    kept: Mapping[str, Any],
    watch_state: Mapping[str, Any] | None = None,
    watch_status: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The report of a journal, as its file has it."""
    told = {key: (watch_status or {}).get(key) for key in ("state", "summary")}
    watch = None if watch_state is None else recorded(Watch, {**watch_state, **told})
    made: dict[str, Any] = whole(build_from([entry_of(entry) for entry in journal], recorded(Kept, kept), watch))
    return made
