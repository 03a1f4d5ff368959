"""The look of the pages: no network, light and dark, on paper too."""

from __future__ import annotations

CSS = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #1b2028; --soft: #596273; --line: #e1e5eb; --code: #f3f5f8;
  --ok: #12724a; --ok-bg: #e7f5ee; --bad: #b3261e; --bad-bg: #fdecea; --warn: #8a5a00; --warn-bg: #fdf3dc;
  --bar: #3f74d1; --bar-soft: #b9cdf0; --fence: #e8a33d; --grid: #e8ebf0;
  --add: #e3f5ea; --add-ink: #0d5c3a; --del: #fdebe9; --del-ink: #97231b;
  --shadow: 0 1px 2px rgba(20, 30, 50, .06), 0 4px 16px rgba(20, 30, 50, .04);
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0f1217; --card: #171b22; --ink: #e4e8ee; --soft: #98a2b3; --line: #2a303b; --code: #10141a;
    --ok: #56c795; --ok-bg: #12291f; --bad: #ff8a80; --bad-bg: #331715; --warn: #f2bd5b; --warn-bg: #2e2410;
    --bar: #6b9bf2; --bar-soft: #2c4373; --fence: #c98f35; --grid: #232935;
    --add: #12291f; --add-ink: #7fd8ad; --del: #331715; --del-ink: #ffa79f;
    --shadow: none;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink); line-height: 1.5;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", Ubuntu, "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums;
}
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 64px; }
h1 { font-size: 1.55rem; line-height: 1.3; margin: 0; font-weight: 650; letter-spacing: -.01em; }
h2 { font-size: 1.08rem; margin: 0 0 14px; font-weight: 650; }
h3 { font-size: .95rem; margin: 20px 0 6px; font-weight: 600; }
p { margin: 6px 0; }
a { color: inherit; }
code, pre, .mono { font-family: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, "DejaVu Sans Mono", monospace; }
code { font-size: .88em; overflow-wrap: anywhere; }
pre {
  margin: 8px 0; padding: 10px 12px; background: var(--code); border: 1px solid var(--line); border-radius: 6px;
  font-size: 12.5px; line-height: 1.5; white-space: pre-wrap; overflow-wrap: anywhere;
}
.soft { color: var(--soft); }
.none { color: var(--soft); font-style: italic; }
.ok { color: var(--ok); } .bad { color: var(--bad); } .warn { color: var(--warn); }
section, header.verdict {
  background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 20px 22px; margin: 0 0 16px;
  box-shadow: var(--shadow);
}
header.verdict { border-left: 6px solid var(--tone); padding: 22px 24px; }
.tone-ok { --tone: var(--ok); } .tone-bad { --tone: var(--bad); } .tone-warn { --tone: var(--warn); }
.eyebrow {
  display: flex; flex-wrap: wrap; gap: 8px 12px; align-items: center; margin-bottom: 8px; color: var(--soft);
  font-size: .86rem;
}
.badge {
  display: inline-block; padding: 2px 10px; border-radius: 99px; font-size: .78rem; font-weight: 650;
  letter-spacing: .02em; white-space: nowrap;
}
.badge.ok { background: var(--ok-bg); }
.badge.bad { background: var(--bad-bg); }
.badge.warn { background: var(--warn-bg); }
.badge.plain { background: var(--code); color: var(--soft); border: 1px solid var(--line); font-weight: 500; }
dl.facts {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(158px, 1fr)); gap: 14px 22px; margin: 20px 0 0;
}
dl.facts dt { font-size: .78rem; color: var(--soft); margin: 0 0 1px; }
dl.facts dd { margin: 0; font-weight: 550; overflow-wrap: anywhere; }
dl.facts small { display: block; font-weight: 400; color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
caption { text-align: left; color: var(--soft); font-size: .86rem; padding-bottom: 6px; }
th, td { text-align: left; padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 550; color: var(--soft); font-size: .82rem; white-space: nowrap; }
tbody tr:last-child td, tbody tr:last-child th { border-bottom: 0; }
td.num, th.num { text-align: right; white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
th.num + th:not(.num), td.num + td:not(.num) { padding-left: 12px; }
td code { overflow-wrap: normal; }
td.sql { width: 80%; } td.sql code { white-space: pre-wrap; overflow-wrap: anywhere; }
details { border-top: 1px solid var(--line); padding: 10px 0; }
details:last-child { padding-bottom: 0; }
summary { cursor: pointer; font-weight: 550; }
summary .soft { font-weight: 400; }
summary:focus-visible, a:focus-visible { outline: 2px solid var(--bar); outline-offset: 2px; border-radius: 3px; }
.message { background: var(--bad-bg); border-radius: 8px; padding: 12px 16px; margin: 10px 0; overflow-wrap: anywhere; }
.message.warn-box { background: var(--warn-bg); }
.diff { padding: 8px 0; }
.diff span { display: block; padding: 0 12px; white-space: pre-wrap; }
.diff .plus { background: var(--add); color: var(--add-ink); }
.diff .minus { background: var(--del); color: var(--del-ink); }
ol.steps { margin: 0; padding-left: 20px; } ol.steps li { margin: 4px 0 10px; } ol.steps pre { margin: 4px 0; }
svg { display: block; width: 100%; height: auto; min-width: 660px; }
svg text { fill: var(--ink); font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
svg .t-soft { fill: var(--soft); } svg .t-bad { fill: var(--bad); } svg .t-warn { fill: var(--warn); }
svg .t-strong { font-weight: 600; }
svg .halo { paint-order: stroke; stroke: var(--card); stroke-width: 4px; stroke-linejoin: round; }
svg .grid { stroke: var(--grid); } svg .axis { stroke: var(--line); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 10px 0 0; font-size: .84rem; color: var(--soft); }
.legend i {
  display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px; vertical-align: -1px;
}
.figures { display: flex; flex-wrap: wrap; gap: 10px 34px; margin: 0 0 12px; }
.figures b { font-size: 1.3rem; font-weight: 650; display: block; line-height: 1.25; }
.figures span { font-size: .82rem; color: var(--soft); }
footer { color: var(--soft); font-size: .82rem; margin-top: 22px; }
@media (max-width: 560px) {
  main { padding: 12px 10px 40px; } section, header.verdict { padding: 16px; } h1 { font-size: 1.25rem; }
}
@media print {
  :root {
    color-scheme: light; --page: #fff; --card: #fff; --ink: #111; --soft: #444; --line: #ccc; --code: #f6f6f6;
    --shadow: none;
  }
  body { font-size: 10.5pt; } main { max-width: none; padding: 0; }
  section, header.verdict { break-inside: auto; padding: 12px 14px; margin-bottom: 10px; }
  .scroll { overflow: visible; } svg { min-width: 0; } table { font-size: 8.5pt; } td, th { padding-right: 8px; }
  h2, h3, summary, caption { break-after: avoid; } tr, svg, .message { break-inside: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  details::details-content { content-visibility: visible; display: block; height: auto; }
}
"""
