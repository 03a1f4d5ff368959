"""Ask a server how it logs: what the lines of its log look like is read from it, never guessed."""

from __future__ import annotations

from dataclasses import dataclass

from ..databases.psql import Database, bind
from .server_log import ServerLog

# reset_val: a session of ours may have set lc_messages for itself.
_QUERY = """
SELECT
  (SELECT json_object_agg(name, reset_val) FROM pg_settings WHERE name IN ('log_line_prefix', 'log_destination',
     'lc_messages', 'log_min_messages', 'log_min_error_statement', 'logging_collector')) AS settings,
  (SELECT count(*) FROM pg_database WHERE datallowconn AND NOT datistemplate AND datname NOT IN (%s, 'postgres')
     AND NOT starts_with(datname, %s)) AS databases,
  has_function_privilege('pg_current_logfile()', 'EXECUTE') AS may_name_file"""


@dataclass(frozen=True)
class _Settings:
    log_line_prefix: str
    log_destination: str
    lc_messages: str
    log_min_messages: str
    log_min_error_statement: str
    logging_collector: str


@dataclass(frozen=True)
class _Answer:
    settings: _Settings
    databases: int
    may_name_file: bool


def ask(database: Database) -> ServerLog:
    """How the server of ``database`` logs. Raises Unavailable if it does not answer."""
    name = database.conninfo.dbname
    (answer,) = database.records(_Answer, bind(_QUERY, name, f"{name}__"))
    settings = answer.settings
    return ServerLog(
        prefix=settings.log_line_prefix,
        destination=settings.log_destination,
        language=settings.lc_messages,
        min_messages=settings.log_min_messages,
        min_error_statement=settings.log_min_error_statement,
        collector=settings.logging_collector == "on",
        # Where the server writes its log; nothing if that is not a file of its own.
        file=(database.scalar("SELECT pg_current_logfile()") or "") if answer.may_name_file else "",
        database=name,
        databases=answer.databases,
    )
