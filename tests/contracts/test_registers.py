"""What a task reads of another one's result is there: an undefined name behind ``default`` or ``no_log`` says nothing."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import ROOT

FILES = sorted(path for folder in ("playbooks", "roles") for path in (ROOT / folder).rglob("*.yml"))
USED = re.compile(r"\b__[a-z]\w*")


def given(value: Any) -> set[str]:
    """The internal names that ``register``, ``set_fact``, ``vars``, ``loop_var`` or a variables file give a value."""
    if isinstance(value, list):
        return set().union(*map(given, value))
    if not isinstance(value, dict):
        return set()
    names = {key for key in value if isinstance(key, str) and USED.fullmatch(key)}
    names |= {str(value[key]) for key in ("register", "loop_var", "index_var") if key in value}
    return names.union(*map(given, value.values()))


@functools.cache
def defined() -> set[str]:
    return set().union(*(given(yaml.safe_load(path.read_text(encoding="utf-8"))) for path in FILES))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_internal_name_is_given_a_value_somewhere(path: Path) -> None:
    text = re.sub(r"(?m)^\s*#.*$", "", path.read_text(encoding="utf-8"))
    assert set(USED.findall(text)) - defined() == set(), "nothing registers or sets these: a misspelled name?"


def test_it_would_find_one() -> None:
    assert "__registered_nowhere" not in defined()
