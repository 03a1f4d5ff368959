"""The pipelines in docs/ci are YAML, and call the check with options that it has."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

CI = Path(__file__).resolve().parents[2] / "docs" / "ci"


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pull_request", CI / "pull_request.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commands(text: str) -> list[list[str]]:
    joined = re.sub(r"\s*\n\s+(?=--)", " ", text)
    return [shlex.split(line.strip()) for line in joined.splitlines() if "pull_request.py --" in line]


@pytest.mark.parametrize("name", ["github-pull-request.yml", "gitlab-pull-request.yml", "README.md"])
def test_the_commands_are_ones_that_the_program_takes(program: ModuleType, name: str) -> None:
    text = (CI / name).read_text()
    if name.endswith(".yml"):
        assert isinstance(yaml.safe_load(text), dict)
    found = commands(text)
    assert found
    for words in found:
        start = next(i for i, word in enumerate(words) if word.endswith("pull_request.py"))
        options = program.parser().parse_args(words[start + 1 :])
        assert options.base and options.database_url.startswith("postgresql://")


def test_the_exit_codes_are_documented(program: ModuleType) -> None:
    text = (CI / "README.md").read_text()
    documented = {int(code) for code in re.findall(r"^\| (\d) \|", text, re.MULTILINE)}
    codes = [program.LINT, program.UNCHECKED, program.NOT_APPLIED, program.NOT_REVERTED, program.NOT_REPEATABLE,
             program.DIFFERS, program.EDITED, program.NO_RECEIPT]  # fmt: skip
    assert documented == {0, *codes}


class CodeHost(ThreadingHTTPServer):
    """Comments of one pull request, as the API of GitHub or GitLab has them."""

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.comments: dict[int, str] = dict.fromkeys(range(1, 131), "a person's")
        self.refuse = 0
        base = f"http://127.0.0.1:{self.server_port}"
        if name == "github":
            self.place, self.edited, self.edit = (
                "/repos/app/app/issues/7/comments",
                "/repos/app/app/issues/comments",
                "PATCH",
            )
            self.sign = ("Authorization", "Bearer s3cret")
            self.environment = {"GITHUB_API_URL": base, "GITHUB_REPOSITORY": "app/app", "PULL_REQUEST": "7",
                                "GITHUB_TOKEN": "s3cret"}  # fmt: skip
        else:
            self.place = self.edited = "/api/v4/projects/3/merge_requests/7/notes"
            self.edit, self.sign = "PUT", ("PRIVATE-TOKEN", "s3cret")
            self.environment = {"CI_API_V4_URL": f"{base}/api/v4", "CI_PROJECT_ID": "3", "CI_MERGE_REQUEST_IID": "7",
                                "PLAN_TOKEN": "s3cret"}  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    server: CodeHost

    def answer(self) -> None:
        host, (path, _, query) = self.server, self.path.partition("?")
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}").get("body")
        header, value = host.sign
        if host.refuse or self.headers[header] != value:
            return self.say(host.refuse or 401, {})
        if self.command == "GET" and path == host.place:
            size, number = (int(re.search(rf"\b{word}=(\d+)", query)[1]) for word in ("per_page", "page"))
            some = sorted(host.comments.items())[size * (number - 1) : size * number]
            return self.say(200, [{"id": key, "body": text} for key, text in some])
        if self.command == "POST" and path == host.place:
            host.comments[max(host.comments) + 1] = body
            return self.say(201, {"id": max(host.comments)})
        folder, _, last = path.rpartition("/")
        if self.command == host.edit and folder == host.edited and int(last) in host.comments:
            host.comments[int(last)] = body
            return self.say(200, {"id": int(last)})
        return self.say(404, {})

    do_GET = do_POST = do_PATCH = do_PUT = answer

    def say(self, code: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(params=["github", "gitlab"])
def host(request: pytest.FixtureRequest) -> Iterator[CodeHost]:
    server = CodeHost(request.param)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def commented(host: CodeHost, tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """Runs the pipeline's own step, with pap-deploy checked out beside the app; its exit code and what it says."""
    name = "github" if host.edit == "PATCH" else "gitlab"
    pipeline = yaml.safe_load((CI / f"{name}-pull-request.yml").read_text())
    steps = (
        pipeline["jobs"]["migrations"]["steps"]
        if name == "github"
        else [{"run": pipeline["migrations"]["after_script"]}]
    )
    (step,) = (step["run"] for step in steps if "comment.py" in str(step.get("run")))
    script = step if isinstance(step, str) else "\n".join(step)
    (tmp_path / "pap-deploy").symlink_to(CI.parents[1])

    def run(**changes: str) -> tuple[int, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, **host.environment, "PATH": path, "no_proxy": "127.0.0.1", **changes}
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", script],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "s3cret" not in done.stdout + done.stderr
        return done.returncode, done.stdout + done.stderr

    return run


def test_the_plan_becomes_one_comment(host: CodeHost, commented: Any, tmp_path: Path) -> None:
    assert commented() == (0, "comment: there is no plan.md: nothing to say\n")
    (tmp_path / "plan.md").write_text("`2026_02_01_note.py`\n```sql\nALTER TABLE grün;\n```\n")
    assert commented() == (0, "comment: made\n")
    (tmp_path / "plan.md").write_text("another plan")
    assert commented() == (0, "comment: brought up to date\n")
    assert host.comments.pop(131).endswith("\nanother plan")
    assert set(host.comments.values()) == {"a person's"} and len(host.comments) == 130
    (tmp_path / "plan.md").write_text("x" * 100_000)
    assert commented()[0] == 0 and len(host.comments[131]) < 65_536


def test_each_outcome_of_the_comment_has_its_exit_code(host: CodeHost, commented: Any, tmp_path: Path) -> None:
    (tmp_path / "plan.md").write_text("a plan")
    url, token = (next(key for key in host.environment if word in key) for word in ("API", "TOKEN"))
    assert commented(**{token: ""}) == (0, "comment: there is no token: the plan is an artifact only\n")
    code, said = commented(**{token: "another"})
    assert code == 1 and "the host refused: 401" in said
    host.refuse = 403
    assert commented()[0] == 1
    assert commented(**{url: "http://127.0.0.1:1"})[0] == 2
    del host.environment[url]
    code, said = commented()
    assert code == 2 and f"{url} is not set" in said
    assert len(host.comments) == 130
