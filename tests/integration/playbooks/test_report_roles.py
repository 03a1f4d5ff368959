"""The roles receipt, report, watch, notify and the hooks, played by Ansible on the folder of a release."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from integration.report.test_history import WHO, release
from papdeploy.core.records import as_object
from papdeploy.releases.journal import Journal, State
from support import ROOT
from support.hostile_http import Hostile
from support.journals import last

ANSIBLE = Path(sys.executable).parent / "ansible-playbook"


class Place:
    """A stack that is only its folder, and a way to play tasks on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.variables: dict[str, Any] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "pap_environment": "staging",
            "pap_state_dir": str(folder / "state"),
            "pap_db_name": "none",
            "pap_models": ["none"],
            "pap_smoke_username": "none",
            "pap_smoke_password": "none",
            "report_folder": str(folder / "reports"),
            "receipt_folder": str(folder / "receipts"),
            "receipt_private_key_file": str(folder / "keys" / "receipt.key"),
            "receipt_public_key_files": [str(folder / "keys" / "receipt.pub")],
            "receipt_make_key": True,
        }

    def state(self, environment: str = "staging") -> State:
        return State(self.folder / ("state" if environment == "staging" else environment))

    def play(self, *tasks: dict[str, Any], ok: bool = True, **variables: Any) -> str:
        inventory = self.folder / "hosts.yml"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": {"pap": {**self.variables, **variables}}}}))
        playbook = self.folder / "playbooks" / "play.yml"
        playbook.parent.mkdir(exist_ok=True)
        stack = {"ansible.builtin.include_role": {"name": "stack", "public": True}}
        playbook.write_text(
            yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [stack, *tasks]}], sort_keys=False)
        )
        link = self.folder / "module_utils"
        if not link.exists():
            link.symlink_to(ROOT / "module_utils")
        done = subprocess.run(
            [ANSIBLE, "-i", inventory, playbook, "-e", json.dumps({"pap_who": as_object(WHO)})],  # the run that began the releases
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"},
            cwd=ROOT, capture_output=True, text=True, timeout=150,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert (done.returncode == 0) is ok, said
        return said


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def role(name: str, tasks_from: str = "main", **variables: Any) -> dict[str, Any]:
    include: dict[str, Any] = {"name": name, "tasks_from": tasks_from}
    if name == "notify":
        include["rolespec_validate"] = False
    return {"name": f"{name} {tasks_from}", "ansible.builtin.include_role": include, "vars": variables}


def test_from_stagings_receipt_to_production_over_a_git_repository(place: Place) -> None:
    origin = place.folder / "origin.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", origin], check=True)
    seed = place.folder / "seed"
    subprocess.run(["git", "clone", "-q", origin, seed], check=True, stderr=subprocess.DEVNULL)
    git = ["git", "-C", str(seed), "-c", "user.name=x", "-c", "user.email=x@localhost"]
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "begin"], check=True)
    subprocess.run([*git, "push", "-q", "origin", "HEAD:main"], check=True)
    repository: dict[str, Any] = {"receipt_repository": str(origin)}
    tested: Journal = release(place.state())
    tested.append("rehearse", "done")
    tested.append("backup", "done", proof={"kind": "full"})
    tested.append("data_check", "done", final=True, unmeasured=[])
    before = os.umask(0)
    try:
        said = place.play(role("receipt", "write", pap_release=tested.release), **repository)
    finally:
        os.umask(before)
    assert "signed" in said
    for made in (place.folder / "receipts", place.folder / "keys"):
        assert all(path.lstat().st_mode & 0o077 == 0 for path in (made, *made.rglob("*"))), made
    listed = subprocess.run(
        ["git", "-C", origin, "ls-tree", "--name-only", "main"], check=True, capture_output=True, text=True
    ).stdout
    assert tested.release in listed

    production: dict[str, Any] = {
        "pap_environment": "production",
        "pap_state_dir": str(place.folder / "production"),
        **repository,
    }
    # Another controller: its own working copy.
    elsewhere: dict[str, Any] = {"receipt_folder": str(place.folder / "elsewhere")}
    journal = release(place.state("production"), environment="production", end="")
    said = place.play(role("receipt", pap_release=journal.release), **production, **elsewhere)
    assert "staging passed with exactly this" in said
    place.state("production").lock.by(WHO).release(journal.release)
    journal.append("release", "abandoned")

    other = release(place.state("production"), environment="production", end="")
    (other.folder / "migrations.json").write_text(json.dumps({"a.py": "one", "b.py": "EDITED"}))
    said = place.play(role("receipt", pap_release=other.release), ok=False, **production, **elsewhere)
    assert "migration b.py was edited" in said and "deploy.yml -l staging" in said
    end = other.ended()
    assert end is not None and end.event == "refused"
    assert place.state("production").lock.holder() is None

    # The same although it was never in staging: what `deploy.yml -e receipt_override=…` does here.
    urgent = release(place.state("production"), environment="production", end="")
    (urgent.folder / "migrations.json").write_text(json.dumps({"a.py": "one", "b.py": "EDITED"}))
    reason: dict[str, Any] = {"receipt_override": "incident 4711, decided by Jo Doe"}
    said = place.play(role("receipt", pap_release=urgent.release), **production, **elsewhere, **reason)
    assert "OVERRIDDEN by" in said and "incident 4711, decided by Jo Doe" in said
    noted = last(urgent, "receipt")
    assert noted is not None and "migration b.py was edited" in noted["override"]["instead_of"]
    place.state("production").lock.by(WHO).release(urgent.release)
    urgent.append("release", "abandoned")

    # What staging takes back is revoked in the repository, and so for every controller.
    tested.append("rollback", "begin")
    tested.append("release", "rolled_back", strategy="image")
    assert "revoked the receipt" in place.play(role("receipt", "revoke"), **repository)
    late = release(place.state("production"), environment="production", end="")
    said = place.play(role("receipt", pap_release=late.release), ok=False, **production, **elsewhere)
    assert "passed with exactly this, and then took it back" in said


OTHERS = """#!/bin/sh
# A receipt of another team arrives after the pull and before the push, once.
[ -e "{mark}" ] && exit 0
touch "{mark}"
unset GIT_DIR
cd "{other}" && touch other.json && git add other.json && git -c user.name=x -c user.email=x@localhost commit -q -m other
git push -q origin HEAD:main
"""


@pytest.mark.nightly
def test_two_environments_push_their_receipts_at_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The push is rejected, what came meanwhile is fetched, and it is pushed on top of that: also where git has no user configured."""
    origin, other, mine, mark = (place.folder / name for name in ("origin.git", "other", "receipts", "mark"))
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", origin], check=True)
    for clone in (other, mine):
        subprocess.run(["git", "clone", "-q", origin, clone], check=True, stderr=subprocess.DEVNULL)
    git: list[str | Path] = ["git", "-C", other, "-c", "user.name=x", "-c", "user.email=x@localhost"]
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "begin"], check=True)
    subprocess.run([*git, "push", "-q", "origin", "HEAD:main"], check=True)
    hook = mine / ".git" / "hooks" / "pre-push"
    hook.write_text(OTHERS.format(mark=mark, other=other))
    hook.chmod(0o755)
    for name, value in {
        "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "user.useConfigOnly",
        "GIT_CONFIG_VALUE_0": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)

    made: Journal = release(place.state())
    repository: dict[str, Any] = {"receipt_repository": str(origin), "receipt_folder": str(mine)}
    place.play(role("receipt", "write", pap_release=made.release), **repository)

    assert mark.exists(), "the first push was rejected"
    log = subprocess.run(
        ["git", "-C", origin, "log", "--format=%s %P", "main"], check=True, capture_output=True, text=True
    )
    newest, before, first = log.stdout.splitlines()
    assert newest.startswith(f"Receipt of pap, release {made.release}") and before.startswith("other") and first
    files = subprocess.run(
        ["git", "-C", origin, "ls-tree", "--name-only", "main"], check=True, capture_output=True, text=True
    )
    assert "other.json" in files.stdout and made.release in files.stdout

    deny = origin / "hooks" / "pre-receive"
    deny.write_text("#!/bin/sh\necho https://me:s3cret@host is read-only >&2\nexit 1\n")
    deny.chmod(0o755)
    place.state().lock.by(WHO).release(made.release)
    late: Journal = release(place.state())
    said = place.play(role("receipt", "write", pap_release=late.release), ok=False, **repository)
    assert "was deployed, but its receipt could not be pushed" in said and "***@host is read-only" in said
    assert f"git -C {mine} push origin HEAD:main" in said and "s3cret" not in said and "non-zero" not in said


@pytest.mark.nightly
def test_a_receipt_that_waits_for_its_push_survives_what_comes_next(place: Place) -> None:
    """Where the repository did not take it: the next fetch puts it on top of what came meanwhile, the next push takes it
    along; and where that cannot be, nothing is changed."""
    origin, other, mine = (place.folder / name for name in ("origin.git", "other", "receipts"))
    run(place.folder, "init", "-q", "--bare", "-b", "main", str(origin))
    run(place.folder, "clone", "-q", str(origin), str(other))

    def push(name: str, text: str) -> None:
        if run(origin, "branch", "--list"):
            run(other, "pull", "-q", "--rebase", "origin", "main")
        (other / name).write_text(text)
        run(other, "add", name)
        run(other, "commit", "-q", "-m", name)
        run(other, "push", "-q", "origin", "HEAD:main")

    push("first.json", "{}")
    repository: dict[str, Any] = {"receipt_repository": str(origin)}
    deny = origin / "hooks" / "pre-receive"
    deny.write_text("#!/bin/sh\nexit 1\n")
    deny.chmod(0o755)
    waiting: Journal = release(place.state())
    place.play(role("receipt", "write", pap_release=waiting.release), ok=False, **repository)
    deny.unlink()
    push("others.json", "{}")

    late: Journal = release(place.state())
    place.play(role("receipt", "write", pap_release=late.release), **repository)
    listed = run(origin, "ls-tree", "--name-only", "main")
    assert waiting.release in listed and late.release in listed and "others.json" in listed

    run(mine, "commit", "-q", "--allow-empty", "-m", "by hand")
    (mine / "first.json").write_text("mine")
    run(mine, "commit", "-q", "-a", "-m", "mine")
    push("first.json", "theirs")
    (mine / "draft.json").write_text("not even committed")
    head = run(mine, "rev-parse", "HEAD")
    demanding: Journal = release(place.state(), end="")
    said = place.play(role("receipt", pap_release=demanding.release), ok=False, receipt_required=True, **repository)
    assert f"{mine}, could not be brought up to date, and was left as it is" in said
    assert run(mine, "rev-parse", "HEAD") == head and (mine / "first.json").read_text() == "mine"
    assert (mine / "draft.json").read_text() == "not even committed"
    assert "rebase in progress" not in run(mine, "status")


def run(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=x", "-c", "user.email=x@localhost"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


def test_the_report_is_fetched_with_an_overview(place: Place) -> None:
    made = release(place.state())
    before = os.umask(0)
    try:
        said = place.play(role("report", pap_release=made.release))
    finally:
        os.umask(before)
    page = place.folder / "reports" / "pap" / f"{made.release}.html"
    assert str(page) in said
    assert "pap:1.9.0" in page.read_text()
    assert f"pap/{made.release}.html" in (place.folder / "reports" / "index.html").read_text()
    assert "changed=0" in said
    copies = [place.folder / "reports", *(place.folder / "reports").rglob("*")]
    assert {path.is_dir(): path.stat().st_mode & 0o777 for path in copies} == {True: 0o700, False: 0o600}, copies
    assert all(path.stat().st_mode & 0o077 == 0 for path in copies)


class Hook(BaseHTTPRequestHandler):
    got: ClassVar[list[dict[str, Any]]]
    status = 200

    def do_POST(self) -> None:
        self.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def webhook() -> Iterator[tuple[str, type[Hook]]]:
    class Mine(Hook):
        got: ClassVar[list[dict[str, Any]]] = []

    server = HTTPServer(("127.0.0.1", 0), Mine)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", Mine
    server.shutdown()


def test_notifications_reach_a_webhook_and_never_change_the_outcome(
    place: Place, webhook: tuple[str, type[Hook]]
) -> None:
    url, hook = webhook
    notice = role("notify", notify_event="finish", notify_message="pap has finished", pap_release="r1")
    slack = role("notify", notify_event="alarm", notify_message="oh", notify_webhook_format="slack")
    unwanted = role("notify", notify_event="start", notify_message="no", notify_events=["finish"])
    place.play(notice, slack, unwanted, notify_webhook_url=url)
    assert hook.got == [
        {"event": "finish", "stack": "pap", "environment": "staging", "release": "r1", "message": "pap has finished"},
        {"text": "oh"},
    ]
    hook.status = 500
    broken = role("notify", notify_event="finish", notify_message="{{ nothing.at.all }}")
    mail = role("notify", notify_event="finish", notify_message="x", notify_mail_to=["a@b"], notify_mail_port="rubbish")
    said = place.play(notice, broken, mail, notify_webhook_url=url)
    # the webhook three times, and the mail: one way that fails does not keep the other from being tried
    assert said.count("could not tell of finish") == 4 and "failed=0" in said


def test_the_credentials_of_a_webhook_do_not_follow_a_redirect(place: Place) -> None:
    elsewhere = Hostile()
    hook = Hostile(f"{elsewhere.url}/x")
    hook.bad = {"/": "redirect to another origin"}
    notice = role("notify", notify_event="finish", notify_message="x", pap_release="r1")
    said = place.play(
        notice, notify_webhook_url=f"{hook.url}/", notify_webhook_headers={"Authorization": "Bearer s3cr3t"}
    )
    assert "The webhook was not told: it answered 302; it redirects, which is not followed" in said, said
    assert "Bearer s3cr3t" in hook.seen[0] and elsewhere.seen == [] and "s3cr3t" not in said


def test_hooks_run_before_and_after_a_phase_and_fail_the_deploy(place: Place) -> None:
    (place.folder / "roles" / "nothing" / "tasks").mkdir(parents=True)
    (place.folder / "playbooks").mkdir()
    (place.folder / "playbooks" / "roles").symlink_to(place.folder / "roles")
    (place.folder / "roles" / "nothing" / "tasks" / "main.yml").write_text(
        "- name: Phase\n  ansible.builtin.debug: {msg: the phase}\n"
    )
    for name in ("before", "after"):
        (place.folder / f"{name}.yml").write_text(
            f"- name: Hook\n  ansible.builtin.debug: {{msg: '{name} the phase of release {{{{ pap_release }}}}'}}\n"
        )
    (place.folder / "fail.yml").write_text("- name: Hook\n  ansible.builtin.fail: {msg: the hook says no}\n")
    phase = {
        "ansible.builtin.include_tasks": str(ROOT / "playbooks" / "tasks" / "phase.yml"),
        "vars": {"pap_phase": "nothing"},
    }
    hooks: dict[str, Any] = {
        f"pap_hook_{name}_nothing": str(place.folder / f"{name}.yml") for name in ("before", "after")
    }
    said = place.play(phase, pap_release="r1", **hooks)
    places = [
        said.index(f"{text}") for text in ("before the phase of release r1", " the phase\n", "after the phase of")
    ]
    assert places == sorted(places)
    said = place.play(phase, ok=False, pap_hook_before_nothing=str(place.folder / "fail.yml"))
    assert "the hook says no" in said and " the phase\n" not in said
    assert "the phase" in place.play(phase)
    look = {"ansible.builtin.include_tasks": str(ROOT / "playbooks" / "tasks" / "hooks.yml")}
    there = str(place.folder / "before.yml")
    place.play(look, pap_hook_before_migrate=there, pap_hook_after_migrate="")
    for hooks in ({"pap_hook_before_migrate": there + ".not"}, {"pap_hook_before_migrating": there}):
        said = place.play(look, ok=False, **hooks)
        assert next(iter(hooks)) in said and "one of preflight, backup" in " ".join(said.split())
