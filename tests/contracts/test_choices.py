"""Every documented choice of every option is run by the test that is named for it here."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from support import ROOT

TAKE = "tests/integration/backup/test_take.py"
COMPOSED = "tests/integration/app/test_docker_compose.py::test_how_a_container_is_replaced"
ASKED = "tests/integration/rollback/test_strategies.py::test_asked_strategy"
FORMS = "tests/unit/notify/test_webhook.py::test_no_text_makes_a_line_or_calls_a_channel"
BLIND = "tests/integration/logwatch/test_blindness.py::test_an_api_without_an_access_log_is_silent"
DEPLOYED = "tests/nightly/test_surroundings.py::test_a_plan_a_deploy_and_a_rollback"
ENCRYPTED = "tests/integration/backup/test_encryption.py::test_proven_from_the_ciphertext"
HELD = "tests/unit/receipts/test_sign.py::test_what_a_receipt_holds_and_what_is_demanded_of_it"
LAST = "tests/integration/playbooks/test_destructive_release.py::test_a_release_that_empties_its_database_at_its_start"
LOGGED_IN = "tests/unit/app/test_login.py::test_it_passes_and_says_what_was_proven"
MADE = "tests/integration/databases/test_lifecycle.py::test_restore_point"
MAILED = "tests/unit/notify/test_mail.py::test_whatever_a_server_says_ends_in_time"
PREFLIGHT = "tests/integration/phases/test_preflight_findings.py::test_a_right_that_the_backup_needs_is_missed_before_anything_begins"
RUNNER = "tests/unit/logwatch/test_runners.py::test_the_choice"
SAMPLED = "tests/integration/databases/test_access.py::test_a_sample_is_open_only_when_it_is_whole"
STARTTLS = "tests/unit/notify/test_mail.py::test_a_password_that_a_server_says_back_is_not_shown"
THRESHOLD = "tests/integration/schema/test_command.py::test_the_threshold"
TOLD = (
    "tests/integration/logwatch/test_process.py::test_an_alarm_reaches_the_webhook_once_and_is_tried_until_it_is_taken"
)
TREE = "tests/integration/migrations/test_alembic_trees.py::test_the_tree_runs_before_or_after_what_has_a_date"
UNMEASURED = "tests/integration/logwatch/test_promql.py::test_in_the_first_minute_a_missing_number_fails_where_it_must"
WATCHED = "tests/integration/playbooks/test_watch_deploy.py::test_receipt_watch_alarm_and_rollback"
REMOTE = "tests/scenarios/test_docker_remote.py::test_a_stack_behind_ssh_is_deployed_and_taken_back"
POINT = {"auto": MADE, "backup": MADE, "dump": MADE, "snapshot": MADE}
METHOD = {"age": ENCRYPTED, "gpg": ENCRYPTED}
RUN: Mapping[str, Mapping[str, str]] = {
    "pap_api_activate": {"recreate": COMPOSED, "compose": COMPOSED, "restart": COMPOSED},
    "pap_mode": {
        "standard": "tests/unit/rehearsal/test_verdict.py::test_the_verdict_reads_as_sentences",
        "online": DEPLOYED,
    },
    "pap_alembic.order": {"first": TREE, "last": TREE},
    "pap_smoke_login": dict.fromkeys(("json", "form", "cookie", "header", "none"), LOGGED_IN),
    "pap_smoke_login_content": {"form": LOGGED_IN, "json": LOGGED_IN},
    "pap_schema_options.fail_on": dict.fromkeys(("error", "warning", "note", "never"), THRESHOLD),
    "preflight_proof": {"full": PREFLIGHT, "schema": PREFLIGHT, "none": PREFLIGHT},
    "preflight_blindness": {"warn": BLIND, "fail": BLIND},
    "backup_proof": {
        "full": f"{TAKE}::test_full_proof",
        "schema": f"{TAKE}::test_a_schema_proof_reads_all_of_an_archive_that_fills_every_pipe",
        "none": f"{TAKE}::test_schema_proof_and_no_proof",
    },
    "backup_engine": {
        "pg_dump": "tests/integration/playbooks/test_own_plays.py::test_a_role_and_modules_alone",
        "pgbackrest": "tests/integration/backup/test_pgbackrest.py::test_the_playbooks_on_a_stack_of_pgbackrest",
    },
    "rehearse_data": {"full": SAMPLED, "sample": SAMPLED, "schema": SAMPLED},
    "rehearse_restore_point": POINT,
    "migrate_restore_point": POINT,
    **{f"{role}_encrypt.method": METHOD for role in ("backup", "rehearse", "migrate", "rollback")},
    "watch_blindness": {"warn": BLIND, "fail": BLIND},
    "watch_runner": dict.fromkeys(("auto", "systemd", "cron", "process"), RUNNER),
    "watch_promql_unmeasured": {"warn": UNMEASURED, "fail": UNMEASURED},
    "watch_alert_format": {"json": TOLD, "slack": TOLD},
    "rollback_strategy": {"image": ASKED, "swap": ASKED, "downgrade": WATCHED, "restore": LAST},
    "receipt_demand": dict.fromkeys(("rehearsed", "proven", "measured", "watched"), HELD),
    "notify_event": dict.fromkeys(("start", "finish", "failure", "rollback", "alarm"), WATCHED),
    "notify_webhook_format": {"json": FORMS, "slack": FORMS},
    "notify_mail_secure": {"try": MAILED, "always": MAILED, "never": MAILED, "starttls": STARTTLS},
    "docker_sdk_method": {"venv": REMOTE},
}
# What an option is called where a test hands it to the code itself.
CALLED = {
    "rehearse_restore_point": {"kind"},
    "migrate_restore_point": {"kind"},
    "notify_mail_secure": {"secure"},
    "notify_webhook_format": {"form"},
    "watch_promql_unmeasured": {"unmeasured"},
}
NOT_RUN = {("docker_sdk_method", "package"): "installs a package of the distribution on the machine of the tests"}


def documented() -> set[tuple[str, str]]:
    """Each option with each of its choices; an empty one means that nothing is chosen."""
    found: set[tuple[str, str]] = set()

    def walk(name: str, option: Mapping[str, Any]) -> None:
        found.update((name, str(choice)) for choice in option.get("choices", ()) if choice != "")
        for key, inner in option.get("options", {}).items():
            walk(f"{name}.{key}", inner)

    for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
            for name, option in (entry.get("options") or {}).items():
                walk(name, option)
    return found


LISTED = {(option, choice): test for option, tests in RUN.items() for choice, test in tests.items()}


def test_every_choice_is_run_or_it_is_said_why_not() -> None:
    assert documented() - set(LISTED) - set(NOT_RUN) == set(), "choices that no test is named for"
    assert (set(LISTED) | set(NOT_RUN)) - documented() == set(), "choices that there are no more"
    assert set(LISTED) & set(NOT_RUN) == set()


def source_of(test: str) -> str:
    """The test with its decorators, and what it names of its own file."""
    file, _, name = test.partition("::")
    text = (ROOT / file).read_text()
    parts = {part: node for node in ast.parse(text).body for part in names_of(node)}
    assert name in parts, f"{test} does not exist"
    wanted, seen = [name], set[str]()
    while wanted:
        part = wanted.pop()
        if part in parts and part not in seen:
            seen.add(part)
            wanted += [node.id for node in ast.walk(parts[part]) if isinstance(node, ast.Name)]
    return "\n".join(ast.unparse(parts[part]) for part in seen) + imported(text)


def names_of(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.Assign):
        yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def imported(text: str) -> str:
    """The tables of tests/support that the file takes its cases from."""
    found = re.findall(r"(?m)^from support\.(surroundings|login_apps) import", text)
    return "".join((ROOT / "tests" / "support" / f"{name}.py").read_text() for name in found)


@pytest.mark.parametrize(("option", "choice"), sorted(LISTED), ids=lambda value: value)
def test_the_named_test_mentions_it(option: str, choice: str) -> None:
    text = source_of(LISTED[option, choice])
    assert re.search(rf"['\"=]{choice}['\"]", text), f"{LISTED[option, choice]} has no {choice!r}"
    names = {option, option.rpartition(".")[2], re.sub(r"^(pap_api|pap_smoke|[a-z]+)_", "", option)}
    assert any(re.search(rf"(?<![a-z]){name}", text) for name in names | CALLED.get(option, set())), (
        f"{LISTED[option, choice]} knows no {option}"
    )
