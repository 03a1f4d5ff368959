"""What configuration files of any usual format give a variable. Plain text in, plain text out.

Names are compared folded (``cc-drop-tables``, ``ccDropTables``, ``cc: {drop_tables: …}`` are one), because readers of
settings fold them too, and a section or file of another stage does not count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

# Words for one stage. What belongs to none of them counts everywhere.
_STAGES = (
    {"production", "prod", "live"},
    {"staging", "stage", "stg", "preprod", "preproduction", "uat"},
    {"development", "dev", "devel", "local"},
    {"testing", "test", "tests", "ci", "qa"},
    {"example", "examples", "sample", "samples", "template", "templates", "dist", "demo", "fixtures"},
)
_ASSIGNMENT = re.compile(r"""(\s*)(?:-\s+)?(?:export\s+|set\s+)?["']?([A-Za-z_][\w.-]*)["']?\s*[:=]\s*(.*)$""")
_SECTION = re.compile(r"""\s*\[+\s*([^\]]+?)\s*\]+\s*(?:[#;].*)?$""")
_INSIDE = re.compile(r"""["']?([\w.-]+)["']?\s*[:=]\s*("[^"]*"|'[^']*'|[^,{}]+)""")
_ENVIRONMENTS = ("env", "raw_env")

Path = tuple[str, ...]


def fold(name: str) -> str:
    """One spelling for a name: ``CC-Drop.Tables`` and ``ccDropTables`` are ``cc_drop_tables``."""
    return re.sub(r"[^A-Za-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)).strip("_").lower()


def other_stages(stages: Iterable[str]) -> set[str]:
    """The words that name another stage than these."""
    own = {stage.lower() for stage in stages}
    return {word for words in _STAGES if not words & own for word in words}


def own_stages(stages: Iterable[str]) -> set[str]:
    """The words that name one of these stages."""
    own = {stage.lower() for stage in stages if stage}
    return {word for words in _STAGES if words & own for word in words} | own


def of_another_stage(name: str, others: Collection[str]) -> bool:
    """Whether a file or folder called ``name`` belongs to one of these stages: ``config.dev.yaml``."""
    return any(word in others for word in re.split(r"[\W_]+", name.lower()))


def assigned(
    text: str, variable: str, *, json_file: bool = False, others: Collection[str] = ()
) -> list[tuple[int, str]]:
    """The lines and values that a file gives ``variable`` in the end, once for each section that holds it."""
    found: dict[Path, tuple[int, str]] = {}
    wanted = fold(variable)
    for line, path, value in _entries(text, json_file):
        parts = [fold(part) for part in path]
        above = next((n for n in range(len(parts)) if "_".join(parts[n:]) == wanted), None)
        if above is not None and not any(part in others for part in parts[:above]):
            found[tuple(parts)] = line, value
    return list(found.values())


def value_of(text: str) -> str:
    """The value as dotenv reads it: quotes come off, a comment behind it as well; a comma of JSON too."""
    text = text.strip()
    quoted = re.match(r"""(["'])(.*?)\1""", text)
    return quoted[2] if quoted else re.split(r"(?:^|\s)[#;]", text)[0].strip().rstrip(",").strip()


def expanded(value: str, known: Mapping[str, str]) -> str:
    """``${NAME}`` and ``${NAME:-default}`` as dotenv puts them in."""

    def put(match: re.Match[str]) -> str:
        return known.get(match[1], match[2] or "")

    return re.sub(r"\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}", put, value)


def _entries(text: str, json_file: bool) -> Iterator[tuple[int, Path, str]]:
    """Line, path of keys, and value of each assignment."""
    text = text.lstrip("\ufeff")
    if json_file:
        try:
            yield from _of_json(text, json.loads(text), ())
            return
        except (ValueError, RecursionError):
            pass  # with comments in it: read as lines
    section: list[str] = []
    open_keys: list[tuple[int, list[str]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        header = _SECTION.match(line)
        if header:
            section, open_keys = re.split(r"[.:]", header[1].replace('"', "").replace("'", "")), []
            continue
        match = _ASSIGNMENT.match(line)
        if not match:
            continue
        indent, keys, value = len(match[1].expandtabs()), match[2].split("."), match[3].strip()
        while open_keys and open_keys[-1][0] >= indent:
            open_keys.pop()
        path = (*section, *(key for _, above in open_keys for key in above), *keys)
        if value.startswith("{") and value != "{":
            for inside in _INSIDE.finditer(value):
                yield number, (*path, *inside[1].split(".")), value_of(inside[2])
        elif keys[-1] in _ENVIRONMENTS and (inner := _ASSIGNMENT.match(value_of(value))):  # of uWSGI: env = NAME=VALUE
            yield number, (inner[2],), value_of(inner[3])
        elif value in ("", "{") or value.startswith("#"):
            open_keys.append((indent, keys))
            yield number, path, ""
        else:
            yield number, path, value_of(value)


def _of_json(text: str, data: Any, path: Path) -> Iterator[tuple[int, Path, str]]:
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from _of_json(text, value, (*path, *str(key).split(".")))
    elif path and not isinstance(data, list):
        line = text[: max(0, text.find(f'"{path[-1]}"'))].count("\n") + 1
        yield line, path, "" if data is None else str(data)
