"""Many stacks at once: what each release did, as a table in the terminal and as one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional
from urllib.parse import quote

from ..core.durable import write_durably
from ..core.errors import PapError
from ..core.plain_json import parse
from ..core.records import FROM, TO, read_known, recorded
from ..core.regular import read_regular
from ..core.text import plural
from . import format
from .format import escape
from .markup import table
from .page import POLICY, document
from .records import Report

_TONES = {"finished": "ok", "rolled_back": "bad", "abandoned": "bad", "refused": "warn", "unfinished": "warn"}


def overview(reports: Sequence[Report], links: Mapping[str, str] | None = None) -> str:
    """One page for the reports of many stacks. ``links`` leads from a stack to its own page."""
    links = links or {}
    good = sum(1 for report in reports if report.verdict.ok)
    bad = len(reports) - good
    tone = "ok" if not bad else "bad"
    rows = []
    for report in sorted(reports, key=lambda r: (r.verdict.ok, str(r.stack))):
        kind = report.verdict.kind
        name = escape(report.stack or "?")
        link = links.get(str(report.stack))
        failed = report.failed
        rows.append(
            [
                f'<a href="{escape(link)}">{name}</a>' if link else name,
                escape(report.environment or "?"),
                escape(format.short_label(report.old.label) or "–"),
                escape(format.short_label(report.new.label) or "–"),
                f'<span class="badge {_TONES.get(kind, "warn")}">{escape(kind.replace("_", " "))}</span>',
                escape(format.seconds(report.unavailable_s)) if report.unavailable_s is not None else "–",
                escape(format.seconds(report.seconds)) if report.seconds is not None else "–",
                escape(f"{format.phase(failed.phase)}: {failed.message}" if failed else ""),
            ]
        )
    line = f"{plural(good, 'stack')} deployed" + (f", {bad} not" if bad else "")
    head = ["Stack", "Environment", "From", "To", "Verdict", "Unavailable", "Took", "What failed"]
    body = (
        f'<header class="verdict tone-{tone}"><div class="eyebrow"><span class="badge {tone}">'
        f"{'All well' if not bad else 'Look here'}</span><span>{plural(len(reports), 'stack')}</span></div>"
        f"<h1>{escape(line)}</h1></header>"
        f"<section>{table('What went wrong first', head, rows, (5, 6))}</section>"
    )
    return document(line, body)


@dataclass(frozen=True)
class Written:
    """The page (empty if it was not written), and how many stacks are on it."""

    path: str
    stacks: int
    warnings: Sequence[str] = ()


def write(folder: str, fetched: Sequence[str] = ()) -> Written:
    """Make ``index.html`` of the newest report of each stack: ``<folder>/<stack>/<release>.json``.

    Only their owner may read the reports that have just been ``fetched``.
    Other people's files may lie there: what is no report is passed over, an ``index.html`` that is no page of ours
    stays as it is, and ``warnings`` names both.
    """
    home = Path(folder)
    for each in fetched:
        Path(each).chmod(0o600)
    reports: list[Report] = []
    links: dict[str, str] = {}
    warnings: list[str] = []
    for stack in sorted(path for path in home.iterdir() if path.is_dir()):
        for path in sorted(stack.glob("*.json"), reverse=True):
            made = _report(path)
            if made is not None:
                reports.append(made)
                links[str(made.stack)] = f"{quote(stack.name)}/{quote(path.stem)}.html"
                break
            warnings.append(f"{path} is not a report of pap-deploy; it was left as it is.")
    page = home / "index.html"
    if not _replaceable(page):
        warnings.append(f"{page} is not a page of pap-deploy, so the overview of all stacks was not written over it.")
        return Written("", len(reports), warnings)
    # Several stacks may end at the same time: each writes a file of its own and puts it into place whole.
    write_durably(page, overview(reports, links).encode())
    return Written(str(page), len(reports), warnings)


@dataclass(frozen=True)
class _Judged:
    ok: object
    kind: object


@dataclass(frozen=True)
class _Shape:
    """What tells a report from other files."""

    verdict: _Judged


def _report(path: Path) -> Optional[Report]:
    try:
        made = parse(read_regular(path))
        read_known(_Shape, made)
    except (OSError, ValueError, PapError):
        return None
    return recorded(Report, made)


def _replaceable(page: Path) -> bool:
    """Whether nothing is there, or an overview that was written here."""
    try:
        return POLICY.encode() in read_regular(page)[:2000]
    except FileNotFoundError:
        return not page.is_symlink()
    except OSError:
        return False


@dataclass(frozen=True)
class Line:
    """A stack's line of the table in the terminal."""

    stack: str
    old: str = field(metadata=FROM)
    new: str = field(metadata=TO)
    verdict: str
    unavailable: str
    took: str


def line(made: object) -> Line:
    report = recorded(Report, made)
    away, took = report.unavailable_s, report.seconds
    return Line(
        report.stack or "?",
        format.short_label(report.old.label) or "-",
        format.short_label(report.new.label) or "-",
        report.verdict.kind.replace("_", " "),
        "-" if away is None else format.seconds(away),
        "-" if took is None else format.seconds(took),
    )
