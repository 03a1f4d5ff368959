"""What all modules share on Ansible's side: the ``stack`` option, and how a result or an error ends a module."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pap_options import PHASE, STACK


def spec(phase: str = "", **options: Any) -> dict[str, Any]:
    """The argument spec of a module that works on a stack: the ``stack`` option, those of ``phase``, and its own."""
    return copy.deepcopy({"stack": STACK, **PHASE.get(phase, {}), **options})


def options_of(module: AnsibleModule, kind: type[Any]) -> Any:
    """The dataclass ``kind`` with the options of the module that have its fields' names."""
    names = {field.name for field in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in module.params.items() if name in names and value is not None})


def run_of(who: Any) -> Any:
    """The run of ansible-playbook that the lookup P(pap_who#lookup) names, for what works on a stack."""
    return importlib.import_module("papdeploy.releases.run").Run.of(who)


def optional_stack() -> dict[str, Any]:
    """The ``stack`` option of a module that works on the controller as well, where there is none."""
    return {"stack": {**copy.deepcopy(STACK), "required": False}}


def run_phase(module: AnsibleModule, name: str, work: Callable[[Any, Any], object], *, phase: str = "") -> None:
    """Do the module's one piece of work and end it: with the result, or with what failed and what to do next.

    ``work`` gets the stack and the module ``papdeploy.phases.<name>``, imported from where M(pap_package) unpacked it.
    It ends when the time of ``phase`` (``name``, where that is its name as well) is up.
    """
    given = module.params["stack"]

    def on_the_stack(imported: Any, redactor: Any) -> object:
        from_params = importlib.import_module("papdeploy.app.inventory").from_params
        deadline = importlib.import_module("papdeploy.phases.deadlines").deadline
        guards = importlib.import_module("papdeploy.phases.guards")
        release = module.params.get("release") or ""
        stack = from_params(given, release, redactor, phase=phase or name)
        disk = guards.disk_explained(stack.state, release, name)
        in_time = deadline(phase or name, given.get("phase_deadlines_s") or {})
        with _metrics(module, stack.state), disk, in_time, guards.absence_explained(stack):
            return work(stack, imported)

    _refuse_code_of_another(module, given["code"])
    _run(module, given["code"], f"phases.{name}", on_the_stack)


def run_state(module: AnsibleModule, name: str, work: Callable[[Any, Any], object]) -> None:
    """The same where the stack itself may be down: ``work`` gets its folder as ``State``, and the module."""
    given = module.params["stack"]

    def on_the_state(phase: Any, redactor: Any) -> object:
        sources = importlib.import_module("papdeploy.environment.secret_sources")
        sources.teach(redactor, given)
        state_of = importlib.import_module("papdeploy.releases.journal").State
        state = state_of(given["state_dir"], redactor, run_of(given["who"]), stack=given["name"])
        state.refuse_open()
        guards = importlib.import_module("papdeploy.phases.guards")
        with _metrics(module, state), guards.disk_explained(state, module.params.get("release") or "", name):
            return work(state, phase)

    _refuse_code_of_another(module, given["code"])
    _run(module, given["code"], f"phases.{name}", on_the_state)


@contextlib.contextmanager
def _metrics(module: AnsibleModule, state: Any) -> Iterator[None]:
    """However the block ends, the figures of the stack are written for its monitoring. That they cannot be is a
    warning."""
    try:
        yield
    finally:
        given = module.params["stack"]
        if given["metrics_textfile_dir"] and not module.check_mode:
            target_of = importlib.import_module("papdeploy.logwatch.textfile").Target
            target = target_of(given["metrics_textfile_dir"], given["name"], given["environment"] or "")
            problem = importlib.import_module("papdeploy.logwatch.metrics").publish(state, target)
            if problem:
                module.warn(problem)


def _refuse_code_of_another(module: AnsibleModule, code: str) -> None:
    """On a target host, the user that the package was sent as could change what another one loads."""
    try:
        owner = Path(code).stat().st_uid if code else os.geteuid()
    except OSError as error:
        module.fail_json(msg=f"The package papdeploy is not in {code}: {error.strerror}. Run the play again.")
    if owner not in (0, os.geteuid()):
        module.fail_json(
            msg=f"The package in {code} belongs to user id {owner}, and this task runs as user id {os.geteuid()}.",
            hint="Let all tasks of a stack become the same user, the one that owns the state folder. A task without"
            " stack.code gets the package as the user that it runs as.",
        )


def run_code(module: AnsibleModule, code: str, name: str, work: Callable[[Any], object]) -> None:
    """The same without a stack, on the controller: ``work`` gets the module ``papdeploy.<name>`` from the folder
    ``code``. What it writes is for this user alone."""
    before = os.umask(0o077)
    try:
        _run(module, code, name, lambda imported, _: work(imported))
    finally:
        os.umask(before)


def _run(module: AnsibleModule, code: str, name: str, work: Callable[[Any, Any], object]) -> None:
    """Import, work, end. However it ends, what it says leaves without the secrets that are known by then."""
    _refuse_empty(module)
    if not code:
        module.fail_json(msg="The package papdeploy is not on this host. Run the role 'stack' first.")
    sys.path.insert(0, code)
    try:
        imported = importlib.import_module(f"papdeploy.{name}")
    except ImportError as error:
        module.fail_json(msg=f"papdeploy cannot be imported from {code}: {error}. Remove that folder.")
    errors = importlib.import_module("papdeploy.core.errors")
    storage = importlib.import_module("papdeploy.core.storage")
    records = importlib.import_module("papdeploy.core.records")
    redactor = importlib.import_module("papdeploy.core.redact").Redactor(module.no_log_values)
    try:
        result = redactor.shown(records.returned(work(imported, redactor)))
    except Exception as error:  # noqa: BLE001
        failure = error if isinstance(error, errors.PapError) else storage.explained(error) or storage.closed(error)
        if failure is None:
            _defect(module, redactor, error)
        shown = redactor.shown_error(str(failure), failure.hint, failure.data)
        module.fail_json(error_kind=type(failure).__name__, **shown)
    for warning in result.pop("warnings", ()):
        module.warn(redactor.text(warning))
    module.exit_json(**{"changed": False, **result})


def _refuse_empty(module: AnsibleModule) -> None:
    """Ansible refuses a task that leaves out what is required; a role gives every option, some of them empty."""
    given = module.params
    needs = [(f"{key}={value}", names) for key, value, names in module.required_if or () if given[key] == value]
    needs += [(key, names) for key, names in (module.required_by or {}).items() if given[key]]
    for option, names in needs:
        empty = [name for name in names if _is_empty(given[name])]
        if empty:
            module.fail_json(
                msg=f"{option} requires {', '.join(empty)}, which is empty.",
                hint="Set it in the task, or the variable of the inventory from which the task takes it.",
            )


def _is_empty(value: Any) -> bool:
    """Nothing, or a list of nothing but empty texts, which is what Ansible makes of an empty text."""
    return value in (None, "", [], {}) or (isinstance(value, list) and set(map(str, value)) == {""})


def _defect(module: AnsibleModule, redactor: Any, error: Exception) -> None:
    """A bug of ours: say what and where, not "unknown error"."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    said = f"Unexpected {type(error).__name__} at {Path(last.filename).name}:{last.lineno}: {error}"
    hint = "This is a defect of pap-deploy; the journal says how far the release came. Please report it."
    shown = redactor.shown_error(said, hint, {"exception": traceback.format_exc()})
    module.fail_json(msg=shown["msg"], hint=hint, exception=shown["data"]["exception"])
