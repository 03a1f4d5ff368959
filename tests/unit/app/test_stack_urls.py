"""By which URL an API reaches its database, and by which a deploy does in its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from papdeploy.app.inventory import from_params
from papdeploy.app.stack import Stack
from papdeploy.core.errors import Refused

HELD = "postgresql+psycopg2://app:hunter2@db:5433/live"
PARAMS: dict[str, Any] = {
    "name": "st",
    "environment": "staging",
    "database": {"name": "live"},
    "api": {
        "dir": "/srv/api",
        "python": "python3",
        "start_command": ["true"],
        "stop_command": ["true"],
        "restart_command": ["true"],
        "models": ["app.models"],
    },
    "smoke": {"username": "u", "password": "p", "url": ""},
}


def stack(tmp_path: Path, **api: str) -> Stack:
    return from_params({**PARAMS, "state_dir": str(tmp_path), "who": {}, "api": {**PARAMS["api"], **api}})


def test_the_environment_says_it(tmp_path: Path) -> None:
    assert stack(tmp_path).api_url({"DATABASE_URL": HELD}, "v1") == HELD
    assert stack(tmp_path, url_variable="DB").api_url({"DATABASE_URL": "x", "DB": HELD}, "v1") == HELD


def test_the_inventory_says_it_where_the_environment_does_not(tmp_path: Path) -> None:
    made = stack(tmp_path, database_url=HELD)
    assert made.api_url({}, "v1") == HELD
    # Another spelling of the same way, and a variable that holds no URL, contradict nothing.
    assert made.api_url({"DATABASE_URL": "postgres://app:hunter3@db:5433/live?x=1"}, "v1") == HELD
    assert made.api_url({"DATABASE_URL": "live"}, "v1") == HELD
    assert "hunter2" not in repr(made)


@pytest.mark.parametrize(
    ("api", "environment", "words"),
    [
        ({}, {}, "pap_database_url to the URL itself"),
        (
            {},
            {"DATABASE_URL": "mysql://u:hunter2@h/x"},
            "DATABASE_URL in the environment of the API (v1): The database URL starts",
        ),
        ({}, {"DATABASE_URL": "host=db password=hunter2 dbname=live"}, "Or set pap_database_url"),
        ({"database_url": "postgresql://u:hunter2@h"}, {}, "pap_database_url: The database URL names no database"),
        (
            {"database_url": HELD},
            {"DATABASE_URL": "postgresql://app:hunter2@pooler/live"},
            "names live on db:5433, but DATABASE_URL in the environment of the API (v1) names live on pooler",
        ),
    ],
)
def test_what_is_refused_names_the_variable_and_no_password(
    tmp_path: Path, api: dict[str, str], environment: dict[str, str], words: str
) -> None:
    with pytest.raises(Refused) as refused:
        stack(tmp_path, **api).api_url(environment, "v1")
    assert words in str(refused.value) and "hunter2" not in str(refused.value.as_dict())


def test_what_the_inventory_says_is_masked_in_every_spelling(tmp_path: Path) -> None:
    made = stack(
        tmp_path, database_url="postgresql://app:hun%2Fter2@db/x", database_direct_url="postgresql://a:swordfish@db/x"
    )
    assert made.redactor.text("hun/ter2 hun%2Fter2 swordfish") == "******** ******** ********"
