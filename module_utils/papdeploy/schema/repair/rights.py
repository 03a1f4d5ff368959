"""What an object that is made again had beside its definition: its owner, and the rights of single roles."""

from __future__ import annotations

from collections.abc import Iterator

from ...sql.quoting import quote_name, quote_names
from ..catalog.rows import Place
from ..differences.functions import function_target
from .places import Entry, Places, owner_of
from .tables import sql_kind

Right = tuple[str, str]  # of whom, and what; with * where it may be passed on


def given_again(places: Places, old: Entry, new: Entry, *, owner: bool) -> list[str]:
    """Statements that give ``new``, which took the place of ``old``, its rights and, with ``owner``, its owner."""
    found = []
    target = _target(places, new)
    belongs = getattr(old.row, "owner", None)
    if owner and belongs and target and belongs != places.work.actual.catalog.database.user:
        found.append(f"ALTER {target} OWNER TO {quote_name(belongs)};")
    if new.place[0] in ("relation", "function", "type"):
        for role, rights in _by_role(places.rights.get(old.place, ())):
            found.append(_grant(rights, _grantable(new, target), role))
    for column, given in _columns(places, old, new):
        table = f"TABLE {quote_names(*column[1:3])}"
        for role, rights in _by_role(given):
            found.append(_grant(rights, table, role, f" ({quote_name(column[3])})"))
    return found


def owned_by_the_rest(places: Places, new: Entry) -> list[str]:
    """The owner of what is new, where it is not the one who runs the script."""
    work, kind = places.work, new.place[0]
    if not work.owner or work.owner == work.actual.catalog.database.user:
        return []
    owner = quote_name(work.owner)
    found = [f"ALTER {target} OWNER TO {owner};" for target in [_target(places, new)] if target]
    if kind == "relation" and new.row.partition_key:
        root = ("relation", new.row.schema, new.row.name)
        of_it = (one for one in work.expected.catalog.partitions if one.of == root)
        found += [f"ALTER TABLE {work.sides.written(one.schema, one.name)} OWNER TO {owner};" for one in of_it]
    return found


def _target(places: Places, entry: Entry) -> str:
    """What ALTER … OWNER takes; '' for a part of a table."""
    kind, row = entry.place[0], entry.row
    if kind == "relation":
        return f"{sql_kind(row)} {quote_names(*entry.place[1:])}"
    if kind == "function":
        return function_target(row, *entry.place[1:2])
    if kind == "type":
        return f"{'DOMAIN' if row.kind == 'd' else 'TYPE'} {quote_names(*entry.place[1:])}"
    return f"{kind.upper()} {quote_names(*entry.place[1:])}" if kind in ("statistics", "sequence", "schema") else ""


def _grantable(entry: Entry, target: str) -> str:
    kind, row = entry.place[0], entry.row
    if kind == "relation":
        return f"TABLE {quote_names(*entry.place[1:])}"
    return target.replace("AGGREGATE", "FUNCTION", 1) if kind == "function" and row.kind == "a" else target


def _columns(places: Places, old: Entry, new: Entry) -> Iterator[tuple[Place, tuple[Right, ...]]]:
    """Those columns of ``new`` on which single roles had rights."""
    if old.place[0] == "column":
        yield new.place, places.rights.get(old.place, ())
    elif old.place[0] == "relation":
        kept = {column.name for column in new.row.columns}
        for place, given in sorted(places.rights.items()):
            if place[0] == "column" and owner_of(place) == old.place and place[3] in kept:
                yield ("column", *new.place[1:], place[3]), given


def _by_role(given: tuple[Right, ...]) -> Iterator[tuple[str, list[str]]]:
    """Roles with what they may do; what they may pass on apart from what they may not."""
    found: dict[tuple[str, bool], list[str]] = {}
    for role, right in given:
        found.setdefault((role, right.endswith("*")), []).append(right)
    for (role, _), rights in sorted(found.items()):
        yield role, rights


def _grant(rights: list[str], target: str, role: str, part: str = "") -> str:
    listed = ", ".join(f"{right.rstrip('*')}{part}" for right in rights)
    more = " WITH GRANT OPTION" if rights[0].endswith("*") else ""
    return f"GRANT {listed} ON {target} TO {quote_name(role)}{more};"
