"""Enums, domains, composite and range types."""

from __future__ import annotations

from collections.abc import Sequence

from ...sql.quoting import quote_name, quote_names, quote_text
from ..catalog.rows import Type
from ..repair import definitions
from ..repair.exchange import exchanged
from .comparison import Comparison

_KINDS = {"e": "enum", "d": "domain", "c": "composite type", "r": "range type"}


def compare_types(work: Comparison) -> None:
    actual = {(row.schema, row.name): row for row in work.actual.catalog.types}
    matched = set()
    for row in work.expected.catalog.types:
        label = work.expected.label(row.schema, row.name)
        found = work.sides.find(actual, row.schema, row.name)
        if found is None:
            create = definitions.create_type(row, work.sides.written(row.schema, row.name), work.sides.sql)
            work.add("type_missing", label, _words(row), "nothing", create)
            continue
        matched.add((found.schema, found.name))
        _compare(work, label, row, found)
    for key, row in actual.items():
        if key not in matched and row.schema in work.sides.scope:
            word = "DOMAIN" if row.kind == "d" else "TYPE"
            work.add(
                "type_extra", work.actual.label(*key), "nothing", _words(row), [f"DROP {word} {quote_names(*key)};"]
            )


def _words(row: Type) -> str:
    if row.kind == "e":
        return f"ENUM ({', '.join(quote_text(label) for label in row.labels)})"
    unchecked = [check[0] for check in row.checks if not check[2]]
    text = definitions.create_type(row, row.name)[0].rstrip(";")
    return text + (f" ({', '.join(unchecked)} NOT VALID)" if unchecked else "")


def _compare(work: Comparison, label: str, expected: Type, actual: Type) -> None:
    name = quote_names(actual.schema, actual.name)
    sql_name = f"{'DOMAIN' if actual.kind == 'd' else 'TYPE'} {name}"
    if expected.kind != actual.kind:
        work.add("type_changed", label, _KINDS[expected.kind], _KINDS[actual.kind])
    elif expected.kind == "e":
        _compare_labels(work, label, name, expected, actual)
    elif expected.kind == "d":
        _compare_domain(work, label, name, expected, actual)
    else:
        keys = [
            (
                [(n, side.type(t)) for n, t in row.attributes],
                [side.name(str(x)) for x in row.range],
            )
            for side, row in ((work.expected, expected), (work.actual, actual))
        ]
        if keys[0] != keys[1]:
            work.add(
                "type_changed", label, _words(expected), _words(actual), _composite_repair(work, name, expected, actual)
            )
    work.compare_common("type", label, expected, actual, sql_name)


def _composite_repair(work: Comparison, name: str, expected: Type, actual: Type) -> list[str]:
    wanted, present = dict(expected.attributes), dict(actual.attributes)
    steps = [f"DROP ATTRIBUTE {quote_name(key)}" for key in present if key not in wanted]
    for key, type_ in wanted.items():
        text = f"{quote_name(key)} {'' if key not in present else 'TYPE '}{work.sides.sql(type_)}"
        if key not in present:
            steps.append(f"ADD ATTRIBUTE {text}")
        elif work.expected.type(type_) != work.actual.type(present[key]):
            steps.append(f"ALTER ATTRIBUTE {text}")
    return [f"ALTER TYPE {name} {', '.join(steps)};"] if steps else []


def _compare_labels(work: Comparison, label: str, name: str, expected: Type, actual: Type) -> None:
    ours, theirs = list(expected.labels), list(actual.labels)
    missing = [item for item in ours if item not in theirs]
    extra = [item for item in theirs if item not in ours]
    for item, other in _renamed(ours, theirs, missing, extra):
        missing.remove(item)
        extra.remove(other)
        theirs[theirs.index(other)] = item
        repair = [f"ALTER TYPE {name} RENAME VALUE {quote_text(other)} TO {quote_text(item)};"]
        work.add("enum_label_renamed", f"{label}.{item}", quote_text(item), quote_text(other), repair)
    for item in missing:
        place = ours.index(item)
        where = (
            f"AFTER {quote_text(ours[place - 1])}"
            if place
            else f"BEFORE {quote_text(ours[1])}"
            if len(ours) > 1
            else ""
        )
        repair = [f"ALTER TYPE {name} ADD VALUE {quote_text(item)} {where};".replace(" ;", ";")]
        work.add("enum_label_missing", f"{label}.{item}", quote_text(item), _words(actual), repair)
    for item in extra:
        work.add(
            "enum_label_extra",
            f"{label}.{item}",
            _words(expected),
            quote_text(item),
            exchanged(work, [(expected, actual)]),
        )
    common = [item for item in ours if item in theirs]
    if common != [item for item in theirs if item in ours]:
        repair = exchanged(work, [(expected, actual)])
        work.add("enum_label_order", label, _words(expected), _words(actual), repair)


def _renamed(
    ours: Sequence[str], theirs: Sequence[str], missing: Sequence[str], extra: Sequence[str]
) -> list[tuple[str, str]]:
    """Labels that stand at the same place of enums that are otherwise alike."""
    if len(ours) != len(theirs) or len(missing) != len(extra):
        return []
    pairs = [(item, other) for item, other in zip(ours, theirs) if item != other]
    renames = [(item, other) for item, other in pairs if item in missing and other in extra]
    return renames if len(renames) == len(missing) else []


def _compare_domain(work: Comparison, label: str, name: str, expected: Type, actual: Type) -> None:
    ours = {row[0]: row for row in expected.checks}
    theirs = {row[0]: row for row in actual.checks}
    repair: list[str] = []
    if work.expected.default_of(expected.expression, expected.base) != work.actual.default_of(
        actual.expression, actual.base
    ):
        default = expected.expression
        repair.append(
            f"ALTER DOMAIN {name} " + (f"SET DEFAULT {work.sides.sql(default)};" if default else "DROP DEFAULT;")
        )
    if bool(expected.not_null) != bool(actual.not_null):
        repair.append(f"ALTER DOMAIN {name} {'SET' if expected.not_null else 'DROP'} NOT NULL;")
    wanted = {repr(work.expected.expression(row[1])) for row in ours.values()}
    present = {repr(work.actual.expression(row[1])) for row in theirs.values()}
    if wanted != present:
        for key, row in theirs.items():
            if repr(work.actual.expression(row[1])) not in wanted:
                repair.append(f"ALTER DOMAIN {name} DROP CONSTRAINT {quote_name(key)};")
        for key, row in ours.items():
            if repr(work.expected.expression(row[1])) not in present:
                repair += definitions.add_domain_check(name, key, work.sides.sql(row[1]))
    else:
        unchecked = {repr(work.expected.expression(row[1])) for row in ours.values() if not row[2]}
        for key, row in theirs.items():
            if not row[2] and repr(work.actual.expression(row[1])) not in unchecked:
                repair.append(f"ALTER DOMAIN {name} VALIDATE CONSTRAINT {quote_name(key)};")
    base = work.expected.type(expected.base), work.actual.type(actual.base)
    collation = [side.name(row.collation) for side, row in ((work.expected, expected), (work.actual, actual))]
    if base[0] != base[1] or collation[0] != collation[1]:
        repair = ["-- a domain cannot change its base: make a new one and move the columns over"]
    if repair:
        work.add("domain_changed", label, _words(expected), _words(actual), repair)
