from __future__ import annotations

import pytest
from papdeploy.core.errors import Refused
from papdeploy.phases.guards import refuse_drop_tables, refuse_many_databases

ON = ["true", "True", "TRUE", " true ", "'true'", '"1"', "1", "yes", "y", "on", "t", "2", "enable", "ture", "-1"]
OFF = ["", "0", "false", "False", " no ", "off", "'false'", "N", "none", "null"]


@pytest.mark.parametrize("name", ["CC_DROP_TABLES", "cc_drop_tables"])
@pytest.mark.parametrize("value", ON)
def test_anything_that_could_mean_yes_stops_the_deploy(name: str, value: str) -> None:
    with pytest.raises(Refused, match="would drop every table") as caught:
        refuse_drop_tables("production", {"the env file": {name: value}})
    assert caught.value.data["source"] == "the env file"


@pytest.mark.parametrize("value", OFF)
def test_off_in_any_spelling_passes(value: str) -> None:
    refuse_drop_tables("production", {"here": {"CC_DROP_TABLES": value}, "there": {}})


def test_development_may_reset() -> None:
    refuse_drop_tables("development", {"here": {"CC_DROP_TABLES": "true"}})


@pytest.mark.parametrize("environment", ["Development", "dev", "staging", "qa", ""])
def test_nothing_else_is_development(environment: str) -> None:
    with pytest.raises(Refused):
        refuse_drop_tables(environment, {"here": {"CC_DROP_TABLES": "true"}})


def test_containers_of_one_api_share_a_database() -> None:
    same = {"DATABASE_URL": "postgresql://u:geheim@db/x"}
    refuse_many_databases("DATABASE_URL", {"pap-1, 2.0": same, "pap-2, 2.0": dict(same)})
    other = {"DATABASE_URL": "postgresql://u:geheim@db/y"}
    with pytest.raises(Refused, match="do not have the same DATABASE_URL") as caught:
        refuse_many_databases("DATABASE_URL", {"pap-1, 2.0": same, "pap-2, 2.0": other})
    assert "geheim" not in str(caught.value)
