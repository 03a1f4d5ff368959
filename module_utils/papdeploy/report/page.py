"""The page of a release. Everything is in the one file; nothing is fetched, nothing runs."""

from __future__ import annotations

from typing import Any

from ..core.records import recorded
from ..releases.parts import Override, ReceiptOf
from . import data_loss, format, looks_picture, rollback_sections, sections, timeline
from .format import escape
from .records import Report
from .style import CSS

_BADGES = {
    "finished": ("ok", "Finished"),
    "rolled_back": ("bad", "Rolled back"),
    "refused": ("warn", "Refused"),
    "abandoned": ("bad", "Abandoned"),
    "unfinished": ("warn", "Unfinished"),
}


# No scripts, nothing from elsewhere; it also tells our pages from anybody else's.
POLICY = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"


def document(title: str, body: str) -> str:
    """A whole HTML page."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{POLICY}\n<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def render(made: object) -> str:
    """The report, as ``report.json`` has it, as HTML."""
    report = recorded(Report, made)
    parts = [_header(report), data_loss.section(report.data)]
    if report.failed:
        parts.append(sections.failure(report.failed, report.rollback))
    override = report.receipt.override
    if override and override != Override():
        parts.append(sections.override(override))
    if report.rollback_refused:
        parts.append(rollback_sections.refused(report.rollback_refused))
    if report.watch:
        parts.append(sections.alarms(report.watch))
    next_steps = sections.next_steps(report.next)
    if not report.verdict.ok:
        parts.append(next_steps)
    parts += [
        _timeline(report),
        sections.migrations(report.migrations),
        sections.schema(report.schema),
        sections.rehearsal(report.rehearsal, report.rehearsal_failed, report.unavailable_s),
        sections.backup(report.backup, report.restore_point),
        sections.smoke(report.smoke),
        sections.watch(report.watch, report.switched),
        looks_picture.section(report.answers, report.figures),
    ]
    if report.verdict.ok:
        parts.append(next_steps)
    parts.append(
        f"<footer>Release <code>{escape(report.release or '?')}</code>. Journal on the target host: "
        f"<code>{escape(report.journal or format.NOT_RECORDED)}</code>. Times are UTC.</footer>"
    )
    return document(report.verdict.line, "\n".join(part for part in parts if part))


def _header(report: Report) -> str:
    tone, badge = _BADGES.get(report.verdict.kind, ("warn", report.verdict.kind))
    if report.verdict.alarm:
        tone, badge = "warn", "Finished, with an alarm"
    started, ended = report.started, report.ended
    version = report.server_version
    expected = report.expected_unavailable_s
    facts = [
        ("From", report.old.label or format.NOT_RECORDED, ""),
        ("To", report.new.label or format.NOT_RECORDED, ""),
        (
            "Took",
            format.seconds(report.seconds),
            f"until {format.clock(ended, started)}" if ended else "not ended",
        ),
        (
            "API unavailable",
            format.seconds(report.unavailable_s),
            f"predicted {format.seconds(expected)}" if expected is not None else "",
        ),
        ("Deployed by", report.who or format.NOT_RECORDED, ""),
        ("PostgreSQL", f"{version // 10000}.{version % 10000}" if version else format.NOT_RECORDED, ""),
    ]
    receipt = report.receipt.receipt
    if receipt and receipt != ReceiptOf():
        facts.append((f"Receipt of {receipt.environment}", str(receipt.release), format.when(receipt.at)))
    facts += [(name.capitalize(), value, "") for name, value in report.versions.items()]
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{_breakable(value)}<small>{escape(note)}</small></dd></div>"
        for name, value, note in facts
    )
    return (
        f'<header class="verdict tone-{tone}"><div class="eyebrow"><span class="badge {tone}">{escape(badge)}</span>'
        f"<span>{escape(report.stack or '?')}</span><span>{escape(report.environment or '?')}</span>"
        f"<span>{format.when(started)}</span></div>"
        f'<h1>{escape(report.verdict.line)}</h1><dl class="facts">{items}</dl></header>'
    )


def _breakable(value: Any) -> str:
    return escape(value).replace("/", "/<wbr>").replace("@", "@<wbr>")


def _timeline(report: Report) -> str:
    bars = report.timeline
    if not bars:
        return ""
    fence, away = report.fence, report.unavailable
    picture = timeline.draw(bars, fence, away)
    close = timeline.zoom(bars, fence, away)
    predicted = any(bar.predicted_s is not None for bar in bars)
    legend = ['<span><i style="background:var(--bar)"></i>actual</span>']
    if predicted:
        legend.append('<span><i style="background:var(--bar-soft);height:4px"></i>predicted by the rehearsal</span>')
    if any(bar.state == "failed" for bar in bars):
        legend.append('<span><i style="background:var(--bad)"></i>failed</span>')
    if fence:
        legend.append(
            '<span><i style="background:var(--fence);opacity:.45"></i>fence: only the release can write</span>'
        )
    enlarged = f'<h3>Around the fence</h3><div class="scroll">{close}</div>' if close else ""
    return (
        f'<section><h2>Timeline</h2><div class="scroll">{picture}</div>{enlarged}{_later(report)}'
        f'<div class="legend">{"".join(legend)}</div></section>'
    )


def _later(report: Report) -> str:
    if not report.timeline_later:
        return ""
    at = format.when(report.rolled_back_at)
    picture = timeline.draw(report.timeline_later, None, None, title="The rollback of the release, later")
    return f'<h3>Rolled back later, {at}</h3><div class="scroll">{picture}</div>'
