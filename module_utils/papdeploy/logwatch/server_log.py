"""The line of a PostgreSQL server, read by the server's own ``log_line_prefix``: severity, SQLSTATE and database.

(PostgreSQL documentation, chapter "Error Reporting and Logging"; the severities are those of its message catalogs.)
"""

from __future__ import annotations

import csv
import functools
import re
from dataclasses import dataclass
from typing import NamedTuple, Optional

from ..core.plain_json import parse
from ..core.records import recorded

# As the servers' catalogs translate them. A word that only says more about the message before it is a detail.
_WORDS = {
    "PANIC": "PANIC PANIK PANICO PÁNICO PÂNICO PANIKA პანიკა 손상 ПАНИКА ПАНІКА 比致命错误还过分的错误 パニック",
    "FATAL": "FATAL FATALE FATALT ფატალური 치명적오류 ВАЖНО ФАТАЛЬНО 致命错误 致命錯誤"
    " KATASTROFALNY FATÁLNÍ 致命的エラー",
    "ERROR": "ERROR FEHLER ERREUR ERRORE შეცდომა 오류 ОШИБКА FEL ПОМИЛКА 错误 錯誤 BŁĄD ERRO HATA CHYBA エラー",
    "LOG": "LOG LOGG ჟურნალი 로그 СООБЩЕНИЕ ЗАПИСУВАННЯ 日志 日誌 DZIENNIK ログ",
    "WARNING": "WARNING WARNUNG ATTENTION ATTENZIONE ADVERTENCIA გაფრთხილება 경고 ПРЕДУПРЕЖДЕНИЕ VARNING ПОПЕРЕДЖЕННЯ"
    " 警告 OSTRZEŻENIE AVISO UYARI VAROVÁNÍ",
    "NOTICE": "NOTICE HINWEIS NOTIFICA 알림 ЗАМЕЧАНИЕ NOTIS ПОВІДОМЛЕННЯ 注意 NOTA NOT UWAGA POZNÁMKA",
    "INFO": "INFO 정보 ИНФОРМАЦИЯ ІНФОРМАЦІЯ 信息 ინფორმაცია",
    "DEBUG": "DEBUG DEBUG1 DEBUG2 DEBUG3 DEBUG4 DEBUG5 გამართვა 디버그 ОТЛАДКА НАЛАГОДЖЕННЯ 调试",
}
SEVERITY_OF = {word: severity for severity, words in _WORDS.items() for word in words.split()}
ERRORS = ("ERROR", "FATAL", "PANIC")

_DETAILS = (
    "STATEMENT|DETAIL|HINT|QUERY|CONTEXT|LOCATION|BACKTRACE|ANWEISUNG|TIPP|ANFRAGE|ZUSAMMENHANG|ORT|SENTENCIA|DETALLE"
    "|CONSULTA|CONTEXTO|UBICACIÓN|INSTRUCTION|DÉTAIL|ASTUCE|REQUÊTE|CONTEXTE|EMPLACEMENT"
)
_SOME_ZONE = r"(?: [^\s:]+)?"
_ANY = r"(?:(?!: ).)*?"  # a name may hold blanks, but not the end of a severity
_ESCAPES = {
    "a": f"(?P<application>{_ANY})",
    "u": _ANY,
    "d": f"(?P<database>{_ANY})",
    "r": r"\S*?",
    "h": r"\S*?",
    "L": r"\S*?",
    "b": f"(?P<backend>{_ANY})",
    "p": r"\d+",
    "P": r"\d*",
    "t": rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d{_SOME_ZONE}",
    "m": rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{{3}}{_SOME_ZONE}",
    "n": r"\d+\.\d+",
    "i": _ANY,
    "e": "(?P<state>[0-9A-Z]{5})",
    "c": r"[0-9a-f]+\.[0-9a-f]+",
    "l": r"\d+",
    "s": rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d{_SOME_ZONE}",
    "v": r"[\w/-]*",
    "x": r"\d+",
    "Q": r"-?\d+",
}
_ESCAPE = re.compile(r"%(?P<pad>-?\d*)(?P<letter>.)")
_KNOWN_WORD = "|".join(sorted(map(re.escape, SEVERITY_OF), key=len, reverse=True))
_SOME_WORD = r"[^\s:]+(?: [^\s:]+)?"  # of a language that is not known, or what says more about a message
_SEVERITY = re.compile(rf"(?:^|[\s\]:|])(?P<word>{_KNOWN_WORD}|{_DETAILS}) ?:(?: {{1,3}}|$)(?P<message>.*)")
_VERBOSE = re.compile(r"(?P<state>[0-9A-Z]{5}): ")
_CSV = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [^\s,]*,")
_DATABASE = re.compile(r"(?:(?<=@)|(?:\bdb|\bdatabase|\bdbname|\bdatname)=)(?P<database>[^\s:,;\]@]+)")
_STATE = re.compile(r"(?:^|[\s:,=\[])(?P<state>[0-9F][0-9A-Z][0-9P][0-9A-Z]{2}|XX\d{3}|P0\d{3}|HV\w{3})(?=[\s:,\]]|$)")
_VACUUMED = re.compile(r'automatic (?:vacuum|analyze) of table "(?P<database>[^".]+)\.')
# Groups that a line's pattern always has, whatever its prefix.
_GROUPS = ("state", "database", "application", "backend")


@dataclass(frozen=True)
class ServerLog:
    """What the server itself says of its log. ``prefix`` is None where it could not be asked; ``database`` is the one
    that is watched, ``databases`` how many others there are on the server."""

    prefix: Optional[str] = None
    destination: str = ""
    language: str = ""
    min_messages: str = ""
    min_error_statement: str = ""
    collector: bool = False
    file: str = ""
    database: str = ""
    databases: int = 0

    @property
    def has_database(self) -> bool:
        return self.prefix is None or "d" in letters(self.prefix) or self.structured

    @property
    def has_state(self) -> bool:
        return self.prefix is None or "e" in letters(self.prefix) or self.structured

    @property
    def structured(self) -> bool:
        """Every form that the server writes has fields."""
        forms = {form.strip() for form in self.destination.split(",") if form.strip()}
        return bool(forms) and forms <= {"csvlog", "jsonlog"}


UNKNOWN = ServerLog()


class ServerLine(NamedTuple):
    """One message, or what says more about the one before (``detail``). ``own``: it begins as this server begins its
    lines."""

    severity: str
    message: str
    state: str = ""
    database: str = ""
    application: str = ""
    in_background: bool = False
    detail: bool = False
    own: bool = True

    @property
    def failed(self) -> bool:
        return self.severity in ERRORS

    @property
    def is_ours(self) -> bool:
        """A session of pap-deploy itself."""
        return self.application.startswith("pap-deploy:")


class _Fields(NamedTuple):
    """A message whose form has fields."""

    severity: str
    message: str
    state: str = ""
    database: str = ""
    application: str = ""
    backend: str = ""
    context: str = ""


@dataclass(frozen=True)
class _Json:
    """A line of a jsonlog, and the ``record`` of a line of CloudNativePG, which has two names of its own."""

    error_severity: Optional[str] = None
    message: Optional[str] = None
    state_code: str = ""
    sql_state_code: str = ""
    dbname: str = ""
    database_name: str = ""
    application_name: str = ""
    backend_type: str = ""
    context: str = ""


@dataclass(frozen=True)
class _OfCloudNativePG:
    record: Optional[_Json] = None


class _Csv(NamedTuple):
    """A row of a csvlog; before 14 it ends earlier."""

    log_time: str
    user: str
    database: str
    pid: str
    client: str
    session: str
    line: str
    tag: str
    start: str
    vxid: str
    xid: str
    severity: str
    state: str
    message: str
    detail: str = ""
    hint: str = ""
    query: str = ""
    position: str = ""
    context: str = ""
    statement: str = ""
    statement_position: str = ""
    location: str = ""
    application: str = ""
    backend: str = ""


_NEEDED = 14  # columns, up to the message


def read(line: str, server: ServerLog = UNKNOWN) -> Optional[ServerLine]:
    """What a line says; None if it is none of this server's."""
    if line[:1] == "{":
        return _of_json(line)
    if _CSV.match(line):
        return _of_csv(line)
    if server.prefix is not None:
        found = pattern(server.prefix).match(line) or pattern(server.prefix, _SOME_WORD).match(line)
        if found:
            return _of_prefix(found, "d" in letters(server.prefix))
    return _of_any_prefix(line, own=server.prefix is None)


def is_open(record: str) -> bool:
    """Whether a record of a csvlog goes on in the next line: a quoted value has line ends of its own."""
    return bool(_CSV.match(record)) and record.count('"') % 2 == 1


@functools.cache
def letters(prefix: str) -> frozenset[str]:
    """The escapes of a prefix."""
    return frozenset(letter for _, letter in _ESCAPE.findall(prefix))


@functools.cache
def pattern(prefix: str, word: str = _KNOWN_WORD) -> re.Pattern[str]:
    """The regular expression of a whole line with this ``log_line_prefix``, before this ``word``."""
    parts, position, optional, named = ["^"], 0, 0, set[str]()
    for found in _ESCAPE.finditer(prefix):
        parts.append(re.escape(prefix[position : found.start()]))
        position = found.end()
        padded, letter = found.group("pad", "letter")
        if letter == "%":
            parts.append("%")
        elif letter == "q":  # processes without a session stop here
            parts.append("(?:")
            optional += 1
        elif letter in _ESCAPES:
            part = _ESCAPES[letter]
            if letter in named:  # a name can be given once
                part = re.sub(r"\?P<\w+>", "?:", part)
            named.add(letter)
            value = rf"(?:{part}|\[unknown\])" if letter in "aud" else part
            parts.append(rf"{value}\s*" if padded.startswith("-") else rf"\s*{value}" if padded else value)
    parts += [re.escape(prefix[position:]), ")?" * optional]
    whole = "".join(parts)
    absent = "".join(f"(?P<{name}>(?!))?" for name in _GROUPS if f"?P<{name}>" not in whole)
    return re.compile(rf"{whole}{absent}(?P<word>{word}) ?: {{1,3}}(?P<message>.*)")


def _of_prefix(found: re.Match[str], has_database: bool) -> ServerLine:
    word, text = found.group("word", "message")
    given, database, application, backend = ((part or "").strip() for part in found.group(*_GROUPS))
    severity = SEVERITY_OF.get(word)
    message, state = _verbose(text)
    return ServerLine(
        severity=severity or "LOG",
        message=message,
        state=given or state,
        database="" if database == "[unknown]" else database,
        application=application,
        in_background=has_database and not (database and backend in ("", "client backend")),
        detail=not severity,
    )


def _of_any_prefix(line: str, own: bool) -> Optional[ServerLine]:
    """A line whose prefix is not known: of a server that could not be asked, or from before the prefix was changed."""
    found = _SEVERITY.search(line)
    if not found:
        return None
    word, text = found.group("word", "message")
    head = line[: found.start("word")]
    message, state = _verbose(text)
    database, code = _DATABASE.search(head), _STATE.search(head)
    return ServerLine(
        severity=SEVERITY_OF.get(word, "LOG"),
        message=message,
        state=state or (code.group("state") if code else ""),
        database=database.group("database") if database else "",
        application="pap-deploy:" if "pap-deploy:" in head else "",
        detail=word not in SEVERITY_OF,
        own=own,
    )


def _verbose(message: str) -> tuple[str, str]:
    """Message and SQLSTATE of ``log_error_verbosity = verbose``."""
    found = _VERBOSE.match(message)
    return (message[found.end() :], found.group("state")) if found else (message, "")


def _of_json(line: str) -> Optional[ServerLine]:
    try:
        value = parse(line)
    except ValueError:
        return None
    inner = recorded(_OfCloudNativePG, value).record if isinstance(value, dict) and "record" in value else None
    said = inner or recorded(_Json, value)
    if said.error_severity is None or said.message is None:
        return None
    state, database = said.state_code or said.sql_state_code, said.dbname or said.database_name
    return _of_fields(
        _Fields(
            said.error_severity, said.message, state, database, said.application_name, said.backend_type, said.context
        )
    )


def _of_csv(record: str) -> Optional[ServerLine]:
    try:
        columns = next(csv.reader([record], strict=True))
    except (csv.Error, StopIteration):
        # Its quotes are still open: what stands before the message is there.
        columns = record.split(",", _NEEDED - 1)
    if len(columns) < _NEEDED:
        return None
    row = _Csv(*columns[: len(_Csv._fields)])
    return _of_fields(
        _Fields(row.severity, row.message, row.state, row.database, row.application, row.backend, row.context)
    )


def _of_fields(said: _Fields) -> ServerLine:
    return ServerLine(
        severity=SEVERITY_OF.get(said.severity, "LOG"),
        message=said.message,
        state=said.state,
        database=said.database or database_of(said.context),
        application=said.application,
        in_background=said.backend not in ("", "client backend"),
    )


def database_of(context: str) -> str:
    """The database that a worker of autovacuum was at work in, from the CONTEXT of its message, or nothing."""
    found = _VACUUMED.search(context)
    return found.group("database") if found else ""
