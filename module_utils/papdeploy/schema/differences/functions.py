"""Functions, procedures and aggregates that the models' events create."""

from __future__ import annotations

from ...sql.quoting import quote_name, quote_names, quote_text
from ..catalog.rows import Function
from .comparison import Comparison
from .name_resolution import Side

_WORDS = {"f": "FUNCTION", "p": "PROCEDURE", "a": "AGGREGATE", "w": "FUNCTION"}
_VOLATILITY = {"i": "IMMUTABLE", "s": "STABLE", "v": "VOLATILE"}
_PARALLEL = {"s": "SAFE", "r": "RESTRICTED", "u": "UNSAFE"}


def compare_functions(work: Comparison) -> None:
    def key(side: Side, row: Function) -> tuple[str, str, str]:
        return row.schema, row.name, side.name(row.identity)

    actual = {key(work.actual, row): row for row in work.actual.catalog.functions}
    matched = set()
    for row in work.expected.catalog.functions:
        schema, name, arguments = key(work.expected, row)
        label = work.expected.label(schema, f"{name}({row.identity})")
        found = work.sides.find(actual, schema, name, arguments)
        if found is None:
            work.add("function_missing", label, _summary(row), "nothing", create_function(work, row))
            continue
        matched.add(key(work.actual, found))
        _compare(work, label, row, found)
    for place, row in actual.items():
        if place not in matched and row.schema in work.sides.scope:
            label = work.actual.label(place[0], f"{row.name}({row.identity})")
            work.add("function_extra", label, "nothing", _summary(row), [f"DROP {function_target(row)};"])


def function_target(row: Function, schema: str = "") -> str:
    arguments = row.identity or "*" * (row.kind == "a")
    return f"{_WORDS[row.kind]} {quote_names(schema or row.schema, row.name)}({arguments})"


def _summary(row: Function) -> str:
    result = f" RETURNS {row.result}" if row.result else ""
    return f"{_WORDS[row.kind].lower()} ({row.arguments}){result} LANGUAGE {row.language}"


def _volatility(row: Function) -> str:
    return _VOLATILITY[row.volatility]


def _parallel(row: Function) -> str:
    return f"PARALLEL {_PARALLEL[row.parallel]}"


def _cost(row: Function) -> str:
    return f"COST {row.cost:g}"


def _rows(row: Function) -> str:
    return f"ROWS {row.rows:g}" if row.rows else ""


def _options(row: Function) -> dict[str, str]:
    """The options that do not change what is computed."""
    return {
        "volatility": _volatility(row),
        "strict": "STRICT" if row.strict else "CALLED ON NULL INPUT",
        "security": "SECURITY DEFINER" if row.security_definer else "SECURITY INVOKER",
        "leakproof": "LEAKPROOF" if row.leakproof else "NOT LEAKPROOF",
        "parallel": _parallel(row),
        "cost": _cost(row),
        "rows": _rows(row),
        "settings": ", ".join(sorted(row.settings)),
    }


def _code(side: Side, row: Function) -> object:
    """What the function computes: its tokens where the language is SQL or PL/pgSQL, else its text."""
    source = row.source
    if row.language in ("sql", "plpgsql"):
        code: object = side.text(source)
    else:
        code = source.replace("\r\n", "\n").strip()
    return (
        code,
        side.text(row.body),
        row.language,
        row.kind,
        side.name(row.result),
        side.text(row.arguments),
        [side.name(str(item)) for item in row.aggregate],
        row.library,
    )


def create_function(work: Comparison, row: Function) -> list[str]:
    """CREATE OR REPLACE, then what it keeps only when the function is there."""
    name = quote_names(work.sides.home(row.schema), row.name)
    if row.kind == "a":
        return _create_aggregate(work, row, name)
    if row.kind == "w":
        return [f"-- CREATE FUNCTION {name} … WINDOW … by hand, as the models' event does"]
    head = f"CREATE OR REPLACE {_WORDS[row.kind]} {name}({work.sides.sql(row.arguments)})"
    if row.result:
        head += f" RETURNS {work.sides.sql(row.result)}"
    head += f" LANGUAGE {quote_name(row.language)}"
    if row.kind == "f":
        head += f" {_volatility(row)} {_parallel(row)} {_cost(row)}"
        head += f" {_rows(row)}" if row.rows else ""
        head += " STRICT" if row.strict else ""
        head += " LEAKPROOF" if row.leakproof else ""
    if row.security_definer:
        head += " SECURITY DEFINER"
    for setting in row.settings:
        key, _, value = setting.partition("=")
        listed = value if key == "search_path" else quote_text(value)
        head += f" SET {key} TO {listed}"
    if row.body:
        create = f"{head} {work.sides.sql(row.body)};"
    else:
        create = f"{head} AS {dollar_quoted(row.source)};"
    return [create, *_beside(row, f"{_WORDS[row.kind]} {name}({work.sides.sql(row.identity)})")]


def _create_aggregate(work: Comparison, row: Function, name: str) -> list[str]:
    sql = work.sides.sql
    kind, transition, final, combine, state, initial = row.aggregate
    if kind != "n":
        return [f"-- CREATE AGGREGATE {name} … WITHIN GROUP … by hand, as the models' event does"]
    options = [f"SFUNC = {sql(transition)}", f"STYPE = {sql(state)}", f"PARALLEL = {_PARALLEL[row.parallel]}"]
    options += [f"FINALFUNC = {sql(final)}"] * (final != "-") + [f"COMBINEFUNC = {sql(combine)}"] * (combine != "-")
    options += [] if initial is None else [f"INITCOND = {quote_text(initial)}"]
    create = f"CREATE AGGREGATE {name}({sql(row.arguments) or '*'}) ({', '.join(options)});"
    return [create, *_beside(row, f"AGGREGATE {name}({sql(row.identity) or '*'})")]


def _beside(row: Function, target: str) -> list[str]:
    found = []
    if row.comment:
        found.append(f"COMMENT ON {target} IS {quote_text(row.comment)};")
    if "EXECUTE" not in row.public:
        found.append(f"REVOKE EXECUTE ON {target.replace('AGGREGATE', 'FUNCTION', 1)} FROM PUBLIC;")
    return found


def dollar_quoted(text: str) -> str:
    tag = "$$"
    number = 0
    while tag in text:
        number += 1
        tag = f"$body{number}$"
    return f"{tag}{text}{tag}"


def _compare(work: Comparison, label: str, expected: Function, actual: Function) -> None:
    if _code(work.expected, expected) != _code(work.actual, actual):
        repair = create_function(work, expected)[:1]
        same_result = work.expected.name(expected.result) == work.actual.name(actual.result)
        if not same_result or expected.kind != actual.kind or expected.kind == "a":
            repair = [
                "-- what uses it must be dropped first and made again after",
                f"DROP {function_target(actual)};",
                *repair,
            ]
        words = [_summary(row) + f" AS {row.body or row.source}" for row in (expected, actual)]
        work.add("function_changed", label, words[0], words[1], repair)
    wanted, present = _options(expected), _options(actual)
    differing = [key for key in wanted if wanted[key] != present[key]]
    if differing:
        words = [", ".join(side[key] or f"no {key}" for key in differing) for side in (wanted, present)]
        severity = "error" if {"security", "strict"} & set(differing) else ""
        work.add("function_options", label, words[0], words[1], create_function(work, expected)[:1], severity=severity)
    work.compare_common("function", label, expected, actual, function_target(actual))
