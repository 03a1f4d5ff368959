"""What all modules share on Ansible's side: the ``stack`` option, and how a result or an error ends a module."""

from __future__ import annotations

import copy
import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule


def _text(default: str | None = "", **extra: Any) -> dict[str, Any]:
    return {"type": "str", "default": default, **extra}


def _words() -> dict[str, Any]:
    return {"type": "list", "elements": "str", "default": []}


_STACK: dict[str, Any] = {
    "type": "dict",
    "required": True,
    "options": {
        "code": {"type": "path", "default": ""},
        "phase_deadlines_s": {"type": "dict", "default": {}},
        "name": {"type": "str", "required": True},
        "environment": {"type": "str", "required": True},
        "state_dir": {"type": "path", "required": True},
        "who": {"type": "dict", "required": True},
        "database": {
            "type": "dict",
            "required": True,
            "options": {
                "container": _text(),
                "name": _text(),
                "host": _text(),
                "port": {"type": "int", "default": 0},
                "admin_user": _text(),
                "admin_password": _text(no_log=True),
                "bin_dir": _text(),
                "become": _words(),
                "log_files": _words(),
            },
        },
        "api": {
            "type": "dict",
            "required": True,
            "options": {
                "container": _words(),
                "image": _text(),
                "activate": {"type": "str", "choices": ["recreate", "compose", "restart"], "default": "recreate"},
                "compose_file": {"type": "path"},
                "image_variable": _text("PAP_API_IMAGE"),
                "port": {"type": "int", "default": 0},
                "pull_s": {"type": "float", "default": 600},
                "start_s": {"type": "float", "default": 60},
                "health_s": {"type": "float", "default": 90},
                "models": {"type": "list", "elements": "str", "required": True},
                "url": _text(),
                "url_variable": _text("DATABASE_URL"),
                "database_url": _text(no_log=True),
                "database_direct_url": _text(no_log=True),
                "dir": _text(),
                "release_dir": _text(),
                "release_ignore": _words(),
                "python": _text(),
                "env_file": _text(),
                "start_command": _words(),
                "stop_command": _words(),
                "restart_command": _words(),
                "trial_command": _words(),
                "trial_env": {"type": "dict", "default": {}},
                "may_delete": _words(),
                "log_files": _words(),
            },
        },
        "smoke": {
            "type": "dict",
            "required": True,
            "options": {
                "username": {"type": "str", "required": True},
                "password": {"type": "str", "required": True, "no_log": True},
                "url": _text(),
                "health_path": _text("/health"),
                "login_path": _text("/auth/login"),
                "me_path": _text("/auth/me"),
                "username_field": _text("username"),
                "password_field": _text("password", no_log=False),
                "token_field": _text("access_token", no_log=False),
                "endpoints": _words(),
                "health_deadline_s": {"type": "float", "default": 60},
            },
        },
    },
}


def spec(**options: Any) -> dict[str, Any]:
    """The argument spec of a module that works on a stack: the ``stack`` option and its own."""
    return {"stack": copy.deepcopy(_STACK), **options}


def optional_stack() -> dict[str, Any]:
    """The ``stack`` option of a module that works on the controller as well, where there is none."""
    return {"stack": {**copy.deepcopy(_STACK), "required": False}}


def run_phase(module: AnsibleModule, name: str, work: Callable[[Any, Any], dict[str, Any]], *, phase: str = "") -> None:
    """Do the module's one piece of work and end it: with the result, or with what failed and what to do next.

    ``work`` gets the stack and the module ``papdeploy.phases.<name>``, imported from where M(pap_package) unpacked it.
    It ends when the time of ``phase`` (``name``, where that is its name as well) is up.
    """
    given = module.params["stack"]

    def on_the_stack(imported: Any, redactor: Any) -> dict[str, Any]:
        from_params = importlib.import_module("papdeploy.app.stack").from_params
        deadline = importlib.import_module("papdeploy.phases.deadlines").deadline
        guards = importlib.import_module("papdeploy.phases.guards")
        release = module.params.get("release") or ""
        stack = from_params(given, release, redactor)
        disk = guards.disk_explained(stack.state, release, name)
        with disk, deadline(phase or name, given.get("phase_deadlines_s") or {}), guards.absence_explained(stack):
            return work(stack, imported)

    _run(module, given["code"], f"phases.{name}", on_the_stack)


def run_state(module: AnsibleModule, name: str, work: Callable[[Any, Any], dict[str, Any]]) -> None:
    """The same where the stack itself may be down: ``work`` gets its folder as ``State``, and the module."""
    given = module.params["stack"]

    def on_the_state(phase: Any, redactor: Any) -> dict[str, Any]:
        sources = importlib.import_module("papdeploy.environment.secret_sources")
        sources.teach(redactor, given)
        state_of = importlib.import_module("papdeploy.releases.journal").State
        state = state_of(given["state_dir"], redactor, given["who"], stack=given["name"])
        state.refuse_open()
        guards = importlib.import_module("papdeploy.phases.guards")
        with guards.disk_explained(state, module.params.get("release") or "", name):
            return work(state, phase)

    _run(module, given["code"], f"phases.{name}", on_the_state)


def run_code(module: AnsibleModule, code: str, name: str, work: Callable[[Any], dict[str, Any]]) -> None:
    """The same without a stack, on the controller: ``work`` gets the module ``papdeploy.<name>`` from the folder
    ``code``. What it writes is for this user alone."""
    before = os.umask(0o077)
    try:
        _run(module, code, name, lambda imported, _: work(imported))
    finally:
        os.umask(before)


def _run(module: AnsibleModule, code: str, name: str, work: Callable[[Any, Any], dict[str, Any]]) -> None:
    """Import, work, end. However it ends, what it says leaves without the secrets that are known by then."""
    _refuse_empty(module)
    if not code:
        module.fail_json(msg="The package papdeploy is not on this host. Run the role 'stack' first.")
    sys.path.insert(0, code)
    try:
        imported = importlib.import_module(f"papdeploy.{name}")
    except ImportError as error:
        module.fail_json(msg=f"papdeploy cannot be imported from {code}: {error}. Remove that folder.")
    errors = importlib.import_module("papdeploy.core.errors")
    storage = importlib.import_module("papdeploy.core.storage")
    redactor = importlib.import_module("papdeploy.core.redact").Redactor(module.no_log_values)
    try:
        result = redactor.shown(work(imported, redactor))
    except Exception as error:  # noqa: BLE001
        failure = error if isinstance(error, errors.PapError) else storage.explained(error)
        if failure is None:
            _defect(module, redactor, error)
        shown = redactor.shown_error(str(failure), failure.hint, failure.data)
        module.fail_json(error_kind=type(failure).__name__, **shown)
    module.exit_json(**{"changed": False, **result})


def _refuse_empty(module: AnsibleModule) -> None:
    """Ansible refuses a task that leaves out what is required; a role gives every option, some of them empty."""
    given = module.params
    needs = [(f"{key}={value}", names) for key, value, names in module.required_if or () if given[key] == value]
    needs += [(key, names) for key, names in (module.required_by or {}).items() if given[key]]
    for option, names in needs:
        empty = [name for name in names if _is_empty(given[name])]
        if empty:
            module.fail_json(
                msg=f"{option} requires {', '.join(empty)}, which is empty.",
                hint="Set it in the task, or the variable of the inventory from which the task takes it.",
            )


def _is_empty(value: Any) -> bool:
    """Nothing, or a list of nothing but empty texts, which is what Ansible makes of an empty text."""
    return value in (None, "", [], {}) or (isinstance(value, list) and set(map(str, value)) == {""})


def _defect(module: AnsibleModule, redactor: Any, error: Exception) -> None:
    """A bug of ours: say what and where, not "unknown error"."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    said = f"Unexpected {type(error).__name__} at {Path(last.filename).name}:{last.lineno}: {error}"
    hint = "This is a defect of pap-deploy; the journal says how far the release came. Please report it."
    shown = redactor.shown_error(said, hint, {"exception": traceback.format_exc()})
    module.fail_json(msg=shown["msg"], hint=hint, exception=shown["data"]["exception"])
