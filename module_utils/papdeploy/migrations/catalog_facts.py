"""The facts that a statement leaves in the catalog: what is there, what is gone, and how it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Optional

from ..sql import statements
from ..sql.quoting import quote_exact
from . import catalog_comparison, catalog_made_again, catalog_sequences
from . import catalog_definitions as definitions
from .catalog_comparison import Query
from .catalog_definitions import Key, Words
from .run.concurrent_indexes import name_at


@dataclass(frozen=True)
class Fact:
    """``kind`` of thing, its quoted ``name`` (and ``part`` of it), and whether it should exist. ``proof`` looks for it,
    where that takes more than its name. A ``detail`` says how another fact's thing is, and is named only if it is not
    so. ``table`` and ``columns``: what it goes with."""

    kind: str
    name: str
    part: str = ""
    exists: bool = True
    proof: Optional[Callable[[Query], bool]] = None
    detail: bool = False
    table: str = ""
    columns: tuple[str, ...] = ()
    wanted: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.kind, self.name, self.part)

    def undone_by(self, later: Sequence[Fact]) -> bool:
        """Whether ``later`` facts took away the table or a column that this one goes with."""
        table = self.table or self.name
        return any(
            not fact.exists
            and fact is not self
            and (
                (fact.kind == "table" and fact.name == table and self.key != fact.key)
                or (self.kind == f"definition of {fact.kind}" and (fact.name, fact.part) == (self.name, self.part))
                or (fact.kind == "column" and fact.name == table and fact.part in self.columns)
            )
            for fact in later
        )

    def __str__(self) -> str:
        wanted = f" ({self.wanted})" if self.wanted else ""
        name = f"{self.kind} {self.name}{'.' + self.part if self.part else ''}"
        return name + wanted + ("" if self.exists else " gone")


_CREATED = {"TABLE": "table", "VIEW": "view", "SEQUENCE": "sequence", "TYPE": "type", "DOMAIN": "type",
            "EXTENSION": "extension", "SCHEMA": "schema"}  # fmt: skip
_SKIPPED = {"OR", "REPLACE", "UNIQUE", "UNLOGGED", "TEMP", "TEMPORARY", "MATERIALIZED", "RECURSIVE", "CONSTRAINT",
            "FOREIGN"}  # fmt: skip
_AFTER_QUERY = (("WITH", "NO", "DATA"), ("WITH", "DATA"), ("WITH", "CHECK", "OPTION"),
                ("WITH", "CASCADED", "CHECK", "OPTION"), ("WITH", "LOCAL", "CHECK", "OPTION"))  # fmt: skip
_ON_TABLE = {"TRIGGER": "trigger", "POLICY": "policy"}
_ROUTINES = ("FUNCTION", "PROCEDURE")


def of(statement: statements.Statement) -> list[Fact]:
    """The facts of one statement."""
    words = Words.of(statement.text)
    if words.words[:2] == ("ALTER", "TABLE"):
        return _alter_table(words)
    if words.words[:2] == ("ALTER", "TYPE"):
        return _alter_type(words.words)
    if words.words[:1] == ("CREATE",):
        return _create(words)
    if words.words[:1] == ("DROP",):
        return _drop(words.words)
    if words.words[:2] in (("ALTER", "SEQUENCE"), ("ALTER", "DOMAIN")):
        parts, position = name_at(words.words, _after_if(words.words, 2))
        kind, name = _CREATED[words.words[1]], quote_exact(*parts)
        facts = [Fact(f"definition of {kind}", name, proof=lambda _: True, detail=True)]
        return facts + (_alter_domain(name, parts, words.part(position)) if words.words[1] == "DOMAIN" else [])
    return []


def _alter_domain(name: str, parts: tuple[str, ...], action: Words) -> list[Fact]:
    words, change = action.words, action.source()
    same = partial(catalog_made_again.same_in_domain, name=name, change=change)
    if words[1:3] == ("NOT", "NULL"):
        return [Fact("not null of domain", name, exists=words[0] == "SET")]
    if words[1:2] == ("DEFAULT",):
        proof = partial(same, what="default") if words[0] == "SET" else None
        return [Fact("default of domain", name, exists=words[0] == "SET", proof=proof)]
    if words[:2] == ("RENAME", "TO"):
        return [Fact("type", name, exists=False), Fact("type", quote_exact(*parts[:-1], name_at(words, 2)[0][-1]))]
    if words[:1] == ("ADD",):
        called = name_at(words, 2)[0][-1] if words[1:2] == ("CONSTRAINT",) else ""
        facts = [Fact("constraint of domain", name, called)] if called else []
        kind = "definition of constraint of domain" if called else "constraint of domain"
        return [*facts, Fact(kind, name, called or change, proof=partial(same, what="checks"), detail=bool(called))]
    if words[1:2] == ("CONSTRAINT",):
        called = name_at(words, _after_if(words, 2))[0][-1]
        if words[0] == "RENAME":
            after = name_at(words, words.index("TO") + 1)[0][-1]
            kind = "constraint of domain"
            return [Fact(kind, name, called, exists=False), Fact(kind, name, after)]
        kind = "validated constraint of domain" if words[0] == "VALIDATE" else "constraint of domain"
        return [Fact(kind, name, called, exists=words[0] != "DROP")]
    return []


def _after_if(words: tuple[str, ...], position: int) -> int:
    for phrase in (("CONCURRENTLY",), ("IF", "NOT", "EXISTS"), ("IF", "EXISTS"), ("ONLY",)):
        if words[position : position + len(phrase)] == phrase:
            position += len(phrase)
    return position


def _create(statement: Words) -> list[Fact]:
    words = statement.words
    position = 1
    while position < len(words) and words[position] in _SKIPPED:
        if words[position] in ("TEMP", "TEMPORARY"):
            return []
        position += 1
    if position >= len(words):
        return []
    kind, position = words[position], _after_if(words, position + 1)
    if kind == "INDEX":
        return _create_index(statement, position)
    if kind in _ON_TABLE:
        return _create_on_table(statement, kind, position)
    if kind in _ROUTINES:
        return [_routine(statement, position)]
    if kind not in _CREATED:
        return []
    name, position = name_at(words, position)
    if not name:
        return []
    facts = [Fact(_CREATED[kind], quote_exact(*name))]
    if kind == "TABLE" and words[position : position + 1] == ("(",):
        facts += _table(quote_exact(*name), name, statement.bracketed(position))
    if kind == "TYPE" and words[position : position + 2] == ("AS", "ENUM"):
        labels = [item.words[0] for item in statement.bracketed(position + 2).items()]
        facts += [Fact("enum label", quote_exact(*name), _string(label), detail=True) for label in labels]
    return facts + _definition(statement, kind, quote_exact(*name), position)


def _definition(statement: Words, kind: str, name: str, position: int) -> list[Fact]:
    """What a view, a domain or a sequence is made of, or the schema of an extension."""
    rest = statement.part(position)
    if kind == "SEQUENCE":
        same = partial(catalog_sequences.same_sequence, name=name, options=rest)
        return [Fact("definition of sequence", name, proof=same, detail=True)]
    if kind == "EXTENSION" and "SCHEMA" in rest.words:
        schema = quote_exact(*name_at(rest.words, rest.words.index("SCHEMA") + 1)[0])
        return [Fact("schema of extension", name, schema, detail=True)]
    if kind == "DOMAIN":
        same = partial(catalog_made_again.same_domain, name=name, wanted=rest.source())
        return [Fact("definition of type", name, proof=same, detail=True)]
    body = rest.find("AS")
    if kind != "VIEW" or body < 0 or "RECURSIVE" in statement.words[:position]:
        return []
    columns = rest.part(0, rest.closing(0) + 1).source() if rest.words[:1] == ("(",) else ""
    tail = next((len(words) for words in _AFTER_QUERY if rest.words[-len(words) :] == words), 0)
    wanted = rest.part(body + 1, len(rest.words) - tail).source()
    same = partial(catalog_made_again.same_view, name=name, columns=columns, wanted=wanted)
    return [Fact("definition of view", name, proof=same, detail=True)]


def _create_index(statement: Words, position: int) -> list[Fact]:
    words = statement.words
    if words[position : position + 1] == ("ON",):
        return []
    index, position = name_at(words, position)
    table, position = name_at(words, _after_if(words, position + 1))
    opening = statement.find("(", start=position)
    columns = statement.bracketed(opening).names() if opening >= 0 else ()
    name, on = quote_exact(*table[:-1], index[-1]), quote_exact(*table)
    same = partial(catalog_comparison.same_index, name=name, wanted=statement.source())
    if statement.find("ON", "ONLY") >= 0:  # which is not valid before those of all partitions are attached
        return [Fact("index", name, proof=same, table=on, columns=columns)]
    return [
        Fact("index", name, table=on, columns=columns),
        Fact("definition of index", name, proof=same, detail=True, table=on, columns=columns),
    ]


def _create_on_table(statement: Words, kind: str, position: int) -> list[Fact]:
    words = statement.words
    name, position = name_at(words, position)
    at = statement.find("ON", start=position)
    if at < 0:
        return []
    table = quote_exact(*name_at(words, _after_if(words, at + 1))[0])
    prove = catalog_comparison.same_trigger if kind == "TRIGGER" else catalog_comparison.same_policy
    same = partial(prove, table=table, name=name[-1], wanted=statement.source())
    return [
        Fact(_ON_TABLE[kind], table, name[-1]),
        Fact(f"definition of {_ON_TABLE[kind]}", table, name[-1], proof=same, detail=True),
    ]


def _routine(statement: Words, position: int) -> Fact:
    name, position = name_at(statement.words, position)
    arguments = statement.part(position, statement.closing(position) + 1).source()
    at = statement.find("AS", start=position)
    literal = statement.words[at + 1] if at >= 0 else ""
    body: Optional[str] = None
    if literal.startswith("$"):
        edge = literal.index("$", 1) + 1
        body = literal[edge:-edge]
    elif literal.startswith("'"):
        body = _string(literal)
    same = partial(catalog_comparison.same_function, name=name, body=body)
    return Fact("function", quote_exact(*name) + " ".join(arguments.split()), proof=same)


def _table(table: str, name: tuple[str, ...], inside: Words) -> list[Fact]:
    facts: list[Fact] = []
    for item in inside.items():
        if item.words[0] == "LIKE":
            continue
        if definitions.is_key(item):
            facts += _constraint(table, name, item, detail=True)
        else:
            column, position = name_at(item.words, 0)
            facts += _column(table, name, column[-1], item.part(position), detail=True)
    return facts


def _column(table: str, name: tuple[str, ...], column: str, words: Words, *, detail: bool) -> list[Fact]:
    """A column that a table is made with, or gets."""
    found = definitions.column(column, words)
    fact = partial(Fact, name=table, part=column, columns=(column,), detail=True)
    facts = [Fact("column", table, column, columns=(column,), detail=detail)]
    if found.type:
        same = partial(catalog_comparison.same_type, table=table, name=column, wanted=found.type)
        facts.append(fact(kind="type of column", proof=same, wanted=found.type))
    facts.append(fact(kind="not null", exists=found.not_null))
    if found.identity:
        facts.append(fact(kind="identity"))
    elif found.generated is not None or found.default is not None:
        facts.append(_default(table, column, found.generated or found.default or "", found.generated is not None, True))
    else:
        facts.append(fact(kind="default", exists=False))
    return facts + [_key(table, "", name, key, detail=True) for key in found.keys]


def _default(table: str, column: str, wanted: str, generated: bool, detail: bool) -> Fact:
    same = partial(catalog_comparison.same_default, table=table, name=column, wanted=wanted, generated=generated)
    return Fact("default", table, column, proof=same, detail=detail, columns=(column,), wanted=wanted[:60])


def _constraint(table: str, name: tuple[str, ...], words: Words, *, detail: bool) -> list[Fact]:
    """[CONSTRAINT name] definition, of a table."""
    called = ""
    if words.words[:1] == ("CONSTRAINT",):
        (called,), position = name_at(words.words, 1)
        words = words.part(position)
    key = definitions.key(words)
    facts = [Fact("constraint", table, called, detail=detail)] if called else []
    using = words.find("USING", "INDEX")
    index = name_at(words.words, using + 2)[0] if using >= 0 else ()
    if index and index[-1] != called:  # which gets the name of the constraint
        facts.append(Fact("index", quote_exact(*name[:-1], index[-1]), exists=False))
    if key is None:
        return facts + _exclusion(table, called, name, words)
    facts.append(_key(table, called, name, key, detail=detail or bool(called)))
    if key.kind == "p":
        facts += [Fact("not null", table, column, detail=True, columns=(column,)) for column in key.columns]
    return facts


def _exclusion(table: str, called: str, name: tuple[str, ...], words: Words) -> list[Fact]:
    if words.words[:1] != ("EXCLUDE",):
        return []
    elements = words.bracketed(words.find("(")).items()
    columns = tuple("expr" if item.words[0] == "(" else name_at(item.words, 0)[0][-1] for item in elements)
    proof = partial(catalog_made_again.has_exclusion, table=table, wanted=words.source())
    kind = "definition of constraint" if called else "constraint"
    return [
        Fact(kind, table, called or "_".join([name[-1], *columns, "excl"]), proof=proof, detail=True, columns=columns)
    ]


_ENDINGS = {"p": "pkey", "u": "key", "f": "fkey", "c": "check"}
_SPOKEN = {"p": "primary key", "u": "unique", "f": "foreign key", "c": "check"}


def _key(table: str, called: str, name: tuple[str, ...], key: Key, *, detail: bool) -> Fact:
    """A constraint by its definition. One without a name gets the one that PostgreSQL gives it."""
    columns = () if key.kind == "p" else key.columns
    kind = "definition of constraint" if called else "constraint"
    wanted = f"{_SPOKEN[key.kind]} {key.expression or ', '.join(key.columns)}".strip()
    return Fact(
        kind, table, called or "_".join([name[-1], *columns, _ENDINGS[key.kind]]), detail=detail, columns=key.columns,
        proof=partial(catalog_comparison.has_key, table=table, wanted=key), wanted=wanted,
    )  # fmt: skip


def _drop(words: tuple[str, ...]) -> list[Fact]:
    position = 2 if words[1:2] == ("MATERIALIZED",) else 1
    kind, position = words[position] if position < len(words) else "", _after_if(words, position + 1)
    if kind in _ON_TABLE:
        name, position = name_at(words, position)
        return [Fact(_ON_TABLE[kind], quote_exact(*name_at(words, position + 1)[0]), name[-1], exists=False)]
    if kind in _ROUTINES:
        name, position = name_at(words, position)
        gone = partial(catalog_comparison.same_function, name=name, body=None)
        return [Fact("function", quote_exact(*name), exists=False, proof=gone)]
    if kind not in (*_CREATED, "INDEX"):
        return []
    facts = []
    while position < len(words):
        name, position = name_at(words, position)
        facts.append(Fact({**_CREATED, "INDEX": "index"}[kind], quote_exact(*name), exists=False))
        if words[position : position + 1] != (",",):
            break
        position += 1
    return facts


def _alter_type(words: tuple[str, ...]) -> list[Fact]:
    name, position = name_at(words, 2)
    if words[position : position + 2] == ("ADD", "VALUE"):
        position = _after_if(words, position + 2)
        return [Fact("enum label", quote_exact(*name), _string(words[position]))]
    if words[position : position + 2] == ("RENAME", "VALUE"):
        return [
            Fact("enum label", quote_exact(*name), _string(words[position + 2]), exists=False),
            Fact("enum label", quote_exact(*name), _string(words[position + 4])),
        ]
    return []


def _string(word: str) -> str:
    return word[1:-1].replace("''", "'")


def _alter_table(statement: Words) -> list[Fact]:
    name, position = name_at(statement.words, _after_if(statement.words, 2))
    table = quote_exact(*name)
    return [fact for action in statement.part(position).items() for fact in _action(table, name, action)]


def _action(table: str, name: tuple[str, ...], action: Words) -> list[Fact]:
    words = action.words

    def one(position: int) -> str:
        return name_at(words, position)[0][-1]

    if words[:1] == ("ADD",) and definitions.is_key(action.part(1)):
        return _constraint(table, name, action.part(1), detail=False)
    if words[:1] == ("ADD",):
        position = _after_if(words, 2 if words[1:2] == ("COLUMN",) else 1)
        column, position = name_at(words, position)
        return _column(table, name, column[-1], action.part(position), detail=False)
    if words[:2] == ("DROP", "CONSTRAINT"):
        return [Fact("constraint", table, one(_after_if(words, 2)), exists=False)]
    if words[:1] == ("DROP",):
        return [Fact("column", table, one(_after_if(words, 2 if words[1:2] == ("COLUMN",) else 1)), exists=False)]
    if words[:2] == ("VALIDATE", "CONSTRAINT"):
        return [Fact("validated constraint", table, one(2))]
    if words[:2] == ("RENAME", "TO"):
        return [Fact("table", table, exists=False), Fact("table", quote_exact(*name[:-1], one(2)))]
    if words[:1] == ("RENAME",) and "TO" in words:
        kind, start = ("constraint", 2) if words[1] == "CONSTRAINT" else ("column", 2 if words[1] == "COLUMN" else 1)
        after = one(words.index("TO") + 1)
        columns = (after,) if kind == "column" else ()
        return [Fact(kind, table, one(start), exists=False), Fact(kind, table, after, columns=columns)]
    if words[-3:] == ("ROW", "LEVEL", "SECURITY"):
        kind = "forced row security" if "FORCE" in words else "row security"
        return [Fact(kind, table, exists=words[0] not in ("DISABLE", "NO"))]
    return _alter_column(table, action) if words[:1] == ("ALTER",) else []


def _alter_column(table: str, action: Words) -> list[Fact]:
    words = action.words
    target, position = name_at(words, 2 if words[1:2] == ("COLUMN",) else 1)
    column = target[-1]
    fact = partial(Fact, name=table, part=column, columns=(column,))
    change = words[position : position + 3]
    if change == ("SET", "NOT", "NULL"):
        return [fact(kind="not null")]
    if change == ("DROP", "NOT", "NULL"):
        return [fact(kind="not null", exists=False)]
    if change[:2] == ("SET", "DEFAULT"):
        return [_default(table, column, action.part(position + 2).source(), False, False)]
    if change[:2] == ("DROP", "DEFAULT"):
        return [fact(kind="default", exists=False)]
    if change[:2] in (("ADD", "GENERATED"), ("DROP", "IDENTITY")):
        return [fact(kind="identity", exists=change[0] == "ADD")]
    if change[:1] == ("TYPE",) or change == ("SET", "DATA", "TYPE"):
        wanted = definitions.column(column, action.part(position + (1 if change[0] == "TYPE" else 3))).type
        same = partial(catalog_comparison.same_type, table=table, name=column, wanted=wanted)
        return [fact(kind="type of column", proof=same, wanted=wanted)]
    return []
