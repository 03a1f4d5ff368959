"""What counts as the database that a session was opened for, and what is said where it is another."""

from __future__ import annotations

from dataclasses import replace

import pytest
from papdeploy.app.stack import elsewhere
from papdeploy.core.database_identity import IDENTITY, DatabaseIdentity, mark_of, prove
from papdeploy.core.errors import Refused, WrongDatabase, from_dict
from papdeploy.core.records import as_object, read_known
from papdeploy.databases.psql import Conninfo, Database
from papdeploy.sites.host import HostSite

COMMENT = 'pap-deploy {"kind": "scratch", "of": "app", "release": "r", "id": "0123456789abcdef"}'
COPY = DatabaseIdentity("1767323045.000006", 16400, "app__scratch_r", "0123456789abcdef")


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (replace(COPY, started="1767323045.000007"), "another server, or the server was restarted"),
        (replace(COPY, oid=16385, name="app", mark=""), "another database of that server"),
        (replace(COPY, oid=16385), "another database of that server"),
        (replace(COPY, name="app"), "was renamed"),
        (replace(COPY, mark=""), "not the one that pap-deploy made"),
        (replace(COPY, mark="fedcba9876543210"), "not the one that pap-deploy made"),
    ],
)
def test_another_database_is_refused(found: DatabaseIdentity, why: str) -> None:
    asked: list[str] = []

    def query(sql: str) -> list[tuple[object, ...]]:
        asked.append(sql)
        comment = COMMENT.replace(COPY.mark, found.mark) if found.mark else "a comment of its own"
        return [(found.started, found.oid, found.name, comment)]

    with pytest.raises(WrongDatabase, match=why) as caught:
        prove(query, COPY)
    assert asked == [IDENTITY]
    assert read_known(DatabaseIdentity, caught.value.data["found"]) == found
    assert isinstance(from_dict(caught.value.as_dict()), WrongDatabase)


def test_the_database_itself_is_accepted() -> None:
    prove(lambda _: [(COPY.started, COPY.oid, COPY.name, COMMENT)], COPY)
    live = DatabaseIdentity("1", 16385, "app")
    prove(lambda _: [("1", 16385, "app", "whatever its owner wrote")], live)
    prove(lambda _: [("1", 16385, "app__fenced_r", COMMENT)], live.renamed("app__fenced_r", COPY.mark))
    prove(lambda _: pytest.fail("nothing is to be asked"), None)


@pytest.mark.parametrize(
    "comment", ["", "app", "pap-deploy", "pap-deploy {", 'pap-deploy {"id": "x"}', "pap-deploy []"]
)
def test_a_comment_that_is_no_record_has_no_mark(comment: str) -> None:
    assert mark_of(comment) == ""


def test_an_api_that_leads_to_another_database_is_told_apart() -> None:
    error = WrongDatabase("x", expected=as_object(COPY), found=as_object(COPY))
    said = elsewhere(Database(HostSite(), Conninfo("app")), "postgresql://app:geheim@other-db/app", error)
    assert isinstance(said, Refused)
    assert "leads to another database (app on other-db) than" in said.message
    assert "geheim" not in str(said)
