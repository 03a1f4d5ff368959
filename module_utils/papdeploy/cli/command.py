"""The command line: ``python -m papdeploy migrate|plan|status|revert|baseline|repair|new|lint|check|restore``.

Exit codes: 0 done (or nothing to do), 1 refused or failed (lint: found errors), 2 could not look (no database).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from ..core.records import read_known
from ..migrations.alembic.declaration import Declaration
from ..migrations.cli import console
from ..migrations.cli.results import AdoptResult, RunResult, State
from ..migrations.options import RunOptions

if TYPE_CHECKING:
    from ..databases.psql import Database

_TIMES = (
    ("--lock-timeout", "lock_timeout_s", "longest wait of one statement for a lock, seconds"),
    ("--statement-timeout", "statement_timeout_s", "longest time of one statement, seconds; 0: no limit"),
    ("--deadline", "deadline_s", "longest time of the whole run, seconds"),
    ("--lock-wait", "lock_wait_s", "how long to wait for another run, seconds"),
    ("--script-deadline", "script_deadline_s", "longest time of one legacy script, seconds"),
)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one command; returns the exit code."""
    arguments_given = list(sys.argv[1:] if argv is None else argv)
    if arguments_given[:1] == ["check"]:
        return _check(arguments_given[1:])
    arguments = parser().parse_args(arguments_given)
    command: Callable[[argparse.Namespace], int] = arguments.command
    return console.run(lambda: command(arguments), as_json=getattr(arguments, "json", False))


Add = Callable[..., Any]


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="python -m papdeploy", description="Migrations of a PostgreSQL service.")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, function: Callable[[argparse.Namespace], int], text: str, *parents: Any) -> Any:
        sub = commands.add_parser(name, help=text, description=text, parents=list(parents))
        sub.set_defaults(command=function)
        return sub

    shared = _Shared()
    _add_run_commands(add, shared)
    _add_authoring_commands(add, shared)
    _add_restore_command(add)
    commands.add_parser("check", help="compare the database with the models (own options: check --help)")
    return top


class _Shared:
    """The options that several commands have."""

    def __init__(self) -> None:
        self.where = argparse.ArgumentParser(add_help=False)
        self.where.add_argument(
            "--migrations", action="append", metavar="FOLDER", help="default: ./migrations; may be repeated"
        )
        self.where.add_argument("--alembic", metavar="INI", help="the Alembic tree of the project: alembic.ini")
        self.where.add_argument("--target", default="head", help="revision of that tree to go to (default: head)")
        self.database = argparse.ArgumentParser(add_help=False)
        self.database.add_argument("--database-url", metavar="URL", help="default: DATABASE_URL of the environment")
        self.database.add_argument("--json", action="store_true", help="the result as JSON")
        self.run = argparse.ArgumentParser(add_help=False)
        self.run.add_argument("--release", default="cli", help="recorded in the ledger (default: cli)")
        self.run.add_argument("--dry-run", action="store_true", help="say what would be done; change nothing")
        defaults = RunOptions()
        for flag, name, text in _TIMES:
            self.run.add_argument(flag, dest=name, type=float, default=getattr(defaults, name), metavar="S", help=text)
        self.run.add_argument(
            "--lock-retries", type=int, default=defaults.lock_retries, metavar="N", help="after lock timeouts"
        )
        self.run.add_argument(
            "--transaction", choices=("all", "each"), default="all", help="one transaction for all, or each"
        )
        self.run.add_argument(
            "--assume-applied", action="append", default=[], metavar="NAME", help="take this migration at its word"
        )
        self.check = argparse.ArgumentParser(add_help=False)
        self.check.add_argument("--models", action="append", nargs="?", const="", metavar="MODULE[:NAME]",
                           help="check the schema before COMMIT (default: the models in pap-deploy.toml)")  # fmt: skip
        self.check.add_argument("--scratch-url", metavar="URL", help="server for the models' side of the check")


def _add_run_commands(add: Add, shared: _Shared) -> None:
    migrate = add(
        "migrate",
        _migrate,
        "apply what is pending, whole or not at all",
        shared.where,
        shared.database,
        shared.run,
        shared.check,
    )
    migrate.add_argument("--allow-out-of-order", action="store_true", help="also older ones than the newest applied")
    migrate.add_argument("--only", action="append", default=[], metavar="NAME", help="this one, with what it requires")
    plan = add("plan", _plan, "print the SQL of what is pending; change nothing", shared.where, shared.database)
    plan.add_argument("--scratch-url", metavar="URL", help="a copy of the database to run it on: the SQL is then exact")
    plan.add_argument("--allow-out-of-order", action="store_true")
    status = add("status", _status, "what is applied, pending, and in the way", shared.where, shared.database)
    status.add_argument("--allow-out-of-order", action="store_true")
    revert = add(
        "revert",
        _revert,
        "run downgrades, newest first, together where they can",
        shared.where,
        shared.database,
        shared.run,
        shared.check,
    )
    which = revert.add_mutually_exclusive_group(required=True)
    which.add_argument("--last", type=int, metavar="N", help="the newest N")
    which.add_argument("--since-release", metavar="RELEASE", help="everything that this release applied")
    which.add_argument("names", nargs="*", default=[], metavar="NAME")
    baseline = add(
        "baseline",
        _baseline,
        "mark as applied what the catalog shows to be there",
        shared.where,
        shared.database,
        shared.run,
    )
    baseline.add_argument("names", nargs="*", metavar="NAME", help="only these, with what they require")
    repair = add(
        "repair", _repair, "accept edited or removed migration files", shared.where, shared.database, shared.run
    )
    repair.add_argument("names", nargs="*", metavar="NAME", help="only these")
    repair.add_argument("--reason", default="", help="why; kept in the ledger")


def _add_authoring_commands(add: Add, shared: _Shared) -> None:
    new = add("new", _new, "write a new migration file", shared.where, shared.database)
    new.add_argument("name", metavar="NAME", help="what it does, for example add_api_key")
    new.add_argument("--from-models", action="append", nargs="?", const="", metavar="MODULE[:NAME]",
                     help="fill it from the schema check (default: the models in pap-deploy.toml)")  # fmt: skip
    new.add_argument("--rename", action="append", default=[], metavar="OLD=NEW",
                     help="what the models call NEW is OLD in the database: users.name=users.full_name")  # fmt: skip
    new.add_argument("--scratch-url", metavar="URL", help="server for the models' side of the check")
    new.add_argument("--author", default="")
    new.add_argument("--sql", action="store_true", help="in plain SQL instead of Python")
    lint = add("lint", _lint, "judge the SQL of what is pending, or of FILES, by the sizes of the tables", shared.where)
    lint.add_argument("files", nargs="*", metavar="FILE", help="migration files (default: all pending, or all)")
    lint.add_argument("--database-url", metavar="URL", help="for sizes and for what is pending (default: DATABASE_URL)")
    lint.add_argument("--scratch-url", metavar="URL", help="a copy of the database: judge the SQL that runs there")
    lint.add_argument("--offline", action="store_true", help="no database: every table counts as large")
    lint.add_argument("--format", choices=("text", "json", "sarif", "github"), default="text")
    lint.add_argument("--fail-on", choices=("error", "warning", "never"), default="error")
    lint.add_argument("--squawk", default="", metavar="PATH", help="the squawk program (default: found on PATH)")


def _add_restore_command(add: Add) -> None:
    restore = add("restore", _restore, "restore a backup into a new database, and compare it with the backup")
    restore.add_argument("archive", metavar="ARCHIVE", help="the .dump file; its manifest must lie beside it")
    restore.add_argument("--into", default="", metavar="NAME", help="name of the new database (default: …_restored)")
    restore.add_argument(
        "--identity", default="", metavar="KEY", help="age identity file, or GnuPG home, that opens it"
    )
    restore.add_argument("--container", default="", metavar="NAME", help="the server is in this container; else it is"
                         " where PGHOST, PGPORT and PGUSER lead, and the client programs are on PATH")  # fmt: skip
    restore.add_argument("--bin-dir", default="", metavar="FOLDER", help="of PostgreSQL's client programs")
    restore.add_argument("--json", action="store_true", help="the result as JSON")


def _request(arguments: argparse.Namespace) -> dict[str, Any]:
    names = [name for _, name, _ in _TIMES] + [
        "lock_retries",
        "transaction",
        "assume_applied",
        "allow_out_of_order",
        "only",
    ]
    return {
        "folders": _folders(arguments),
        "alembic": {"ini": arguments.alembic, "target": arguments.target} if arguments.alembic else None,
        "url": arguments.database_url,
        "release": getattr(arguments, "release", "") or "cli",
        "dry_run": getattr(arguments, "dry_run", False),
        "scratch": getattr(arguments, "scratch_url", None),
        "options": {name: getattr(arguments, name) for name in names if name in arguments},
    }


def _folders(arguments: argparse.Namespace) -> list[str]:
    return arguments.migrations or ([] if arguments.alembic else ["migrations"])


def _declared(arguments: argparse.Namespace) -> Optional[Declaration]:
    return Declaration(arguments.alembic, arguments.target) if arguments.alembic else None


def _checked(arguments: argparse.Namespace, request: dict[str, Any]) -> dict[str, Any]:
    """The request with the models' catalog, where --models asks for the schema check."""
    if arguments.models:
        from ..migrations.authoring.from_models import check_options, configured, expected_catalog
        from ..migrations.handlers import url_of

        configuration = configured(arguments.models)
        url = url_of(arguments.database_url)
        request["expected"] = expected_catalog(configuration, url, arguments.scratch_url).as_json()
        request["schema_options"] = check_options(configuration)
    return request


def _migrate(arguments: argparse.Namespace) -> int:
    from ..migrations import handlers

    result = handlers.apply(_checked(arguments, _request(arguments)), console.progress)
    console.show(result, console.result_text(read_known(RunResult, result)), as_json=arguments.json)
    return console.OK


def _plan(arguments: argparse.Namespace) -> int:
    from ..migrations import handlers

    result = handlers.plan(_request(arguments), console.progress)
    plan = read_known(State, result)
    console.show(result, plan.text.rstrip() or "Nothing to do.", as_json=arguments.json)
    return console.FAILED if plan.problems else console.OK


def _status(arguments: argparse.Namespace) -> int:
    from ..migrations import handlers

    result = handlers.status(_request(arguments), console.progress)
    state = read_known(State, result)
    console.show(result, console.state_text(state), as_json=arguments.json)
    return console.FAILED if state.problems else console.OK


def _revert(arguments: argparse.Namespace) -> int:
    from ..migrations import handlers

    request = _checked(arguments, _request(arguments))
    request.update(identities=arguments.names, count=arguments.last, since_release=arguments.since_release)
    result = handlers.revert(request, console.progress)
    console.show(result, console.result_text(read_known(RunResult, result), "revert"), as_json=arguments.json)
    return console.OK


def _baseline(arguments: argparse.Namespace) -> int:
    from ..migrations import handlers

    result = handlers.baseline({**_request(arguments), "identities": arguments.names}, console.progress)
    console.show(
        result, console.adopt_text(read_known(AdoptResult, result), "marked as applied"), as_json=arguments.json
    )
    return console.OK


def _repair(arguments: argparse.Namespace) -> int:
    from ..migrations import handlers

    request = {**_request(arguments), "identities": arguments.names, "reason": arguments.reason}
    result = handlers.repair(request, console.progress)
    console.show(result, console.adopt_text(read_known(AdoptResult, result), "accepted"), as_json=arguments.json)
    return console.OK


def _new(arguments: argparse.Namespace) -> int:
    from ..migrations.authoring import create

    folder = Path((arguments.migrations or ["migrations"])[-1])
    url = create.url_for(arguments.database_url) if arguments.from_models else ""
    paths = create.new(
        folder, arguments.name, author=arguments.author, models=arguments.from_models or (), url=url,
        scratch_url=arguments.scratch_url, renamed=arguments.rename, sql=arguments.sql,
        declared=_declared(arguments),
    )  # fmt: skip
    files = [str(path) for path in paths]
    console.show({"path": files[0], "paths": files}, "\n".join(files), as_json=arguments.json)
    return console.OK


def _lint(arguments: argparse.Namespace) -> int:
    from ..migrations.authoring import lint, lint_formats

    folders = [Path(folder) for folder in _folders(arguments)]
    report = lint.run(
        folders, [Path(file) for file in arguments.files], url=arguments.database_url, offline=arguments.offline,
        scratch=arguments.scratch_url, squawk=arguments.squawk, declared=_declared(arguments),
    )  # fmt: skip
    print(lint_formats.render(report, arguments.format))
    return console.FAILED if report.worse_than(arguments.fail_on) else console.OK


def _restore(arguments: argparse.Namespace) -> int:
    from .. import backup
    from ..phases.progress import sentence

    def emit(event: object) -> None:
        print(sentence(event), file=sys.stderr, flush=True)

    made = backup.rebuild(
        _server(arguments), arguments.archive, arguments.into, identity_file=arguments.identity, emit=emit
    )
    console.show(made.as_json(), "\n".join(made.lines()), as_json=arguments.json)
    return console.OK


def _server(arguments: argparse.Namespace) -> Database:
    """The server to restore into, through its database ``postgres``."""
    from ..databases.psql import Conninfo, Database
    from ..sites.host import HostSite

    if arguments.container:
        from ..app.discovery import database_at
        from ..sites.docker.engine import Engine
        from ..sites.docker.site import ContainerSite

        engine = Engine()
        user = ContainerSite(engine, arguments.container).environment().get("POSTGRES_USER") or "postgres"
        made = database_at(engine, arguments.container, dbname="postgres", user=user)
        return replace(made, bin_dir=arguments.bin_dir)
    given = os.environ.get
    conninfo = Conninfo("postgres", given("PGHOST", ""), int(given("PGPORT") or 0), given("PGUSER", ""))
    return Database(HostSite(), conninfo, arguments.bin_dir)


def _check(argv: Sequence[str]) -> int:
    """The schema check has a command line of its own; this only finds it."""
    from importlib import import_module

    main_of_check: Callable[[list[str]], int] = import_module("..schema.cli.command", __package__).main
    return main_of_check(list(argv))
