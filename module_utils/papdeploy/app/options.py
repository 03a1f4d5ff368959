"""The ``stack`` option of the Ansible modules as records: what is not given is empty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class DatabaseOptions:
    container: str = ""
    name: str = ""
    host: str = ""
    port: int = 0
    admin_user: str = ""
    admin_password: str = field(default="", repr=False)
    bin_dir: str = ""
    become: tuple[str, ...] = ()
    log_files: tuple[str, ...] = ()


@dataclass(frozen=True)
class ApiOptions:
    models: tuple[str, ...] = ()
    container: tuple[str, ...] = ()
    image: str = ""
    activate: str = ""
    compose_file: str = ""
    image_variable: str = ""
    port: int = 0
    pull_s: float = 0
    start_s: float = 0
    health_s: float = 0
    url: str = ""
    url_variable: str = ""
    database_url: str = field(default="", repr=False)
    database_direct_url: str = field(default="", repr=False)
    dir: str = ""
    release_dir: str = ""
    release_ignore: tuple[str, ...] = ()
    python: str = ""
    env_file: str = ""
    start_command: tuple[str, ...] = ()
    stop_command: tuple[str, ...] = ()
    restart_command: tuple[str, ...] = ()
    trial_command: tuple[str, ...] = ()
    trial_env: Mapping[str, object] = field(default_factory=dict, repr=False)
    may_delete: tuple[str, ...] = ()
    log_files: tuple[str, ...] = ()

    @property
    def containers(self) -> tuple[str, ...]:
        """Ansible makes a list with one empty text of an empty text."""
        return tuple(filter(None, self.container))


@dataclass(frozen=True)
class StackOptions:
    """``who`` starts the run; ``smoke``: those of the login smoke test, and its ``url``."""

    name: str
    environment: str
    state_dir: str
    who: Mapping[str, Any]
    database: DatabaseOptions
    api: ApiOptions
    smoke: Mapping[str, Any] = field(repr=False)
    metrics_textfile_dir: str = ""
