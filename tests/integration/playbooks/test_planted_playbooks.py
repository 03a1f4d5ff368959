"""Whole playbooks on a database full of twins of what our SQL names: none of them runs with more rights than its owner.

The twins work as the built-in ones do, so that the application goes on, and write to the server's log when a session
else than the application's role runs them. The administrating role is a superuser here, which is the worst case.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import psycopg2.extensions
import pytest
from integration.databases.test_planted_functions import CLOSER, PATHS, attempt, named_in_our_sql, signatures
from support.sandbox_playbooks import Place, sandbox_place
from support.waiting import wait_until

OWNER = "control_core"
# What restores and reads rows in the place of a superuser; the server knows that it has the owner's rights alone.
LOGIN = "pap_deploy_rows_"
RAN = re.compile(r"planted (\S+) ran as (\w+)")
KINDS = """
CREATE FUNCTION {f}row_check(text) RETURNS boolean {body_check};
CREATE FUNCTION {f}row_domain(text) RETURNS boolean {body_domain};
CREATE FUNCTION {f}row_generated(text) RETURNS text {body_generated};
CREATE FUNCTION {f}row_default() RETURNS text {body_default};
CREATE FUNCTION {f}row_trigger() RETURNS trigger {body_trigger};
CREATE FUNCTION {f}row_policy(text) RETURNS boolean {body_policy};
CREATE FUNCTION {f}row_rule(text) RETURNS text {body_rule};
CREATE FUNCTION {f}row_view(text) RETURNS text {body_view};
CREATE FUNCTION {f}row_index(text) RETURNS text {body_index};
CREATE FUNCTION {f}row_statistics(text) RETURNS text {body_statistics};
CREATE DOMAIN public.planted_domain AS text CHECK (public.row_domain(VALUE));
CREATE TABLE public.planted_rows (
    id int PRIMARY KEY,
    v text CHECK (public.row_check(v)),
    d public.planted_domain,
    g text GENERATED ALWAYS AS (public.row_generated(v)) STORED,
    e text DEFAULT public.row_default()
);
INSERT INTO public.planted_rows (id, v, d) SELECT n, 'v' || n, 'd' FROM generate_series(1, 200) AS n;
CREATE TABLE public.planted_log (v text);
CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON public.planted_rows FOR EACH STATEMENT EXECUTE FUNCTION public.row_trigger();
ALTER TABLE public.planted_rows ENABLE ALWAYS TRIGGER t;
CREATE RULE r AS ON UPDATE TO public.planted_rows DO ALSO INSERT INTO public.planted_log VALUES (public.row_rule(new.v));
CREATE POLICY p ON public.planted_rows USING (public.row_policy(v));
ALTER TABLE public.planted_rows ENABLE ROW LEVEL SECURITY;
CREATE VIEW public.planted_view AS SELECT public.row_view(v) AS v FROM public.planted_rows;
CREATE MATERIALIZED VIEW public.planted_stored AS SELECT public.row_view(v) AS v FROM public.planted_rows;
CREATE INDEX ON public.planted_rows (public.row_index(v));
CREATE INDEX ON public.planted_rows (id) WHERE public.row_check('planned');
CREATE STATISTICS public.planted_planning ON (public.row_statistics('planned') || v), id FROM public.planted_rows;
CREATE VIEW public.planted_literal AS SELECT '{{d}}'::public.planted_domain[] AS v;
CREATE STATISTICS public.planted_statistics ON (public.row_statistics(v)), id FROM public.planted_rows;
"""


def body(name: str, returns: str, immutable: bool = True) -> str:
    """What every twin does: tell when a role of more rights runs it, then do its work."""
    others = f"current_user OPERATOR(pg_catalog.<>) '{OWNER}' AND NOT pg_catalog.starts_with(current_user, '{LOGIN}')"
    told = f"IF {others} THEN RAISE LOG 'planted {name} ran as %', current_user; END IF;"
    return f"LANGUAGE plpgsql {'IMMUTABLE' if immutable else ''} AS $p$ BEGIN {told} {returns} END $p$"


def kinds() -> str:
    returned = {"check": "true", "domain": "true", "policy": "true", "trigger": "NULL", "default": "'e'"}
    bodies = {
        f"body_{kind}": body(f"row_{kind}", f"RETURN {returned.get(kind, '$1')};", immutable=kind != "trigger")
        for kind in [
            "check",
            "domain",
            "generated",
            "default",
            "trigger",
            "policy",
            "rule",
            "view",
            "index",
            "statistics",
        ]
    }
    return KINDS.format(f="public.", **bodies)


def plant(connection: psycopg2.extensions.connection) -> int:
    """Twins of functions and operators that go on to the built-in ones; how many there are."""
    planted, cursor = 0, connection.cursor()
    cursor.execute(kinds())
    cursor.execute(
        "SELECT p.proname, oidvectortypes(p.proargtypes), format_type(p.prorettype, NULL) FROM pg_catalog.pg_proc p"
        " WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND NOT p.proretset"
        " AND p.proname = ANY (%s)",
        (sorted(named_in_our_sql()),),
    )
    for name, arguments, returns in cursor.fetchall():
        words = [word for word in arguments.split(", ") if word]
        for signature in signatures(words):
            given = ", ".join(f"${at}::{word}" for at, word in enumerate(words, 1))
            planted += attempt(
                cursor,
                f'CREATE FUNCTION public."{name}"({", ".join(signature)}) RETURNS {returns} '
                + body(name, f'RETURN pg_catalog."{name}"({given});'),
            )
    cursor.execute(
        "SELECT oprname, oprleft::regtype::text, oprright::regtype::text, oprresult::regtype::text FROM pg_catalog.pg_operator"
        " WHERE oprleft IN ('name'::regtype, 'text'::regtype, 'oid'::regtype, '\"char\"'::regtype) AND oprright <> 0"
    )
    for number, (operator, left, right, result) in enumerate(cursor.fetchall()):
        for closer in {left, *(CLOSER if left == "text" else ())}:
            made = f"planted_{number}_{len(closer)}"
            returns = f"RETURN $1::{left} OPERATOR(pg_catalog.{operator}) $2;"
            said = body(f"operator{operator}", returns)
            if "%" in operator:
                said = said.replace(f"operator{operator}", "operator_percent")
            if attempt(cursor, f'CREATE FUNCTION public."{made}"({closer}, {right}) RETURNS {result} {said}'):
                planted += attempt(
                    cursor,
                    f'CREATE OPERATOR public.{operator} (LEFTARG = {closer}, RIGHTARG = {right}, FUNCTION = public."{made}")',
                )
    connection.commit()
    return planted


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with sandbox_place("planted") as made:
        with contextlib.closing(made.stack.connect(OWNER)) as connection:
            connection.autocommit = False
            assert plant(connection) > 300
        yield made


def privileged(place: Place) -> dict[str, set[str]]:
    """By the name of what was planted: which other roles ran it."""
    ran: dict[str, set[str]] = {}
    for path in place.stack.state["postgres"]["log_files"]:
        for name, role in RAN.findall(Path(path).read_text(errors="replace")):
            ran.setdefault(name, set()).add(role)
    return ran


def superuser(place: Place) -> tuple[str, ...]:
    postgres = place.stack.state["postgres"]
    password = (place.stack.base / "secrets" / f"password-{postgres['superuser']}").read_text()
    return ("-e", json.dumps({"pap_db_admin_user": postgres["superuser"], "pap_db_admin_password": password}))


@pytest.mark.nightly
@pytest.mark.timeout(1500)
def test_every_playbook_as_superuser_runs_none_of_it(place: Place) -> None:
    admin = superuser(place)
    # That the trap works: a foreign session that is not pinned falls into it.
    with pytest.raises(psycopg2.Error), contextlib.closing(place.stack.connect()) as connection:
        connection.cursor().execute("SET search_path = public, pg_catalog; SELECT lower('A'); SELECT 1/0")
    wait_until(lambda: "lower" in privileged(place), "the server's log has no word of it", seconds=20)
    for path in PATHS.values():
        place.stack.sql(f"ALTER DATABASE control_core_db SET search_path = {path}")
        for playbook in (("status.yml",), ("check.yml",), ("backup.yml",), ("deploy.yml", "--check")):
            place.play(*playbook, *admin)
    place.play("deploy.yml", *admin, "-e", json.dumps({"pap_rehearse": True}))
    place.play("rollback.yml", "--check", *admin)
    place.play("rollback.yml", *admin, "-e", "rollback_strategy=restore", "-e", "rollback_accept_data_loss=true")
    place.play("status.yml", *admin)
    ran = privileged(place)
    ran.pop("lower")
    assert not ran, ran
