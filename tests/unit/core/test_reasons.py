"""A reason that is recorded says something: whatever variable or option takes it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from papdeploy import receipts
from papdeploy.core.errors import Refused
from papdeploy.core.reasons import stated
from papdeploy.logwatch.rules import acknowledge
from papdeploy.migrations.run import baseline
from support import report_samples

NOTHING = [
    "", " ", "\n\t", "...", ". . .", "… … …", "- - - -", "1 2 3 4 5", "x", "x y z", "a b c d e f g h", "because", "ok ok ok ok",
    "\u200b \u200b \u200b", "\x1b[31m \x1b[0m .", "_ __ ___ ____", "!!! ??? !!!", "aaa aaa aaa", "1st 2nd 3rd", "word " * 400,
    "👍 👍 👍 👍", "\u0301 \u0301 \u0301",
]  # fmt: skip
SOMETHING = [
    "incident 4711, decided by Jo", "hotfix of incident 4711, decided by Jo Doe", "Sicherheitslücke, entschieden von Jörg",
    "срочное исправление, решил Иван", "紧急修复由经理批准", "緊急の修正、田中が決定", "it was\nneeded at once",
]  # fmt: skip
TAKERS: dict[str, Callable[[str], object]] = {
    "receipt_override": lambda reason: receipts.override(reason, Refused("There is none."), {"user": "jane"}),
    "watch_acknowledge": lambda reason: acknowledge(report_samples.watch(), "jane", reason, "2025-03-01T12:00:00Z"),
    "repair --reason": lambda reason: baseline.repair("postgresql://nobody@127.0.0.1:1/none", [], reason=reason),
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("reason", NOTHING, ids=lambda text: ascii(text[:20]))
def test_what_says_nothing_is_refused(taker: str, reason: str) -> None:
    with pytest.raises(Refused, match="needs a reason") as refused:
        TAKERS[taker](reason)
    assert "\x1b" not in refused.value.message and len(refused.value.message) < 300
    assert taker.rsplit(" ", 1)[-1] in refused.value.hint


@pytest.mark.parametrize("reason", SOMETHING)
def test_what_says_something_is_taken_in_any_language_on_one_line(reason: str) -> None:
    assert receipts.override(reason, Refused("x"), {}).reason == " ".join(reason.split())
    assert TAKERS["watch_acknowledge"](reason)
    assert stated(reason, "It", "h")
