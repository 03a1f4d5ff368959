"""The page of a release. Everything is in the one file; nothing is fetched, nothing runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from . import data_loss, format, rollback_sections, sections, timeline
from .format import escape
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


def render(report: Mapping[str, Any]) -> str:
    """The report as HTML."""
    parts = [_header(report), data_loss.section(report.get("data"))]
    if report.get("failed"):
        parts.append(sections.failure(report["failed"], report.get("rollback")))
    override = (report.get("receipt") or {}).get("override")
    if override and isinstance(override, Mapping):
        parts.append(sections.override(override))
    if report.get("rollback_refused"):
        parts.append(rollback_sections.refused(report["rollback_refused"]))
    if (report.get("watch") or {}).get("alarms"):
        parts.append(sections.alarms(report["watch"]))
    next_steps = sections.next_steps(report.get("next") or [])
    if not report["verdict"]["ok"]:
        parts.append(next_steps)
    parts += [
        _timeline(report),
        sections.migrations(report.get("migrations") or []),
        sections.schema(report.get("schema") or {}),
        sections.rehearsal(report.get("rehearsal"), report.get("unavailable_s")),
        sections.backup(report.get("backup"), report.get("restore_point")),
        sections.smoke(report.get("smoke")),
        sections.watch(report.get("watch")),
    ]
    if report["verdict"]["ok"]:
        parts.append(next_steps)
    parts.append(
        f"<footer>Release <code>{escape(report.get('release') or '?')}</code>. Journal on the target host: "
        f"<code>{escape(report.get('journal') or format.NOT_RECORDED)}</code>. Times are UTC.</footer>"
    )
    return document(report["verdict"]["line"], "\n".join(part for part in parts if part))


def _header(report: Mapping[str, Any]) -> str:
    tone, badge = _BADGES.get(report["verdict"]["kind"], ("warn", report["verdict"]["kind"]))
    if report["verdict"].get("alarm"):
        tone, badge = "warn", "Finished, with an alarm"
    started, ended = report.get("started"), report.get("ended")
    version = report.get("server_version")
    expected = report.get("expected_unavailable_s")
    facts = [
        ("From", _release(report.get("from")), ""),
        ("To", _release(report.get("to")), ""),
        (
            "Took",
            format.seconds(report.get("seconds")),
            f"until {format.clock(ended, started)}" if ended else "not ended",
        ),
        (
            "API unavailable",
            format.seconds(report.get("unavailable_s")),
            f"predicted {format.seconds(expected)}" if expected is not None else "",
        ),
        ("Deployed by", report.get("who") or format.NOT_RECORDED, ""),
        ("PostgreSQL", f"{version // 10000}.{version % 10000}" if version else format.NOT_RECORDED, ""),
    ]
    receipt = (report.get("receipt") or {}).get("receipt")
    if receipt and isinstance(receipt, Mapping):
        facts.append(
            (f"Receipt of {receipt.get('environment')}", receipt.get("release"), format.when(receipt.get("at")))
        )
    facts += [(name.capitalize(), value, "") for name, value in (report.get("versions") or {}).items()]
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{_breakable(value)}<small>{escape(note)}</small></dd></div>"
        for name, value, note in facts
    )
    return (
        f'<header class="verdict tone-{tone}"><div class="eyebrow"><span class="badge {tone}">{escape(badge)}</span>'
        f"<span>{escape(report.get('stack') or '?')}</span><span>{escape(report.get('environment') or '?')}</span>"
        f"<span>{format.when(started)}</span></div>"
        f'<h1>{escape(report["verdict"]["line"])}</h1><dl class="facts">{items}</dl></header>'
    )


def _breakable(value: Any) -> str:
    return escape(value).replace("/", "/<wbr>").replace("@", "@<wbr>")


def _release(version: Optional[Mapping[str, Any]]) -> str:
    return str((version or {}).get("label") or format.NOT_RECORDED)


def _timeline(report: Mapping[str, Any]) -> str:
    bars = report.get("timeline") or []
    if not bars:
        return ""
    fence, away = report.get("fence"), report.get("unavailable")
    picture = timeline.draw(bars, fence, away)
    close = timeline.zoom(bars, fence, away)
    predicted = any(bar.get("predicted_s") is not None for bar in bars)
    legend = ['<span><i style="background:var(--bar)"></i>actual</span>']
    if predicted:
        legend.append('<span><i style="background:var(--bar-soft);height:4px"></i>predicted by the rehearsal</span>')
    if any(bar["state"] == "failed" for bar in bars):
        legend.append('<span><i style="background:var(--bad)"></i>failed</span>')
    if fence:
        legend.append(
            '<span><i style="background:var(--fence);opacity:.45"></i>fence: only the release can write</span>'
        )
    later = report.get("timeline_later")
    enlarged = f'<h3>Around the fence</h3><div class="scroll">{close}</div>' if close else ""
    return (
        f'<section><h2>Timeline</h2><div class="scroll">{picture}</div>{enlarged}{_later(report, later)}'
        f'<div class="legend">{"".join(legend)}</div></section>'
    )


def _later(report: Mapping[str, Any], bars: Any) -> str:
    if not bars:
        return ""
    at = format.when(report.get("rolled_back_at"))
    picture = timeline.draw(bars, None, None, title="The rollback of the release, later")
    return f'<h3>Rolled back later, {at}</h3><div class="scroll">{picture}</div>'
