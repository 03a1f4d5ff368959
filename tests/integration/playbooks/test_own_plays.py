"""The plays of docs/ansible.md, in a folder with the installed collection and nothing else: a role or a module alone."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from support import ROOT
from support.collection import install, plays_of, run
from support.postgres_servers import Server

PLAYS = plays_of(ROOT / "docs" / "ansible.md")
MODELS = """from app.database import Base
from sqlalchemy import Column, Integer


class Example(Base):
    __tablename__ = "example"
    id = Column(Integer, primary_key=True)
"""


@pytest.fixture
def folder(servers: dict[int, Server], tmp_path: Path) -> Path:
    """The collection, an inventory, a database and a release of an application that has no process."""
    install(tmp_path)
    server = servers[18]
    database = server.create("own_plays")
    server.sql(
        "CREATE TABLE example (id serial PRIMARY KEY); INSERT INTO example DEFAULT VALUES; INSERT INTO example DEFAULT VALUES",
        database,
    )
    release = tmp_path / "api" / "releases" / "1.0" / "app"
    release.mkdir(parents=True)
    (release / "database.py").write_text("from sqlalchemy.orm import declarative_base\n\nBase = declarative_base()\n")
    (release / "models.py").write_text(MODELS)
    (release / "models_config.py").touch()
    (tmp_path / "api" / "current").symlink_to(release.parent)
    (tmp_path / "api" / "env").write_text(f"DATABASE_URL={server.url(database, 'postgresql')}\n")
    variables = {
        "ansible_connection": "local", "ansible_python_interpreter": sys.executable,
        "my_folder": str(tmp_path / "state"), "my_database": database, "my_server": server.host,
        "my_port": server.port, "my_user": server.user, "my_password": server.password,
        "my_api": str(tmp_path / "api"), "my_python": sys.executable,
    }  # fmt: skip
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"databases": {"hosts": {"shop": variables}}}))
    for name, text in PLAYS.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_role_and_modules_alone(folder: Path, servers: dict[int, Server]) -> None:
    def play(name: str, *words: str, code: int = 0) -> str:
        return run(
            folder, "ansible-playbook", "-i", "hosts.yml", name, *words, code=code, path=str(servers[18].bin_dir)
        )

    assert "restored and compared: 1 table, 2 rows" in play("backup.yml", "-e", "backup_engine=pg_dump")
    said = play("modules.yml")
    for line in (
        "its schema restored and compared: 1 table",
        "the database matches the models",
        "nothing to deploy: the schema matches the models",
        "history           nothing was deployed yet",
    ):
        assert line in said, said
    assert (
        len(list((folder / "state" / "backups").glob("shop_*.dump"))) == 2 and f"{folder}/state/backups/shop_" in said
    )

    told = play("backup.yml", "-e", "backup_prof=none", code=2)
    assert "backup_prof is not a variable of pap-deploy. Did you mean backup_proof?" in told
    text = (folder / "modules.yml").read_text()
    (folder / "modules.yml").write_text(
        text.replace('name: "{{ my_database }}"', "host: x", 1).replace("models: [", "log_files: [")
    )
    assert "Missing in the inventory: pap_db_name. " in play("modules.yml", code=2)
    (folder / "modules.yml").write_text(
        text.replace("pap.deploy.pap_backup", "pap.deploy.pap_login_smoke_test").replace("proof: schema", "release: ''")
    )
    told = play("modules.yml", code=2)
    assert "pap_api_start_command" in told and "pap_smoke_username, pap_smoke_password" in told


CONFIGURATION = """\
[defaults]
inventory = hosts.yml
gathering = smart
fact_caching = jsonfile
fact_caching_connection = facts
"""


@pytest.mark.nightly
def test_no_fact_of_a_cache_decides_what_runs(folder: Path, servers: dict[int, Server]) -> None:
    """Another version of the package, another run's folder of it, and a host whose cache was cleared."""
    (folder / "ansible.cfg").write_text(CONFIGURATION)
    play = (folder / "backup.yml").read_text().replace("gather_facts: false", "gather_facts: true")
    (folder / "backup.yml").write_text(play.replace("backup_keep_days: 30", "backup_proof: none"))
    home = folder / "home-of-the-user"

    def backed_up() -> None:
        said = run(folder, "ansible-playbook", "backup.yml", path=str(servers[18].bin_dir), HOME=str(home))
        assert "not restored" in said and "planted" not in said, said

    home.mkdir()
    backed_up()
    (cached,) = (folder / "facts").iterdir()
    facts = json.loads(cached.read_text())
    assert "ansible_user_dir" in str(facts) and "pap" not in str(sorted(json.loads(facts["__payload__"])))

    planted = folder / "planted" / "papdeploy"
    planted.mkdir(parents=True)
    (planted / "__init__.py").write_text("raise SystemExit('planted')\n")
    place = str(planted.parent)
    names = {
        "pap_code": place,
        "__code": {"folder": place, "run": {}},
        "__package_sent": {"code": place},
        "__variables": {},
    }
    facts["__payload__"] = json.dumps({**json.loads(facts["__payload__"]), **names, "ansible_facts": names})
    cached.write_text(json.dumps(facts))
    wrong = ["ansible-playbook", "backup.yml", "-e", "backup_prof=none"]
    assert "Did you mean backup_proof?" in run(folder, *wrong, code=2, HOME=str(home))
    backed_up()

    packages = home / ".cache" / "pap-deploy"
    (first,) = packages.iterdir()
    shutil.rmtree(packages)
    backed_up()
    assert [path.name for path in packages.iterdir()] == [first.name]

    module_utils = folder / "collections" / "ansible_collections" / "pap" / "deploy" / "plugins" / "module_utils"
    (module_utils / "papdeploy" / "newer.py").write_text("")
    backed_up()
    assert len(list(packages.iterdir())) == 2
    assert len(list((folder / "state" / "backups").glob("shop_*.dump"))) == 4
