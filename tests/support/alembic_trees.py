"""Alembic trees as projects have them, written by ``alembic init`` and filled by a test; and what Alembic makes of them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from papdeploy.migrations import handlers

_ALEMBIC = [sys.executable, "-m", "alembic"]
_URL = "import os\nconfig.set_main_option('sqlalchemy.url', os.environ['DATABASE_URL'].replace('%', '%%'))\n"


@dataclass
class Project:
    """A release folder with a tree; ``environment`` is what its processes have."""

    folder: Path
    ini: str = "alembic.ini"
    where: str = "."  # a person goes there to run alembic
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def versions(self) -> Path:
        return next(path for path in self.folder.rglob("versions") if path.is_dir())

    @property
    def env_py(self) -> Path:
        return self.versions.parent / "env.py"

    def alembic(self, url: str, *arguments: str) -> str:
        """What the ``alembic`` command prints, run where a person would."""
        ran = subprocess.run(
            [*_ALEMBIC, "-c", Path(self.ini).name, *arguments], cwd=self.folder / self.where, capture_output=True, text=True, check=False,
            env={**os.environ, **self.environment, "DATABASE_URL": url},
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def revision(
        self, name: str, upgrade: str, downgrade: str = "pass", down: Any = "the newest", head: str = "", **more: Any
    ) -> str:
        """Write a revision on top of the newest (or of ``down``); its id is ``name``."""
        written = sorted(self.versions.glob("*.py"))
        if down == "the newest":
            down = written[-1].stem.partition("_")[2] if written else None
        lines = "".join(f"{key} = {value!r}\n" for key, value in more.items())
        text = (
            f'"""Do {name}."""\n\nimport sqlalchemy as sa\nfrom alembic import op\n\nrevision = {name!r}\n'
            f"down_revision = {down!r}\n{lines}\n{textwrap.dedent(head)}\n\n"
            f"def upgrade():\n{_body(upgrade)}\n\n\ndef downgrade():\n{_body(downgrade)}\n"
        )
        (self.versions / f"{len(written):04}_{name}.py").write_text(text)
        return name

    def request(self, url: str, **declared: Any) -> dict[str, Any]:
        return {"url": url, "release": "r1", "who": "tester", "alembic": {"ini": self.ini, **declared}}


def _body(code: str) -> str:
    return textwrap.indent(textwrap.dedent(code).strip() or "pass", "    ")


def made(folder: Path, template: str = "generic", where: str = "alembic") -> Project:
    """A project by ``alembic init --template``; its env.py takes the URL from the environment."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [*_ALEMBIC, "init", "--template", template, where]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    project = Project(folder)
    env = project.env_py
    text = env.read_text()
    assert "config = context.config\n" in text
    env.write_text(text.replace("config = context.config\n", f"config = context.config\n{_URL}", 1))
    return project


def call(name: str, project: Project, url: str, declared: Any = None, **request: Any) -> Any:
    """A call of the agent about the tree, in the release's folder, as it runs there."""
    before = Path.cwd()
    old = {key: os.environ.get(key) for key in [*project.environment, "DATABASE_URL"]}
    os.environ.update({**project.environment, "DATABASE_URL": url})
    path = list(sys.path)
    os.chdir(project.folder)
    try:
        return handlers.CALLS[f"migrations.{name}"](
            {**project.request(url, **(declared or {})), **request}, lambda _: None
        )
    finally:
        os.chdir(before)
        sys.path[:] = path
        for key, value in old.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value
