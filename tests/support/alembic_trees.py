"""Alembic trees as projects have them, written by ``alembic init`` and filled by a test; and what Alembic makes of them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
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


@contextlib.contextmanager
def inside(project: Project, url: str) -> Iterator[None]:
    """In the release's folder, with the environment that its processes have."""
    before = Path.cwd()
    old = {key: os.environ.get(key) for key in [*project.environment, "DATABASE_URL"]}
    os.environ.update({**project.environment, "DATABASE_URL": url})
    path = list(sys.path)
    os.chdir(project.folder)
    try:
        yield
    finally:
        os.chdir(before)
        sys.path[:] = path
        for key, value in old.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value


def call(name: str, project: Project, url: str, declared: Any = None, emit: Any = None, **request: Any) -> Any:
    """A call of the agent about the tree, in the release's folder, as it runs there."""
    with inside(project, url):
        return handlers.CALLS[f"migrations.{name}"](
            {**project.request(url, **(declared or {})), **request}, emit or (lambda _: None)
        )


def grown(project: Project) -> None:
    """A tree with branches, a merge, depends_on, an autocommit block, enum changes, data migrations, batch operations."""
    project.revision(
        "base1",
        "op.create_table('users', sa.Column('id', sa.Integer, primary_key=True), sa.Column('name', sa.Text),\n"
        "                sa.Column('mood', sa.Enum('sad', 'ok', name='mood')))\n"
        "op.bulk_insert(sa.table('users', sa.column('name')), [{'name': 'ann'}, {'name': '100%'}, {'name': 'a:b'}])",
        "op.drop_table('users')\nop.execute('DROP TYPE mood')",
    )
    project.revision("left1", "op.add_column('users', sa.Column('mail', sa.Text))", "op.drop_column('users', 'mail')",
                     down="base1", branch_labels=("left",))  # fmt: skip
    project.revision("right1", "op.add_column('users', sa.Column('age', sa.Integer))", "op.drop_column('users', 'age')",
                     down="base1")  # fmt: skip
    project.revision("other1", "op.create_table('other', sa.Column('id', sa.Integer, primary_key=True))",
                     "op.drop_table('other')", down=None, depends_on="left1")  # fmt: skip
    project.revision(
        "merge1",
        "for row in op.get_bind().execute(sa.text('SELECT id, name FROM users ORDER BY id')).fetchall():\n"
        "    op.get_bind().execute(sa.text('UPDATE users SET mail = :m WHERE id = :i'), {'m': row.name + '@x', 'i': row.id})",
        'op.execute("UPDATE users SET mail = NULL")',
        down=("left1", "right1"),
    )
    project.revision(
        "block1",
        "op.execute('ALTER TABLE users ADD COLUMN before int')\n"
        "with op.get_context().autocommit_block():\n"
        "    op.execute(\"ALTER TYPE mood ADD VALUE 'happy'\")\n"
        "    op.create_index('users_mail', 'users', ['mail'], postgresql_concurrently=True)\n"
        "op.execute(\"UPDATE users SET mood = 'happy'\")",
        "with op.get_context().autocommit_block():\n"
        "    op.drop_index('users_mail', postgresql_concurrently=True)\n"
        "op.execute('ALTER TABLE users DROP COLUMN before')",
        down="merge1",
    )
    project.revision(
        "orm1",
        "session = Session(bind=op.get_bind())\nsession.execute(sa.text(\"INSERT INTO users (name) VALUES ('orm')\"))\n"
        "session.commit()\n"
        "with op.batch_alter_table('users') as batch:\n    batch.alter_column('name', nullable=False)\n"
        "    batch.create_check_constraint('named', 'length(name) > 0')",
        "op.drop_constraint('named', 'users')\nop.alter_column('users', 'name', nullable=True)",
        down="block1",
        head="from sqlalchemy.orm import Session",
    )


_FULL_STACK_ENV = """
import os
from logging.config import fileConfig

from alembic import context
from sqlalchemy import engine_from_config, pool

config = context.config
assert config.config_file_name
fileConfig(config.config_file_name)

from {package}.models import Base  # noqa
from {package}.core.config import settings  # noqa

target_metadata = Base.metadata


def get_url():
    return str(settings.SQLALCHEMY_DATABASE_URI)


def run_migrations_offline():
    context.configure(url=get_url(), target_metadata=target_metadata, literal_binds=True, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


def run_migrations_online():
    configuration = config.get_section(config.config_ini_section)
    configuration["sqlalchemy.url"] = get_url()
    connectable = engine_from_config(configuration, prefix="sqlalchemy.", poolclass=pool.NullPool)
    with connectable.connect() as connection:
        context.configure(connection=connection, target_metadata=target_metadata, compare_type=True)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    run_migrations_offline()
else:
    run_migrations_online()
"""


def full_stack(folder: Path) -> tuple[Project, str]:
    """In the form of the FastAPI full-stack template: the tree inside the package, settings put the URL together, ids
    become UUIDs by way of a second column. Returns the project and the revision at which its database is."""
    package = "full_stack_app"
    project = made(folder, where=f"{package}/alembic")
    ini = folder / "alembic.ini"
    ini.write_text(ini.read_text().replace(f"%(here)s/{package}/alembic", f"{package}/alembic"))
    project.env_py.write_text(_FULL_STACK_ENV.format(package=package))
    (folder / package / "core").mkdir()
    for path in (package, f"{package}/core"):
        (folder / path / "__init__.py").touch()
    (folder / package / "core" / "config.py").write_text(
        "import os\n\n\nclass Settings:\n    SQLALCHEMY_DATABASE_URI = os.environ['DATABASE_URL']\n\n\n"
        "settings = Settings()\n"
    )
    (folder / package / "models.py").write_text(
        "from sqlalchemy.orm import declarative_base\n\nBase = declarative_base()\n"
    )
    project.revision(
        "e2412789c190",
        "op.create_table('user', sa.Column('id', sa.Integer, primary_key=True), sa.Column('email', sa.String),\n"
        "                sa.Column('is_active', sa.Boolean, nullable=False))\n"
        "op.create_index(op.f('ix_user_email'), 'user', ['email'], unique=True)\n"
        "op.create_table('item', sa.Column('id', sa.Integer, primary_key=True), sa.Column('title', sa.String),\n"
        "                sa.Column('owner_id', sa.Integer, sa.ForeignKey('user.id'), nullable=False))\n"
        "op.execute('INSERT INTO \"user\" (email, is_active) SELECT g || \\'@x\\', true FROM generate_series(1, 9) AS g')\n"
        "op.execute('INSERT INTO item (title, owner_id) SELECT email, id FROM \"user\"')",
        "op.drop_table('item')\nop.drop_table('user')",
    )
    project.revision(
        "9c0a54914c78",
        "op.alter_column('user', 'email', existing_type=sa.String(), type_=sa.String(length=255))",
        "op.alter_column('user', 'email', existing_type=sa.String(length=255), type_=sa.String())",
    )
    project.revision(
        "d98dd8ec85a3",
        "op.execute('ALTER TABLE \"user\" ADD COLUMN new_id uuid')\n"
        "op.execute('UPDATE \"user\" SET new_id = md5(id::text)::uuid')\n"
        "op.alter_column('user', 'new_id', nullable=False)",
        "op.drop_column('user', 'new_id')",
    )
    project.revision(
        "1a31ce608336",
        "op.drop_constraint('item_owner_id_fkey', 'item', type_='foreignkey')\n"
        "op.create_foreign_key('item_owner', 'item', 'user', ['owner_id'], ['id'], ondelete='CASCADE')",
        "op.drop_constraint('item_owner', 'item', type_='foreignkey')\n"
        "op.create_foreign_key('item_owner_id_fkey', 'item', 'user', ['owner_id'], ['id'])",
    )
    return project, "9c0a54914c78"


def asynchronous(folder: Path) -> tuple[Project, str]:
    """A service on asyncpg, whose large tables get their indexes CONCURRENTLY."""
    project = made(folder, "async")
    project.revision(
        "base1",
        "op.create_table('events', sa.Column('id', sa.BigInteger, primary_key=True), sa.Column('kind', sa.Text),\n"
        "                sa.Column('at', sa.DateTime(timezone=True), server_default=sa.func.now()))\n"
        "op.get_bind().exec_driver_sql(\"INSERT INTO events SELECT g, 'k' || g % 3, '2026-01-01' FROM"
        ' generate_series(1, 50) AS g")',
        "op.drop_table('events')",
    )
    project.revision(
        "index1",
        "with op.get_context().autocommit_block():\n"
        "    op.create_index('events_kind', 'events', ['kind'], postgresql_concurrently=True, if_not_exists=True)",
        "with op.get_context().autocommit_block():\n"
        "    op.drop_index('events_kind', table_name='events', postgresql_concurrently=True, if_exists=True)",
    )
    project.revision(
        "fill1",
        "op.add_column('events', sa.Column('weight', sa.Integer))\n"
        "op.get_bind().exec_driver_sql(\"UPDATE events SET weight = id % 7 WHERE kind LIKE 'k%'\")",
        "op.drop_column('events', 'weight')",
    )
    return project, "base1"


def forty(folder: Path) -> tuple[Project, str]:
    """40 revisions, every fourth of which reads rows and writes what it computes of them."""
    project = made(folder)
    project.revision(
        "r00",
        "op.create_table('accounts', sa.Column('id', sa.Integer, primary_key=True), sa.Column('name', sa.Text))\n"
        "op.bulk_insert(sa.table('accounts', sa.column('name', sa.Text)), [{'name': f'n{n}'} for n in range(30)])",
        "op.drop_table('accounts')",
    )
    for number in range(1, 40):
        column = f"c{number:02}"
        up = f"op.add_column('accounts', sa.Column('{column}', sa.Text))"
        if number % 4 == 0:
            up += (
                "\naccounts = sa.table('accounts', sa.column('id'), sa.column('name'), sa.column('" + column + "'))\n"
                "for row in op.get_bind().execute(sa.select(accounts.c.id, accounts.c.name).order_by(accounts.c.id)):\n"
                f"    op.execute(accounts.update().where(accounts.c.id == row.id).values({column}=row.name[::-1]))"
            )
        project.revision(f"r{number:02}", up, f"op.drop_column('accounts', '{column}')")
    return project, "r20"
