"""Variables of the inventory: each misspelling, wrong type and empty value is told, and what is another's is left alone."""

from __future__ import annotations

import importlib.util
import random
import string
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible import template
from ansible.parsing.dataloader import DataLoader
from support import ROOT


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pap_variables", ROOT / "plugins" / "lookup" / "pap_variables.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


checks = load()
KNOWN = checks.known()
OTHERS = [
    *("ansible_host", "app_name", "status_code", "vault_smoke_password", "migrate_schema", "finish_line", "stack_name"),
    *(
        "backup_dir",
        "backup_path",
        "backup_user",
        "backup_retention",
        "backup_schedule",
        "backup_server",
        "backup_s3_bucket",
    ),
    *(
        "report_name",
        "report_email",
        "notify_slack_channel",
        "notify_users",
        "watch_dog",
        "watch_paths",
        "validate_certs",
    ),
]


def misspellings(name: str, seed: int) -> dict[str, str]:
    rng = random.Random(f"{name}{seed}")
    at = rng.randrange(len(name) - 1)
    letter = rng.choice(string.ascii_lowercase.replace(name[at], ""))
    return {
        "missing": name[:at] + name[at + 1 :],
        "too much": name[:at] + letter + name[at:],
        "wrong": name[:at] + letter + name[at + 1 :],
        "exchanged": name[:at] + name[at + 1] + name[at] + name[at + 2 :],
    }


@pytest.mark.parametrize("name", KNOWN)
def test_every_misspelling_of_every_variable_is_refused_with_its_name(name: str) -> None:
    for seed in range(5):
        for kind, spelled in misspellings(name, seed).items():
            if spelled in KNOWN or spelled.startswith(("pap_hook_before_", "pap_sandbox_")):
                continue
            told = list(checks.misspelled([spelled]))
            assert len(told) == 1 and told[0].startswith(f"{spelled} is not a variable"), (kind, spelled)
            near = told[0].partition("Did you mean ")[2].partition("?")[0]
            assert near in KNOWN and not set(checks._forms(near)).isdisjoint(checks._forms(spelled)), (kind, near)


def test_what_was_replaced_is_refused_with_what_to_write() -> None:
    assert list(checks.misspelled(["watch_timer"])) == [
        "watch_timer is no more. Write watch_runner: systemd (or auto, the default) instead."
    ]


@pytest.mark.parametrize(
    ("variables", "refused"),
    [
        ({"pap_sandbox": True}, True),
        ({"pap_sandbox": "{{ on }}", "on": "yes"}, True),
        ({"pap_sandbox": True, "watch_runner": "{{ mine }}", "mine": "systemd"}, True),
        ({"pap_sandbox": True, "watch_runner": "{{ mine }}", "mine": "process"}, False),
        ({"pap_sandbox": "{{ on }}", "on": False}, False),
        ({"pap_sandbox": "{{ a_later_fact }}"}, False),
        ({"watch_runner": "systemd"}, False),
        ({}, False),
    ],
)
def test_a_sandbox_is_known_by_what_its_variables_come_to(variables: dict[str, object], refused: bool) -> None:
    trusted = getattr(template, "trust_as_template", str)  # ansible-core before 2.19 templates any text
    given = {name: trusted(value) if isinstance(value, str) else value for name, value in variables.items()}
    lookup = checks.LookupModule(loader=DataLoader(), templar=template.Templar(DataLoader()))
    lookup._templar.available_variables = given
    told = list(checks.timer_of_the_sandbox(*(lookup._value(name, given) for name in ("pap_sandbox", "watch_runner"))))
    assert bool(told) is refused


def test_a_sandbox_installs_no_timer_on_its_machine() -> None:
    for runner in ("auto", "systemd"):
        assert "a sandbox installs no timer" in next(checks.timer_of_the_sandbox(True, runner))
        assert list(checks.timer_of_the_sandbox(False, runner)) == list(checks.timer_of_the_sandbox(None, runner)) == []
    for runner in ("process", "cron", None):
        assert list(checks.timer_of_the_sandbox("yes", runner)) == []
    sandbox = yaml.safe_load((ROOT / "sandbox" / "group_vars.yml").read_text())
    assert (sandbox["pap_sandbox"], sandbox["watch_runner"]) == (True, "process")


def test_what_is_right_or_another_s_is_not_refused() -> None:
    assert not list(checks.misspelled([*KNOWN, *OTHERS, "pap_hook_after_migrate", "pap_sandbox_home", "pap_release"]))
    assert not list(checks.misspelled(["pap_region", "backup_prof"], own=["pap_region", "backup_prof"]))


@pytest.mark.parametrize(
    ("name", "near"),
    [("backup_encription", "backup_encrypt"), ("rollback_accept_loss", "rollback_accept_data_loss"),
     ("receipt_requird", "receipt_required"), ("pap_region", "")],
)  # fmt: skip
def test_what_is_further_off_is_refused_too(name: str, near: str) -> None:
    (told,) = checks.misspelled([name])
    assert (f"Did you mean {near}?" if near else "docs/reference.md") in told and "pap_own_variables" in told


@pytest.mark.parametrize("name", [name for name, spec in KNOWN.items() if spec.get("type") == "bool"])
def test_a_switch_is_on_or_off(name: str) -> None:
    good: tuple[object, ...] = (True, False, "true", "false", "yes", "no", "on", "off", "True", "0", "1")
    bad: tuple[object, ...] = ("ture", "fasle", "yess", "2", "never", ["true"], {"a": 1})
    for value in good:
        assert not list(checks.wrong(name, KNOWN[name], value)), value
    for value in bad:
        assert list(checks.wrong(name, KNOWN[name], value)) == [f"{name} must be one of true, false."], value


@pytest.mark.parametrize("name", [name for name, spec in KNOWN.items() if spec.get("choices")])
def test_a_choice_is_one_of_its_choices(name: str) -> None:
    choices = KNOWN[name]["choices"]
    for choice in choices:
        assert not list(checks.wrong(name, KNOWN[name], [choice] if KNOWN[name]["type"] == "list" else choice)), choice
    (told,) = checks.wrong(name, KNOWN[name], f"{choices[-1]}x")
    assert told.startswith(f"{name} must be one of ") and str(choices[-1]) in told


@pytest.mark.parametrize(
    ("name", "value"),
    [("backup_keep", "three"), ("pap_db_port", "54x"), ("pap_phase_deadlines_s", ["x"]), ("pap_models", {"a": 1}),
     ("watch_hours", "a day"), ("pap_schema_options", "fail_on"), ("rollback_reason", ["x"])],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_and_not_shown(name: str, value: object) -> None:
    (told,) = checks.wrong(name, KNOWN[name], value)
    assert told.startswith(f"{name} must be of type ") and "three" not in told and "54x" not in told


@pytest.mark.parametrize("name", KNOWN)
def test_an_empty_value_is_refused_where_there_is_no_empty_default(name: str) -> None:
    """A key of YAML without a value is empty, too; so is a list of nothing, where there is no default instead."""
    default = KNOWN[name].get("default")
    may_be = (default in ("", [], {}) and default is not False) or "" in KNOWN[name].get("choices", ())
    for value in ("", "  ", None, *([[], [""], {}] if "default" not in KNOWN[name] else ())):
        told = list(checks.wrong(name, KNOWN[name], value))
        assert [line.partition(" is empty.")[0] for line in told] == ([] if may_be else [name]), (value, told)
    assert list(checks.wrong("receipt_demand", KNOWN["receipt_demand"], [])) == []


def held(spec: dict[str, Any], key: str) -> object:
    return [{key: "x"}] if spec["type"] == "list" else {key: "x"}


@pytest.mark.parametrize("name", [name for name, spec in KNOWN.items() if "options" in spec])
def test_every_misspelled_key_of_a_dictionary_is_refused_with_its_name(name: str) -> None:
    spec = KNOWN[name]
    place = f"{name}[0]" if spec["type"] == "list" else name
    for key in (key for key in spec["options"] if len(key) > 1):
        for kind, spelled in misspellings(key, 1).items():
            if spelled not in spec["options"]:
                (told,) = checks.wrong(name, spec, held(spec, spelled))
                assert told.startswith(f"{place}.{spelled} is not known."), kind
                assert "Did you mean" in told or f"It takes {next(iter(spec['options']))}, " in told
    text = "fail_onn=error" if name == "pap_schema_options" else "nonsense=3"
    if spec["type"] == "dict":  # -e 'backup_encrypt="methd=age"'
        assert len(list(checks.wrong(name, spec, text))) == 1


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [("backup_encrypt", {"method": "agee"}, "backup_encrypt.method must be one of age, gpg."),
     ("watch_rules", {"factor": "a lot"}, "watch_rules.factor must be of type float."),
     ("watch_promql", [{"query": "up", "max": 1}, {"query": "up", "min": "one"}], "watch_promql[1].min must be of type float."),
     ("pap_schema_options", {"allow": [{"object": "a", "reson": "b"}]},
      "pap_schema_options.allow[0].reson is not known. Did you mean pap_schema_options.allow[0].reason?"),
     ("pap_schema_options", {"fail_on": "error", "ignore": ["a"], "allow": [], "renames": {"a": "b"}}, ""),
     ("backup_encrypt", {"method": "age", "recipients": "age1x", "identity": None, "passphrase_file": ""}, ""),
     ("backup_encrypt", {}, ""), ("watch_promql", [], "")],
)  # fmt: skip
def test_what_a_dictionary_holds_is_checked(name: str, value: object, told: str) -> None:
    assert list(checks.wrong(name, KNOWN[name], value)) == ([told] if told else [])


@pytest.mark.parametrize(
    ("arguments", "option"),
    [({"tags": ["backup"]}, "--tags backup"), ({"tags": ["all"], "skip_tags": ["watch", "always", "untagged"]}, "--skip-tags always,untagged"),
     ({"tags": ["all"], "skip_tags": ["molecule-notest", "notest"]}, ""),
     ({"tags": ("all",), "start_at_task": "Migrate (4/9)"}, "--start-at-task Migrate (4/9)"),
     ({"tags": ("all",), "step": True}, "--step with an answer no"),
     ({"tags": ("all",), "skip_tags": [], "start_at_task": None, "step": False}, ""), ({}, "")],
)  # fmt: skip
def test_a_run_of_a_part_is_refused_with_what_runs_alone(arguments: dict[str, object], option: str) -> None:
    told = list(checks.partial(arguments))
    assert [line.partition(" would run a part")[0] for line in told] == ([option] if option else [])
    assert all("a backup: backup.yml" in line for line in told)


@pytest.mark.parametrize(
    ("value", "near"),
    [("Production", "production"), ("PRODUCTION", "production"), ("production ", "production"), ("prod", "production"),
     ("producton", "production"), ("stagging", "staging"), ("Staging", "staging"), ("dev", "development"),
     ("production", ""), ("staging", ""), ("development", ""), ("production-eu", ""), ("staging2", ""), ("qa", ""),
     ("integration", ""), ("preview", "")],
)  # fmt: skip
def test_an_environment_that_is_nearly_one_of_the_three_is_refused(value: str, near: str) -> None:
    assert checks.likely_environment(value) == near
    told = list(checks.wrong("pap_environment", KNOWN["pap_environment"], value))
    assert len(told) == (1 if near else 0) and all(f"Write {near}" in line for line in told)
