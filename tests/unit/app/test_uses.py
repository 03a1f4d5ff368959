"""What a phase uses of a stack: what is missing of that is named at once, and nothing else is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from papdeploy.app.inventory import USES, from_params
from papdeploy.core.errors import Refused

CONTROL = "pap_api_start_command, pap_api_stop_command, pap_api_restart_command"
EMPTY: dict[str, Any] = {"name": "st", "environment": "staging", "who": {}, "database": {}, "api": {"models": []}, "smoke": {"username": "", "password": None}}  # fmt: skip


@pytest.mark.parametrize(
    ("phase", "missing"),
    [
        ("backup", "pap_db_name"),
        ("validate", "pap_db_name, pap_api_dir, pap_api_python, pap_models"),
        ("status", "pap_db_name, pap_api_dir, pap_api_python, pap_models"),
        ("migrate", f"pap_db_name, pap_api_dir, pap_api_python, {CONTROL}, pap_models, pap_smoke_username, pap_smoke_password"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(phase: str, missing: str, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        from_params({**EMPTY, "state_dir": str(tmp_path)}, phase=phase)
    assert refused.value.message == f"Missing in the inventory: {missing}."


@pytest.mark.parametrize(
    ("smoke", "missing"),
    [({"login": "header"}, ", pap_smoke_token"), ({"login": "header", "token": "t"}, ""), ({"login": "none"}, ""),
     ({"login": "cookie", "username": "u"}, ", pap_smoke_password"), ({"username": "u", "password": "p"}, "")],
)  # fmt: skip
def test_a_login_needs_what_its_kind_needs(smoke: dict[str, str], missing: str, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        from_params({**EMPTY, "state_dir": str(tmp_path), "smoke": smoke}, phase="activate")
    assert refused.value.message.endswith(f", pap_models{missing}.")


def test_what_a_phase_does_not_use_may_be_missing(tmp_path: Path) -> None:
    database = {"name": "shop"}
    made = from_params({**EMPTY, "state_dir": str(tmp_path), "database": database}, phase="backup")
    assert made.database.conninfo.dbname == "shop" and made.name == "st"
    assert set(USES) == {"backup", "validate", "status"}
