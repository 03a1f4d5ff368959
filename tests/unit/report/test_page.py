"""The report: what it says for each end of a release, and a page that is whole, safe and tolerant."""

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from papdeploy import report
from papdeploy.core.records import recorded, returned, whole
from papdeploy.releases.journal import State
from papdeploy.releases.run import Run
from papdeploy.report import format, overview, schema_text, timeline
from papdeploy.report.axis import nice_step
from papdeploy.report.overview import line
from papdeploy.report.records import Report
from support import report_samples as samples

VOID = {"meta", "br", "wbr", "hr"}


def read(made: dict[str, Any]) -> Report:
    return recorded(Report, made)


def built(kind: str = "finished") -> dict[str, Any]:
    if kind == "alarm":
        return samples.report(samples.finished(), samples.kept(), samples.watch_state(), samples.watch_status())
    if kind == "finished":
        state = samples.watch_state(alarm=False)
        return samples.report(samples.finished(), samples.kept(), state, samples.watch_status(alarm=False))
    return samples.report(getattr(samples, kind)(), {**samples.kept(), "catalog": None})


class Checker(HTMLParser):
    """Balanced tags, the text, and every attribute that could fetch or run something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.suspicious: list[str] = []
        self.feed(page.replace("<wbr>", ""))
        assert self.stack == [], f"not closed: {self.stack}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.stack.append(tag)
        for name, value in attrs:
            if name.startswith("on") or name in ("src", "srcset", "action") or (name == "href" and "//" in str(value)):
                self.suspicious.append(f"{tag} {name}={value}")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack and self.stack[-1] == tag, f"</{tag}> closes {self.stack[-3:]}"
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] not in ("style", "title", "desc"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page(of: dict[str, Any]) -> Checker:
    return Checker(report.render(of))


@pytest.mark.parametrize(
    ("kind", "verdict", "good", "line"),
    [
        ("finished", "finished", True,
         "pap-eu-1 (production) runs pap:1.9.0: 2 migrations applied, API unavailable for 5.4 s"),
        ("alarm", "finished", False,
         "pap-eu-1 (production) runs pap:1.9.0: 2 migrations applied, API unavailable for 5.4 s; the watch over its "
         "logs raised an alarm"),
        ("rolled_back", "rolled_back", False,
         "pap-eu-1 (production) runs pap:1.8.2 again: the deploy of pap:1.9.0 failed at the migration and was rolled "
         "back"),
        ("unfinished", "unfinished", False, "pap-eu-1 (production): the deploy of pap:1.9.0 is unfinished"),
    ],
)  # fmt: skip
def test_the_verdict_in_one_line(kind: str, verdict: str, good: bool, line: str) -> None:
    made = built(kind)
    assert (made["verdict"]["kind"], made["verdict"]["ok"], made["verdict"]["line"]) == (verdict, good, line)
    assert line in page(made).text


@pytest.mark.parametrize("kind", ["finished", "alarm", "rolled_back", "taken_back", "unfinished"])
def test_the_page_is_whole_and_needs_and_runs_nothing(kind: str) -> None:
    html = report.render(built(kind))
    checked = Checker(html)
    assert checked.suspicious == []
    assert not {"script", "img", "iframe", "link", "object", "base"} & set(checked.tags)
    assert "url(http" not in html and "@import" not in html
    assert "default-src 'none'" in html and '<html lang="en">' in html
    assert checked.tags.count("h1") == 1
    assert checked.tags.count("table") == checked.tags.count("caption")
    assert checked.tags.count("svg") == html.count('role="img"') == html.count("<desc>")
    assert "prefers-color-scheme: dark" in html and "@media print" in html


def test_a_rolled_back_release_leads_with_what_failed() -> None:
    text = page(built("rolled_back")).text
    failed, steps, picture = (text.index(mark) for mark in ("What failed", "What to do next", "Timeline"))
    assert failed < steps < picture
    assert "contains null values" in text and "ALTER COLUMN bouncer_id SET NOT NULL" in text
    assert "Give the rows a value first" in text and "image only" in text
    assert "API unavailable 4.3 s" in text, "measured until the old API answered again"


def test_a_rehearsal_that_failed_was_a_rehearsal() -> None:
    entries = [samples.header(), samples.entry(1, "rehearse", "begin"),
               samples.entry(2, "rehearse", "failed", message="next does not work on the migrated copy")]  # fmt: skip
    text = page(samples.report(entries, {})).text
    assert "✗ failed next does not work on the migrated copy" in text
    assert "Not rehearsed" not in text


def test_the_facts_of_a_deploy() -> None:
    text = page(built()).text
    for fact in (
        "jane@deploy-1", "16.4", "4 min 36 s", "18.4 GB", "61 204 331", "restored into a scratch database",
        "it is the restore point", "ACCESS EXCLUSIVE", "412 873", "public.protected_resources", "148.0 MB",
        "UPDATE protected_resources SET auto_discovered = false", "+ folder character varying(50) default 'enabled'",
        "✓ the database matches the models (14 tables compared)", "predicted 6.4 s", "Wrong password refused",
        "/settings/github 404 200", "18 h 40 min", "ansible-playbook rollback.yml -l pap-eu-1",
    ):  # fmt: skip
        assert fact in text, fact
    assert text.count("not recorded") == 1, "only the path of the journal, which a sample has not"


def test_the_fence_and_the_absence_are_measured_from_the_start() -> None:
    made = built()
    assert made["fence"] == {"begin_s": pytest.approx(214.8), "end_s": pytest.approx(218.0)}
    assert made["unavailable"]["end_s"] - made["unavailable"]["begin_s"] == pytest.approx(5.4)
    bars = {bar["phase"]: bar for bar in made["timeline"]}
    assert bars["preflight"]["begin_s"] == 0 and bars["preflight"]["end_s"] == pytest.approx(5.8)
    assert bars["migrate"]["predicted_s"] == 2.9
    assert bars["migrate"]["end_s"] - bars["migrate"]["begin_s"] == pytest.approx(2.5)


def test_a_release_that_was_taken_back_later() -> None:
    made = built("taken_back")
    assert made["verdict"] == {
        "kind": "rolled_back", "ok": False, "alarm": False,
        "line": "pap-eu-1 (production) runs pap:1.8.2 again: pap:1.9.0 was deployed, and rolled back later",
    }  # fmt: skip
    assert made["unavailable_s"] == 5.4 and made["seconds"] == 275.5, "the figures are those of the deploy"
    assert max(bar["end_s"] for bar in made["timeline"]) < 300
    assert [bar["label"] for bar in made["timeline_later"]] == ["Rollback", "Activate"]
    text = page(made).text
    assert (
        text.index("alarm of the watch") < text.index("Timeline") < text.index("Rolled back later, 2025-03-01 15:23:24")
    )


def test_a_rollback_that_was_refused_says_what_it_would_lose_and_how_to_go_on() -> None:
    plan = {
        "strategy": "restore", "refused": "it goes back behind 3 rows", "hint": "To go on: -e rollback_accept_data_loss=true",
        "cost": {"public.policies": {"rows": 3, "deleted": None}, "public.peps": {"rows": 0, "deleted": 1}},
        "lines": ["rollback strategy: restore"],
    }  # fmt: skip
    entries = samples.finished()
    refused = samples.entry(50000, "rollback", "refused", reason="alarm of the watch", plan=plan)
    made = samples.report([*entries, refused], {})
    assert made["verdict"]["kind"] == "finished" and "could not be rolled back without loss" in made["verdict"]["line"]
    assert made["next"][-1]["type"] == "ansible-playbook rollback.yml -l pap-eu-1 -e rollback_accept_data_loss=true"
    text = page(made).text
    assert "public.policies: 3 rows, public.peps: 1 deletion" in text and "To go on" in text
    # Once it was rolled back all the same, that is what counts; and the rows that it gave up are named.
    done = samples.entry(50004, "rollback", "done", strategy="restore", cost=plan["cost"], seconds=4.0)
    end = samples.entry(50004, "release", "rolled_back")
    begin = samples.entry(50001, "rollback", "begin", reason="it was asked for")
    made = samples.report([*entries, refused, begin, done, end], {})
    assert made["rollback_refused"] is None and made["verdict"]["kind"] == "rolled_back"
    assert "public.policies: 3 rows" in page(made).text


def test_an_interrupted_release_says_what_runs_and_how_to_end_it() -> None:
    made = built("unfinished")
    assert made["timeline"][-1]["state"] == "running" and made["fence"]["end_s"] is None
    text = page(made).text
    assert "still running" in text and "ansible-playbook rollback.yml -l pap-eu-1" in text


def test_the_alarm_is_shown_first_and_in_the_plot() -> None:
    text = page(built("alarm")).text
    assert text.index("Alarms since the deploy") < text.index("Timeline")
    assert "column reports.legacy_flag does not exist" in text
    assert "watch_acknowledge" in text and "24" in text


def test_the_receipt_and_going_on_without_one() -> None:
    def page_with(**found: Any) -> str:
        entries = samples.finished()
        return report.render(
            samples.report([entries[0], samples.entry(3, "receipt", "done", **found), *entries[1:]], samples.kept())
        )

    signed = {"environment": "staging", "release": "20250301T090000Z-aaaa", "at": samples.at(-7200)}
    good = page_with(receipt=signed, override={})
    assert "Receipt of staging" in good and "20250301T090000Z-aaaa" in good and "without a receipt" not in good
    who = {"user": "jo", "host": "deploy-1"}
    override = {
        "reason": "incident 4711, decided by Jo",
        "who": who,
        "at": samples.at(3),
        "instead_of": "There is none.",
    }
    page = page_with(receipt={}, override=override)
    for said in ("Deployed without a receipt", "incident 4711, decided by Jo", "jo@deploy-1", "There is none."):
        assert said in page
    assert page.index("Deployed without") < page.index("Timeline")


def test_nothing_of_what_was_logged_or_executed_becomes_markup() -> None:
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"

    def poison(value: Any) -> Any:
        if isinstance(value, str) and not re.match(r"^\d{4}-\d\d-\d\dT", value):
            return value + evil
        if isinstance(value, dict):
            return {
                key: item if key in ("phase", "event", "state", "kind") else poison(item) for key, item in value.items()
            }
        return [poison(item) for item in value] if isinstance(value, list) else value

    entries = [{**poison(e), "phase": e["phase"], "event": e["event"]} for e in samples.rolled_back()]
    made = samples.report(
        entries, poison(samples.kept()), poison(samples.watch_state()), poison(samples.watch_status())
    )
    checked = page(made)
    assert checked.suspicious == [] and "script" not in checked.tags and "img" not in checked.tags
    both = samples.report([*samples.finished()], {}, None, None)
    both["stack"] = evil
    assert "script" not in Checker(overview([read(both), read(made)], {evil: "x.html"})).tags


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["finished", "rolled_back"]), st.data())
def test_a_journal_with_anything_missing_still_gives_a_page(kind: str, data: st.DataObject) -> None:
    entries = copy.deepcopy(getattr(samples, kind)())
    for _ in range(data.draw(st.integers(1, 12))):
        place = entries[data.draw(st.integers(0, len(entries) - 1))]
        keys = [key for key in place if key not in ("at", "phase", "event")]
        if keys:
            del place[data.draw(st.sampled_from(keys))]
    entries = entries[: data.draw(st.integers(1, len(entries)))]
    made = samples.report(entries, {})
    json.dumps(made)
    Checker(report.render(made))


@pytest.mark.parametrize("phase", ["backup", "rehearse", "restore_point", "rollback"])
def test_a_copy_that_is_not_equal_is_shown_with_every_difference(phase: str) -> None:
    said = [f"table public.t{number} is missing (1 row). [{number:012x}]" for number in range(70)]
    data = {"differences": said, "lines": said[:10]}
    failed = {"phase": phase, "event": "failed", "at": "2026-01-01T00:00:00.000Z", "message": "not equal", "data": data}
    shown = page(samples.report([*samples.finished()[:3], failed], {})).text
    assert all(shown.count(line) == 1 for line in said)
    assert "70 differences" in shown


@pytest.mark.parametrize("differences", [[], ["text"], [{"object": "t"}], [{}, "text", 7, None], None])
def test_a_failure_of_any_kind_leaves_a_report(differences: Any) -> None:
    failed = {
        "phase": "backup",
        "event": "failed",
        "at": "2026-01-01T00:00:00.000Z",
        "data": {"differences": differences},
    }
    assert "What failed" in page(samples.report([*samples.finished()[:3], failed], {})).text


def test_what_was_accepted_and_noted_of_a_backup_is_shown() -> None:
    accepted = {"difference": "0a1b2c3d4e5f", "sentence": "column <x>", "reason": "known", "until": "2999-12-31"}
    entries = [dict(entry) for entry in samples.finished()]
    for entry in entries:
        if (entry["phase"], entry["event"]) == ("backup", "done"):
            entry.update(accepted=[accepted], notes=["an order of columns"])
    shown = page(samples.report(entries, {})).text
    assert "column <x> (known; until 2999-12-31)" in shown and "an order of columns" in shown


def test_an_empty_journal_is_an_unfinished_release() -> None:
    made = samples.report([], {})
    assert made["verdict"]["kind"] == "unfinished"
    assert "not recorded" in page(made).text


def test_from_the_folder_of_a_release(tmp_path: Path) -> None:
    journal = State(tmp_path / "state").begin(Run(user="jane", host="h", pid=1), stack="pap", environment="staging")
    journal.append("release", "finished", seconds=1.0, unavailable_s=0.2)
    before, after = samples.catalogs()
    (journal.folder / "before.json").write_text(json.dumps(before))
    (journal.folder / "catalog.json").write_text(json.dumps(after))
    made = whole(report.build(journal))
    assert made["journal"] == str(journal.path) and made["release"] == journal.release
    assert [change["object"] for change in made["schema"]["diff"]] == ["table github_configuration", "table policies"]
    assert made["watch"] is None


class TestSchemaText:
    def test_what_changed(self) -> None:
        before, after = samples.catalogs()
        added, changed = schema_text.diff(before, after)
        assert (added.change, changed.change) == ("added", "changed")
        assert ("+", "foreign key fk (id) → policies (id) on delete set null") in added.lines
        assert [line for line in changed.lines if line[0] != " "] == [
            ("+", "bouncer_id  character varying(100)"),
            ("+", "folder  character varying(50) default 'enabled'::character varying"),
            ("+", "context_config  json"),
        ]

    def test_there_and_back_are_mirrored(self) -> None:
        before, after = samples.catalogs()
        back = schema_text.diff(after, before)
        assert [change.change for change in back] == ["removed", "changed"]
        assert {line[0] for change in back for line in change.lines} == {"-", " "}

    def test_no_change(self) -> None:
        assert schema_text.diff(samples.catalogs()[0], samples.catalogs()[0]) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "not recorded"), (0.004, "4 ms"), (0.0999, "0.1 s"), (5.44, "5.4 s"), (45.4, "45 s"), (119.4, "119 s"),
     (120, "2 min"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (86400, "24 h")],
)  # fmt: skip
def test_seconds(value: float | None, text: str) -> None:
    assert format.seconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0 B"), (999, "999 B"), (18_442_000, "18.4 MB"), (3e12, "3.0 TB")])
def test_sizes(value: float, text: str) -> None:
    assert format.size(value) == text


@given(st.floats(0.0001, 1e6))
def test_steps_of_an_axis_are_round_and_never_too_many(rough: float) -> None:
    assert rough * 0.99 <= nice_step(rough) <= rough * 10.1


def test_a_fence_that_cannot_be_seen_is_enlarged_and_others_are_not() -> None:
    made = read(built())
    close = timeline.zoom(made.timeline, made.fence, made.unavailable)
    assert "enlarged" in close and "Backup" not in close and "Migrate" in close
    assert timeline.zoom(made.timeline[3:4], None, None) == ""


class TestOverview:
    def test_the_page_leads_with_what_went_wrong(self) -> None:
        reports = [built(), {**built("rolled_back"), "stack": "zz-last"}]
        checked = Checker(overview(list(map(read, reports)), {"zz-last": "zz-last.html"}))
        assert "1 stack deployed, 1 not" in checked.text
        assert checked.text.index("zz-last") < checked.text.index("pap-eu-1")
        assert "contains null values" in checked.text

    def test_the_line_in_the_terminal(self) -> None:
        assert returned(line(built("rolled_back"))) == {
            "stack": "pap-eu-1", "from": "pap:1.8.2", "to": "pap:1.9.0", "verdict": "rolled back",
            "unavailable": "4.3 s", "took": "3 min 34 s",
        }  # fmt: skip
        assert line(samples.report([], {})).verdict == "unfinished"


def test_a_watch_that_was_blind_says_so_with_what_mends_it() -> None:
    mend = "ALTER SYSTEM SET log_line_prefix = '%m [%p] %q%u@%d '"
    unseen = [
        {"kind": "database", "source": "database", "what": "log_line_prefix does not say <which>", "remedy": mend}
    ]
    state = {**samples.watch_state(alarm=False), "unseen": unseen}
    made = samples.report(samples.finished(), samples.kept(), state, samples.watch_status(alarm=False))
    text = Checker(report.render(made)).text
    assert "The watch was blind: log_line_prefix does not say <which>." in text and mend in text
    assert "blind" not in Checker(report.render(built())).text
