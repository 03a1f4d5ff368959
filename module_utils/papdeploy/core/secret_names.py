"""Which names promise a secret, and which values of an environment are one. The only list of such words.

A name that promises a secret is believed unless its value is plainly harmless (a number, a switch, a path). A value of
an environment under another name is a secret too, unless it is plainly harmless: ``STRIPE=`` may hold a key as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from . import database_url


def words(text: str) -> frozenset[str]:
    """The words of a text as a set."""
    return frozenset(text.split())


# A word that makes a name one of a secret; those of _BESIDE only beside another word (STRIPE_KEY, not "key").
_WORDS = words(
    """
    password passwords passwd passphrase passcode passwort pwd pw secret token apikey credential credentials dsn jwt
    pepper bearer otp totp mnemonic hmac pgpassword
    """
)
_BESIDE = words(
    """
    pass key keys tokens secrets private auth authorization salt signing pin cookie webhook license licence
    """
)
# "primary key", "public key": what is before a word may take the promise back.
_NOT_BEFORE = words(
    """
    primary foreign sort cache partition public unique index dict lookup row natural idempotency max min num total
    count prompt completion by order group shard hash no csrf page next
    """
)
# What comes last says what the value is: token_type, password_min_length, SECRET_NAME.
_ABOUT = words(
    """
    type types name names field fields id ids seq count length len size min max ttl expiry expires expire expired
    expiration seconds minutes hours days ms age lifetime change changed required enabled disabled policy algorithm
    alg method url uri endpoint path file dir folder host port column table index idx fkey pkey header prefix suffix
    issuer audience at on by limit budget version format encoding encryption scheme hint reset rotation provider
    manager class model store backend driver user username schema env mode status state used left in authentication
    check valid not is to for of the and or service server scope error errors exception warning failure
    """
)
_SPLIT = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")

# What every process has, by name.
_OF_THE_SYSTEM = re.compile(
    r"PATH|HOME|PWD|OLDPWD|SHELL|USER|LOGNAME|LANG|LANGUAGE|LC_\w+|TERM|TZ|HOSTNAME|SHLVL|_|TMPDIR|EDITOR|PAGER|LS_COLORS"
    r"|PYTHON\w*|GPG_KEY|VIRTUAL_ENV|DEBIAN_FRONTEND|PG(?:HOST|PORT|USER|DATABASE|SSLMODE|APPNAME)|SSH_\w+|XDG_\w+|DBUS_\w+"
    r"|MAIL|PS1|COLUMNS|LINES|NO_COLOR|ANSIBLE_\w+|JOURNAL_STREAM|INVOCATION_ID|container"
)
# A name that ends so says itself that its value is harmless.
_HARMLESS_LAST = words(
    """
    user username db database dbname name host hostname port schema level env environment mode region dir path file
    driver engine version module timezone tz locale encoding algorithm email from address
    """
)

_NUMBER = re.compile(r"[-+]?\d+(?:[.,_]\d+)*(?:%|[a-zA-Z]{1,3})?")
_SWITCH = re.compile(r"true|false|yes|no|on|off|none|null|nil|enabled|disabled|t|f|y|n|auto|default", re.IGNORECASE)
_WORD = r"(?:[a-z]{1,16}|[A-Z]{1,16}|(?:[A-Z][a-z]{1,16}){1,4})"
_PLAIN = re.compile(
    rf"{_WORD}(?:[_.:/@+-]+{_WORD})*"  # production, control_core_db, app.main:app, Europe/Berlin
    r"|(?:HS|RS|ES|PS|sha|md|utf|iso|latin|ascii|argon|pbkdf|ipv|v|s|h|k)[-_]?\d{1,4}(?:-\d{1,2})?"
    r"|[a-z]{2}(?:-[a-z]+)+-\d"  # eu-west-1
    r"|[a-z]{2,3}_[A-Z]{2}(?:\.[\w-]+)?"  # de_DE.UTF-8
    r"|v?\d+(?:\.\d+)+(?:[-.+]?[a-z]+\.?\d*)?"  # 1.2.3rc1
    r"|\d{4}-\d\d-\d\d(?:[T ][\d:.]+Z?)?"
)
_HOST = re.compile(
    r"(?:\d{1,3}(?:\.\d{1,3}){3}|\[?[0-9a-fA-F:]*:[0-9a-fA-F:]+\]?|(?!-)[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,24}|localhost)"
    r"(?::\d{1,5})?(?:/\d{1,3})?"
)
_NAME = re.compile(r"[\w .,@:/+-]*")
_FILE = re.compile(r"(?:~|\.{1,2})?/[\w.@+{}%/-]*")
_RANDOM = re.compile(r"(?=[^/]*[a-z])(?=[^/]*[A-Z])(?=[^/]*\d)[^/]{12,}|[0-9a-fA-F]{20,}|\d{6,}/?[A-Za-z]*\d")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_NEXT_URL = re.compile(rf"[\s,;|]+(?={_URL.pattern})")
_CONNECTION_STRING = re.compile(r"\s*[a-z_]+\s*=.*\bpassword\s*=", re.DOTALL)
_URL_LAST = re.compile(r"_?UR[LI]$", re.IGNORECASE)


# The same in SQL, and rather more: as a regular expression on the name of an option of foreign data.
_SECRET_OPTION = "pass|secret|token|key|cred|auth|pwd|dsn|ur[il]|conn"


def shown_options(column: str) -> str:
    """SQL for the options of foreign data in ``column``, a secret among them as a number that tells another value; by
    name, since that is the order in which pg_dump writes them."""
    return (
        f"(SELECT jsonb_agg(o.option_name || CASE WHEN o.option_name ~* '{_SECRET_OPTION}'"
        " THEN ' ' || hashtext(o.option_value)::text ELSE '=' || o.option_value END ORDER BY o.option_name)"
        f" FROM pg_options_to_table({column}) AS o)"
    )


def names_a_secret(name: str) -> bool:
    """Whether what ``name`` names is a secret by its words: ``PGPASSWORD``, ``api_key``; not ``token_type``."""
    parts = _parts(name)
    if not parts or (parts[-1] in _ABOUT and len(parts) > 1):
        return False
    for number, word in enumerate(parts):
        before = parts[number - 1] if number else ""
        if word in _WORDS or (len(word) > 8 and word.endswith(("password", "passwd", "secret", "apikey"))):
            return before not in _NOT_BEFORE
        if word in _BESIDE and len(parts) > 1 and before not in _NOT_BEFORE:
            return True
    return False


def _parts(name: str) -> list[str]:
    return [word.lower() for word in _SPLIT.split(name) if word]


def harmless_value(value: str) -> bool:
    """Whether a value is no secret even under a name that promises one: empty, a number, a switch, a path."""
    if _NUMBER.fullmatch(value):
        return sum(letter.isdigit() for letter in value) < 6
    if _SWITCH.fullmatch(value) or not value.strip("*•.-_ "):
        return True
    return bool(_FILE.fullmatch(value)) and "/" in value and not _RANDOM.search(value)


def _harmless(name: str, value: str) -> bool:
    """Whether a value of an environment is plainly harmless under a name that promises nothing."""
    last = _parts(name)[-1:]
    if harmless_value(value) or _OF_THE_SYSTEM.fullmatch(name):
        return True
    if _HARMLESS_LAST.issuperset(last) and _NAME.fullmatch(value) and not _RANDOM.search(value):
        return True
    parts = [part for part in re.split(r"[\s,;]+", value) if part]
    return len(parts) <= 3 and all(
        harmless_value(part) or _PLAIN.fullmatch(part) or (_HOST.fullmatch(part) and not _RANDOM.search(part))
        for part in parts
    )


def secrets_of(environment: Mapping[str, str]) -> tuple[set[str], set[str]]:
    """The secrets of an environment: what a name or a form promises, and what is merely not plainly harmless."""
    sure: set[str] = set()
    maybe: set[str] = set()
    for name, text in environment.items():
        value = text.strip()
        for leaf_name, leaf in _leaves(name, value):
            _sort(leaf_name, leaf, sure, maybe)
        of_the_web = re.match(r"(?:http|ws)s?://", value)
        if names_a_secret(_URL_LAST.sub("", name)) and not harmless_value(value) and (of_the_web or "://" not in value):
            sure.add(value)
    return sure, maybe - sure


def _sort(name: str, value: str, sure: set[str], maybe: set[str]) -> None:
    if not value or harmless_value(value):
        return
    if _URL.match(value):
        for url in _NEXT_URL.split(value):  # a list of replicas
            sure.update(secrets_of_url(url))
    elif _CONNECTION_STRING.match(value):
        sure.update(database_url.secrets(value))
    elif names_a_secret(name):
        sure.add(value)
        parts = re.split(r"\s*[,;]\s*", value)
        sure.update(part for part in parts if len(part) >= 8 and len(parts) > 1 and not harmless_value(part))
    elif not _harmless(name, value):
        maybe.add(value)


def _leaves(name: str, value: str) -> Iterator[tuple[str, str]]:
    """The value itself, or the texts inside it where it is JSON."""
    if value[:1] in ("{", "["):
        try:
            yield from _inside(name, json.loads(value))
            return
        except (ValueError, RecursionError):
            pass
    yield name, value


def _inside(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _inside(str(key), item)
    elif isinstance(value, list):
        for item in value:
            yield from _inside(name, item)
    elif isinstance(value, str):
        yield name, value


_CREDENTIALS = {"authorization": " ", "proxy-authorization": " ", "cookie": "="}  # and what is before their secret
_OF_QUERY = ("key", "sig", "signature")  # secrets in a query, though not elsewhere
_PARAMETER = re.compile(r"([?&])([^=&#]+)=([^&#]*)")


def secrets_of_requests(sent: object, promised: bool = False) -> Iterator[str]:
    """What of the headers, bodies and paths of requests has a name that promises a secret, however deep."""
    if isinstance(sent, Mapping):
        for name, item in sent.items():
            before = _CREDENTIALS.get(str(name).lower())
            if before:
                parts = [part.strip() for part in str(item).split(";")]
                yield from (part.partition(before)[2] or part for part in parts)
            else:
                yield from secrets_of_requests(item, promised or names_a_secret(str(name)))
    elif isinstance(sent, (list, tuple)):
        for item in sent:
            yield from secrets_of_requests(item, promised)
    elif promised and sent is not None and not isinstance(sent, bool):
        yield str(sent)
    elif isinstance(sent, str):
        yield from (found[3] for found in _PARAMETER.finditer(sent) if _in_query(found[2]))


def _in_query(name: str) -> bool:
    return names_a_secret(unquote(name)) or name.lower() in _OF_QUERY


def shown_query(path: str) -> str:
    """A path with its query, without the secrets of it."""

    def masked(found: re.Match[str]) -> str:
        return f"{found[1]}{found[2]}={database_url.MASK}" if _in_query(found[2]) else found[0]

    return _PARAMETER.sub(masked, path)


def secrets_of_url(url: str) -> set[str]:
    """What is secret in a URL: its password (as written, and in plain text), and secrets in its query; of a web address
    also a user without a password (the key of a DSN) and what looks random in its path (a webhook's)."""
    found = set(database_url.secrets(url))
    if re.match(r"(?:http|ws)s?://", url):
        try:
            parts = urlsplit(url)
        except ValueError:
            return found | {url}
        login = parts.netloc.rpartition("@")[0]
        found = {login.partition(":")[2] or login}
        found.update(text for key, text in parse_qsl(parts.query) if names_a_secret(key) or key == "sig")
        found.update(part for part in parts.path.split("/") if len(part) >= 8 and _RANDOM.search(part))
    return {text for text in found if text and not _SWITCH.fullmatch(text)}
