"""What all modules share on Ansible's side: the ``stack`` option, and how a result or an error ends a module."""

from __future__ import annotations

import copy
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.papdeploy.errors import PapError
from ansible.module_utils.papdeploy.redact import redact_data


def _text(default: str | None = "", **extra: Any) -> dict[str, Any]:
    return {"type": "str", "default": default, **extra}


def _words() -> dict[str, Any]:
    return {"type": "list", "elements": "str", "default": []}


_STACK: dict[str, Any] = {
    "type": "dict",
    "required": True,
    "options": {
        "name": {"type": "str", "required": True},
        "environment": {"type": "str", "required": True},
        "state_dir": {"type": "path", "required": True},
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
                "models": {"type": "list", "elements": "str", "required": True},
                "url": _text(),
                "url_variable": _text("DATABASE_URL"),
                "dir": _text(),
                "release_dir": _text(),
                "python": _text(),
                "env_file": _text(),
                "start_command": _words(),
                "stop_command": _words(),
                "restart_command": _words(),
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


def execute(module: AnsibleModule, work: Callable[[], dict[str, Any]]) -> None:
    """Do the module's one piece of work and end it: with the result, or with what failed and what to do next."""
    try:
        result = work()
    except PapError as error:
        module.fail_json(
            msg=str(error), error_kind=type(error).__name__, hint=error.hint, data=redact_data(error.data)
        )
    module.exit_json(**{"changed": False, **result})
