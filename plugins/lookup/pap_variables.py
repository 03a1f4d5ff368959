"""Which variables of a host are misspelled, of the wrong type, or empty: told before anything else is done."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible import context
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = r"""
name: pap_variables
short_description: Problems with the variables that the inventory sets for a host
version_added: "0.3.0"
author: pap-deploy authors
description:
  - Returns one line for each variable that is misspelled, has the wrong type or a value that is not among its
    choices, or is empty where a value is needed. No line means that all is well.
  - A variable that begins with C(pap_) must be one of this collection. Any other, such as C(backup_…) or C(watch_…),
    is refused only if it looks like a misspelling of one of them, because other roles may have such variables too.
    Variables of your own that are refused by mistake go into C(pap_own_variables).
  - The keys of a variable that is a dictionary are checked in the same way, where it has keys of a fixed set.
  - In the playbooks of this collection, C(--tags), C(--skip-tags), C(--start-at-task) and C(--step) are told too, as
    they run only as a whole, and what any of them needs of a stack must be there. A play of your own may use a part.
  - A password of the connection (C(ansible_become_password) and the like) that cannot be decrypted raises an error with
    the same line, because Ansible needs it before the arguments of any task. Name the lookup in C(when) to see it.
  - Values that cannot be read yet (a fact that a later task sets, a file of a sandbox that is not up) are left to the
    roles' argument specs, which check them again.
options:
  own:
    description: Variables of the user's own, which are not refused.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Refuse variables that are misspelled or of the wrong type
  ansible.builtin.assert:
    that: query('pap_variables') | length == 0
    fail_msg: "{{ query('pap_variables') | join('\n') }}"
"""

RETURN = r"""
_raw:
  description: What is wrong, a sentence for each variable, sorted by name.
  type: list
  elements: str
"""

ENVIRONMENTS = ("development", "staging", "production")
_ROLES = Path(__file__).resolve().parents[2] / "roles"
# What the playbooks and the roles set themselves, and what is of the sandbox.
_INTERNAL = ("pap_stack", "pap_who", "pap_release", "pap_phase", "status_acknowledge")
_REPLACED = {"watch_timer": "watch_runner: systemd (or auto, the default)"}
_INTERNAL_PREFIXES = ("pap_sandbox_", "pap_hook_before_", "pap_hook_after_")
# What Ansible itself reads to connect and to become another user.
_PASSWORD = re.compile(r"ansible_\w*(pass|password|passphrase)")
_WORD = re.compile(r"\w+")
_MARKUP = re.compile(r"\b[A-Z]\(([^)]*)\)")
_SKIPS_OURS = ("always", "all", "tagged", "untagged")
_ALONE = {
    "the preflight": "deploy.yml --check",
    "a backup": "backup.yml",
    "a rehearsal": "rehearse.yml",
    "a rollback": "rollback.yml",
    "the schema check": "check.yml",
}
_DEFAULT_LOGIN = "json"
# What is needed only where another variable has one of these values.
_BY_PASSWORD = ("json", "form", "cookie")
_NEEDED_WITH = {
    "pap_smoke_username": ("pap_smoke_login", _BY_PASSWORD),
    "pap_smoke_password": ("pap_smoke_login", _BY_PASSWORD),
    "pap_smoke_token": ("pap_smoke_login", ("header",)),
}
_SPEC_KEYS = ("type", "elements", "choices", "no_log")


class LookupModule(LookupBase):
    def run(self, terms: Any, variables: Any = None, **kwargs: Any) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        variables = variables or {}
        ours = Path(variables.get("playbook_dir", "/")).resolve() == _ROLES.parent / "playbooks"
        in_part = partial(context.CLIARGS) if ours else []
        self._templar.available_variables = variables
        sealed = [line for name in variables if _PASSWORD.fullmatch(name) for line in self._sealed(name, variables)]
        if sealed:
            raise AnsibleError(" ".join(sealed))
        facts = variables.get("ansible_facts") or {}
        names = [name for name in variables if name not in facts]  # a cache may hold those of an older version of ours
        found = [*misspelled(names, self.get_option("own")), *self._wrong(variables, ours)]
        found += timer_of_the_sandbox(*(self._value(name, variables) for name in ("pap_sandbox", "watch_runner")))
        return [*in_part, *sorted(found)]

    def _wrong(self, variables: Mapping[str, Any], whole: bool) -> Iterator[str]:
        """``whole``: what has no default is needed, even if not every role needs it."""
        self._templar.available_variables = variables
        for name, spec in known().items():
            spec = spec if self._is_needed(name, variables) else {"default": "", **spec}
            if name not in variables:
                needed = spec.get("required") or (whole and "default" not in spec)
                if needed and name in stack_variables():
                    yield f"{name} is missing: {_plain(spec['description'])}"
                continue
            try:
                yield from wrong(name, spec, self._templar.template(variables[name]))
            except AnsibleError:
                yield from self._sealed(name, variables)

    def _sealed(self, name: str, variables: Mapping[str, Any]) -> Iterator[str]:
        """A sentence if ``name`` cannot be decrypted; with the variable that it comes from, where that is another."""
        try:
            self._templar.template(variables[name])
        except AnsibleError as exc:
            if "decrypt" in str(exc).lower() or "vault" in str(exc).lower():
                text = str(variables[name]) if isinstance(variables[name], str) else ""
                named = [word for word in _WORD.findall(text) if word in variables] if "{{" in text else []
                source = f" (from {', '.join(named)})" if named else ""
                give = "give the password of its Vault (--vault-id, --ask-vault-pass)"
                yield f"{name}{source} cannot be decrypted: {give}."

    def _value(self, name: str, variables: Mapping[str, Any]) -> object:
        """What the variable is, or is by default; None if that cannot be read yet."""
        try:
            return self._templar.template(variables.get(name, known()[name]["default"]))
        except AnsibleError:
            return None

    def _is_needed(self, name: str, variables: Mapping[str, Any]) -> bool:
        """Whether the value of another variable lets this one be left out."""
        other, values = _NEEDED_WITH.get(name, ("", ()))
        if not other:
            return True
        try:
            return self._templar.template(variables.get(other, _DEFAULT_LOGIN)) in values
        except AnsibleError:  # told of with that other variable
            return False


def partial(arguments: Mapping[str, Any]) -> Iterator[str]:
    """A sentence if the command line, as ``ansible.context`` has it, runs only a part of a playbook."""
    tags = [tag for tag in arguments.get("tags") or () if tag != "all"]
    skipped = [tag for tag in arguments.get("skip_tags") or () if tag in _SKIPS_OURS]  # any other has no effect here
    for option, value in (
        ("--tags", ",".join(tags)),
        ("--skip-tags", ",".join(skipped)),
        ("--start-at-task", arguments.get("start_at_task")),
        # Ansible's strategies host_pinned and free wait for ever then.
        ("--step", "with an answer no" if arguments.get("step") else ""),
    ):
        if value:
            alone = "; ".join(f"{what}: {command}" for what, command in _ALONE.items())
            yield (
                f"{option} {value} would run a part of this playbook. It runs only as a whole, because each phase "
                f"relies on the ones before it. Nothing was done. What runs alone: {alone}."
            )


def timer_of_the_sandbox(sandbox: object, runner: object) -> Iterator[str]:
    """A sentence if a sandbox would leave a timer of systemd on the machine on which it is tried."""
    if boolean(sandbox, strict=False) and runner in ("auto", "systemd"):
        yield f"watch_runner is {runner}, and a sandbox installs no timer on its machine: set it to process, or cron."


def _plain(description: str) -> str:
    return _MARKUP.sub(r"\1", description).strip()


@functools.cache
def known() -> dict[str, dict[str, Any]]:
    """Every variable of the inventory with its spec, from the argument specs of all roles."""
    found: dict[str, dict[str, Any]] = {}
    for role in sorted(path.name for path in _ROLES.iterdir() if path.is_dir()):
        for name, spec in _specs(role):
            found.setdefault(name, spec)
    return found


@functools.cache
def stack_variables() -> frozenset[str]:
    """What every playbook needs."""
    return frozenset(name for name, _ in _specs("stack"))


@functools.cache
def _specs(role: str) -> tuple[tuple[str, dict[str, Any]], ...]:
    """The variables of a role, each with its spec; read with libyaml where it is there, which takes a seventh."""
    path = _ROLES / role / "meta" / "argument_specs.yml"
    if not path.is_file():
        return ()
    read = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return tuple(item for entry in read["argument_specs"].values() for item in (entry.get("options") or {}).items())


def misspelled(names: Iterable[str], own: Iterable[str] = ()) -> Iterator[str]:
    """A sentence for each of ``names`` that is, or may be, a misspelled variable of ours; ``own`` are the user's."""
    ours, mine = known(), set(own)
    near_ours = _near(tuple(ours))
    for name in names:
        if name in ours or name in mine or name in _INTERNAL or name.startswith(_INTERNAL_PREFIXES):
            continue
        if name in _REPLACED:
            yield f"{name} is no more. Write {_REPLACED[name]} instead."
            continue
        near = next((near_ours[form] for form in _forms(name) if form in near_ours), "")
        if not near:
            near = _same_prefix(name, ours)
        if near or name.startswith("pap_"):
            likely = f" Did you mean {near}?" if near else " docs/reference.md lists them all."
            yield f"{name} is not a variable of pap-deploy.{likely} If it is your own, add it to pap_own_variables."


def _same_prefix(name: str, ours: Iterable[str]) -> str:
    """The one of ``ours`` that begins with the same role and goes on much like ``name``; empty for none."""
    prefix = next((prefix for prefix in _prefixes() if name.startswith(prefix)), "")
    endings = [known_name[len(prefix) :] for known_name in ours if prefix and known_name.startswith(prefix)]
    return next((prefix + end for end in difflib.get_close_matches(name[len(prefix) :], endings, n=1, cutoff=0.7)), "")


@functools.cache
def _prefixes() -> tuple[str, ...]:
    return ("pap_", *(f"{path.name}_" for path in _ROLES.iterdir() if path.is_dir() and path.name != "stack"))


@functools.cache
def _near(ours: tuple[str, ...]) -> dict[str, str]:
    return {form: name for name in ours for form in _forms(name)}


def _forms(name: str) -> Iterator[str]:
    """``name``, and ``name`` without any one of its letters. Two names share a form if one letter is wrong, missing or
    too much, or if two that are side by side are exchanged."""
    yield name
    yield from (name[:at] + name[at + 1 :] for at in range(len(name)))


def wrong(name: str, spec: Mapping[str, Any], value: object) -> Iterator[str]:
    """A sentence for a ``value`` that the variable cannot have. The value itself is not shown: it may be a secret."""
    if _is_empty(value, "default" in spec):
        if spec.get("default", "-") not in ("", [], {}) and "" not in spec.get("choices", ()):
            yield f"{name} is empty. {'Set it, or remove it for its default' if 'default' in spec else 'Set it'}."
        return
    yield from _of_type(name, spec, value)
    if name == "pap_environment" and (near := likely_environment(str(value))):
        yield (
            f"pap_environment is {str(value)!r}, which is not {near}: none of {near}'s rules would apply. "
            f"Write {near}, or choose a name that cannot be mistaken for it."
        )


def _is_empty(value: object, optional: bool) -> bool:
    """Whether nothing is said. A list or dictionary of none may be meant where it is ``optional``: no events, say."""
    if isinstance(value, (list, dict)):
        return not optional and not any(not _is_empty(held, optional) for held in value)
    return value is None or (isinstance(value, str) and not value.strip())


def _of_type(name: str, spec: Mapping[str, Any], value: object) -> Iterator[str]:
    """What is wrong with the type of ``value`` and of what it holds."""
    argument = {key: spec[key] for key in _SPEC_KEYS if key in spec}
    checked = ArgumentSpecValidator({name: argument}).validate({name: value})
    if checked.error_messages or (spec.get("type") in ("str", "path") and isinstance(value, (list, dict))):
        choices = spec.get("choices") or (["true", "false"] if spec.get("type") == "bool" else [])
        allowed = f"one of {', '.join(str(choice) or '(empty)' for choice in choices)}" if choices else ""
        elements = f" of {spec['elements']}" if "elements" in spec else ""
        yield f"{name} must be {allowed or 'of type ' + str(spec.get('type', 'str')) + elements}."
    elif "options" in spec:  # a text may stand for a dictionary
        read = checked.validated_parameters[name]
        for number, held in enumerate(read if isinstance(read, list) else [read]):
            yield from _keys(f"{name}[{number}]" if isinstance(read, list) else name, spec["options"], held)


def _keys(name: str, specs: Mapping[str, Any], value: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the keys of a dictionary, and with their values; one without a value counts as absent."""
    for key, held in value.items():
        if key not in specs:
            near = difflib.get_close_matches(str(key), specs, n=1)
            likely = f"Did you mean {name}.{near[0]}?" if near else f"It takes {', '.join(specs)}."
            yield f"{name}.{key} is not known. {likely}"
        elif held is not None and held != "":
            yield from _of_type(f"{name}.{key}", specs[key], held)


def likely_environment(value: str) -> str:
    """Which of the three environments ``value`` probably means without being it; empty for none."""
    plain = value.strip().lower()
    for name in ENVIRONMENTS:
        short = len(plain) >= 3 and name.startswith(plain)
        typo = not plain.startswith(name) and not set(_forms(plain)).isdisjoint(_forms(name))
        if value != name and (plain == name or short or typo):
            return name
    return ""
