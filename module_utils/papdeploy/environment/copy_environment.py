"""The environment of every process that works on a copy: what leads to the live database leads to the copy instead.

Plain text in, plain text out; what is read where is in ``environment``. A variable that the process is given wins over
the same one in a settings file (python-dotenv and pydantic's settings keep what is there), so a value that only stands
in a file becomes a variable. What cannot be re-pointed is refused by its name: it is for the operator to say what it
is to be on a copy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from ..core import database_url, url_spellings
from ..core.errors import Refused
from ..core.plain_json import parse
from ..core.url_hosts import Hosts
from ..core.url_spellings import Spelled
from . import encoded, libpq_files
from .settings_values import expanded

# In a file of any format: name: live, dbname = "live".
_NAMED_IN_A_FILE = (
    r"""(?im)^\s*["']?(?:[\w.-]*[_.-])?(?:db|dbname|database|db_?name|database_?name|name)["']?\s*[:=]"""
    r"""\s*["']?{}["']?\s*,?\s*$"""
)
_PLACEHOLDER = re.compile(r"%[sdr(]|(?<!\$)\{|<")  # in a database's name: a program puts the real one in
# Words of a variable's name: DB_NAME, pgDatabase, APP__DATABASE__NAME.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_OF_A_DATABASE = {"DB", "DBNAME", "DATABASE", "DATABASES", "PG", "PGDATABASE", "POSTGRES", "POSTGRESQL", "PSQL", "SQL"}
# What else such a variable may hold, and may be spelled like the database.
_OF_SOMETHING_ELSE = {
    "USER", "USERNAME", "DBUSER", "PGUSER", "LOGIN", "ROLE", "OWNER", "PASSWORD", "PGPASSWORD", "PASSWD", "PASS", "PWD",
    "SECRET", "TOKEN", "KEY", "HOST", "HOSTNAME", "PGHOST", "SERVER", "ADDRESS", "ADDR", "PORT", "SCHEMA", "SCHEMAS",
    "DRIVER", "DIALECT", "ENGINE", "TYPE", "BACKEND", "PREFIX", "CONTAINER", "NETWORK", "VOLUME", "APPLICATION",
    "APPNAME", "PGAPPNAME", "SERVICE", "PGSERVICE", "CLIENT", "TABLE",
}  # fmt: skip
_SERVER_PARTS = {"HOST", "HOSTNAME", "SERVER", "ADDRESS", "PGHOST"}
_CREDENTIALS = {"USER", "USERNAME", "PASSWORD", "PASS", "PWD", "PGUSER", "PGPASSWORD"}
_MAY_NAME_IT = ("DB", "NAME", "DATABASE", "DB_NAME", "DBNAME")


@dataclass(frozen=True)
class Aim:
    """From database ``live`` to ``copy``. ``variable``: the one that holds the API's URL, whichever database that names
    (a pooler has names of its own); empty where the inventory gives the URL. ``url``: the API's URL, from either.
    ``hosts``: where the server itself is, if that URL goes through a pooler, which does not know the copy. ``extra``:
    what the operator sets on a copy; it wins. ``folder``: where files may be put for the process. ``strict``: refuse
    what cannot be re-pointed."""

    live: str
    copy: str
    variable: str = ""
    url: str = field(default="", repr=False)
    hosts: Hosts = ()
    extra: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""
    strict: bool = True


@dataclass(frozen=True)
class Surroundings:
    """What a process would find: its environment; settings files (text by path, the first one wins); files of secrets,
    by their path, that give the variable of their name; and the text of the files that variables name, by variable."""

    environment: Mapping[str, str] = field(repr=False)
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    named: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class CopyEnvironment:
    """``variables`` to set, ``files`` to write (text by path, for their owner alone), both with secrets in them.
    ``pointed``: the names of what led to the live database."""

    variables: dict[str, str] = field(repr=False)
    files: dict[str, str] = field(default_factory=dict, repr=False)
    pointed: tuple[str, ...] = ()


def of(surroundings: Surroundings, aim: Aim) -> CopyEnvironment:
    """The changes that lead a process, and all that it starts, to the copy. Raises Refused, naming the variable, for
    what leads to the live database and cannot be re-pointed."""
    _refuse_live_extra(aim)
    assigned = {name: found for name, found in _assigned(surroundings).items() if name not in aim.extra}
    pointed: dict[str, str] = {}
    for name, (value, where) in assigned.items():
        changed = _pointed(name, value, where, aim)
        if changed is not None and changed != value:
            pointed[name] = changed
    files = _files(surroundings.named, aim)
    if aim.strict:
        _refuse_unpointed_variable(assigned, pointed, aim)
        _refuse_half_urls(assigned, pointed, aim)
        if files and not aim.folder:
            raise Refused(f"The file of {min(files)} leads to the live database.", hint=_hint(min(files)))
    paths = {name: f"{aim.folder}/{name.lower()}" for name in files} if aim.folder else {}
    server = _server_parts(assigned, aim)
    variables = {**_unnamed(assigned, pointed, aim), **server, **pointed, **paths, **aim.extra}
    written = {paths[name]: files[name] for name in paths}
    return CopyEnvironment(variables, written, tuple(sorted({*pointed, *paths, *server})))


def leads_to_live(name: str, value: str, live: str) -> bool:
    """Whether the value of variable ``name`` leads to database ``live``."""
    return _pointed(name, value, "", Aim(live, live + "_", strict=False)) is not None


def text_leads_to_live(text: str, live: str) -> bool:
    """Whether a configuration file, of whatever format, leads to database ``live``."""
    named = re.search(_NAMED_IN_A_FILE.format(re.escape(live)), text) is not None
    return named or _inside_pointed("", text, "", Aim(live, live + "_", strict=False)) is not None


def _assigned(surroundings: Surroundings) -> dict[str, tuple[str, str]]:
    """Every variable that the process has or may load, with where a person finds it."""
    found = {name: (value, "the environment") for name, value in surroundings.environment.items()}
    for path, text in surroundings.settings.items():
        here = dict(assignments(text))
        for name, value in here.items():
            found.setdefault(name, (expanded(value, {**here, **surroundings.environment}), path))
    for path, text in surroundings.secrets.items():
        found.setdefault(path.rpartition("/")[2], (text.strip(), path))
    return found


def _files(named: Mapping[str, str], aim: Aim) -> dict[str, str]:
    """Files that have to be other ones on a copy, by the variable that names them. Raises Refused for a configuration
    file: what else depends on its place, or on the rest of it, is not known."""
    libpq = {name: text for name, text in named.items() if name in libpq_files.DEFAULTS and name not in aim.extra}
    files = libpq_files.pointed(libpq, aim.live, aim.copy)
    for name, text in named.items():
        if name in libpq_files.DEFAULTS or name in aim.extra:
            continue
        whole = text.strip()
        changed = (
            _pointed(name.upper().removesuffix("_FILE"), whole, f"the file of {name}", aim)
            if "\n" not in whole
            else None
        )
        if changed is not None:
            files[name] = changed
        elif aim.strict and text_leads_to_live(text, aim.live):
            raise Refused(
                f"{name} names a file that leads to the live database {aim.live}; it cannot be pointed at a copy.",
                hint=_hint(name),
            )
    return files


def assignments(text: str) -> Iterator[tuple[str, str]]:
    """The names and values of a settings file as dotenv reads it, the last of a name only."""
    found: dict[str, str] = {}
    for line in text.lstrip("\ufeff").splitlines():
        match = re.match(r"\s*(?:export\s+)?(['\"]?)([A-Za-z_][\w.-]*)\1\s*=\s*(.*)", line)
        if match:
            found[match[2]] = _unquoted(match[3])
    yield from found.items()


def _unquoted(text: str) -> str:
    text = text.strip()
    quoted = re.match(r"""(["'])((?:\\.|(?!\1).)*)\1\s*(?:#.*)?$""", text)
    return quoted[2] if quoted else re.split(r"(?:^|\s)#", text)[0].strip()


def _pointed(name: str, value: str, where: str, aim: Aim) -> Optional[str]:
    """The value that leads to the copy; None if it does not lead to the live database."""
    its_own = name == aim.variable
    if value == aim.live and (its_own or _names_a_database(name)):
        return aim.copy
    if value.lstrip()[:1] in ("{", "["):
        return _json_pointed(name, value, where, aim)
    whole = url_spellings.whole(value)
    if whole and (its_own or url_spellings.count(value) < 2):
        return _url_pointed(name, whole, where, aim, its_own=its_own)
    inside = _inside_pointed(name, value, where, aim)
    if inside is not None or whole:
        return inside
    found = database_url.find(value)
    if found is not None and (its_own or _effective(found) == aim.live):
        return _copied(value, aim)
    for plain, encode in encoded.decoded(value):
        changed = _pointed(name, plain, where, aim)
        if changed is not None:
            return encode(changed)
    return None


def _copied(value: str, aim: Aim) -> str:
    copied = database_url.with_database(value, aim.copy)
    return database_url.with_server(copied, aim.hosts) if aim.hosts else copied


def _url_pointed(name: str, url: Spelled, where: str, aim: Aim, *, its_own: bool) -> Optional[str]:
    """The same for a value, or a part of it, that is a URL of any library."""
    try:
        found = database_url.find(url.plain)
        if found is not None and (its_own or _effective(found) == aim.live):
            if aim.strict:
                refuse_password_file(found)
            return url.with_plain(_copied(url.plain, aim))
    except Refused as error:
        if aim.strict and (its_own or aim.live in url.plain):
            place = f"{name} in {where}" if where else name
            hint = error.data.get("instead") or _hint(name)
            raise Refused(f"{place} cannot be pointed at a copy: {error.message}", hint=hint) from None
    return None


def refuse_password_file(found: database_url.DatabaseUrl) -> None:
    """A password file that a URL names is another one than PGPASSFILE's: it has no line for a copy."""
    if not found.password and found.option("passfile"):
        raise Refused(
            "its password is in the file of passfile=, which has no line for a copy.",
            instead="Name that file by PGPASSFILE, which is led to the copy, or write the password into the URL.",
        )


def _inside_pointed(name: str, value: str, where: str, aim: Aim) -> Optional[str]:
    """A text with URLs in it (a list, a line of a shell): each that leads to the live database is re-pointed."""
    text = url_spellings.replaced(value, lambda url: _url_pointed(name, url, where, aim, its_own=False))
    return text if text != value else None


def _json_pointed(name: str, value: str, where: str, aim: Aim) -> Optional[str]:
    try:
        data = parse(value)
    except ValueError:
        return _inside_pointed(name, value, where, aim)
    changed = False

    def walk(key: str, item: Any) -> Any:
        nonlocal changed
        if isinstance(item, dict):
            parts = {word.upper() for word in item} & (_SERVER_PARTS | _CREDENTIALS)
            names = (*_MAY_NAME_IT, "PATH")  # as in the parts of a URL
            return {k: walk(f"DB_{k}" if parts and k.upper() in names else k, each) for k, each in item.items()}
        if isinstance(item, list):
            return [walk(key, each) for each in item]
        fresh = _pointed(key, item, where, aim) if isinstance(item, str) else None
        changed = changed or fresh is not None
        return item if fresh is None else fresh

    walked = walk(name, data)
    return json.dumps(walked, ensure_ascii=False) if changed else None


def _effective(url: database_url.DatabaseUrl) -> str:
    """The database that a driver takes: the one that is named, else the one with the user's name."""
    return url.dbname or url.user


def words(name: str) -> set[str]:
    """The words of a variable's name, in capitals."""
    return {word.upper() for word in _WORD.findall(name)}


def _names_a_database(name: str) -> bool:
    found = words(name)
    return bool(found & _OF_A_DATABASE) and not found & _OF_SOMETHING_ELSE


def _unnamed(assigned: Mapping[str, tuple[str, str]], pointed: Mapping[str, str], aim: Aim) -> dict[str, str]:
    """Names of the database that no variable gives, and a program takes from its own default: libpq's and asyncpg's
    PGDATABASE, and of a URL in parts (a server and a user or password, but no database) whatever could be the name."""
    found = {"PGDATABASE": aim.copy}
    prefixes: dict[str, set[str]] = {}
    for name in assigned:
        match = re.fullmatch(r"(.*?)_?(HOST|HOSTNAME|SERVER|ADDRESS|USER|USERNAME|PASSWORD|PASS|PWD)", name.upper())
        if match and words(match[1]) & _OF_A_DATABASE:
            prefixes.setdefault(name[: len(match[1])], set()).add(match[2])
    for prefix, parts in prefixes.items():
        complete = parts & _SERVER_PARTS and parts & _CREDENTIALS
        if complete and not any(name.startswith(prefix) for name in pointed):
            fresh = {f"{prefix}_{part}": aim.copy for part in _MAY_NAME_IT}
            found.update({name: value for name, value in fresh.items() if name not in assigned})
    return found


def _server_parts(assigned: Mapping[str, tuple[str, str]], aim: Aim) -> dict[str, str]:
    """Variables that hold the host of the API's URL, and the ports beside them, with the first of ``hosts`` instead."""
    theirs = _find(aim.url) if aim.hosts else None
    if theirs is None:
        return {}
    host, port = aim.hosts[0]
    parts: dict[str, str] = {}
    for name, (value, _) in assigned.items():
        word = re.search("HOST|SERVER|ADDR", name.upper())
        if word and value == theirs.host:
            parts[name] = host
            beside = [other for other in assigned if other.startswith(name[: word.start()]) and "PORT" in other.upper()]
            used = str(theirs.port or 5432)
            parts.update((other, str(port or 5432)) for other in beside if assigned[other][0] == used)
    return parts


def _refuse_unpointed_variable(assigned: Mapping[str, tuple[str, str]], pointed: Mapping[str, str], aim: Aim) -> None:
    if not aim.variable or aim.variable in pointed or aim.variable in aim.extra:
        return
    if aim.variable not in assigned:
        raise Refused(
            f"{aim.variable} is not set in the environment of the API.",
            hint="Set pap_database_url_variable to the variable that holds the database URL.",
        )
    raise Refused(
        f"{aim.variable} holds neither a URL, nor a connection string, nor the name {aim.live}.",
        hint="Set pap_database_url_variable to the variable that names the API's database.",
    )


def _refuse_half_urls(assigned: Mapping[str, tuple[str, str]], pointed: Mapping[str, str], aim: Aim) -> None:
    """A URL of the live server to which a program adds the database by itself, with a name that is in no variable."""
    if any(assigned[name][0] == aim.live for name in pointed):
        return  # the name is in a variable
    servers = {found.host for name in pointed if (found := _find(assigned[name][0])) is not None}
    for name, (value, where) in assigned.items():
        if name in pointed or name in aim.extra:
            continue
        found = _find(value)
        open_ended = found is not None and (not found.dbname or _PLACEHOLDER.search(found.dbname))
        if found and open_ended and found.host in servers and "service" not in dict(found.options):
            raise Refused(
                f"{name} in {where} is half a URL of the live server: what a program adds to it is not known.",
                hint=_hint(name),
            )


def _find(value: str) -> Optional[database_url.DatabaseUrl]:
    url = url_spellings.whole(value)
    try:
        return database_url.find(url.plain if url else value)
    except Refused:
        return None


def _refuse_live_extra(aim: Aim) -> None:
    for name, value in aim.extra.items():
        if leads_to_live(name, value, aim.live):
            raise Refused(
                f"pap_api_trial_env sets {name} to something that leads to the live database {aim.live}.",
                hint=f"Give {name} another value, or leave it out: then it is pointed at the copy.",
            )


def _hint(name: str) -> str:
    return f"Say in pap_api_trial_env what {name} is to be on a copy (empty, if nothing there needs it)."
