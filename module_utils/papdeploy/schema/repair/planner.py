"""From differences to steps: what stands in the way of a change is dropped before it and made again after it."""

from __future__ import annotations

from collections.abc import Sequence

from ..catalog.rows import Place
from ..differences.comparison import Comparison
from ..differences.conversions import type_risk
from ..differences.renames import Asked
from ..differences.result import Difference
from ..differences.types import swapped
from .order import Step, in_order
from .places import Entry, Places, family, owner_of
from .ranks import rank
from .remake import REPLACE, RETYPE, SWAP, WIDEN, dropped, entry_of, in_the_way, made
from .tables import relation_pieces

_SWAPS = ("enum_label_extra", "enum_label_order")
_KEYS = ("primary_key_", "unique_", "constraint_deferrable")
# What a statement that makes an object again does not say.
_BESIDE = ("_owner", "_grant")
_MISSING = {
    "index": "index_missing",
    "policy": "policy_missing",
    "trigger": "trigger_missing",
    "rule": "rule_missing",
    "function": "function_missing",
    "column": "column_generated",
    "default": "column_default",
    "statistics": "statistics_missing",
}


class Planner:
    """The steps of one script."""

    def __init__(self, work: Comparison, differences: Sequence[Difference]) -> None:
        self.work, self.differences = work, differences
        self.places = Places(work)
        self.asked = {_old(one): _question(one) for one in work.asked}
        self.found = [(difference, self.places.of(difference.kind, difference.object)) for difference in differences]
        self.swaps = {place for difference, place in self.found if place and difference.kind in _SWAPS}
        self.gone = {place for difference, place in self.found if place and difference.kind.endswith("_extra")}
        self.gone -= self.swaps | self.asked.keys()
        self.changes = self._changes()
        self.remade, self.kept = self._remade()
        self.undecided = self._undecided()

    def steps(self) -> list[Step]:
        steps: list[Step] = []
        for difference, place in self.found:
            steps += self._steps(difference, place)
        for place in self.swaps:
            steps.append(self._swap(place))
        for place, entry in self.remade.items():
            steps += self._remake(place, entry)
        return _once(in_order(steps, self.places.wanted, self.places.present))

    def _changes(self) -> dict[Place, str]:
        """The places whose change disturbs what stands on them, and how."""
        found: dict[Place, str] = dict.fromkeys(self.gone, REPLACE)
        found.update(dict.fromkeys(self.swaps, SWAP))
        for difference, place in self.found:
            how = self._how(difference, place) if place else ""
            if place and how:
                found[place] = REPLACE if REPLACE in (how, found.get(place)) else how
        return found

    def _how(self, difference: Difference, place: Place) -> str:
        kind, repair = difference.kind, [text for text in difference.repair if not text.startswith("--")]
        if not repair:
            return ""
        if kind in ("column_type", "column_generated") and any(" DROP COLUMN " in text for text in repair):
            return REPLACE
        if kind == "column_type":
            wanted, present = self.places.expected[place].row, self.places.actual[place].row
            risk = type_risk(self.work.expected.type(wanted.type), self.work.actual.type(present.type))
            return WIDEN if risk[0] else RETYPE
        if kind == "column_collation":
            return WIDEN
        drops = any(text.startswith("DROP ") or " DROP CONSTRAINT " in text for text in repair)
        if kind.startswith(_KEYS) and drops:
            return REPLACE
        return REPLACE if kind in ("function_changed", "view_definition") and drops else ""

    def _remade(self) -> tuple[dict[Place, Entry], dict[Place, str]]:
        """What is dropped and made again, by the models' words or as it was; and what cannot be dropped, and why."""
        remade: dict[Place, Entry] = {}
        kept: dict[Place, str] = {}
        for place in self._whole_again():
            remade[place] = self.places.expected[place]
        # a table that goes is there until the end, and its columns follow the exchange of their type
        exchanged = set(in_the_way(self.places, dict.fromkeys(self.swaps, SWAP)))
        for place in in_the_way(self.places, self.changes):
            going = self.gone & {owner_of(place), owner_of(owner_of(place))}
            if place in self.gone or (going and place not in exchanged):
                continue
            entry = entry_of(self.places, place, expected=True) or entry_of(self.places, place, expected=False)
            if entry is not None:
                remade[place] = entry
        for place in self.gone:
            for other in self.places.dependents(place):
                if other in remade and entry_of(self.places, other, expected=True) is None:
                    del remade[other]
                    kept[place] = " ".join((other[0], ".".join(other[1:])))
        return remade, kept

    def _undecided(self) -> dict[Place, str]:
        """What has to wait for a person's decision on a column, and on which."""
        found: dict[Place, str] = {}
        for difference, place in self.found:
            if place and difference.kind == "column_type" and all(text.startswith("--") for text in difference.repair):
                for waiting in (place, ("default", *place[1:])):
                    found[waiting] = f"when {difference.object} is decided"
        found.update((_new(one), _question(one)) for one in self.work.asked)
        left = list(found)
        while left:
            place = left.pop()
            for dependent, on in self.places.wanted.items():
                stands = place in on or any(owner_of(item) == place for item in on)
                if stands and dependent not in found and dependent not in self.remade:
                    found[dependent] = found[place]
                    left.append(dependent)
        return found

    def _whole_again(self) -> list[Place]:
        """Views and functions that CREATE OR REPLACE cannot change."""
        kinds = ("view_definition", "function_changed")
        return [place for d, place in self.found if place and d.kind in kinds and self.changes.get(place) == REPLACE]

    def _steps(self, difference: Difference, place: Place | None) -> list[Step]:
        kind, name = difference.kind, difference.object
        if place is None:
            return [Step(rank(kind), name, _said(difference), kind=kind)]
        if kind in ("table_missing", "view_missing"):
            return self._pieces(place, difference)
        if place in self.swaps and kind.startswith("enum_"):
            return []
        if place in self.remade and not kind.endswith(_BESIDE):
            return []
        gone = place in self.gone or place in self.asked
        statements = _said(difference)
        if place in self.undecided and not gone:
            statements = _as_remarks(statements, self.undecided[place], difference.repair)
        elif gone and (question := self._asked_about(place)):
            statements = _as_remarks(statements, question, difference.repair)
        if place in self.kept and gone:
            why = f"{kind} {name}: {self.kept[place]} stands on it, which the models do not have: drop that first"
            statements = _as_remarks(statements, why, difference.repair)
        step = Step(rank(kind), name, statements, kind=kind)
        (step.drops if gone else step.makes).add(place)
        if kind == "column_missing":
            step.makes.add(("default", *place[1:]))
        if kind == "column_default" and family(kind) == place[0]:
            step.makes.add(("default", *place[1:]))
        return [step]

    def _asked_about(self, place: Place) -> str:
        """The question whose answer decides whether ``place``, which no model has, goes."""
        on = {place, owner_of(place), *self.places.present.get(place, ())}
        return next((question for old, question in self.asked.items() if old in on), "")

    def _pieces(self, place: Place, difference: Difference) -> list[Step]:
        found = []
        for piece, statements in relation_pieces(self.work, self.places.expected[place].row):
            kind = difference.kind if piece == place else self._missing_kind(piece)
            waits = self.undecided.get(piece) or self.undecided.get(owner_of(piece))
            if waits:
                statements = _as_remarks(statements, waits, statements)
            found.append(Step(rank(kind), difference.object, statements, makes={piece}, kind=kind))
        return found

    def _missing_kind(self, place: Place) -> str:
        if place[0] == "relation":
            return "view_missing"
        if place[0] != "constraint":
            return _MISSING[place[0]]
        entry = self.places.expected.get(place) or self.places.actual[place]
        return f"{entry.row.type.replace(' ', '_')}_missing"

    def _remake(self, place: Place, entry: Entry) -> list[Step]:
        old = entry_of(self.places, place, expected=False)
        found = []
        if old is not None:
            statements = [text for text in dropped(self.work, old) if not text.startswith("--")]
            found.append(Step(rank("view_extra"), old.label, statements, drops={place}, kind="remade"))
        statements = made(self.work, entry)
        if entry_of(self.places, place, expected=True) is None:
            statements = [f"-- the models do not have {' '.join((place[0], entry.label))}: as it was", *statements]
        found.append(Step(rank(self._missing_kind(place)), entry.label, statements, makes={place}, kind="remade"))
        return found

    def _swap(self, place: Place) -> Step:
        """One exchange of an enum, whatever differs in its labels."""
        expected, actual = self.places.expected[place], self.places.actual[place]
        types = [".".join(other[1:]) for other in self.places.dependents(place) if other[0] == "type"]
        renames = [
            text for d, other in self.found if other == place and d.kind == "enum_label_renamed" for text in d.repair
        ]
        statements = [*renames, *swapped(self.work, expected.row, actual.row)]
        if types:
            why = f"{expected.label}: {', '.join(types)} stands on it, which has to be made anew by hand first"
            statements = _as_remarks(statements, why, statements)
        return Step(rank("enum_label_order"), expected.label, statements, makes={place}, kind="enum_label_order")


def _old(one: Asked) -> Place:
    return ("column", one.schema, one.table, one.old) if one.table else ("relation", one.schema, one.old)


def _new(one: Asked) -> Place:
    return ("column", one.schema, one.table, one.new) if one.table else ("relation", one.schema, one.new)


def _question(one: Asked) -> str:
    """Asked, not guessed: a wrong guess gives a column the values of another."""
    old, new = (f"{one.table}.{name}" if one.table else name for name in (one.old, one.new))
    return f"is {new} the former {old}? say --rename {old}={new}, or run these lines to drop the one and make the other"


def _once(steps: list[Step]) -> list[Step]:
    """Without what two differences of one object both propose."""
    known: dict[frozenset[Place], set[str]] = {}
    for step in steps:
        said = known.setdefault(frozenset(place for place in step.makes if place[0] != "default"), set())
        new = [text for text in step.statements if not text.startswith("--") and text not in said]
        repeats = said and not new and any(not text.startswith("--") for text in step.statements)
        step.statements = [text for text in step.statements if text in new or text.startswith("--")] * (not repeats)
        said.update(new)
    return [step for step in steps if step.statements]


def _as_remarks(statements: Sequence[str], why: str, runs: Sequence[str]) -> list[str]:
    """``statements`` as remarks headed by ``why``; as they are, if they are remarks already."""
    if all(text.startswith("--") for text in runs):
        return list(statements)
    remarks = (line if line.startswith("--") else f"-- {line}" for text in statements for line in text.splitlines())
    return [f"-- {why}", *remarks]


def _said(difference: Difference) -> list[str]:
    """The repair; where no statement makes one, a remark that says so."""
    if difference.repair:
        return difference.repair
    words = f"{difference.expected} instead of {difference.actual}".replace("\n", " ")
    return [f"-- {difference.kind} {difference.object}: {words}: no statement changes this, decide by hand"]
