"""The kinds of trouble that logs tell of, and how PostgreSQL and its drivers say them (English messages)."""

from __future__ import annotations

import re
from typing import Optional

# What each kind means, for people. The order is that of importance.
KINDS: dict[str, str] = {
    "missing_column": "a column that the code uses is not there",
    "missing_table": "a table that the code uses is not there",
    "missing_function": "a function or operator that the code uses is not there",
    "missing_object": "a type, schema, sequence or enum label that the code uses is not there",
    "permission": "the API's role lacks a right",
    "crash": "a process was killed or died",
    "restart": "a program started again",
    "resource": "connections, memory, locks or disk ran out",
    "stale_plan": "a session kept a plan from before a schema change",
    "connection": "the database or a peer could not be reached",
    "integrity": "a constraint was violated",
    "lock": "a deadlock, or a wait for a lock that took too long",
    "authentication": "a login or a connection was refused",
    "server_error": "a request was answered with 5xx",
    "traceback": "an exception that no other kind explains",
    "database_error": "an error of the server that no other kind explains",
    "error": "an error line that no other kind explains",
}

# By SQLSTATE (PostgreSQL documentation, Appendix A) and by the name that drivers give to it.
STATES = {
    "42703": "missing_column",
    "42P01": "missing_table",
    "42883": "missing_function",
    "42704": "missing_object",
    "3F000": "missing_object",
    "42501": "permission",
    "0A000": "stale_plan",
    "40P01": "lock",
    "55P03": "lock",
    "57014": "lock",
    "28P01": "authentication",
    "28000": "authentication",
    "3D000": "connection",
    "57P01": "connection",
    "57P02": "crash",
    "57P03": "connection",
}
STATE_CLASSES = {"08": "connection", "23": "integrity", "28": "authentication", "53": "resource"}
_DRIVER_NAMES = {
    "UndefinedColumn": "missing_column",
    "UndefinedTable": "missing_table",
    "UndefinedFunction": "missing_function",
    "UndefinedObject": "missing_object",
    "InvalidSchemaName": "missing_object",
    "InsufficientPrivilege": "permission",
    "DeadlockDetected": "lock",
    "LockNotAvailable": "lock",
    "QueryCanceled": "lock",
    "InvalidPassword": "authentication",
    "TooManyConnections": "resource",
    "DiskFull": "resource",
    "OutOfMemory": "resource",
    "UniqueViolation": "integrity",
    "ForeignKeyViolation": "integrity",
    "NotNullViolation": "integrity",
    "CheckViolation": "integrity",
    "ExclusionViolation": "integrity",
    "AdminShutdown": "connection",
    "CannotConnectNow": "connection",
}
_DRIVER = re.compile(r"(?:psycopg2?|asyncpg)\.(?:errors|exceptions)\.(?P<name>\w+?)(?:Error)?\b")

_NAME = r'(?:"[^"]+"|[\w.]+)'
_MESSAGES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("missing_column", rf"column (?P<s>{_NAME}(?: of relation {_NAME})?) does not exist"),
        ("authentication", rf"password authentication failed for user (?P<s>{_NAME})"),
        ("authentication", r"no pg_hba\.conf entry for (?P<s>host \S+, user \S+)"),
        ("authentication", rf"(?P<s>role {_NAME}) (?:does not exist|is not permitted to log in)"),
        ("connection", rf"(?P<s>database {_NAME}) does not exist"),
        ("missing_table", rf"relation (?P<s>{_NAME}) does not exist"),
        ("missing_function", r"(?P<s>(?:function|operator|procedure|aggregate) \S.*?) does not exist"),
        ("missing_function", r"(?P<s>operator does not exist: .+?)(?: at character|$)"),
        ("missing_object", rf"(?P<s>(?:type|schema|sequence|extension|constraint) {_NAME}) does not exist"),
        ("missing_object", rf"invalid input value for (?P<s>enum {_NAME})"),
        ("permission", r"permission denied for (?P<s>\w+ \S+)"),
        ("permission", r"(?P<s>must be owner of \w+ \S+)"),
        ("stale_plan", r"(?P<s>cached plan must not change result type)"),
        ("integrity", rf"violates .*?constraint (?P<s>{_NAME})"),
        ("integrity", rf"null value in (?P<s>column {_NAME}(?: of relation {_NAME})?)"),
        ("lock", r"(?P<s>deadlock detected|canceling statement due to (?:lock|statement) timeout)"),
        ("lock", r"(?P<s>could not obtain lock on \w+ \S+)"),
        ("resource", r"(?P<s>too many clients already|remaining connection slots are reserved|too many connections)"),
        ("resource", r"(?P<s>out of shared memory|out of memory|No space left on device|could not extend file)"),
        ("resource", r"(?P<s>QueuePool limit of size \d+ overflow \d+ reached)"),
        # What is asked of every line begins with letters: such an expression is found many times faster.
        ("crash", r"(?P<s>server process) .*was terminated by signal"),
        ("crash", r"(?P<s>background worker process) .*was terminated by signal"),
        ("crash", r"(?P<s>startup process) .*was terminated by signal"),
        ("crash", r"(?P<s>database system was (?:not properly shut down|interrupted))"),
        ("crash", r"(?P<s>Child process \[\d+\] died)"),
        ("crash", r"(?P<s>Worker \(pid:\d+\) was sent SIG(?!TERM)\w+)"),
        ("connection", r"(?P<s>[Cc]onnection refused|could not connect to server|Connection reset by peer)"),
        (
            "connection",
            r"(?P<s>server closed the connection unexpectedly|connection (?:is|was|already) (?:lost|closed))",
        ),
        ("connection", r"(?P<s>terminating connection due to [\w ]+|the database system is \w+(?: \w+)?)"),
        ("connection", r"(?P<s>could not translate host name|Name or service not known|SSL SYSCALL error)"),
        ("connection", r"(?P<s>connection to server .*?failed|timeout expired)"),
        ("restart", r"(?P<s>database system is ready to accept connections)"),
        ("restart", r"(?P<s>Uvicorn running on)"),
        ("restart", r"(?P<s>Running on https?:)"),
        ("restart", r"(?P<s>Listening at: https?:)"),
    )
)

# What a program says of its own life, at any level.
LIFE = ("restart", "crash")
_LIFE_MESSAGES = tuple((kind, pattern) for kind, pattern in _MESSAGES if kind in LIFE)


def by_state(state: str) -> Optional[str]:
    """The kind of an SQLSTATE, or None."""
    return STATES.get(state) or STATE_CLASSES.get(state[:2])


def by_driver(text: str) -> Optional[tuple[str, str]]:
    """Kind and subject by the first error class of a driver in ``text``: the root cause of a chain comes first."""
    for found in _DRIVER.finditer(text):
        name = found.group("name")
        kind = _DRIVER_NAMES.get(name)
        if kind:
            line = text[found.start() :].split("\n", 1)[0]
            return kind, subject(kind, line) or name
    return None


def by_message(message: str, *, quiet: bool = False) -> Optional[tuple[str, str]]:
    """Kind and subject by what the message says; of a ``quiet`` record (no error level) only the kinds of ``LIFE``."""
    for kind, pattern in _LIFE_MESSAGES if quiet else _MESSAGES:
        if found := pattern.search(message):
            return kind, found.group("s")
    return None


def subject(kind: str, text: str) -> str:
    """What the message is about (the column, the table), or nothing."""
    return next((m.group("s") for k, pattern in _MESSAGES if k == kind and (m := pattern.search(text))), "")
