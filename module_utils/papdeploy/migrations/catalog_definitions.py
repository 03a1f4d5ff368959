"""How a column or a constraint must be that a migration makes, read from its SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Optional

from ..sql import statements
from ..sql.quoting import quote_exact
from .run.concurrent_indexes import name_at

_SERIALS = {"SERIAL": "integer", "SERIAL4": "integer", "BIGSERIAL": "bigint", "SERIAL8": "bigint",
            "SMALLSERIAL": "smallint", "SERIAL2": "smallint"}  # fmt: skip
# What may follow the type of a column.
_AFTER_TYPE = {"COLLATE", "COMPRESSION", "STORAGE", "CONSTRAINT", "NOT", "NULL", "CHECK", "DEFAULT", "GENERATED",
               "UNIQUE", "PRIMARY", "REFERENCES", "USING", "DEFERRABLE", "INITIALLY", "OPTIONS"}  # fmt: skip
_KEYS = ("PRIMARY", "UNIQUE", "CHECK", "FOREIGN", "EXCLUDE")
_ACTIONS = {"CASCADE": "c", "RESTRICT": "r", "NO": "a"}


class Words(NamedTuple):
    """The words of a statement, or of a part of it, with the text that they come from."""

    words: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    text: str

    @classmethod
    def of(cls, text: str) -> Words:
        found = [(kind, token, at) for kind, token, at in statements.tokens(text) if kind != "space"]
        words = tuple(token.upper() if kind == "word" else token for kind, token, _ in found)
        return cls(words, tuple((at, at + len(token)) for _, token, at in found), text)

    def part(self, start: int, end: Optional[int] = None) -> Words:
        return Words(self.words[start:end], self.spans[start:end], self.text)

    def source(self) -> str:
        """As it is written."""
        return self.text[self.spans[0][0] : self.spans[-1][1]] if self.spans else ""

    def find(self, *phrase: str, start: int = 0) -> int:
        """Where ``phrase`` stands outside of parentheses; -1 for nowhere."""
        depth = 0
        for place in range(start, len(self.words)):
            word = self.words[place]
            if not depth and self.words[place : place + len(phrase)] == phrase:
                return place
            depth += (word in ("(", "[")) - (word in (")", "]"))
        return -1

    def closing(self, start: int) -> int:
        """The place of the parenthesis that closes the one at ``start``."""
        depth = 0
        for place in range(start, len(self.words)):
            depth += (self.words[place] == "(") - (self.words[place] == ")")
            if not depth:
                return place
        return len(self.words) - 1

    def bracketed(self, start: int) -> Words:
        return self.part(start + 1, self.closing(start))

    def items(self) -> list[Words]:
        """The parts between the commas outside of parentheses."""
        found: list[Words] = []
        depth, start = 0, 0
        for place, word in enumerate(self.words):
            depth += (word in ("(", "[")) - (word in (")", "]"))
            if word == "," and not depth:
                found.append(self.part(start, place))
                start = place + 1
        return [item for item in [*found, self.part(start)] if item.words]

    def names(self) -> tuple[str, ...]:
        return tuple(name_at(item.words, 0)[0][-1] for item in self.items())


@dataclass(frozen=True)
class Key:
    """A constraint: ``kind`` as pg_constraint.contype has it."""

    kind: str
    columns: tuple[str, ...] = ()
    expression: str = ""
    table: str = ""
    other_columns: tuple[str, ...] = ()
    on_delete: str = " "
    on_update: str = " "
    deferrable: bool = False
    deferred: bool = False


@dataclass(frozen=True)
class Column:
    """``default`` None: it has none; an empty text: it has one that is not compared."""

    type: str
    not_null: bool
    default: Optional[str]
    identity: bool
    generated: Optional[str]
    keys: tuple[Key, ...]


def column(name: str, words: Words) -> Column:
    """The definition of a column, behind its name."""
    end = next((n for n, word in enumerate(words.words) if word in _AFTER_TYPE and not (n and _inside(words, n))), None)
    kind, rest = words.part(0, end), words.part(end if end is not None else len(words.words))
    serial = _SERIALS.get(kind.words[0]) if len(kind.words) == 1 else None
    keys, default, generated = [], "" if serial else None, None
    identity = not_null = False
    place = 0
    while place < len(rest.words):
        word, after = rest.words[place], rest.words[place + 1 : place + 2]
        if word == "NOT" and after == ("NULL",):
            not_null, place = True, place + 2
        elif word == "DEFAULT":
            stop = _end_of_clause(rest, place + 1)
            default, place = rest.part(place + 1, stop).source(), stop
        elif word == "GENERATED":
            start = rest.find("(", start=place)
            as_ = rest.find("AS", start=place)
            if rest.words[as_ + 1 : as_ + 2] == ("IDENTITY",):
                identity, place = True, as_ + 2
            else:
                generated, place = rest.bracketed(start).source(), rest.closing(start) + 1
        elif word in ("PRIMARY", "UNIQUE", "CHECK", "REFERENCES"):
            keys.append(_of_column(name, rest.part(place)))
            place = _end_of_clause(rest, place + 1)
        else:
            place = rest.closing(place) + 1 if word == "(" else place + 1
    not_null = not_null or bool(serial) or identity or any(key.kind == "p" for key in keys)
    if default is not None and default.upper() == "NULL":
        default = None
    return Column(serial or _written(kind), not_null, default, identity, generated, tuple(keys))


def _inside(words: Words, place: int) -> bool:
    return words.words[:place].count("(") > words.words[:place].count(")")


def _end_of_clause(words: Words, start: int) -> int:
    """Where the next clause of a column begins."""
    depth = 0
    for place in range(start, len(words.words)):
        word, before = words.words[place], words.words[place - 1]
        clause = word in ("CONSTRAINT", "CHECK", "DEFAULT", "GENERATED", "UNIQUE", "PRIMARY", "REFERENCES", "COLLATE")
        clause = clause or words.words[place : place + 2] == ("NOT", "NULL")
        inside = before == "IS" or (word == "DEFAULT" and before == "SET")  # x IS NOT NULL, ON DELETE SET DEFAULT
        if clause and not inside and not depth and place > start:
            return place
        depth += (word in ("(", "[")) - (word in (")", "]"))
    return len(words.words)


def _of_column(name: str, words: Words) -> Key:
    if words.words[0] in ("PRIMARY", "UNIQUE"):
        return Key("p" if words.words[0] == "PRIMARY" else "u", (name,), deferrable="DEFERRABLE" in words.words)
    if words.words[0] == "CHECK":
        return Key("c", (name,), expression=words.bracketed(1).source())
    return _reference((name,), words)


def _reference(columns: tuple[str, ...], words: Words) -> Key:
    """REFERENCES and what follows it."""
    table, place = name_at(words.words, 1)
    others = words.bracketed(place).names() if words.words[place : place + 1] == ("(",) else ()

    def action(what: str) -> str:
        found = words.find("ON", what)
        if found < 0:
            return "a"
        word = words.words[found + 2]
        return ("n" if words.words[found + 3 : found + 4] == ("NULL",) else "d") if word == "SET" else _ACTIONS[word]

    deferred = words.find("INITIALLY", "DEFERRED") >= 0
    deferrable = deferred or (words.find("DEFERRABLE") >= 0 and words.find("NOT", "DEFERRABLE") < 0)
    return Key("f", columns, "", quote_exact(*table), others, action("DELETE"), action("UPDATE"), deferrable, deferred)


def key(words: Words) -> Optional[Key]:
    """A constraint of a table, without CONSTRAINT and its name; None for one that is not compared."""
    head = words.words[:1]
    opening = words.find("(")
    if head == ("CHECK",):
        return Key("c", expression=words.bracketed(opening).source())
    if opening < 0 or head not in (("PRIMARY",), ("UNIQUE",), ("FOREIGN",)):
        return None
    columns = words.bracketed(opening).names()
    if head == ("FOREIGN",):
        return _reference(columns, words.part(words.find("REFERENCES")))
    rest = words.part(words.closing(opening))
    deferred = rest.find("INITIALLY", "DEFERRED") >= 0
    deferrable = deferred or rest.find("DEFERRABLE") >= 0
    return Key("p" if head == ("PRIMARY",) else "u", columns, deferrable=deferrable, deferred=deferred)


def is_key(words: Words) -> bool:
    return words.words[:1] == ("CONSTRAINT",) or (words.words[:1] and words.words[0] in _KEYS) or False


def _written(words: Words) -> str:
    return " ".join(words.source().split())
