"""However a module ends, what it says leaves without the secrets of its stack, and acts on nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable
from urllib.parse import quote

import pap_module
import pytest
from papdeploy.core.redact import MASK
from papdeploy.errors import PapError

CODE = str(Path(__file__).resolve().parents[2] / "module_utils")
SMOKE, STRIPE, LOADED = 'smoke p@ss"w', "sk_live_5x9", "from-dotenv-7"


class Ended(Exception):
    def __init__(self, **result: Any) -> None:
        super().__init__(result)
        self.result = result


class Module:
    """The part of AnsibleModule that ends a module."""

    def __init__(self, folder: Path) -> None:
        env = folder / "env"
        env.write_text(f"STRIPE_KEY={STRIPE}\nPORT=8000\n")
        (folder / "new").mkdir()
        (folder / "new" / ".env").write_text(f"export LOADED='{LOADED}'\n")
        self.no_log_values = {SMOKE}
        self.params = {
            "release": "",
            "stack": {
                "code": CODE, "who": {"user": "jane", "host": "deploy-1", "pid": 1}, "phase_deadlines_s": {}, "name": "pap", "environment": "staging", "state_dir": str(folder / "state"),
                "database": {"name": "control_core_db", "admin_password": "control_core_db"},
                "api": {"dir": str(folder), "release_dir": str(folder / "new"), "python": "python3", "env_file": str(env),
                        "start_command": ["true"], "stop_command": ["true"], "restart_command": ["true"], "models": ["m"]},
                "smoke": {"username": "admin", "password": SMOKE},
            },
        }  # fmt: skip

    def fail_json(self, **result: Any) -> None:
        raise Ended(**result, failed=True)

    def exit_json(self, **result: Any) -> None:
        raise Ended(**result)


def told() -> str:
    return f"\x1b[2K{SMOKE} {quote(SMOKE)} {STRIPE}\n{LOADED!r} postgresql://u:x/y@h/d"


def ends(module: Module, how: Callable[..., Any], on: str) -> dict[str, Any]:
    with pytest.raises(Ended) as ended:
        if on == "stack":
            pap_module.run_phase(module, "validate", lambda stack, phase: how())
        elif on == "state":
            pap_module.run_state(module, "validate", lambda state, phase: how())
        else:
            pap_module.run_code(module, CODE, "core.text", lambda imported: how())
    return dict(ended.value.result)


def raising(error: BaseException) -> Callable[..., Any]:
    def work() -> Any:
        raise error

    return work


@pytest.mark.parametrize("on", ["stack", "state"])
def test_a_result_an_error_and_a_defect_say_no_secret(tmp_path: Path, on: str) -> None:
    module = Module(tmp_path)
    lines = {"pap": {"lines": [told()]}, "diff": [{"after": told()}], "folder": "/srv/control_core_db"}
    for result in (
        ends(module, lambda: lines, on),
        ends(module, raising(PapError(told(), hint=told(), lines=[told()], deep={"log": told()})), on),
        ends(module, raising(ValueError(told())), on),
    ):
        said = repr(result)
        for secret in (SMOKE, quote(SMOKE), STRIPE, LOADED, "x/y", "\\x1b"):
            assert secret not in said.replace("\\\\x1b", "ESC"), (secret, said)
        assert MASK in said
        assert "\n" not in "".join(
            [str(result.get("msg", "")), str(result.get("hint", "")), *result.get("pap", {}).get("lines", [])]
        )
    assert ends(module, lambda: lines, on)["folder"] == "/srv/control_core_db", "a path is no text"


def test_what_belongs_to_no_stack_knows_what_ansible_hides(tmp_path: Path) -> None:
    result = ends(Module(tmp_path), raising(ValueError(f"no {SMOKE} and {quote(SMOKE)}")), "code")
    assert result["msg"].startswith("Unexpected ValueError at test_pap_module.py") and MASK in result["msg"]
    assert SMOKE not in repr(result) and quote(SMOKE) not in repr(result)
    assert "defect of pap-deploy" in result["hint"]


def test_the_statement_that_is_proposed_is_the_one_that_is_right(tmp_path: Path) -> None:
    comment = "COMMENT ON COLUMN users.password IS 'the secret: hashed 4x by argon2'"
    result = ends(
        Module(tmp_path), lambda: {"pap": {"lines": [f"  {comment}"]}, "differences": [{"repair": [comment]}]}, "stack"
    )
    assert result["pap"]["lines"] == [f"  {comment}"] and result["differences"] == [{"repair": [comment]}]
