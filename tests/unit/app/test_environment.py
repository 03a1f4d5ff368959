"""CC_DROP_TABLES wherever an application's own process would find it: settings files, and what its import sets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from papdeploy.environment.settings import CALLS
from papdeploy.environment.settings_values import value_of
from papdeploy.remote.client import Agent
from papdeploy.sites.host import HostSite

SET = "CC_DROP_TABLES=true\n"
LOAD = "from pathlib import Path\nimport os\n"
# By name: the files of a release, what else is in the environment, and where the value is said to be (none: nowhere).
FILES: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "in the working directory": (
        {"current/.env": "# x\nexport CC_DROP_TABLES = 'true' # y\n"},
        {},
        "current/.env, line 2",
    ),
    "above it": ({".env": SET}, {}, ".env, line 1"),
    "beside the main module": ({"current/app/.env": SET}, {}, "current/app/.env, line 1"),
    "in another case": ({"current/.env": "cc_drop_tables: yes"}, {}, "current/.env, line 1"),
    "with a byte order mark": ({"current/.env": "\ufeffCC_DROP_TABLES=1"}, {}, "current/.env, line 1"),
    "of this environment": ({"current/.env.production": SET}, {}, "current/.env.production, line 1"),
    "of the stage that a variable names": ({"current/.env.dev": SET}, {"APP_STAGE": "dev"}, "current/.env.dev, line 1"),
    "named by the settings class": (
        {"current/app/settings.py": "Config = dict(env_file='conf/pap.env')\n", "current/conf/pap.env": SET},
        {},
        "current/conf/pap.env, line 1",
    ),
    "named by a variable": (
        {"elsewhere/x.env": SET},
        {"ENV_FILE": "{base}/elsewhere/x.env"},
        "elsewhere/x.env, line 1",
    ),
    "named by the command": ({"current/prod.env": SET}, {}, "current/prod.env, line 1"),
    "beside the folder of the releases": ({"api/.env": SET}, {}, "api/.env, line 1"),
    "the last line wins": ({"current/.env": SET + "CC_DROP_TABLES=false\n"}, {}, "current/.env, line 2"),
    "an example": ({"current/.env.example": SET, "current/app/x.py": "# see .env.example\n"}, {}, ""),
    "another stage": ({"current/.env.development": SET, "current/app/x.py": "'.env.development'\n"}, {}, ""),
    "of the tests": ({"current/tests/.env": SET, "current/tests/test_x.py": ""}, {}, ""),
    "another variable": (
        {"current/.env": "MY_CC_DROP_TABLES=true\nCC_DROP_TABLES_NOT=true\n#CC_DROP_TABLES=1\n"},
        {},
        "",
    ),
    "a binary file": ({"current/.env": "\x00\x01"}, {}, ""),
}


def release(folder: Path, files: dict[str, str]) -> Path:
    given = {"current/app/__init__.py": "", "current/app/models.py": "import os\n", **files}
    for name, text in given.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "current"


def request(folder: Path) -> dict[str, Any]:
    return {
        "variable": "CC_DROP_TABLES",
        "models": ["app.models:Base"],
        "environment": "production",
        "words": ["uvicorn", "app.main:app", "--env-file=prod.env"],
        "folders": [str(folder.parent / "api")],
    }


def imported(folder: Path) -> dict[str, Any]:
    with Agent(HostSite(), sys.executable, cwd=str(folder)) as app_session:
        return app_session.call("environment.imported", request(folder))


@pytest.mark.parametrize("case", FILES)
def test_a_settings_file_is_found_whoever_loads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    files, environment, where = FILES[case]
    (tmp_path / "api").mkdir()
    folder = release(tmp_path, files)
    monkeypatch.chdir(folder)
    for name, value in environment.items():
        monkeypatch.setenv(name, value.replace("{base}", str(tmp_path)))
    found = CALLS["environment.files"](request(folder), print)["found"]
    assert [item["source"] for item in found] == ([f"{tmp_path}/{where}"] if where else [])
    if where:
        assert found[0]["value"] in {"false"} if "wins" in case else {"true", "yes", "1"}


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("import os\nos.environ['CC_DROP_TABLES'] = 'yes'\n", "by {folder}/app/models.py, line 2 when it is imported"),
        ("import os\nos.environ.setdefault('cc_drop_tables', '1')\n", "by {folder}/app/models.py, line 2"),
        (
            "open('app/settings.yaml').read()\n",
            "{folder}/app/settings.yaml, line 2, which its import reads",
        ),
        ("import app.models_config\n", "by {folder}/app/models_config.py, line 1"),
        ("import os\nos.environ['OTHER'] = 'true'\n", ""),
    ],
)
def test_what_the_import_sets_or_reads_is_seen(tmp_path: Path, source: str, where: str) -> None:
    files = {
        "current/app/models.py": source,
        "current/app/settings.yaml": "a: b\nCC_DROP_TABLES: true\n",
        "current/app/models_config.py": "import os; os.putenv('X', '1'); os.environ['CC_DROP_TABLES'] = 'true'\n",
    }
    folder = release(tmp_path, files)
    answer = imported(folder)
    assert answer["problem"] == ""
    assert len(answer["found"]) == bool(where)
    if where:
        assert where.format(folder=folder) in answer["found"][0]["source"]


def test_models_that_do_not_import_are_said_and_what_they_did_before_is_seen(tmp_path: Path) -> None:
    folder = release(
        tmp_path, {"current/app/models.py": "import os\nos.environ['CC_DROP_TABLES'] = '1'\nraise OSError\n"}
    )
    answer = imported(folder)
    assert answer["problem"] == "OSError in app.models:Base" and len(answer["found"]) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [(" true", "true"), ("'a # b' # c", "a # b"), ('"true",', "true"), ("true,", "true"), ("x#y", "x#y"), ("# no", "")],
)
def test_values_are_read_as_dotenv_reads_them(text: str, value: str) -> None:
    assert value_of(text) == value
