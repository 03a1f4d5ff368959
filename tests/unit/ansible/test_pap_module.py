"""However a module ends, what it says leaves without the secrets of its stack, and has no effect on others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable
from urllib.parse import quote

import pap_module
import pytest
from papdeploy.core.durable import private_folder
from papdeploy.core.errors import PapError
from papdeploy.core.redact import MASK
from papdeploy.releases.journal import State
from papdeploy.releases.run import Run

CODE = str(Path(__file__).resolve().parents[3] / "module_utils")
SMOKE, STRIPE, LOADED = 'smoke p@ss"w', "sk_live_5x9", "from-dotenv-7"


class Ended(Exception):
    def __init__(self, **result: Any) -> None:
        super().__init__(result)
        self.result = result


class Module:
    """The part of AnsibleModule that ends a module."""

    required_if: Any = None
    required_by: Any = None

    def __init__(self, folder: Path) -> None:
        env = folder / "env"
        env.write_text(f"STRIPE_KEY={STRIPE}\nPORT=8000\n")
        (folder / "new").mkdir()
        (folder / "new" / ".env").write_text(f"export LOADED='{LOADED}'\n")
        self.no_log_values = {SMOKE}
        self.warned: list[str] = []
        self.params: dict[str, Any] = {
            "release": "",
            "stack": {
                "code": CODE, "who": {"user": "jane", "host": "deploy-1", "pid": 1}, "phase_deadlines_s": {}, "name": "pap", "environment": "staging", "state_dir": str(folder / "state"),
                "metrics_textfile_dir": "",
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

    def warn(self, warning: str) -> None:
        self.warned.append(warning)


def told() -> str:
    return f"\x1b[2K{SMOKE} {quote(SMOKE)} {STRIPE}\n{LOADED!r} postgresql://u:x/y@h/d"


def ends(module: Module, how: Callable[..., Any], on: str, name: str = "validate") -> dict[str, Any]:
    with pytest.raises(Ended) as ended:
        if on == "stack":
            pap_module.run_phase(module, name, lambda stack, phase: how(), phase="validate")
        elif on == "state":
            pap_module.run_state(module, name, lambda state, phase: how())
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


def test_a_warning_is_given_to_ansible_and_is_no_part_of_the_result(tmp_path: Path) -> None:
    module = Module(tmp_path)
    assert ends(module, lambda: {"changed": True, "warnings": [f"left as it is: {SMOKE}"]}, "stack") == {
        "changed": True
    }
    assert module.warned == [f"left as it is: {MASK}"]


@pytest.mark.parametrize("empty", [None, "", [], {}, [""], ["", ""]])
def test_what_is_required_and_empty_is_refused_by_name(tmp_path: Path, empty: Any) -> None:
    """A role gives every option of a module: Ansible's own rules find nothing missing, and the code would trip."""
    module = Module(tmp_path)
    module.required_if = [("state", "keyed", ["file", "folder"]), ("state", "written", ["other"])]
    module.required_by = {"who": ["reason"]}
    module.params |= {"state": "keyed", "file": empty, "folder": "/f", "other": empty, "who": "", "reason": empty}
    assert ends(module, dict, "code")["msg"] == "state=keyed requires file, which is empty."
    module.params |= {"file": "/k", "who": "ada"}
    assert ends(module, dict, "code")["msg"] == "who requires reason, which is empty."
    module.params["reason"] = "known"
    assert ends(module, dict, "code") == {"changed": False}


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


def wide(state: Path) -> None:
    state.chmod(0o777)


def readable(state: Path) -> None:
    state.chmod(0o750)


def of_another(state: Path) -> None:
    os.chown(state, 12345, 12345)


def linked(state: Path) -> None:
    state.rename(state.with_name("there"))
    state.symlink_to(state.with_name("there"))


def of(name: str, spoil: Callable[[Path], None]) -> Callable[[Path], None]:
    def inside(state: Path) -> None:
        spoil(next(state.glob(name)))

    inside.__name__ = f"{name} {spoil.__name__}"
    return inside


SPOILT = [
    *(wide, readable, of_another, linked),
    *(of("releases", spoil) for spoil in (wide, readable, of_another, linked)),
    *(of("backups", spoil) for spoil in (wide, of_another, linked)),
    *(of(name, spoil) for name in ("releases/*", "releases/*/journal.jsonl") for spoil in (of_another, linked)),
    *(of(name, spoil) for name in ("lock.json", "stack.json") for spoil in (of_another, linked)),
]


@pytest.mark.parametrize("on", ["stack", "state"])
@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: str(spoil.__name__))
def test_no_command_believes_a_state_folder_that_could_be_anothers(
    tmp_path: Path, spoil: Callable[[Path], None], on: str
) -> None:
    if "of_another" in spoil.__name__ and os.geteuid():
        pytest.skip("only root can give files away")
    module = Module(tmp_path)
    state = State(tmp_path / "state")
    state.begin(Run.of(module.params["stack"]["who"]))
    private_folder(state.backups_folder)
    state.registry("pap", "control_core_db").claim("4711")
    assert "failed" not in ends(module, dict, on)
    spoil(state.folder)
    result = ends(module, lambda: pytest.fail("it was read"), on)
    assert result["failed"] and result["error_kind"] == "Refused", result
    assert result["msg"].startswith(str(state.folder)), result["msg"]


@pytest.mark.parametrize("umask", [0, 0o277])
def test_what_the_controller_gets_is_its_owners_under_any_umask(tmp_path: Path, umask: int) -> None:
    folder = tmp_path / "srv" / "receipts"
    before = os.umask(umask)
    try:
        ends(Module(tmp_path), lambda: (folder.mkdir(parents=True), (folder / "file").write_text(""))[0] or {}, "code")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (folder, folder / "file")] == [0o700, 0o600]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("on", ["stack", "state"])
def test_code_that_another_user_could_change_is_not_run(tmp_path: Path, on: str) -> None:
    """As where one play becomes a service's user and the next one root."""
    module = Module(tmp_path)
    code = tmp_path / "of-another"
    (code / "papdeploy").mkdir(parents=True)
    (code / "papdeploy" / "__init__.py").write_text("raise SystemExit('it ran')")
    module.params["stack"]["code"] = str(code)
    os.chown(code, 12345, 12345)
    found = ends(module, dict, on)
    assert found["failed"] and "belongs to user id 12345, and this task runs as user id 0" in found["msg"]
    module.params["stack"]["code"] = str(code / "gone")
    assert "is not in" in ends(module, dict, on)["msg"]
