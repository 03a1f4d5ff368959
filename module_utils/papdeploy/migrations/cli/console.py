"""How the runner speaks on a terminal: progress on standard error, the result on standard output."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping

from ...core.errors import PapError, Unavailable
from ...core.records import as_object, recorded
from ...core.redact import Redactor
from ...core.text import age, plural
from ...core.visible import visible_block
from .results import AdoptResult, Event, RunResult, State

OK, FAILED, CANNOT = 0, 1, 2
SHOWN = 40  # migrations listed in full


def progress(event: Mapping[str, object]) -> None:
    """One line per event worth a line."""
    line = sentence(recorded(Event, event))
    if line:
        # A closed output does not fail a run, least of all after its COMMIT.
        with contextlib.suppress(OSError):
            print(_shown(line), file=sys.stderr, flush=True)


def sentence(event: Event) -> str:
    """An event as a person reads it; empty if it is not worth a line."""
    kind = event.event
    line = ""
    if kind == "migration_started":
        line = f"{'reverting' if event.direction == 'downgrade' else 'applying'} {event.identity}"
    elif kind == "waiting_for_lock":
        holder = event.holder
        line = f"waiting for another run: process {holder.pid} ({holder.application}), since {holder.since}"
    elif kind == "blocked":
        line = f"waiting for a lock, blocked by {'; '.join(map(str, event.by))}"
    elif kind == "retry":
        line = f"{event.why}: attempt {event.attempt} of {event.of + 1} failed, again in {event.pause_s} s"
    elif kind == "progress":
        done, total, rate = event.rows_done, event.rows_total, event.rows_per_second
        about = "about " if event.estimated else ""
        left = f", {age((total - done) / rate)} left" if rate and done < total else ""
        line = f"{event.identity}: {done:,} of {about}{plural(total, 'row')}, {plural(round(rate), 'row')}/s{left}"
    elif kind in ("log", "output"):
        line = f"{event.identity}: {event.message or event.line}"
    elif kind == "resumed":
        line = f"{event.identity}: going on after {plural(event.rows_done, 'row')}"
    elif kind == "invalid_index_dropped":
        line = f"{event.identity}: dropped the invalid index {event.index} of an earlier attempt"
    elif kind == "committed":
        line = f"committed {', '.join(event.identities)}"
    elif kind in ("connection_lost", "commit_resolved", "failure_not_recorded"):
        line = kind.replace("_", " ") + "".join(f", {k} {v}" for k, v in as_object(event).items() if k != "event")
    return line


def run(action: Callable[[], int], *, as_json: bool = False) -> int:
    """Call ``action``; turn a PapError into its message (or JSON) and the exit code: 1 failed, 2 could not look."""
    try:
        code = action()
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read the output has enough (| head)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except PapError as error:
        if as_json:
            print(json.dumps(Redactor(environment=os.environ).data(error.as_dict()), indent=2, default=str))
        else:
            print(_shown(f"error: {error.message}"), file=sys.stderr)
            if error.hint:
                print(_shown(f"  next: {error.hint}"), file=sys.stderr)
            for key in ("statement", "rows", "output"):
                if error.data.get(key):
                    told = str(error.data[key]).strip().replace("\n", "\n    ")
                    print(f"  {key}:\n    {_shown(told)}", file=sys.stderr)
        return CANNOT if isinstance(error, Unavailable) else FAILED


def _shown(text: str) -> str:
    """A text for the terminal: without secrets, and without what a terminal obeys."""
    return visible_block(Redactor(environment=os.environ).text(text))


def show(result: object, text: str, *, as_json: bool) -> None:
    """Print the result of a command."""
    print(json.dumps(result, indent=2, default=str) if as_json else visible_block(text))


def state_text(state: State) -> str:
    """The status for a person."""
    lines = [f"{len(state.applied)} applied, {len(state.pending)} pending"]
    if not state.ledger_exists:
        lines[0] += " (the database has no ledger yet)"
    lines += [f"  applied  {e.identity}  {e.at[:19]} UTC  release {e.release}" for e in state.applied]
    for migration in state.pending:
        note = ""
        if migration.identity in state.interrupted:
            note = "  (was interrupted; it will run again)"
        elif migration.identity in state.failures:
            note = f"  (failed last time: {state.failures[migration.identity].error})"
        lines.append(f"  pending  {migration.identity}{note}")
    lines += [f"  refused  {problem.message}\n           {problem.hint}" for problem in state.problems]
    return "\n".join(lines)


def result_text(result: RunResult, way: str = "apply") -> str:
    """What a run did, for a person. ``way``: apply or revert."""
    done = result.applied or result.reverted
    if result.dry_run:
        if not result.pending:
            return "Nothing to do."
        return f"Would {way}:\n" + "\n".join(f"  {name}" for name in result.pending)
    if not done:
        return "Nothing to do."
    verb = "reverted" if result.reverted else "applied"
    lines = [f"{len(done)} {verb} in {result.seconds:.2f} s (release {result.release}, run {result.run})"]
    lines += [
        f"  {entry.identity}  {entry.seconds:.3f} s, {plural(entry.statement_count, 'statement')}"
        for entry in done[:SHOWN]
    ]
    if len(done) > SHOWN:
        lines.append(f"  and {len(done) - SHOWN} more (--json lists all)")
    if result.check:
        lines.append("The schema matches the models.")
    return "\n".join(lines)


def adopt_text(result: AdoptResult, verb: str) -> str:
    """What baseline (``verb``: marked as applied) or repair (accepted) did, for a person."""
    if not result.marked and not result.findings:
        return "Nothing to do."
    verb = f"would be {verb}" if result.dry_run else verb
    lines = [f"{len(result.marked)} {verb}: {', '.join(result.marked) or 'none'}"]
    for finding in result.findings:
        if finding.verdict:
            detail = "; ".join(filter(None, [
                f"found {', '.join(finding.found[:4])}" if finding.found else "",
                f"lacking {', '.join(finding.lacking[:4])}" if finding.lacking else "",
                finding.note,
            ]))  # fmt: skip
            lines.append(f"  {finding.verdict:8} {finding.identity}" + (f"  ({detail})" if detail else ""))
        else:
            lines.append(f"  {finding.message}")
    return "\n".join(lines)
