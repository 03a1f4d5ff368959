"""From log text to findings: kinds, subjects, counts, pieces, and what must not be kept."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from papdeploy.core.redact import Redactor
from papdeploy.logwatch.classify import MAX_SUBJECTS, Finding, Known, Scan, merge, scan, totals
from papdeploy.logwatch.server_log import ServerLog

AT = "2025-01-01T00:00:00.000Z"

MISSING_COLUMN = """\
INFO:     127.0.0.1:53412 - "GET /policies/?limit=5 HTTP/1.1" 500 Internal Server Error
ERROR:    Exception in ASGI application
Traceback (most recent call last):
  File "/app/sqlalchemy/engine/base.py", line 1967, in _exec_single_context
    self.dialect.do_execute(
  File "/app/sqlalchemy/engine/default.py", line 941, in do_execute
    cursor.execute(statement, parameters)
psycopg2.errors.UndefinedColumn: column policies.rego_code does not exist
LINE 1: SELECT policies.id, policies.rego_code FROM policies
                            ^


The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/app/uvicorn/protocols/http/h11_impl.py", line 403, in run_asgi
    result = await app(
sqlalchemy.exc.ProgrammingError: (psycopg2.errors.UndefinedColumn) column policies.rego_code does not exist
LINE 1: SELECT policies.id, policies.rego_code FROM policies
                            ^

[SQL: SELECT policies.id FROM policies WHERE policies.name = %(name)s]
[parameters: {'name': 'the customer said: relation "secret_plans" does not exist'}]
(Background on this error at: https://sqlalche.me/e/20/f405)
INFO:     127.0.0.1:53413 - "GET /health HTTP/1.1" 200 OK
"""

GROUP = """\
ERROR:    Exception in ASGI application
  + Exception Group Traceback (most recent call last):
  |   File "/app/starlette/_utils.py", line 76, in collapse_excgroups
  |     yield
  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/app/main.py", line 12, in read
    |     raise KeyError("x")
    | KeyError: 'x'
    +------------------------------------

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/app/main.py", line 12, in read
    raise KeyError("x")
KeyError: 'x'
"""


def api(text: str, **options: Any) -> Scan:
    return scan(text, "api", at=AT, final=True, **options)


def database(text: str) -> Scan:
    return scan(text, "database", at=AT, final=True)


def counts(result: Scan) -> dict[tuple[str, str], int]:
    return {(f.kind, f.subject): f.count for f in result.findings.values()}


def test_a_chained_traceback_is_one_finding_of_its_root_cause() -> None:
    result = api(MISSING_COLUMN)
    assert counts(result) == {
        ("server_error", "GET /policies/ 500"): 1,
        ("missing_column", "policies.rego_code"): 1,
    }
    assert result.requests == 2


def test_the_statements_parameters_are_neither_read_nor_kept() -> None:
    result = api(MISSING_COLUMN)
    kept = " ".join(f.first_sample + f.last_sample + f.subject for f in result.findings.values())
    assert "customer" not in kept and "secret_plans" not in kept
    assert "column policies.rego_code does not exist" in kept


def test_an_exception_group_is_one_finding() -> None:
    assert counts(api(GROUP)) == {("traceback", "KeyError"): 1}


@pytest.mark.parametrize(
    ("line", "kind", "subject"),
    [
        ("ERROR:    load failed: (psycopg2.errors.UndefinedTable) relation \"peps\" does not exist", "missing_table",
         '"peps"'),
        ("ERROR: asyncpg.exceptions.UndefinedFunctionError: function now2() does not exist", "missing_function",
         "function now2()"),
        ("CRITICAL root: psycopg.errors.InsufficientPrivilege: permission denied for table users", "permission",
         "table users"),
        ("2025-01-01 10:00:00,123 ERROR app: duplicate key value violates unique constraint \"users_email\"",
         "integrity", '"users_email"'),
        ("2025-01-01 10:00:00 | ERROR    | app:run:12 - connection to server at \"db\", port 5432 failed", "connection",
         'connection to server at "db", port 5432 failed'),
        ("ERROR:    QueuePool limit of size 5 overflow 10 reached, connection timed out", "resource",
         "QueuePool limit of size 5 overflow 10 reached"),
        ("ERROR:    job 17 of 'x' ended badly", "error", "ERROR: job # of … ended badly"),
        ("INFO:     Uvicorn running on http://0.0.0.0:8000 (Press CTRL+C to quit)", "restart", "Uvicorn running on"),
        ("[2025-01-01 10:00:00 +0000] [7] [INFO] Listening at: http://0.0.0.0:8000 (7)", "restart",
         "Listening at: http:"),
        ("INFO:     Child process [812] died", "crash", "Child process [812] died"),
        ("[2025-01-01 10:00:00 +0000] [7] [ERROR] Worker (pid:9) was sent SIGKILL! Perhaps out of memory?", "resource",
         "out of memory"),
        ('10.0.0.7 - - [10/Oct/2025:13:55:36 +0000] "POST /auth/login HTTP/1.1" 401 30', "authentication",
         "POST /auth/login 401"),
        ('INFO:     10.0.0.7:1 - "GET /policies/8312/rules HTTP/1.1" 503 Service Unavailable', "server_error",
         "GET /policies/{id}/rules 503"),
        ('{"level": "error", "event": "x", "exception": "psycopg2.errors.UndefinedColumn: column a.b does not exist"}',
         "missing_column", "a.b"),
        ('{"level": "info", "method": "GET", "path": "/x/3", "status": 502, "ms": 3}', "server_error",
         "GET /x/{id} 502"),
    ],
)  # fmt: skip
def test_kinds_of_the_api(line: str, kind: str, subject: str) -> None:
    assert counts(api(line + "\n")) == {(kind, subject): 1}


@pytest.mark.parametrize(
    "line",
    [
        'INFO:     127.0.0.1:1 - "GET /policies/ HTTP/1.1" 200 OK',
        'INFO:     the user wrote: ERROR relation "x" does not exist',
        'WARNING:  relation "x" does not exist in the cache yet',
        "plain print of a startup banner, connection refused",
        "INFO:     Started server process [12]",
        '{"level": "info", "message": "permission denied for table users"}',
    ],
)
def test_what_is_no_trouble_is_no_finding(line: str) -> None:
    assert counts(api(line + "\n")) == {}


@pytest.mark.parametrize(
    ("text", "kind", "subject"),
    [
        ("2025-01-01 10:00:00.123 UTC [99] ERROR:  column policies.x does not exist at character 8\n"
         "2025-01-01 10:00:00.123 UTC [99] STATEMENT:  SELECT 'ERROR:  relation \"y\" does not exist'\n",
         "missing_column", "policies.x"),
        ("2025-01-01 10:00:00 UTC [9] app@pap ERROR:  relation \"peps\" does not exist at character 15\n",
         "missing_table", '"peps"'),
        ("ERROR:  operator does not exist: json = json at character 9\n",
            "missing_function",
            "operator does not exist: json = json",
        ),
        ("2025-01-01 10:00:00 UTC [9] ERROR:  invalid input value for enum role: \"owner\"\n", "missing_object",
         "enum role"),
        ("2025-01-01 10:00:00 UTC [9] FATAL:  password authentication failed for user \"pap\"\n"
         "2025-01-01 10:00:00 UTC [9] DETAIL:  Role \"pap\" does not exist.\n", "authentication", '"pap"'),
        ("2025-01-01 10:00:00 UTC [9] FATAL:  sorry, too many clients already\n", "resource",
         "too many clients already"),
        ("2025-01-01 10:00:00 UTC [9] LOG:  server process (PID 77) was terminated by signal 9: Killed\n", "crash",
         "server process"),
        ("2025-01-01 10:00:00 UTC [9] LOG:  database system is ready to accept connections\n", "restart",
         "database system is ready to accept connections"),
        ("2025-01-01 10:00:00 UTC [9] ERROR:  cached plan must not change result type\n", "stale_plan",
         "cached plan must not change result type"),
        ("2025-01-01 10:00:00 UTC [9] ERROR:  null value in column \"a\" of relation \"t\" violates not-null const…\n"
         "2025-01-01 10:00:00 UTC [9] DETAIL:  Failing row contains (1, jane@example.org).\n", "integrity",
         'column "a" of relation "t"'),
        ('{"error_severity":"ERROR","state_code":"42P01","message":"Relation »x« existiert nicht"}\n', "missing_table",
         "Relation »x« existiert nicht"),
    ],
)  # fmt: skip
def test_kinds_of_the_server(text: str, kind: str, subject: str) -> None:
    assert counts(database(text)) == {(kind, subject): 1}


@pytest.mark.parametrize(
    "text",
    [
        "2025-01-01 10:00:00 UTC [9] LOG:  checkpoint complete: wrote 12 buffers\n",
        "2025-01-01 10:00:00 UTC [9] LOG:  statement: SELECT 'relation \"x\" does not exist'\n",
        '2025-01-01 10:00:00 UTC [9] pap-deploy:20250101T000000Z-aa ERROR:  relation "x" does not exist\n',
        '{"error_severity":"ERROR","state_code":"42P01","message":"x","application_name":"pap-deploy:cli"}\n',
    ],
)
def test_the_servers_own_life_and_our_own_sessions_are_no_trouble(text: str) -> None:
    assert counts(database(text)) == {}


def test_times_of_records_are_kept_in_utc_and_others_get_the_time_of_reading() -> None:
    text = (
        '2025-03-04 05:06:07.089 UTC [9] ERROR:  relation "x" does not exist\n'
        '2025-03-04 06:00:00 UTC [9] ERROR:  relation "x" does not exist\n'
    )
    (finding,) = database(text).findings.values()
    assert (finding.first, finding.last, finding.count) == (
        "2025-03-04T05:06:07.089Z",
        "2025-03-04T06:00:00.000Z",
        2,
    )
    assert next(iter(api("ERROR: boom\n").findings.values())).first == AT


def test_secrets_are_masked_in_subject_and_samples() -> None:
    text = "ERROR:    cannot reach postgresql://pap:hunter22@db/pap with Hunter-Token\n"
    (finding,) = api(text, redactor=Redactor(["Hunter-Token"])).findings.values()
    assert "hunter22" not in str(finding) and "Hunter-Token" not in str(finding)


def test_noise_cannot_grow_without_bound() -> None:
    text = "".join(f'ERROR:    relation "t_{n:03d}" does not exist\n' for n in range(200))
    result = api(text)
    assert len(result.findings) == MAX_SUBJECTS + 1
    assert sum(f.count for f in result.findings.values()) == 200
    huge = "ERROR:    boom\n" + "  frame\n" * 100_000
    assert counts(api(huge)) == {("error", "ERROR: boom"): 1}


def test_totals_take_the_larger_source_and_not_the_sum() -> None:
    def finding(source: str, subject: str, count: int) -> Finding:
        return Finding("missing_column", source, subject, count, AT, AT, "", "")

    assert totals([finding("api", "a", 3), finding("api", "b", 1), finding("database", "a", 5)]) == {
        "missing_column": 5
    }


SERVER_LOG = (
    "2025-01-01 10:00:00 UTC [1] ERROR:  column a.b does not exist at character 8\n"
    "2025-01-01 10:00:00 UTC [1] STATEMENT:  SELECT b\n\t  FROM a\n"
    "2025-01-01 10:00:01 UTC [1] LOG:  checkpoint starting: time\n"
    "2025-01-01 10:00:02 UTC [2] FATAL:  sorry, too many clients already\n"
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["api", "database"]), st.lists(st.integers(0, 10_000), max_size=8))
def test_pieces_give_the_same_as_the_whole(source: str, cuts: list[int]) -> None:
    text = (MISSING_COLUMN + GROUP) * 2 if source == "api" else SERVER_LOG * 3
    whole = scan(text, source, at=AT, final=True)
    places = sorted({min(cut, len(text)) for cut in cuts})
    pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)]) if text[a:b]]
    found: dict[str, Finding] = {}
    carry, requests, records = "", 0, 0
    for piece in [*pieces, ""]:
        part = scan(piece, source, at=AT, carry=carry)
        merge(found, part.findings)
        carry, requests, records = part.carry, requests + part.requests, records + part.records
    assert carry == ""
    assert {f.key: f.count for f in found.values()} == {f.key: f.count for f in whole.findings.values()}
    assert (requests, records) == (whole.requests, whole.records)


def test_no_part_of_a_secret_is_left_in_a_subject() -> None:
    secret = "pass-4711-word 8 x"
    (finding,) = api(f"ERROR:    cannot log in with {secret} today\n", redactor=Redactor([secret])).findings.values()
    assert "pass-" not in str(finding) and "word" not in str(finding), finding


def test_what_our_own_fence_ended_is_no_trouble() -> None:
    ended = "2025-01-01 10:00:{} UTC [9] app FATAL:  {}\n"
    said = "terminating connection due to administrator command"
    text = "".join(ended.format(second, said) for second in ("05", "30", "59"))
    text += ended.format("31", 'database "app" does not exist') + ended.format("32", "sorry, too many clients already")
    known = Known(ServerLog("%t [%p] %d "), (("2025-01-01T10:00:20.000Z", "2025-01-01T10:00:40.000Z"),))
    found = scan(text, "database", at=AT, final=True, known=known)
    assert counts(found) == {("connection", said): 2, ("resource", "too many clients already"): 1}
    with_state = text.replace("app FATAL", "app 57P01 FATAL")
    known = Known(ServerLog("%t [%p] %d %e "), known.fences)
    assert counts(scan(with_state, "database", at=AT, final=True, known=known))[("connection", said)] == 2
