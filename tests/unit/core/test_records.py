"""Records come in as JSON and leave as JSON; what does not fit is named with its place."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Optional, Union

import pytest
from papdeploy.core import records
from papdeploy.core.errors import PapError


@dataclass(frozen=True)
class Key:
    column: Optional[str] = None
    desc: bool = False


@dataclass(frozen=True)
class Index:
    name: str
    keys: tuple[Key, ...]
    pages: int = 0
    cost: float = 0.0
    fill: Optional[int] = None
    owner: Optional[Key] = None
    pair: tuple[str, int] = ("", 0)
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    state: Union[bool, str] = False
    more: tuple[Any, ...] = ()


FULL: dict[str, Any] = {
    "name": "i", "keys": [{"column": "a"}, {"desc": True}], "pages": 7, "cost": 1, "fill": 0, "owner": {"column": "b"},
    "pair": ["x", 2], "labels": {"k": ["l"]}, "state": "no", "more": [1, None],
}  # fmt: skip


@pytest.mark.parametrize("value", [FULL, {"name": "i", "keys": []}, {**FULL, "state": True, "cost": 2.5}])
def test_there_and_back(value: dict[str, Any]) -> None:
    record = records.read(Index, value)
    assert records.plain(record) == value
    assert json.loads(json.dumps(records.plain(record))) == value
    assert records.read(Index, records.plain(record)) == record


def test_lists_are_read_as_tuples_and_defaults_are_left_out() -> None:
    record = records.read(Index, {"name": "i", "keys": [{}], "labels": {}, "pages": 0})
    assert record == Index("i", (Key(),))
    assert records.plain(record) == {"name": "i", "keys": [{}]}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "Index is a list, not an object."),
        ({"name": "i"}, "Index: keys is missing."),
        ({**FULL, "extra": 1}, "Index: extra is not known."),
        ({**FULL, "name": 7}, "Index: name is an integer, not text."),
        ({**FULL, "pages": True}, "Index: pages is true or false, not an integer."),
        ({**FULL, "fill": "7"}, "Index: fill is text, not an integer."),
        ({**FULL, "cost": None}, "Index: cost is null, not a number."),
        ({**FULL, "keys": {}}, "Index: keys is an object, not a list."),
        ({**FULL, "keys": [{}, {"desc": 1}]}, "Index: keys[1].desc is an integer, not true or false."),
        ({**FULL, "keys": [{}, {"dsc": 1}]}, "Index: keys[1].dsc is not known."),
        ({**FULL, "owner": {"column": 1}}, "Index: owner.column is an integer, not text."),
        ({**FULL, "pair": ["x"]}, "Index: pair is a list, not a list of 2."),
        ({**FULL, "labels": {"k": "l"}}, "Index: labels.k is text, not a list."),
    ],
)
def test_what_does_not_fit_is_named(value: Any, said: str) -> None:
    with pytest.raises(PapError) as error:
        records.read(Index, value)
    assert error.value.message == said


@dataclass(frozen=True)
class Page:
    title: str = ""
    size: Optional[float] = None
    keys: tuple[Key, ...] = ()
    first: Key = Key()
    costs: dict[str, int] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("value", "record"),
    [
        (None, Page()),
        ([], Page()),
        ({}, Page()),
        ({"title": "t", "size": 3, "new": 1}, Page("t", 3)),
        ({"title": None, "size": "3", "keys": {}, "first": 7, "costs": []}, Page()),
        ({"keys": [{"column": "a"}, 7, {"column": 7, "desc": True}, None]}, Page(keys=(Key("a"), Key(desc=True)))),
        ({"first": {"column": "a", "more": 1}, "costs": {"a": 1, "b": "2"}}, Page(first=Key("a"), costs={"a": 1})),
    ],
)
def test_of_what_another_version_wrote_that_is_read_which_fits(value: Any, record: Page) -> None:
    assert records.recorded(Page, value) == record


def test_what_is_a_record_already_is_not_passed_over() -> None:
    assert records.recorded(Page, Page("t")) == Page("t")
    with pytest.raises(TypeError, match="a Key is read as a Page"):
        records.recorded(Page, Key("a"))
