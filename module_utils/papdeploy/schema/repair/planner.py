"""From differences to steps: what stands in the way of a change is dropped before it and made again after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Optional

from ...sql.quoting import quote_names, quote_text
from ..catalog.rows import Place
from ..differences.comparison import Comparison
from ..differences.conversions import type_risk
from ..differences.renames import Asked
from ..differences.result import Difference
from .exchange import Exchange, exchanged, exchanged_columns, exchanges
from .order import Step, in_order
from .places import Entry, Places, family, owner_of
from .ranks import rank
from .remake import REPLACE, RETYPE, SWAP, WIDEN, dropped, entry_of, in_the_way, made
from .rights import given_again, owned_by_the_rest
from .tables import draws_from_own, relation_pieces

_KEYS = ("primary_key_", "unique_", "constraint_deferrable")
# Where CREATE OR REPLACE does not do it.
_WHOLE = ("view_definition", "function_changed", "table_kind")
# What ALTER TABLE on a parent does to the column of its children too.
_REACHES = tuple(
    f"column_{what}" for what in ("type", "collation", "generated", "not_null", "missing", "renamed", "extra")
)
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
    "rules": "domain_changed",
    "statistics": "statistics_missing",
    "publication": "statistics_missing",
}


class Planner:
    """The steps of one script."""

    def __init__(self, work: Comparison, differences: Sequence[Difference]) -> None:
        self.work, self.differences = work, differences
        self.places = Places(work)
        self.asked = {_old(one): _question(one) for one in work.asked}
        self.found = [(difference, self.places.of(difference.kind, difference.object)) for difference in differences]
        self.exchanges = exchanges(self.places, self.found)
        self.swaps = {place for one in self.exchanges for place in one.types}
        self.gone = {place for difference, place in self.found if place and difference.kind.endswith("_extra")}
        self.gone -= self.swaps | self.asked.keys()
        self.changes = self._changes()
        self.open = {place for difference, place in self.found if place and _left_open(difference)}
        self.remade, self.kept = self._remade()
        self.undecided = self._undecided()
        self.anew = {place for difference, place in self.found if place and difference.kind == "table_partitioning"}

    def steps(self) -> list[Step]:
        steps: list[Step] = []
        for difference, place in self.found:
            steps += self._steps(difference, place)
        steps += [self._exchange(one) for one in self.exchanges]
        for place, entry in self.remade.items():
            steps += self._remake(place, entry)
        return _once(in_order(steps, self.places.wanted, self.places.present))

    def _changes(self) -> dict[Place, str]:
        """The places whose change disturbs their dependents, and how."""
        found: dict[Place, str] = dict.fromkeys(self.gone, REPLACE)
        found.update((place, SWAP) for one in self.exchanges if not one.stuck for place in one.types)
        for difference, place in self.found:
            how = self._how(difference, place) if place else ""
            if place and how and place not in self.swaps:
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
        if kind == "type_changed" and any(word in text for text in repair for word in ("ALTER ATTR", "DROP ATTR")):
            return WIDEN
        if kind == "table_kind" or (kind.startswith(_KEYS) and drops):
            return REPLACE
        return REPLACE if kind in _WHOLE and drops else ""

    def _remade(self) -> tuple[dict[Place, Optional[Entry]], dict[Place, str]]:
        """What is dropped and made again, by the models' words or as it was; and what cannot be dropped, and why.

        None: it is dropped only, because it goes or because the repair of a difference makes it.
        """
        remade: dict[Place, Optional[Entry]] = {}
        kept: dict[Place, str] = {}
        for place in self._whole_again():
            remade[place] = self.places.expected[place]
        # a table that goes is there until the end, and its columns follow the exchange of their type
        following = set(in_the_way(self.places, dict.fromkeys(self.swaps, SWAP)))
        for place in in_the_way(self.places, self.changes):
            going = self.gone & {owner_of(place), owner_of(owner_of(place))}
            if place in self.gone or (going and place not in following):
                continue
            if place[0] in ("default", "rules"):
                remade[place] = None if going or owner_of(place) in self.swaps else self._default(place)
                continue
            entry = entry_of(self.places, place, expected=True) or entry_of(self.places, place, expected=False)
            if entry is not None:
                remade[place] = None if going else entry
        for place in self.gone:
            for other in self.places.dependents(place):
                if remade.get(other) and entry_of(self.places, other, expected=True) is None:
                    del remade[other]
                    kept[place] = " ".join((other[0], ".".join(other[1:])))
        filled = Counter(place for one, place in self.found if place and one.kind == "column_default")
        several = {place for place, number in filled.items() if number > 1}  # the table's reaches its partitions
        for place in sorted(several | {place for place, how in self.changes.items() if how == RETYPE}):
            default = ("default", *place[1:])
            if place[0] == "column" and default not in remade and entry_of(self.places, default, expected=True):
                remade[default] = self._default(default)
        return remade, kept

    def _default(self, place: Place) -> Entry | None:
        """The default of a column, or what a domain asks of its values; None where a difference makes it."""
        whole = owner_of(place)
        wanted = self.places.expected.get(whole)
        if wanted is None or whole in self.open:
            return entry_of(self.places, place, expected=False)
        if wanted.table is not None and draws_from_own(self.work, wanted.table, wanted.row):
            makes = ("column_default", "column_identity")
            made = any(other == whole and difference.kind in makes for difference, other in self.found)
            return None if made else entry_of(self.places, place, expected=False)
        return entry_of(self.places, place, expected=True)

    def _undecided(self) -> dict[Place, str]:
        """What has to wait for a person's decision on a column, and on which."""
        found: dict[Place, str] = {}
        for difference, place in self.found:
            held = self._held(place) if place and difference.kind == "column_type" else ""
            if place and held:
                found[place] = f"{held} holds rows of its table, so its type cannot change: by hand"
            if place is None or not _remarks_only(difference.repair):
                continue
            if difference.kind == "column_type":
                for waiting in (place, ("default", *place[1:])):
                    found[waiting] = f"when {difference.object} is decided"
            elif difference.kind in ("function_missing", "object_missing", "table_attached"):
                found[place] = f"when {difference.object} is made by hand"
        found.update((_new(one), _question(one)) for one in self.work.asked)
        left = list(found)
        while left:
            place = left.pop()
            for dependent, on in self.places.wanted.items():
                depends = place in on or any(owner_of(item) == place for item in on)
                if depends and dependent not in found and dependent not in self.remade:
                    found[dependent] = found[place]
                    left.append(dependent)
                    whole = owner_of(owner_of(dependent))
                    if whole not in self.places.actual and whole not in found and not self._apart(dependent):
                        found[whole] = found[place]
                        left.append(whole)
        return found

    def _apart(self, place: Place) -> bool:
        """Whether a part of a missing table is made by a statement of its own."""
        if place[0] == "constraint":
            return bool(self.places.expected[place].row.type == "foreign key")
        return place[0] not in ("column", "default")

    def _held(self, place: Place) -> str:
        """A column of another table that holds rows of the table of the column ``place``."""
        table = owner_of(place)
        holders = (one for one in self.places.present if one[0] == "column" and owner_of(one) != table)
        return next((".".join(one[2:]) for one in sorted(holders) if table in self.places.present[one]), "")

    def _whole_again(self) -> list[Place]:
        """Views and functions that are dropped and made; a table is put aside."""
        return [
            place
            for difference, place in self.found
            if place and difference.kind in _WHOLE and self.changes.get(place) == REPLACE
            if difference.kind != "table_kind" or self.places.actual[place].row.kind in "vm"
        ]

    def _steps(self, difference: Difference, place: Place | None) -> list[Step]:
        kind, name = difference.kind, difference.object
        if place is None:
            return [Step(rank(kind), name, _said(difference), kind=kind)]
        if kind in ("table_missing", "view_missing"):
            return self._pieces(place, difference)
        if (place in self.swaps or place in self.remade) and not kind.endswith(_BESIDE):
            return []
        if self._inherits(difference, place):
            return []
        gone = place in self.gone or place in self.asked
        statements = self._without_remade(_said(difference), place)
        part = ("default", *place[1:])
        if kind == "column_default" and self.remade.get(part) and place not in self.undecided:
            return []
        if owner_of(place) in self.anew - {place}:
            statements = _as_remarks(statements, "when its table is made anew by hand", difference.repair)
        if place in self.undecided and not gone:
            statements = _as_remarks(statements, self.undecided[place], difference.repair)
        elif gone and (question := self._asked_about(place)):
            statements = _as_remarks(statements, question, difference.repair)
        if place in self.kept and gone:
            why = f"{kind} {name}: {self.kept[place]} depends on it, which the models do not have: drop that first"
            statements = _as_remarks(statements, why, difference.repair)
        if kind == "table_kind":  # the old one is put aside
            statements = [*statements, *self._rights(self.places.actual[place], self.places.expected[place])]
        if kind.endswith("_missing") and place in self.places.expected and not _remarks_only(statements):
            own = self._from_namesake(place) or owned_by_the_rest(self.places, self.places.expected[place])
            statements = [*statements, *own]
        again = place in self.remade or place in self.swaps
        step = Step(rank("") if again else rank(kind), name, statements, kind=kind)
        (step.drops if gone else step.makes).add(place)
        if kind == "column_missing":
            step.makes.add(("default", *place[1:]))
        if kind == "column_default" and family(kind) == place[0] and not _remarks_only(statements):
            step.makes.add(("default", *place[1:]))
            step.drops |= {("default", *place[1:])} if self.places.expected[place].row.default is None else set()
        return [step]

    def _without_remade(self, statements: list[str], place: Place) -> list[str]:
        """Without what the steps of its default, or of a domain's checks, say."""
        said = set()
        for part in (("default", *place[1:]), ("rules", *place[1:])):
            if part in self.remade and owner_of(part) == place:
                said |= {text for step in self._remake(part, self.remade[part]) for text in step.statements}
        return [text for text in statements if text not in said]

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
            elif piece == place:
                statements = [*statements, *owned_by_the_rest(self.places, self.places.expected[place])]
            found.append(Step(rank(kind), difference.object, statements, makes={piece}, kind=kind))
        return found

    def _missing_kind(self, place: Place) -> str:
        if place[0] == "relation":
            return "view_missing"
        if place[0] != "constraint":
            return _MISSING[place[0]]
        entry = self.places.expected.get(place) or self.places.actual[place]
        return f"{entry.row.type.replace(' ', '_')}_missing"

    def _remake(self, place: Place, entry: Optional[Entry]) -> list[Step]:
        old = entry_of(self.places, place, expected=False)
        found = []
        if old is not None:
            statements = [text for text in dropped(self.work, old) if not text.startswith("--")]
            found.append(Step(rank("view_extra"), old.label, statements, drops={place}, kind="remade"))
        if entry is None:
            return found
        statements = made(self.work, entry)
        statements += [] if old is None else self._rights(old, entry)
        if place[0] != "publication" and entry_of(self.places, place, expected=True) is None:
            name = " ".join((place[0], entry.label))
            if any(label in text for label in self._labels_that_go() for text in statements):
                why = f"{name} names a label that goes: decide by hand what it says instead"
                statements = _as_remarks(statements, why, statements)
            else:
                statements = [f"-- the models do not have {name}: as it was", *statements]
        found.append(Step(rank(self._missing_kind(place)), entry.label, statements, makes={place}, kind="remade"))
        return found

    def _labels_that_go(self) -> list[str]:
        """As an expression names them."""
        sides = [(self.places.expected[place].row, self.places.actual[place].row) for place in self.swaps]
        gone = {label for wanted, present in sides for label in present.labels if label not in wanted.labels}
        return [f"{quote_text(label)}::" for label in gone]

    def _exchange(self, one: Exchange) -> Step:
        """Types that are exchanged, whatever differs in them."""
        pairs = [(self.places.expected.get(place), self.places.actual.get(place)) for place in one.types]
        sides = [(wanted, present) for wanted, present in pairs if wanted and present]
        statements = [
            text
            for difference, place in self.found
            if place in one.types and difference.kind == "enum_label_renamed"
            for text in difference.repair
        ]
        types = [(wanted.row, present.row) for wanted, present in sides]
        statements += exchanged(self.work, types, defaults=False)
        for wanted, present in sides:
            statements += self._rights(present, wanted)
        name = sides[0][1].label
        if one.stuck:
            statements = _as_remarks(statements, f"{name}: {one.stuck}", statements)
        columns = exchanged_columns(self.work, one.types)
        places = (("column", table.schema, table.name, column.name) for table, column in columns)
        moved = {place for place in places if not self.gone & {place, owner_of(place)}}
        return Step(rank("enum_label_order"), name, statements, makes={*one.types, *moved}, kind="enum_label_order")

    def _rights(self, old: Entry, new: Entry) -> list[str]:
        owned = any(place == old.place and difference.kind.endswith("_owner") for difference, place in self.found)
        return given_again(self.places, old, new, owner=not owned)

    def _from_namesake(self, place: Place) -> list[str]:
        """What a function had that goes for one of its name with other arguments."""
        before = [one for one in self.gone if place[0] == "function" and one[:3] == place[:3]]
        if len(before) != 1:
            return []
        return self._rights(self.places.actual[before[0]], self.places.expected[place])

    def _inherits(self, difference: Difference, place: Place) -> bool:
        """Whether the repair of a parent does it: ALTER TABLE reaches the children."""
        entry = (self.places.actual if place in self.gone else self.places.expected).get(place)
        if entry is None or entry.table is None or (place[0] == "column" and difference.kind not in _REACHES):
            return False
        inherited = getattr(entry.row, "inherited", False)
        if not inherited and (place[0] != "column" or difference.kind == "column_extra"):
            return False
        parents = {
            ("relation", self.work.sides.home(row.schema), row.name)
            for row in self.work.expected.catalog.relations
            if quote_names(row.schema, row.name) in entry.table.inherits
        }
        return any(
            other and other[3:] == place[3:] and owner_of(other) in parents and one.kind == difference.kind
            for one, other in self.found
        )


def _old(one: Asked) -> Place:
    return ("column", one.schema, one.table, one.old) if one.table else ("relation", one.schema, one.old)


def _new(one: Asked) -> Place:
    return ("column", one.schema, one.table, one.new) if one.table else ("relation", one.schema, one.new)


def _left_open(difference: Difference) -> bool:
    """Whether a person has to decide how a column gets its type."""
    return difference.kind == "column_type" and _remarks_only(difference.repair)


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
    if _remarks_only(runs):
        return list(statements)
    remarks = (line if line.startswith("--") else f"-- {line}" for text in statements for line in text.splitlines())
    return [f"-- {why}", *remarks]


def _remarks_only(statements: Sequence[str]) -> bool:
    return all(text.startswith("--") for text in statements)


def _said(difference: Difference) -> list[str]:
    """The repair; where no statement makes one, a remark that says so."""
    if difference.repair:
        return list(difference.repair)
    words = f"{difference.expected} instead of {difference.actual}".replace("\n", " ")
    return [f"-- {difference.kind} {difference.object}: {words}: no statement changes this, decide by hand"]
