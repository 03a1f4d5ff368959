"""Mask what looks like a secret without being a known one: passwords in URLs and connection strings, assignments, SQL.

SQL and DDL are data: ``CHECK (token_type = 'bearer')`` names a token and holds none. So an assignment counts only as
programs write it (``name=value``, ``"name": "value"``), and of SQL only literals that their statement makes secret.
"""

from __future__ import annotations

import re

from .database_url import MASK
from .secret_names import harmless_value, names_a_secret

# scheme://user:password@: of a database's URL the password goes up to the last @ of the word, as SQLAlchemy reads it.
_URL = re.compile(
    r"(?P<head>(?P<quote>[\"'])?\b(?P<web>https?|wss?|ftp)?(?(web)|(?!(?:https?|wss?|ftp)://)[a-z][a-z0-9+.-]*)"
    r"://[^\s:/@\"'<>]*:)(?P<secret>(?:(?!://)(?(quote)(?!(?P=quote)))(?(web)[^\s/@]|(?(quote)[^\n]|\S)))+)(?=@)",
    re.IGNORECASE,
)
# Headers of HTTP. A token holds a digit, a capital or a sign; "authorization: see the docs" holds none.
_AUTHORIZATION = re.compile(
    r"(?P<head>\b[Aa]uthorization[\"']?\s*[:=]\s*[\"']?(?:[A-Za-z]+\s+)?)"
    r"(?P<secret>(?!(?:Bearer|Basic|Digest|Negotiate|Token)\b)(?=\S*[\dA-Z.=+/_])[\w.~+/=-]{6,})"
)
_COOKIE = re.compile(r"(?P<head>\b(?:set-)?cookie[\"']?\s*:\s*[\"']?)(?P<secret>[\w.-]+=[^\n\"']+)", re.IGNORECASE)
_BEARER = re.compile(r"(?P<head>\b(?:Bearer|Basic)\s+)(?P<secret>(?=\S*[\d.=+/])[\w.~+/=-]{8,})", re.IGNORECASE)
# Forms that are a secret wherever they stand: verifiers of passwords, signed tokens, private keys, keys of vendors.
_SCRAM = re.compile(r"(?P<head>\bSCRAM-SHA-\d+\$\d+:)(?P<secret>[\w+/=]+\$[\w+/=]+:[\w+/=]+)")
_HASH = re.compile(
    r"(?P<head>)(?P<secret>\bmd5[0-9a-f]{32}\b|\$2[aby]\$\d\d\$[\w./]{53}|\$argon2\w*\$[\w$,=+/.-]{20,})"
)
_JWT = re.compile(r"(?P<head>)(?P<secret>\bey[IJ][\w-]{8,}\.[\w-]{4,}\.[\w-]{4,})")
_PEM = re.compile(r"(?P<head>-----BEGIN [A-Z ]*PRIVATE KEY-----)(?P<secret>.*?)(?=-----END|\Z)", re.DOTALL)
_VENDOR = re.compile(
    r"(?P<head>)(?P<secret>\b(?:sk|pk|rk)_(?:live|test)_\w{10,}|\bgh[opsur]_\w{20,}|\bgithub_pat_\w{20,}"
    r"|\bAKIA[A-Z0-9]{16}|\bxox[abprs]-[\w-]{10,}|\bglpat-[\w-]{16,})"
)

_NAME = r"(?P<name>[A-Za-z_][\w.-]*)"
_QUOTED = r"''(?:[^']|'''')+?''(?!')|'(?! |\|\|)(?:[^'\\]|\\.)+'|\"(?:[^\"\\]|\\.)+\""
# name=value: an environment, a connection string, a query, keyword arguments. No blanks: SQL has them around its =.
_ASSIGNED = re.compile(
    rf"(?P<head>(?<![\w.-]){_NAME}=)"
    rf"(?P<secret>{_QUOTED}|\{{\w*\}}|(?:[^\s\"'&,;)\]}}]|[,;)\]}}](?![\s,;)\]}}\"']|\Z))+)"
)
# NAME = value with the name in capitals: a constant of a program, a file of settings.
_CONSTANT = re.compile(rf"(?P<head>\b(?P<name>[A-Z][A-Z0-9_]+)(?:\s*:\s*\w+)?\s+=\s+)(?P<secret>{_QUOTED}|[^\s\"']+)")
# "name": "value" of JSON and Python, also within another string; name: value of a header or of YAML.
_PAIR = re.compile(
    rf"(?P<head>(?P<quote>\\*[\"']){_NAME}(?P=quote)\s*:(?!:)\s*)"
    r"(?P<secret>(?P<mark>\\*[\"'])(?:(?!(?P=mark))(?:\\.|.))+(?P=mark)|[^\s\"',}\]]+)"
)
_COLON = re.compile(rf"(?P<head>(?<![\w.\"'-]){_NAME}:(?!:)\s*)(?P<secret>{_QUOTED}|[^\s\"',;)]+)")
# A connection string with blanks around its "=".
_CONNINFO = re.compile(
    r"(?P<head>\b(?:ssl)?password\s*=\s*)(?P<secret>'(?:[^'\\]|\\.)+'|(?:[^\s'\\]|\\.)+)", re.IGNORECASE
)
_IS_CONNINFO = re.compile(r"\b(?:host|hostaddr|dbname|sslmode)\s*=", re.IGNORECASE)

_LITERAL = r"(?:\bE'(?:[^'\\]|\\.|'')*'|(?:\bU&|\bN)?'(?:[^']|'')*'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)"
_SQL_TOKEN = re.compile(
    rf"(?P<passed>--[^\n]*|/\*.*?\*/)|\"(?:[^\"]|\"\")*\"|(?P<literal>{_LITERAL})", re.IGNORECASE | re.DOTALL
)
_SQL_PASSWORD = r"\b(?:PASSWORD|IDENTIFIED\s+BY)\s+"
_SQL_OPTION = rf"[(,]\s*(?:(?:ADD|SET)\s+)?\"?{_NAME}\"?\s+"
_SQL_SET = rf"(?:\bSET\s+(?:LOCAL\s+|SESSION\s+)?|,\s*)\"?{_NAME}\"?\s*(?:=|\bTO\b)\s*"
_BEFORE_PASSWORD = re.compile(_SQL_PASSWORD + r"\Z", re.IGNORECASE)
_BEFORE_OPTION = re.compile(_SQL_OPTION + r"\Z", re.IGNORECASE)
_BEFORE_SET = re.compile(_SQL_SET + r"\Z", re.IGNORECASE)
_PASSWORD_SAID = re.compile(rf"(?P<head>{_SQL_PASSWORD})(?P<secret>{_LITERAL})", re.IGNORECASE | re.DOTALL)
_OPTION_SAID = re.compile(rf"(?P<head>{_SQL_OPTION})(?P<secret>{_LITERAL})", re.IGNORECASE | re.DOTALL)
_HAS_OPTIONS = re.compile(r"\bOPTIONS\s*\(", re.IGNORECASE)
_SETS = re.compile(r"\s*(?:UPDATE\s|ALTER\s+(?:DATABASE|ROLE|USER|SYSTEM)\s|SET\s)", re.IGNORECASE)
_IS_SQL = re.compile(
    r"\s*(?:--[^\n]*\n\s*)*(?:(?:ALTER|CREATE|DROP|COMMENT\s+ON|SECURITY\s+LABEL|REINDEX|REFRESH|TRUNCATE|LOCK)\s+\w"
    r"|(?:GRANT|REVOKE|SELECT|WITH|INSERT\s+INTO|UPDATE|DELETE\s+FROM|DO|CALL|VALUES|DEFAULT)\s|SET\s+\w"
    r"|(?:CHECK|UNIQUE|EXCLUDE|PRIMARY\s+KEY|FOREIGN\s+KEY)[^\n]*\(|BEGIN\b|DECLARE\s|COPY\s|\()",
    re.IGNORECASE,
)

_ODD = re.compile(r"(?=.*[A-Za-z])(?=.*[\d!#$%^*+@~])\S{6,}")
# Ways to keep a password, which are not passwords; and what replaces a value that is elsewhere.
_NOT_ONE = re.compile(
    r"\W*(?:argon2\w*|bcrypt\w*|scrypt|pbkdf2\w*|sha-?\d+\w*|md5|[HREP]S\d{3}|scram-sha-256|oauth2?|base64|v\d+|x509)\W*"
    r"|<[^<>]*>|\{[^{}]*\}|%\(?\w*\)?s|\$\{?\w+\}?|:\w+|\.\.\.|…|\w+\(.*|'*\|\|.*|\*{3,}",
    re.IGNORECASE | re.DOTALL,
)

Match = re.Match[str]


def masked(text: str) -> str:
    """``text`` with a mask for what looks like a secret; text that only speaks of secrets comes back unchanged."""
    folded = text.lower()
    for marks, pattern in _FORMS:
        if any(mark in folded for mark in marks):
            text = pattern.sub(_hide, text)
    if _IS_SQL.match(text):
        return _sql_masked(text) if "'" in text or "$" in text else text
    if "password" in folded or "identified" in folded:
        text = _PASSWORD_SAID.sub(_hide, text)
    if "options" in folded and _HAS_OPTIONS.search(text):
        text = _OPTION_SAID.sub(_hide_named, text)
    if "=" in text:
        text = _CONNINFO.sub(_hide, text) if _IS_CONNINFO.search(text) else text
        text = _CONSTANT.sub(_hide_named, _ASSIGNED.sub(_hide_named, text))
    if ":" in text:
        text = _COLON.sub(_hide_odd, _PAIR.sub(_hide_named, text))
    return text


def url_masked(text: str) -> str:
    """``text`` without the passwords of its URLs."""
    return _URL.sub(_hide, text) if "://" in text else text


# Most texts (thousands of statements) hold none of these marks, which are found faster than any pattern.
_FORMS = (
    (("://",), _URL),
    (("scram-",), _SCRAM),
    (("md5", "$2", "$argon2"), _HASH),
    (("eyj", "eyi"), _JWT),
    (("private key",), _PEM),
    (("_live_", "_test_", "gho_", "ghp_", "ghs_", "ghu_", "ghr_", "github_pat_", "akia", "xox", "glpat-"), _VENDOR),
    (("authorization",), _AUTHORIZATION),
    (("cookie",), _COOKIE),
    (("bearer", "basic"), _BEARER),
)


def _sql_masked(text: str) -> str:
    """SQL: a literal goes if its statement makes it a secret; within the others, what a connection string assigns."""
    options = bool(_HAS_OPTIONS.search(text))
    sets = bool(_SETS.match(text))
    parts: list[str] = []
    begin = end = 0  # of the code before a literal; of what is written out
    for token in _SQL_TOKEN.finditer(text):
        literal = token["literal"]
        if literal:
            before = text[begin : token.start()]
            option = _BEFORE_OPTION.search(before) if options else None
            named = option or (_BEFORE_SET.search(before) if sets else None)
            secret = _BEFORE_PASSWORD.search(before) or (named and _is_secret(named["name"], literal))
            parts += [text[end : token.start()], _in_quotes(literal) if secret else _inside(literal)]
            end = token.end()
        if literal or token["passed"]:
            begin = token.end()
    return "".join([*parts, text[end:]])


def _inside(literal: str) -> str:
    """A literal that is no secret as a whole: text with connection strings, or the body of a function."""
    mark = literal[: re.search(r"'|\$\w*\$", literal).end()]  # type: ignore[union-attr]
    tail = mark if mark.startswith("$") else "'"
    body = literal[len(mark) : len(literal) - len(tail)]
    if mark.startswith("$"):
        body = _sql_masked(body)
    return mark + (_ASSIGNED.sub(_hide_named, body) if "=" in body and tail == "'" else body) + tail


def _hide(match: Match) -> str:
    return match["head"] + _in_quotes(match["secret"])


def _hide_named(match: Match) -> str:
    """Mask the value where its name promises a secret, and it is not plainly something else."""
    return _hide(match) if _is_secret(match["name"], match["secret"]) else match[0]


def _hide_odd(match: Match) -> str:
    """``name: value`` is also how people write sentences: only what is no word is masked."""
    odd = match["secret"][0] in "'\"" or _ODD.fullmatch(match["secret"])
    return _hide_named(match) if odd else match[0]


def _is_secret(name: str, value: str) -> bool:
    bare = value.strip("\\\"'")
    return names_a_secret(name.rpartition(".")[2]) and not harmless_value(bare) and not _NOT_ONE.fullmatch(bare)


_OPENING = re.compile(r"\\*\"|\\*''|(?:\b(?:E|N|U&))?\\*'|\$\w*\$", re.IGNORECASE)


def _in_quotes(value: str) -> str:
    """The mask in the quotes of what it replaces, so that the rest still reads as what it was."""
    opening = _OPENING.match(value)
    if not opening or len(value) < 2:
        return MASK
    closing = opening[0].lstrip("ENUenu&")
    return opening[0] + MASK + closing if value.endswith(closing) else MASK
