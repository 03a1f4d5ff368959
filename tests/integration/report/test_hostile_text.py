"""What an exception, a log or a name says cannot act on whoever reads the terminal, a message or a page."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from integration.playbooks.test_report_roles import Hook, Place, place, role, webhook
from integration.report.test_history import WHO, release
from papdeploy.logwatch import process, rules
from papdeploy.logwatch.sources import LogSpec
from papdeploy.logwatch.state import Rules
from papdeploy.releases.journal import Journal

__all__ = ["place", "webhook"]

FORGED = "finished          pap (staging) runs 9.9 without a problem"
TRICKS = f"boom\n{FORGED}\r\x1b[2K\x1b]0;owned\x07\x9b2J\u202egpj\u2066\x85\u2028 <!channel> <script>alert(1)</script>"
SHOWN = f"boom\\n{FORGED}\\r\\x1b[2K\\x1b]0;owned\\x07\\x9b2J\\u202egpj\\u2066\\x85\\u2028 <!channel> <script>alert(1)</script>"


def hostile_release(place: Place) -> tuple[Journal, str, Path]:
    """A release that failed with such a text, whose logs are watched and say so too; the text, with a template in it
    that would leave the file (the last of what is returned)."""
    mark = place.folder / "executed"
    text = f"{TRICKS} {{{{ lookup('pipe', 'touch {mark}') }}}}"
    journal: Journal = release(place.state(), end="")
    journal.append("migrate", "failed", error="MigrationError", message=text, hint=text, data={"lines": [text]})
    journal.append("release", "finished", seconds=1.0)
    log = place.folder / "api.log"
    log.write_text("")
    process.prepare(journal.folder, {"api": LogSpec(files=(str(log),))}, hours=1, interval_s=60, rules=Rules())
    log.write_text(
        f'ERROR:    relation "\x1b[2Kto\x07kens\u202e {{{{ 4321 * 4321 }}}}\r{FORGED}" does not exist\nINFO: x\nINFO: y\n'
    )
    process.look(journal.folder)
    place.state().lock.by(WHO).release(journal.release)
    assert not rules.status(journal.folder).ok
    return journal, text, mark


def acting(text: str) -> set[str]:
    return {letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {"\n", "\t"}


@pytest.mark.nightly
def test_no_text_acts_on_a_reader(place: Place, webhook: tuple[str, type[Hook]]) -> None:
    url, hook = webhook
    journal, text, mark = hostile_release(place)
    refused: Journal = release(place.state(), end="")
    stack = {"stack": "{{ pap_stack }}"}
    fails = [
        {"name": "refuse", "pap_receipt": {**stack, "state": "refusal", "release": refused.release,
                                                   "message": "{{ __raw }}", "hint": "{{ __raw }}"}},
        {"name": "fail", "ansible.builtin.fail": {"msg": "{{ __raw }}"}},
    ]  # fmt: skip
    said = place.play(
        {"name": "read", "ansible.builtin.slurp": {"src": str(journal.path)}, "register": "__file"},
        {"name": "keep", "ansible.builtin.set_fact": {
            "__raw": "{{ ((__file.content | b64decode).splitlines() | select('search', 'boom') | first | from_json).message }}"}},
        {"name": "history", "pap_history": stack, "register": "__history"},
        {"name": "watch", "pap_watch": {**stack, "state": "status"}, "register": "__watch"},
        {"name": "say", "ansible.builtin.debug": {"msg": "{{ __raw }}"}},
        {"name": "say lines", "ansible.builtin.debug": {"msg": ["{{ __raw }}", "{{ __watch.watch.summary }}"]}},
        {"name": "report", "ansible.builtin.include_role": {"name": "report"}, "vars": {"pap_release": journal.release}},
        role("notify", notify_event="alarm", notify_message="{{ __raw }}", notify_webhook_format="slack"),
        role("notify", notify_event="alarm", notify_message="{{ __raw }}"),
        *({"name": "try", "block": [task], "rescue": [{"name": "on", "ansible.builtin.debug": {"msg": "on"}}]} for task in fails),
        notify_webhook_url=url,
    )  # fmt: skip
    assert not mark.exists() and "18671041" not in said
    assert acting(said) == set()
    assert not [
        line for line in said.splitlines() if line.startswith(("finished", "pap  finished")) or line.strip() == FORGED
    ]
    assert SHOWN in said and "Next: boom" in said, said
    # what colours a line, or erases it, is taken out of the log of an API before it is read; the rest is spelled out
    assert 'relation "to\\x07kens\\u202e {{ 4321 * 4321 }}' in said
    slack, plain = hook.got
    assert "&lt;!channel&gt;" in slack["text"] and acting(slack["text"] + plain["message"]) == set()
    assert "\n" not in slack["text"] + plain["message"]
    for path in [*journal.folder.glob("*.json*"), *(place.folder / "reports").rglob("*.*ml")]:
        assert acting(path.read_text()) == set(), path
    assert text == json.loads((journal.folder / "report.json").read_text())["failed"]["message"]
    page = (journal.folder / "report.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
