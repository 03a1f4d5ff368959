"""What a watch cannot see, and the setting that mends it: silence is good news only where errors would be heard."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from ..core.text import plural
from .records import Seen
from .server_log import ServerLog, letters

_ENGLISH = re.compile(r"(?:C|POSIX|en)(?:[._@-]|$)|English")
_ABOVE_ERROR = ("log", "fatal", "panic")  # log_min_messages ranks LOG above ERROR
_ENOUGH = 20  # lines that say what a format is
_RELOAD = "SELECT pg_reload_conf();"


@dataclass(frozen=True)
class Blindness:
    """``kind``: level, database, language, format, silent or unreadable. ``source``: the log; nothing where it is not
    one log."""

    kind: str
    source: str
    what: str
    remedy: str

    @property
    def sentence(self) -> str:
        return f"the watch is blind: {self.what}; {self.remedy}"


def of(sources: Collection[str], seen: Mapping[str, Seen], server: ServerLog, answered: bool) -> tuple[Blindness, ...]:
    """What these logs cannot tell: by the server's settings, and by what was read of them so far. ``answered``: the API
    has answered requests meanwhile."""
    found = [*of_settings(server)] if "database" in sources else []
    found += of_lines(seen)
    api = [name for name in sources if name != "database"]
    if api and answered and not any(seen.get(name, Seen()).lines for name in api):
        found.append(silent(api[0], "requests were answered"))
    return tuple(found)


def of_settings(server: ServerLog) -> Iterator[Blindness]:
    """What the log of a server cannot tell, by the server's own settings."""
    if server.min_messages in _ABOVE_ERROR:
        what = f"the server does not log errors (log_min_messages = {server.min_messages})"
        yield Blindness("level", "database", what, f"ALTER SYSTEM SET log_min_messages = 'warning'; {_RELOAD}")
    if server.databases and not server.has_database:
        what = (
            "its server has other databases, and log_line_prefix does not say which one a line is of: all are counted"
        )
        yield Blindness("database", "database", what, _prefix(server))
    if not is_english(server.language) and not server.has_state:
        what = (
            f"the server logs in another language (lc_messages = {server.language}) without SQLSTATE: a missing column"
            " cannot be told from a typing error"
        )
        yield Blindness("language", "database", what, _prefix(server))


def of_lines(seen: Mapping[str, Seen]) -> Iterator[Blindness]:
    """Logs of which fewer than half of the lines are understood."""
    for source, each in seen.items():
        if each.lines >= _ENOUGH and 2 * each.understood < each.lines:
            what = (
                f"of {plural(each.lines, 'line')} in the log of the {source} no more than {each.understood} can be read"
            )
            remedy = "log each record with its level at its head, or as JSON"
            if source == "database":
                remedy = "name the log of this server in pap_db_log_files"
            yield Blindness("format", source, what, remedy)


def silent(source: str, said: str, remedy: str = "") -> Blindness:
    """A log that did not grow although ``said`` happened."""
    remedy = remedy or "switch the API's access log on, or correct pap_api_log_files"
    return Blindness("silent", source, f"the log of the {source} has not grown although {said}", remedy)


def is_english(language: str) -> bool:
    """Whether lc_messages asks for English; an empty one leaves it to the server's environment."""
    return not language or _ENGLISH.match(language) is not None


def _prefix(server: ServerLog) -> str:
    """The setting that adds to the prefix what is missing."""
    prefix = (server.prefix or "").strip() or "%m [%p]"
    state = "" if server.has_state or is_english(server.language) else "%e "
    database = "" if server.has_database else "%u@%d " if "q" in letters(prefix) else "%q%u@%d "
    wanted = f"{prefix} {state}{database}".replace("'", "''")
    return f"ALTER SYSTEM SET log_line_prefix = '{wanted}'; {_RELOAD}"
