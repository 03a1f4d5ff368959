"""Every command line of the pages is run: here, by the test that is named for it, or it is said why it cannot be."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from papdeploy.releases.journal import State
from papdeploy.releases.run import Run
from support import ROOT
from support.alembic_trees import made
from support.doc_commands import command_lines
from support.journals import entries
from support.postgres_servers import Server
from support.sandbox_stack import reachable_folder

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "docs" / "ci" / "README.md"]

KILLED = "tests/scenarios/test_killed.py::test_a_deploy_after_a_killed_one_recovers_and_can_be_taken_back"
WATCHED = "tests/integration/playbooks/test_watch_deploy.py::test_receipt_watch_alarm_and_rollback"
FLEET = "tests/integration/playbooks/test_fleet_waves.py::test_canary_waves_and_the_stop"
REMOTE = "tests/scenarios/test_docker_remote.py::test_a_stack_behind_ssh_is_deployed_and_taken_back"
NIGHTS = "tests/scenarios/test_retention_playbooks.py::test_nights_without_proof_lose_nothing_and_say_all"
COLLECTION = "tests/contracts/test_collection.py::test_a_playbook_runs_from_it"
COMPOSED = "tests/integration/app/test_docker_compose.py::test_two_names_are_enough"
REPAIRED = "tests/integration/schema/test_command.py::test_a_repair_script_is_written_and_applied_with_psql"
SCENARIO = "tests/scenarios/test_molecule.py::test_scenario"
ELSEWHERE = {
    "ansible-playbook backup.yml -l staging --check": NIGHTS,
    "ansible-playbook deploy.yml -l staging": WATCHED,
    "ansible-playbook status.yml -l staging": WATCHED,
    "ansible-playbook watch.yml -l staging": WATCHED,
    "ansible-playbook watch.yml -l staging -e 'watch_acknowledge=\"an old client, switched off\"'": WATCHED,
    "ansible-playbook history.yml -l staging": WATCHED,
    "ansible-playbook deploy.yml -l production": WATCHED,
    "ansible-playbook rollback.yml -l staging": KILLED,
    "ansible-playbook rollback.yml -l staging -e rollback_drop_failed=true": KILLED,
    "ansible-playbook rollback.yml -l staging -e rollback_accept_data_loss=true": f"{SCENARIO}[docker-rollback]",
    "ansible-playbook deploy.yml -l staging -e 'receipt_override=\"incident 4711, decided by Jo Doe\"'":
        "tests/integration/playbooks/test_report_roles.py::test_from_stagings_receipt_to_production_over_a_git_repository",
    "ansible-playbook rehearse.yml -l staging": f"{SCENARIO}[rehearse-fails]",
    "make deploy RELEASE=broken-migration": f"{SCENARIO}[rehearse-fails]",
    "make deploy RELEASE=broken-model": f"{SCENARIO}[rehearse-fails]",
    "make deploy RELEASE=broken-login": f"{SCENARIO}[rehearse-fails]",
    "make deploy RELEASE=broken-boot": f"{SCENARIO}[rehearse-fails]",
    "make deploy RELEASE=broken-data": f"{SCENARIO}[rehearse-fails]",
    "make deploy RELEASE=broken-login ARGS='-e pap_rehearse=false'": f"{SCENARIO}[rollback]",
    "ansible-playbook deploy.yml -l production -e '{\"pap_serial\": [1, \"10%\", \"100%\"]}' --forks 10": FLEET,
    "ansible-playbook -i inventory/mine playbooks/prepare_docker_hosts.yml": REMOTE,
    "ansible-playbook -i inventory/mine playbooks/prepare_docker_hosts.yml -e docker_sdk_method=venv": REMOTE,
    "ansible-playbook -i inventory/mine deploy.yml -l staging": REMOTE,
    "ansible-playbook -i inventory/mine rollback.yml -l staging": REMOTE,
    "ansible-playbook -i inventory/mine deploy.yml -l staging --check": f"{SCENARIO}[docker-drop-tables]",
    "ansible-playbook -i docker/hosts.yml deploy.yml --check": f"{SCENARIO}[docker-drop-tables]",
    "ansible-playbook -i docker/hosts.yml deploy.yml": f"{SCENARIO}[docker-deploy]",
    "ansible-playbook -i docker/hosts.yml rollback.yml": REMOTE,
    "docker compose -f docker/compose.yml up -d": COMPOSED,
    "docker compose -f docker/compose.yml down -v": COMPOSED,
    "python tests/docker/pap_images.py": COMPOSED,
    "make collection": COLLECTION,
    "ansible-galaxy collection install .artifacts/pap-deploy-0.1.0.tar.gz": COLLECTION,
    "ansible-playbook -i inventory/mine pap.deploy.deploy -l staging": COLLECTION,
    "ansible-doc pap.deploy.pap_migrate": "tests/contracts/test_collection.py::test_modules_and_roles_document_themselves",
    "python tools/generate_reference.py": "tests/contracts/test_reference.py::test_the_reference_is_current",
    "python docs/ci/pull_request.py --base origin/main --database-url postgresql://postgres:postgres@localhost/ci"
    " --models app.models:Base": "tests/integration/playbooks/test_ci_pull_request.py::test_models_that_do_not_match",
    "python check_db_schema.py --models app.models:Base --format sql --output repair.sql": REPAIRED,
    'psql "$DATABASE_URL" -v ON_ERROR_STOP=1 -f repair.sql': REPAIRED,
    "python check_db_schema.py --models app.models:Base --format sql --rename users.fullname=users.full_name":
        "tests/integration/schema/test_command.py::test_a_rename_that_is_told_keeps_the_rows",
    "python docs/ci/comment.py github plan.md": "tests/contracts/test_ci_examples.py::test_the_plan_becomes_one_comment",
}  # fmt: skip
NOT_HERE = {
    "ansible-playbook status.yml -l staging -e status_acknowledge=ID": "needs a live database that a plan changed; test_isolation.py makes one and calls what the playbook calls",
    "ansible-playbook status.yml -l production": "status.yml -l staging on a fleet's inventory: the same play for more hosts",
    "ansible-playbook watch.yml -l production": "watch.yml -l staging on a fleet's inventory: the same play for more hosts",
    "make test": "it is what runs these tests",
    "make bench": "measures for most of an hour",
    "python benchmarks/repairs.py": "measures for minutes; tests/integration/schema/test_repairs_close.py takes some of its pairs",
    "python benchmarks/deploy.py": "measures for minutes; the deploys in it are those of the scenarios",
    "ansible-builder build --tag pap-deploy-ee --file execution-environment.yml": "its base image and Galaxy are remote; tests/contracts/test_execution_environment.py makes the recipe",
    "python3 -m venv .venv && . .venv/bin/activate": "the tests run in the environment that it makes",
    "pip install -r requirements.txt": "the tests run in the environment that it fills",
    ".ci/docker-engine": "installs an engine on this machine; the tests with Docker run on what it started",
    "sudo install -d -m 1775 -g deploy /var/lib/prometheus/node-exporter": "prepares a folder of this machine; the tests write to one of their own",
    "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http": "the tests run in the environment that has them",
    "export OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318": "the environment of the command after it; test_traces.py has a collector of its own",
    "apt-get install -y debootstrap": "installs a package of the distribution on this machine",
    "export DATABASE_URL=postgresql://…": "the environment of the commands after it, which the tests set",
    "export DATABASE_URL=postgresql://app:…@db/app": "the environment of the commands after it, which the tests set",
    "export PGHOST=127.0.0.1 PGPORT=5432 PGUSER=postgres": "the environment of the marked blocks after it",
    "export LIVE=control_core_db": "the environment of the marked blocks after it",
    "export PYTHONPATH=/path/to/pap-deploy/module_utils": "the environment of the marked blocks after it",
    "export DUMP=/var/lib/pap-deploy/STACK/backups/….dump": "the environment of the marked blocks after it",
}


def documented() -> set[str]:
    """Every command line of the pages; a stack's name is that of an environment as far as Ansible is concerned."""
    lines = {line for page in PAGES for line in command_lines(page.read_text())}
    return {line.replace("-l STACK", "-l staging") for line in lines}


def run_here() -> set[str]:
    """What the tests below type, as it stands there."""
    calls = [node for node in ast.walk(ast.parse(Path(__file__).read_text())) if isinstance(node, ast.Call)]
    typed = [call.args[0] for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "types"]
    return {word.value for word in typed if isinstance(word, ast.Constant) and isinstance(word.value, str)}


def test_every_command_is_run_or_it_is_said_why_not() -> None:
    places = [run_here(), set(ELSEWHERE), set(NOT_HERE)]
    listed = set().union(*places)
    assert documented() - listed == set(), "commands of the pages that nothing runs"
    assert listed - documented() == set(), "commands that no page names any more"
    assert sum(map(len, places)) == len(listed), "a command in two places"


def telling(command: str) -> set[str]:
    """The words of a command that a test which runs it must contain: playbooks, programs, variables, releases."""
    if command.startswith("make "):
        recipe = subprocess.run(
            ["make", "-n", "-o", ".venv/.deploy", *shlex.split(command)[1:]],
            cwd=ROOT, env={**os.environ, "ARGS": ""}, check=True, capture_output=True, text=True,
        )  # fmt: skip
        command = recipe.stdout.strip().splitlines()[-1]
    words = shlex.split(command)
    found = {Path(word).name for word in words if word.endswith(".yml")} - {"hosts.yml"}
    found |= {Path(word).stem for word in words if word.endswith(".py")}
    if words[0] == "ansible-playbook":
        found |= {word for word in words if word == "--check" or word.startswith("pap.deploy.")}
    for variable, value in re.findall(r"-e '?\"?(\w+)=([\w-]*)", command):
        found |= {variable, value} - {"", "true", "false"}
    return found


def source_of(test: str) -> str:
    """The file of the test, which must have it; of a scenario of molecule, its folder too."""
    file, _, name = test.partition("::")
    name, _, case = name.partition("[")
    text = (ROOT / file).read_text()
    assert f"\ndef {name}(" in text, f"{test} does not exist"
    if case:
        folder = ROOT / "molecule" / case.rstrip("]")
        assert folder.is_dir(), f"{test} does not exist"
        text += "".join(path.read_text() for path in folder.rglob("*.yml"))
    return text


@pytest.mark.parametrize("command", ELSEWHERE)
def test_the_named_test_runs_it(command: str) -> None:
    text = source_of(ELSEWHERE[command])
    assert {word for word in telling(command) if word not in text} == set()


class Terminal:
    """A shell in a folder, with the programs of this environment."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "NO_COLOR": "1", **environment}

    def types(self, line: str, put: dict[str, str] | None = None, more: str = "", code: int = 0) -> str:
        """What the command says. ``put`` fills in what a reader would; ``more`` only makes it quicker."""
        for gap, filling in (put or {}).items():
            assert gap in line
            line = line.replace(gap, filling)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{line} {more}"],
            cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == code, f"{line}\n{said}"
        return said


FIRST = '''"""Examples.\n\nDate: 2026-01-01\n"""


def upgrade(db):
    db.execute("CREATE TABLE {name} (id serial PRIMARY KEY)")


def downgrade(db):
    db.execute("DROP TABLE {name}")
'''
MODELS = """from app.database import Base
from sqlalchemy import Column, Integer, Text


class Example(Base):
    __tablename__ = "example"
    id = Column(Integer, primary_key=True)
    note = Column(Text)
"""


def test_by_hand_on_a_database(servers: dict[int, Server], tmp_path: Path) -> None:
    """The commands of the migrations and of the schema check, as in an app's checkout."""
    server = servers[18]
    database = server.create("by_hand")
    (tmp_path / "migrations").mkdir()
    shutil.copy(ROOT / "migrations" / "migration_template.py", tmp_path / "migrations")
    (tmp_path / "migrations" / "2026_01_01_begin.py").write_text(FIRST.format(name="example"))
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "database.py").write_text(
        "from sqlalchemy.orm import declarative_base\n\nBase = declarative_base()\n"
    )
    (tmp_path / "app" / "models.py").write_text(MODELS.replace("    note = Column(Text)\n", ""))
    (tmp_path / "app" / "models_config.py").touch()
    (tmp_path / "check_db_schema.py").symlink_to(ROOT / "check_db_schema.py")
    url = server.url(database, "postgresql")
    shell = Terminal(tmp_path, DATABASE_URL=url, PYTHONPATH=str(ROOT / "module_utils"))

    assert "0 applied, 1 pending" in shell.types("python -m papdeploy status")
    assert "CREATE TABLE example" in shell.types("python -m papdeploy plan")
    said = shell.types("python -m papdeploy migrate [--models app.models:Base]", {"[": "", "]": ""})
    assert "1 applied" in said and "The schema matches the models." in said

    shell.types("cp migrations/migration_template.py migrations/2026_01_31_add_api_key.py")
    (tmp_path / "app" / "models.py").write_text(MODELS)
    assert "example.note" in shell.types("python -m papdeploy check --models app.models:Base", code=1)
    shell.types("python -m papdeploy lint --offline --format github migrations/2026_01_31_add_api_key.py")
    assert "1 applied" in shell.types("python migrations/2026_01_31_add_api_key.py")
    shell.types("python check_db_schema.py --models app.models:Base")
    shell.types("python check_db_schema.py --models app.models --models app.models_config --models app.database:Base")
    said = shell.types("python -m papdeploy revert --last 1 | --since-release ID | NAME…",
                       {" | --since-release ID | NAME…": ""})  # fmt: skip
    assert "1 reverted" in said and server.sql("SELECT * FROM example", database) == []

    (tmp_path / "migrations" / "2026_01_31_add_api_key.py").unlink()
    shell.types("cp migrations/migration_template.py migrations/2026_03_01_add_api_keys.py")
    shell.types("python -m papdeploy lint")
    copy = f"{database}_copy"
    server.sql(f"CREATE DATABASE {copy} TEMPLATE {database}")
    try:
        said = shell.types("python -m papdeploy plan --scratch-url URL", {"URL": server.url(copy, "postgresql")})
        assert "ALTER TABLE example ADD COLUMN note text" in said
    finally:
        server.drop(copy)
    (tmp_path / "migrations" / "2026_03_01_add_api_keys.py").unlink()

    (empty,) = shell.types("python -m papdeploy new add_api_key").split()
    assert "write the change" in (tmp_path / empty).read_text()
    (tmp_path / empty).unlink()
    (plain,) = shell.types("python -m papdeploy new add_index --sql").split()
    assert plain.endswith("_add_index.sql") and "-- migrate: down" in (tmp_path / plain).read_text()
    (tmp_path / plain).unlink()
    for said in (
        shell.types("python -m papdeploy new NAME --from-models app.models:Base", {"NAME": "notes"}),
        shell.types("python -m papdeploy new follow_models --from-models app.models:Base"),
    ):
        (draft,) = said.split()
        assert "ADD COLUMN note text" in (tmp_path / draft).read_text()
        (tmp_path / draft).unlink()

    (tmp_path / "migrations" / "2026_02_01_by_hand.py").write_text(FIRST.format(name="by_hand"))
    server.sql("CREATE TABLE by_hand (id serial PRIMARY KEY)", database)
    assert "2026_02_01_by_hand" in shell.types("python -m papdeploy baseline --dry-run")
    assert "1 marked as applied: 2026_02_01_by_hand" in shell.types("python -m papdeploy baseline")
    server.drop(database)


REVISION = """\"\"\"Begin.\"\"\"

from alembic import op
import sqlalchemy as sa

revision = "begin"
down_revision = None


def upgrade():
    op.create_table("example", sa.Column("id", sa.Integer, primary_key=True))


def downgrade():
    op.drop_table("example")
"""


def test_by_hand_on_an_alembic_tree(servers: dict[int, Server], tmp_path: Path) -> None:
    """The commands of the page on Alembic, as in an app's checkout."""
    server = servers[18]
    database = server.create("by_hand")
    tree = made(tmp_path / "checkout")
    (tree.versions / "begin.py").write_text(REVISION)
    (tree.folder / "app").mkdir()
    (tree.folder / "app" / "database.py").write_text(
        "from sqlalchemy.orm import declarative_base\n\nBase = declarative_base()\n"
    )
    (tree.folder / "app" / "models.py").write_text(MODELS)
    paths = f"{ROOT / 'module_utils'}:{tree.folder}"
    shell = Terminal(tree.folder, DATABASE_URL=server.url(database, "postgresql"), PYTHONPATH=paths)

    assert "0 applied, 1 pending" in shell.types("python -m papdeploy status --alembic alembic.ini")
    assert "CREATE TABLE example" in shell.types("python -m papdeploy plan --alembic alembic.ini")
    shell.types("python -m papdeploy lint --alembic alembic.ini")
    assert "1 applied" in shell.types("python -m papdeploy migrate --alembic alembic.ini")
    (path,) = shell.types(
        "python -m papdeploy new follow_models --from-models app.models:Base --alembic alembic.ini"
    ).split()
    assert "ADD COLUMN note text" in Path(path).read_text()
    assert "1 applied" in shell.types("python -m papdeploy migrate --alembic alembic.ini")
    assert "1 reverted" in shell.types("python -m papdeploy revert --last 1 --alembic alembic.ini")
    server.drop(database)


def test_a_module_in_the_terminal() -> None:
    assert "> MODULE pap_backup" in Terminal(ROOT).types("ansible-doc -t module -M library pap_backup")


@pytest.fixture
def sandbox() -> Iterator[Path]:
    with reachable_folder() as home:
        yield home
        subprocess.run([sys.executable, "-m", "sandbox", "down"], cwd=ROOT, check=True, timeout=120,
                       env={**os.environ, "PAP_SANDBOX_HOME": str(home)}, stdout=subprocess.DEVNULL)  # fmt: skip


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_on_the_sandbox(sandbox: Path, servers: dict[int, Server]) -> None:
    """From the plan to the first deploy, its backups and the rollback options, on one stack."""
    quick = f"-e report_folder={sandbox}/reports -e watch_first_s=1 -e watch_hours=0.1 -e pap_rehearse=false"
    shell = Terminal(ROOT, PAP_SANDBOX_HOME=str(sandbox), ARGS=quick)
    make = "-o .venv/.deploy VENV=" + sys.prefix
    state = State(sandbox / "staging" / "pap-deploy")

    said = shell.types("ansible-playbook deploy.yml -l staging --check --diff", more=quick)
    assert "ADD COLUMN" in said and state.releases() == []
    assert "finished          pap-staging (staging) runs current" in shell.types("make deploy", more=make)
    assert "current" in shell.types("make sandbox-status", more=make)
    assert "the database matches the models" in shell.types("ansible-playbook check.yml -l staging")
    said = shell.types("make deploy RELEASE=alembic", more=make)
    assert "2 migrations applied" in said and "runs alembic" in said

    shell.types("ansible-playbook backup.yml -l staging")
    dump = max((sandbox / "staging" / "pap-deploy" / "backups").glob("*_manual-*.dump"))
    said = shell.types("ansible-playbook backup.yml -l staging -e backup_verify=/path/to/file.dump",
                       {"/path/to/file.dump": str(dump)})  # fmt: skip
    assert f"{dump.name}: sound, restored" in said
    restored_by_hand(servers[18], dump)

    assert "live database, before and after: the same schema" in shell.types(
        "ansible-playbook rollback.yml -l staging --check"
    )
    # Nothing has proven that the old release works on the new schema.
    said = shell.types("ansible-playbook rollback.yml -l staging -e rollback_strategy=image", code=2)
    assert "the strategy 'image' is impossible from here" in said
    shell.types("ansible-playbook rollback.yml -l staging -e rollback_drop_failed=true --check")

    # A deploy that hangs elsewhere, between its first line in the journal and the next.
    who = Run(user="jane", host="another-host", pid=1)
    runs = entries(state.releases()[-1])[0]["to"]
    hangs = state.begin(who, stack="pap-staging", environment="staging", **{"from": runs, "to": runs})
    said = shell.types("ansible-playbook rollback.yml -l staging -e rollback_take_over=true", more=quick)
    end = hangs.ended()
    assert end is not None and end.event in ("rolled_back", "refused"), said
    assert state.lock.holder() is None

    shell.types("make sandbox-reset", more=make)
    assert state.releases() == []


def restored_by_hand(server: Server, dump: Path) -> None:
    """Nothing but the files, on another server."""
    shell = Terminal(
        dump.parent, PGHOST=server.host, PGPORT=str(server.port), PGUSER=server.user, PGPASSWORD=server.password,
    )  # fmt: skip
    shell.environment["PYTHONPATH"] = str(ROOT / "module_utils")
    shell.environment["PATH"] = f"{server.bin_dir}:{shell.environment['PATH']}"
    before = {name for (name,) in server.sql("SELECT rolname FROM pg_roles")}
    put = {"FILE.dump": str(dump)}
    said = shell.types("python -m papdeploy restore FILE.dump --into DATABASE", {**put, "DATABASE": "control_core_db"})
    assert "compared with the backup" in said
    try:
        assert server.sql("SELECT count(*) FROM users", "control_core_db")[0][0] > 0
    finally:
        server.drop("control_core_db")
        for (name,) in server.sql("SELECT rolname FROM pg_roles"):
            if name not in before:
                server.sql(f'DROP ROLE "{name}"')
