"""The command line: ``python check_db_schema.py``. Exit codes: 0 matches, 1 differs, 2 could not check."""

from __future__ import annotations

import argparse
import gc
import io
import os
import sys
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ...core.errors import PapError, Refused, StorageFailed
from ...core.redact import Redactor
from ...core.text import plural
from ..catalog.connect import database_url, open_session
from ..catalog.connection import Session
from ..catalog.rows import Catalog
from ..checker import check, examine
from ..differences.comparison import Comparison
from ..differences.options import CheckOptions, renames
from ..differences.result import SEVERITIES, CheckResult, result_from_dict
from ..models.capture_output import silence, silence_for_good
from ..models.load import ModelSet, load_models
from ..models.scratch_database import expected_on
from ..models.snapshot_file import cache_folder, cached, keep, read_snapshot, verify, write_snapshot
from ..repair.script import repair_script
from .configuration import Configuration, load_allowances, load_configuration
from .formats import FORMATS, render

MATCHES, DIFFERS, NOT_CHECKED = 0, 1, 2

_EPILOG = """\
Exit codes: 0 the database matches, 1 it differs, 2 it could not be checked.

The expected schema is what the server makes of the models: in a scratch database on the same server, on another one
(--scratch-url), or read from a snapshot (--snapshot), which needs no right but CONNECT. It is cached by its content.
"""


@dataclass
class Output:
    """Where results and complaints go: what was standard output and error before the application was silenced."""

    result: TextIO
    complaint: TextIO
    terminal: bool


def parser() -> argparse.ArgumentParser:
    """The options; what is not given comes from the configuration file."""
    found = argparse.ArgumentParser(
        prog="check_db_schema.py",
        description="Does this database match these models? Reads only.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add("--models", action="append", default=[], metavar="MODULE[:NAME]",
        help="module to import; NAME (or the last module) gives Base or MetaData; may be repeated")  # fmt: skip
    add("--path", help="folder to import from (default: the current one)")
    add("--database-url", metavar="URL", help="database to check (default: DATABASE_URL)")
    add("--format", choices=(*FORMATS, "sql"), default="text", help="sql prints the proposed repairs as one script")
    add("--output", metavar="FILE", help="write the result to FILE instead of standard output")
    add("--ignore", action="append", default=[], metavar="PATTERN",
        help="objects to leave out: legacy_*, users.note, index_extra:*; may be repeated")  # fmt: skip
    add("--rename", action="append", default=[], metavar="OLD=NEW",
        help="the models call OLD of the database NEW (users.name=users.full_name); may be repeated")  # fmt: skip
    add("--allow-file", metavar="FILE", help="known differences with reason and expiry date (TOML or JSON)")
    add("--fail-on", choices=(*reversed(SEVERITIES), "never"), help="lowest severity that counts (default: note)")
    add("--schema", help="schema of the unqualified models (default: by the search path)")
    add("--owner", help="role that must own everything (default: the one that owns most)")
    add("--snapshot", metavar="FILE", help="the expected schema from a file; it must be of these models")
    add("--write-snapshot", metavar="FILE", help="write the expected schema to FILE and stop")
    add("--scratch-url", metavar="URL", help="server, or empty database, where the models may be created")
    add(
        "--extension",
        action="append",
        default=[],
        metavar="NAME",
        help="extension that the models need; may be repeated",
    )
    add("--no-cache", action="store_true", help="neither read nor write the cache of expected schemas")
    add("--no-positions", action="store_true", help="do not compare the sequences' values with the tables")
    add(
        "--config",
        metavar="FILE",
        help="default: pap-deploy.toml, pap-deploy.json or pyproject.toml in the current folder",
    )
    add("--color", choices=("auto", "always", "never"), default="auto")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return _answer(parser().parse_args(argv), _own_output())


def _answer(arguments: argparse.Namespace, output: Output) -> int:
    # Everything below runs silenced: what the application prints never mixes with ours.
    with silence(), _closing(output):
        try:
            return _run(arguments, output)
        except PapError as exc:
            print(Redactor(environment=os.environ).text(f"check_db_schema: {exc}"), file=output.complaint)
        except BrokenPipeError:
            pass
        except KeyboardInterrupt:
            print("check_db_schema: interrupted.", file=output.complaint)
        except Exception as exc:  # noqa: BLE001 - Python would exit with 1, which means that the database differs
            print(Redactor(environment=os.environ).text(traceback.format_exc()), file=output.complaint)
            text = f"check_db_schema: unexpected {type(exc).__name__}: this is a defect of the check; please report it."
            print(text, file=output.complaint)
        return NOT_CHECKED


def _own_output() -> Output:
    terminal = sys.stdout.isatty()

    def keep(stream: TextIO, number: int) -> TextIO:
        try:
            if stream.fileno() != number:
                return stream
        except (OSError, ValueError, io.UnsupportedOperation):
            return stream  # replaced by a test or an embedding program
        return os.fdopen(os.dup(number), "w", encoding=stream.encoding or "utf-8", errors="replace")

    return Output(keep(sys.stdout, 1), keep(sys.stderr, 2), terminal)


class _closing:
    def __init__(self, output: Output) -> None:
        self.output = output

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        for stream in (self.output.result, self.output.complaint):
            try:
                stream.flush()
            except BrokenPipeError:
                continue


def _run(arguments: argparse.Namespace, output: Output) -> int:
    configuration = load_configuration(arguments.config)
    options = _options(arguments, configuration)
    specs = arguments.models or configuration.models
    if not specs:
        raise Refused(
            "No models are named.",
            hint='Give --models app.models:Base, or set models = ["app.models:Base"] in pap-deploy.toml.',
        )
    models = load_models(
        specs,
        arguments.path or configuration.path or None,
        extensions=[*configuration.extensions, *arguments.extension],
    )
    source = Source(arguments, configuration, models)
    if arguments.write_snapshot:
        return _write_snapshot(arguments, source, output)
    with open_session(database_url(arguments.database_url)) as session:
        if arguments.format == "sql":
            result, work = source.examined(session, options)
            _write("\n".join(repair_script(result.differences, work)) + "\n", arguments, output)
        else:
            result = source.checked(session, options)
            _print(result, arguments, models, output)
    return MATCHES if result.matches else DIFFERS


class Source:
    """Where the expected schema comes from: a snapshot, the cache, or a scratch database."""

    def __init__(self, arguments: argparse.Namespace, configuration: Configuration, models: ModelSet) -> None:
        self.arguments, self.configuration, self.models = arguments, configuration, models

    def checked(self, session: Session, options: CheckOptions) -> CheckResult:
        path = self.arguments.snapshot or self.configuration.snapshot
        if path:
            return check_by_snapshot(session, self.models, path, options)
        return check(session, self.models.named(self._expected(session.major)), options)

    def examined(self, session: Session, options: CheckOptions) -> tuple[CheckResult, Comparison]:
        """The result with what a script needs."""
        path = self.arguments.snapshot or self.configuration.snapshot
        if not path:
            return examine(session, self.models.named(self._expected(session.major)), options, repair=True)
        snapshot = read_snapshot(path)
        verify(snapshot, self.models.digest(session.major), path)
        return examine(session, self.models.named(snapshot), options, repair=True)

    def _expected(self, major: int) -> Catalog:
        if not self.arguments.no_cache:
            found = cached(cache_folder(), self.models.digest(major))
            if found is not None and found.dependencies_known():
                return found
        catalog = self.made()
        server = catalog.database.major
        if server != major:
            raise Refused(
                f"The scratch server runs PostgreSQL {server}, the database {major}.",
                hint=f"Name a scratch server of version {major}: others print types and expressions differently.",
            )
        if not self.arguments.no_cache:
            keep(cache_folder(), catalog)
        return catalog

    def made(self) -> Catalog:
        url = self.arguments.scratch_url or self.configuration.scratch_url or database_url(self.arguments.database_url)
        catalog, _ = expected_on(self.models, url)
        return catalog


def check_by_snapshot(session: Session, models: ModelSet, path: str, options: CheckOptions) -> CheckResult:
    """Compare the database with the snapshot in ``path``; meanwhile compile the models, to see that it is theirs.

    Raises PapError when it is not, Unavailable when the database cannot be read.
    """
    snapshot = read_snapshot(path)
    with ThreadPoolExecutor(max_workers=1) as beside:
        checking = beside.submit(check, session, models.named(snapshot), options)
        verify(snapshot, models.digest(session.major), path)
        return checking.result()


def _options(arguments: argparse.Namespace, configuration: Configuration) -> CheckOptions:
    allow = list(configuration.allow)
    if arguments.allow_file:
        allow += load_allowances(arguments.allow_file)
    return CheckOptions(
        ignore=(*configuration.ignore, *arguments.ignore),
        allow=tuple(allow),
        fail_on=arguments.fail_on or configuration.fail_on or "note",
        severities=configuration.severities,
        owner=arguments.owner or configuration.owner,
        schema=arguments.schema or configuration.schema,
        positions=not arguments.no_positions,
        renames=renames(arguments.rename),
        guess=arguments.format != "sql",
        used_by=configuration.used_by or CheckOptions().used_by,
    )


def _write_snapshot(arguments: argparse.Namespace, source: Source, output: Output) -> int:
    catalog = source.made()
    try:
        write_snapshot(arguments.write_snapshot, catalog)
    except OSError as exc:
        raise StorageFailed(f"The snapshot cannot be written: {exc}.") from exc
    major = catalog.database.major
    relations = plural(len(catalog.relations), "relation")
    print(f"Wrote {arguments.write_snapshot}: {relations} for PostgreSQL {major}.", file=output.complaint)
    return MATCHES


def _print(result: CheckResult, arguments: argparse.Namespace, models: ModelSet, output: Output) -> None:
    colour = arguments.color == "always" or (
        arguments.color == "auto" and output.terminal and not arguments.output and "NO_COLOR" not in os.environ
    )
    shown = result if arguments.format == "json" else _without_secrets(result)
    _write(render(shown, arguments.format, locations=models.classes(), colour=colour), arguments, output)


def _write(text: str, arguments: argparse.Namespace, output: Output) -> None:
    if arguments.output:
        try:
            Path(arguments.output).write_text(text, encoding="utf-8")
        except OSError as exc:
            raise StorageFailed(f"The result cannot be written: {exc}.") from exc
    else:
        output.result.write(text)


def _without_secrets(result: CheckResult) -> CheckResult:
    """For people. What programs read (JSON, SQL) is data and stays as it is."""
    return result_from_dict(Redactor(environment=os.environ).data(result.as_dict()))


def collect_seldom() -> None:
    """Let the collector alone: the process is short, and what it makes (models, SQL, rows) it keeps to its end."""
    gc.freeze()
    gc.set_threshold(50_000)


def run() -> None:
    """The command as a process: nothing that the application prints, at exit or from a thread either, gets out."""
    collect_seldom()
    arguments = parser().parse_args()
    output = _own_output()
    silence_for_good()
    sys.exit(_answer(arguments, output))
