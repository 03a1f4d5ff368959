"""libpq's connection service file and password file, with a copy in the place of the live database."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..core.errors import Refused

# Where libpq looks if the variable is not set.
DEFAULTS = {"PGSERVICEFILE": "~/.pg_service.conf", "PGPASSFILE": "~/.pgpass"}

_SECTION = re.compile(r"\s*\[([^\]]*)\]")


def pointed(texts: Mapping[str, str], live: str, copy: str) -> dict[str, str]:
    """The files that have to be other ones on a copy, by their variable. ``texts``: those that are there."""
    changed = {
        "PGSERVICEFILE": _services(texts.get("PGSERVICEFILE", ""), live, copy),
        "PGPASSFILE": _passwords(texts.get("PGPASSFILE", ""), live, copy),
    }
    return {name: text for name, text in changed.items() if text and text != texts.get(name)}


def _services(text: str, live: str, copy: str) -> str:
    """Every service of the live database leads to the copy (PostgreSQL documentation, 34.17)."""
    parts = re.split(r"(?m)^(?=\s*\[)", text)
    return "".join(part if not _SECTION.match(part) else _service(part, live, copy) for part in parts)


def _service(section: str, live: str, copy: str) -> str:
    lines = section.splitlines()
    values: dict[str, str] = {}
    for line in lines[1:]:
        if line.strip().startswith("ldap"):
            raise Refused(
                "PGSERVICEFILE has a service that LDAP answers for: whether it leads to the live database is unknown.",
                hint="Say in pap_api_trial_env what PGSERVICEFILE is to be on a copy.",
            )
        key, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith("#"):
            values.setdefault(key.strip(), value.strip())
    if (values.get("dbname") or values.get("user") or live) != live:
        return section
    kept = [line for line in lines[1:] if line.partition("=")[0].strip() != "dbname"]
    return "\n".join([lines[0], f"dbname={copy}", *kept]) + "\n"


def _passwords(text: str, live: str, copy: str) -> str:
    """The passwords of the live database are those of the copy as well (PostgreSQL documentation, 34.16)."""
    more = []
    for line in text.splitlines():
        fields = re.findall(r"((?:\\.|[^:\\])*)(?::|$)", line)
        if line.startswith("#") or len(fields) < 5 or re.sub(r"\\(.)", r"\1", fields[2]) != live:
            continue
        escaped = copy.replace("\\", "\\\\").replace(":", "\\:")
        head = f"{fields[0]}:{fields[1]}:"
        more.append(f"{head}{escaped}{line[len(head) + len(fields[2]) :]}")
    return "".join(line + "\n" for line in more) + text if more else text
