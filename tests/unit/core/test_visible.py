"""Text from elsewhere cannot act on whoever reads it."""

from __future__ import annotations

import json
import random
import sys
import unicodedata

import pytest
from papdeploy.core.visible import json_text, visible, visible_block

ACTING = {
    "a colour": ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
    "a title, an address (OSC)": ("\x1b]0;title\x07\x1b]8;;http://x\x1b\\", "\\x1b]0;title\\x07\\x1b]8;;http://x\\x1b\\"),
    "CSI in one character": ("\x9b2J", "\\x9b2J"),
    "back to the start of the line": ("failed\rfinished", "failed\\rfinished"),
    "a new line": ("a\nfinished  all is well", "a\\nfinished  all is well"),
    "next line, of C1": ("a\x85b", "a\\x85b"),
    "separators of Unicode": ("a\u2028b\u2029c", "a\\u2028b\\u2029c"),
    "writing direction": ("gpj.\u202eexe\u2066\u200f", "gpj.\\u202eexe\\u2066\\u200f"),
    "nothing that is there": ("pass\u200bword\ufeff\u00ad", "pass\\u200bword\\ufeff\\xad"),
    "invisible letters": ("a\U000e0041", "a\\U000e0041"),
    "half of a pair": ("a\udce9", "a\\udce9"),
    "backspace and bell": ("no\b\b\x07\x7f\0", "no\\x08\\x08\\x07\\x7f\\x00"),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTING)
def test_what_acts_is_spelled_out(name: str) -> None:
    text, shown = ACTING[name]
    assert visible(text) == shown
    assert visible_block(text) == shown.replace("\\n", "\n")
    assert json.loads(json_text({"x": text})) == {"x": text}
    assert not [letter for letter in json_text(text) if not letter.isprintable()]


@pytest.mark.parametrize("text", ["Zürich → 日本 ﷺ ✓", "👩‍👩‍👧 नि‍ष می‌خواهم", "a\tb", "", "café"])
def test_writing_stays(text: str) -> None:
    assert visible(text) == text and visible_block(text) == text


def test_no_character_of_unicode_that_acts_is_left() -> None:
    made = random.Random(7)
    for _ in range(400):
        text = "".join(chr(made.choice([made.randrange(256), made.randrange(0x2100), made.randrange(sys.maxunicode)]))
                       for _ in range(60))  # fmt: skip
        left = {letter for letter in visible(text) if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
        assert left <= set("\t\u200c\u200d")
        assert "\n" not in visible(text)
        assert json.loads(json_text([text])) == [text]
