"""The command line: ``python -m sandbox up|down|reset|status [environment …]``."""

from __future__ import annotations

import argparse
import json
import os
import sys

from sandbox.environments import Environment, home_exists
from sandbox.errors import SandboxError
from sandbox.layout import ENVIRONMENTS, entry


def main(arguments: list[str] | None = None) -> int:
    """0: done and everything answers; 1: it failed; 3: the database is up, but the API does not answer."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="An embedded PAP stack, per environment.")
    parser.add_argument("command", choices=["up", "down", "reset", "status"])
    parser.add_argument("environment", nargs="*", metavar="|".join(ENVIRONMENTS), help="all of them by default")
    parser.add_argument("--json", action="store_true", help="status as JSON")
    options = parser.parse_intermixed_args(arguments)
    unknown = set(options.environment) - set(ENVIRONMENTS)
    if unknown:
        parser.error(f"no such environment: {', '.join(sorted(unknown))}")
    os.umask(0o022)
    try:
        return _run(options.command, options.environment or list(ENVIRONMENTS), options.json)
    except SandboxError as error:
        print(error, file=sys.stderr)
        return 1
    except PermissionError as error:
        print(f"{error}. Is the sandbox another account's? Delete {entry()} with that account.", file=sys.stderr)
        return 1


def _run(command: str, names: list[str], as_json: bool) -> int:
    if command in ("down", "status") and not home_exists():
        print(json.dumps([]) if as_json else "There is no sandbox yet: python -m sandbox up staging")
        return 0
    if command == "status":
        found = [Environment(name).status() for name in names]
        print(json.dumps(found, indent=2) if as_json else "\n".join(map(_status_line, found)))
        return 0
    code = 0
    for name in names:
        outcome = getattr(Environment(name), command)()
        print(outcome, flush=True)
        code = code or (0 if outcome.ok else 3)
    return code


def _status_line(status: dict) -> str:  # type: ignore[type-arg]
    if not status["made"]:
        return f"{status['environment']}: not made yet"
    if not status["db"]["answers"] and status["db"]["process"] == "DOWN":
        return f"{status['environment']}: down, release {status['current']}"
    verdict = (
        "up"
        if status["db"]["answers"] and status["api"]["answers"]
        else (f"not whole (db {status['db']['process']}, api {status['api']['process']})")
    )
    return f"{status['environment']}: {verdict}: {status['where']}"
