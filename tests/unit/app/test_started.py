"""CC_DROP_TABLES as the application's own program finds it, however it is started and wherever the value comes from."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from papdeploy.phases.guards import drop_tables_values
from papdeploy.remote.client import Agent
from papdeploy.sites.host import HostSite

UVICORN = ["{bin}/uvicorn", "app.main:app", "--port", "0"]
ASGI = "async def app(scope, receive, send): ...\n"
PYDANTIC = (
    "from pydantic import AliasChoices, BaseModel, Field\n"
    "from pydantic_settings import BaseSettings, SettingsConfigDict\n"
    "class Inner(BaseModel):\n    drop_tables: bool = False\n"
)


@dataclass(frozen=True)
class Shape:
    """An application: its files, how it is started, its environment; ``where`` is in the place that is named (none: it
    is off), ``unsure`` in what is only noted; ``needs`` are packages."""

    files: dict[str, str]
    where: str = ""
    command: list[str] = field(default_factory=lambda: list(UVICORN))
    environment: dict[str, str] = field(default_factory=dict)
    unsure: str = ""
    needs: tuple[str, ...] = ()
    problem: str = ""
    control: list[str] = field(default_factory=list)
    link: str = ""  # which will mean the folder of the release once it runs


def main(source: str, **more: str) -> dict[str, str]:
    return {"app/main.py": source + ASGI, **{name.replace("__", "/"): text for name, text in more.items()}}


def settings(body: str, config: str = "", made: str = "settings = Settings()\n") -> dict[str, str]:
    model = f"    model_config = SettingsConfigDict({config})\n" if config else ""
    return main("import app.settings\n") | {
        "app/settings.py": f"{PYDANTIC}class Settings(BaseSettings):\n{model}{body}\n{made}"
    }


NEEDS = ("pydantic_settings",)
FIELD = "    cc_drop_tables: bool = False"
SHAPES: dict[str, Shape] = {
    # The main module, and what only it imports.
    "set by the main module": Shape(
        main("import os\nos.environ['CC_DROP_TABLES'] = 'true'\n"), "set by {folder}/app/main.py, line 2"
    ),
    "a default in the environment": Shape(
        main("from app import boot\n") | {"app/boot.py": "import os\nos.environ.setdefault('CC_DROP_TABLES', 'yes')\n"},
        "set by {folder}/app/boot.py, line 2",
    ),
    "a default of getenv": Shape(
        main("import os\ndef start():\n    return os.getenv('CC_DROP_TABLES', 'true')\n"),
        "the default in {folder}/app/main.py, line 3",
    ),
    "a default of getenv that the environment overrules": Shape(
        main("import os\ndef start():\n    return os.getenv('CC_DROP_TABLES', 'true')\n"),
        environment={"CC_DROP_TABLES": "false"},
    ),
    "a constant of another name": Shape(
        main("import os\nRESET = os.environ.get('CC_DROP_TABLES', 'on') == 'on'\n"), "app.main.RESET"
    ),
    "started by uvicorn as a module": Shape(
        main("import os\nos.environ['CC_DROP_TABLES'] = '1'\n"), "app/main.py", ["python", "-m", "uvicorn", "app.main:app"]
    ),
    "an application factory": Shape(
        {"app/main.py": "import os\ndef make():\n    os.environ['CC_DROP_TABLES'] = '1'\n    return print\n"},
        "{folder}/app/main.py, line 3",
        ["uvicorn", "app.main:make", "--factory"],
    ),
    "another folder of the application": Shape(
        {"src/web.py": "import os\nos.environ['CC_DROP_TABLES'] = '1'\n" + ASGI},
        "{folder}/src/web.py",
        ["uvicorn", "--app-dir", "src", "web:app"],
    ),
    "python -m app": Shape(
        {"app/__main__.py": "import uvicorn\nif __name__ == '__main__':\n    uvicorn.run('app.web:app', port=0)\n",
         "app/web.py": "import os\nos.environ['CC_DROP_TABLES'] = '1'\n" + ASGI},
        "{folder}/app/web.py", ["python3", "-u", "-m", "app"],
    ),
    "a script whose main block sets it": Shape(
        {"run.py": "import os, uvicorn\nif __name__ == '__main__':\n    os.environ['CC_DROP_TABLES'] = 'true'\n"
         "    uvicorn.run('app.models:app', workers=4)\n"},
        "{folder}/run.py, line 3", ["python", "run.py"],
    ),
    "a script with settings of its own": Shape(
        {"run.py": "import uvicorn\nCC_DROP_TABLES = True\nuvicorn.run('app.models:app')\n"},
        "__main__.CC_DROP_TABLES", ["python", "run.py"],
    ),
    "a server of its own": Shape(
        {"run.py": "import os, http.server\nos.environ['CC_DROP_TABLES'] = '1'\n"
         "http.server.HTTPServer(('127.0.0.1', 0), None).serve_forever()\n"},
        "{folder}/run.py, line 2", ["python", "run.py"],
    ),
    "gunicorn, by its configuration": Shape(
        main("") | {"gunicorn.conf.py": "raw_env = ['CC_DROP_TABLES=true']\nbind = '127.0.0.1:0'\n"},
        "the environment of its program", ["gunicorn", "app.main:app"], needs=("gunicorn",),
    ),
    "gunicorn, started in the link of the release that runs": Shape(
        main("") | {"gunicorn.conf.py": "raw_env = ['CC_DROP_TABLES=true']\nbind = '127.0.0.1:0'\n",
                    "bin/start.sh": "cd /srv/none/current\nexec gunicorn app.main:app\n"},
        "the environment of its program", [], control=["sh", "/srv/none/current/bin/start.sh"], link="/srv/none/current",
        needs=("gunicorn",),
    ),
    "gunicorn, by its arguments": Shape(
        main(""), "the environment of its program", ["gunicorn", "-e", "CC_DROP_TABLES=1", "--preload", "app.main:app"],
        needs=("gunicorn",),
    ),
    "hypercorn": Shape(
        main("import os\nos.environ['CC_DROP_TABLES'] = '1'\n"), "app/main.py", ["hypercorn", "app.main:app"],
        needs=("hypercorn",),
    ),
    # Settings.
    "pydantic: a prefix": Shape(
        settings("    drop_tables: bool = False", "env_prefix='CC_'"), "app.settings.settings.drop_tables",
        environment={"cc_drop_tables": "1"}, needs=NEEDS,
    ),
    "pydantic: another prefix": Shape(
        settings(FIELD, "env_prefix='APP_'"), "settings.cc_drop_tables (from the variable APP_CC_DROP_TABLES)",
        environment={"APP_CC_DROP_TABLES": "true"}, needs=NEEDS,
    ),
    "pydantic: nested": Shape(
        settings("    cc: Inner = Inner()", "env_nested_delimiter='__'"),
        "settings.cc.drop_tables", environment={"CC__DROP_TABLES": "true"}, needs=NEEDS,
    ),
    "pydantic: an alias": Shape(
        settings("    reset: bool = Field(False, validation_alias=AliasChoices('X', 'CC_DROP_TABLES'))"),
        "", environment={"X": "0", "CC_DROP_TABLES": "0"}, needs=NEEDS,
    ),
    "pydantic: an alias that is on": Shape(
        settings("    reset: bool = Field(False, validation_alias=AliasChoices('X', 'CC_DROP_TABLES'))"),
        "settings.reset", environment={"X": "1"}, needs=NEEDS,
    ),
    "pydantic: a file in another folder": Shape(
        settings(FIELD, "env_file='conf/production'") | {"conf/production": "CC_DROP_TABLES=true\n"},
        "conf/production, line 1", needs=NEEDS,
    ),
    "pydantic: a folder of secrets": Shape(
        settings(FIELD, "secrets_dir='secrets'") | {"secrets/cc_drop_tables": "true\n"},
        "secrets/cc_drop_tables", needs=NEEDS,
    ),
    "pydantic: made by a getter": Shape(
        settings("    cc_drop_tables: bool = True", made="import functools\n@functools.lru_cache\ndef get_settings():\n"
                 "    return Settings()\n"),
        "app.settings.get_settings().cc_drop_tables", needs=NEEDS,
    ),
    "pydantic: made nowhere yet": Shape(
        settings("    cc_drop_tables: bool = True", made=""), "app.settings.Settings().cc_drop_tables", needs=NEEDS
    ),
    "pydantic: the class of another stage": Shape(
        settings(FIELD, made="class Dev(Settings):\n    cc_drop_tables: bool = True\nsettings = Settings()\n"), needs=NEEDS
    ),
    "a plain class": Shape(
        main("class Config:\n    DROP_TABLES = False\nclass Dev(Config):\n    DROP_TABLES = True\nconfig = Dev()\n"),
        "app.main.config.DROP_TABLES",
    ),
    "a class by another name": Shape(
        main("class A:\n    CC_DROP_TABLES = False\nclass B(A):\n    CC_DROP_TABLES = True\nConfig = B\n"),
        "app.main.Config.CC_DROP_TABLES",
    ),
    "the class that is not used": Shape(
        main("class A:\n    CC_DROP_TABLES = False\nclass B(A):\n    CC_DROP_TABLES = True\nConfig = A\n")
    ),
    "TOML": Shape(
        main("import tomllib\nCONF = tomllib.load(open('conf.toml', 'rb'))\n")
        | {"conf.toml": "# cc\n[cc]\nname = 'x'\ndrop_tables = true # for now\n"},
        "conf.toml, line 4", needs=("tomllib",),
    ),
    "TOML for another stage": Shape(
        main("import tomllib\nCONF = tomllib.load(open('conf.toml', 'rb'))['production']\n")
        | {"conf.toml": "[development]\ncc_drop_tables = true\n[production]\ncc_drop_tables = false\n"},
        needs=("tomllib",),
    ),
    "INI": Shape(
        main("import configparser\nc = configparser.ConfigParser()\nc.read('app.ini')\n")
        | {"app.ini": "[app]\nCC_DROP_TABLES: on\n"},
        "app.ini, line 2",
    ),
    "YAML that is read later": Shape(
        main("def load():\n    return open('config/app.yaml')\n") | {"config/app.yaml": "cc:\n  drop-tables: yes\n"},
        "config/app.yaml, line 2",
    ),
    "YAML by the name of its stage": Shape(
        main("") | {"config/production.yml": "cc: {drop_tables: true}\n", "config/development.yml": "x: 1\n"},
        "config/production.yml, line 1",
    ),
    "JSON": Shape(
        main("import json\nCONF = json.load(open('c.json'))\n") | {"c.json": '{\n "a": 1,\n "cc": {"dropTables": true}\n}'},
        "c.json, line 3",
    ),
    "dynaconf": Shape(
        main("from dynaconf import Dynaconf\nsettings = Dynaconf(settings_files=['settings.toml'], environments=True,"
             " env='production')\nsettings.get('x')\n")
        | {"settings.toml": "[development]\nCC_DROP_TABLES = false\n[production]\nCC_DROP_TABLES = true\n"},
        "settings.toml, line 4", needs=("dynaconf",),
    ),
    "dynaconf, by a variable": Shape(
        main("from dynaconf import Dynaconf\nsettings = Dynaconf()\nsettings.get('x')\n"),
        "from the variable DYNACONF_CC_DROP_TABLES", environment={"DYNACONF_CC_DROP_TABLES": "true"},
        needs=("dynaconf",),
    ),
    "decouple": Shape(
        main("from decouple import config\nWIPE = config('CC_DROP_TABLES', default=False, cast=bool)\n")
        | {"settings.ini": "[settings]\nCC_DROP_TABLES=on\n"},
        "settings.ini, line 2", needs=("decouple",),
    ),
    "environs": Shape(
        main("from environs import Env\nenv = Env()\nenv.read_env('prod.conf')\nWIPE = env.bool('CC_DROP_TABLES', False)\n")
        | {"prod.conf": "CC_DROP_TABLES=true\n"},
        "prod.conf, line 1", needs=("environs",),
    ),
    # How it is started.
    "a script that exports it": Shape(
        main("") | {"start.sh": "#!/bin/sh\nset -e\nexport CC_DROP_TABLES=true\nexec uvicorn app.main:app \\\n --port 0\n"},
        "start.sh, line 3", ["./start.sh"],
    ),
    "an entry point with a command": Shape(
        main("") | {"entrypoint.sh": "#!/bin/bash\n. ./defaults.sh\nexec \"$@\"\n",
                    "defaults.sh": ": x\nexport CC_DROP_TABLES=${CC_DROP_TABLES:-1}\n"},
        "defaults.sh, line 2", ["tini", "--", "./entrypoint.sh", *UVICORN],
    ),
    "a default that the environment overrules": Shape(
        main("") | {"start.sh": "export CC_DROP_TABLES=${CC_DROP_TABLES:-1}\nexec uvicorn app.main:app\n"},
        command=["sh", "start.sh"], environment={"CC_DROP_TABLES": "no"},
    ),
    "a text for the shell": Shape(
        main(""), "the start command, line 1", ["sh", "-ec", "CC_DROP_TABLES=1 exec uvicorn app.main:app"]
    ),
    "only in development": Shape(
        main("") | {"start.sh": "if [ \"$STAGE\" = dev ]; then\n  export CC_DROP_TABLES=true\nfi\nuvicorn app.main:app\n"},
        command=["bash", "start.sh"], environment={"STAGE": "prod"},
    ),
    "under a condition that only running decides": Shape(
        main("") | {"start.sh": "if [ -f /nowhere/reset ]; then\n  export CC_DROP_TABLES=true\nfi\nuvicorn app.main:app\n"},
        command=["bash", "start.sh"], unsure="start.sh, line 2",
    ),
    "env": Shape(main(""), "the start command", ["/usr/bin/env", "CC_DROP_TABLES=true", "uvicorn", "app.main:app"]),
    "systemd": Shape(
        main("") | {"etc/systemd/system/pap.service": "[Service]\nWorkingDirectory={folder}\nEnvironment=A=1 CC_DROP_TABLES=1\n"
                    "ExecStart=/usr/bin/env uvicorn app.main:app\n"},
        "pap.service, line 3", ["sudo", "systemctl", "restart", "pap"],
    ),
    "systemd: a drop-in with a file": Shape(
        main("") | {"lib/systemd/system/pap@.service": "[Service]\nWorkingDirectory={folder}\nExecStart=uvicorn app.main:app\n",
                    "etc/systemd/system/pap@.service.d/x.conf": "[Service]\nEnvironmentFile=-/etc/%i.env\n",
                    "etc/one.env": "# no\nCC_DROP_TABLES='true'\n"},
        "/etc/one.env, line 2", ["systemctl", "start", "pap@one.service"],
    ),
    "supervisor": Shape(
        main("") | {"s.conf": "[supervisord]\n[program:other]\ncommand=sleep 1\nenvironment=CC_DROP_TABLES=\"0\"\n"
                    "[include]\nfiles=conf.d/*.conf\n",
                    "conf.d/pap.conf": "[program:pap]\ndirectory={folder}\ncommand=uvicorn app.main:app\n"
                    "environment=A=\"%%x\",CC_DROP_TABLES=\"true\"\n"},
        "[program:pap]", ["supervisorctl", "-c", "s.conf", "start", "pap"],
    ),
    "supervisor: another program": Shape(
        main("") | {"s.conf": "[program:pap]\ncommand=uvicorn app.main:app\n"
                    "[program:reset]\ncommand=sleep 1\nenvironment=CC_DROP_TABLES=1\n"},
        command=["supervisorctl", "-c", "s.conf", "restart", "pap"],
    ),
    "Procfile": Shape(
        main("") | {"Procfile": "web: CC_DROP_TABLES=1 uvicorn app.main:app\n"}, "Procfile, line 1", ["honcho", "start"]
    ),
    "a program that has it started": Shape(
        main("") | {"ctl.py": "import os\nos.environ['CC_DROP_TABLES'] = '1'\n"}, control=["python", "ctl.py", "start"]
    ),
    "an entry point with cases and functions": Shape(
        main("")
        | {
            "entrypoint.sh": "#!/bin/sh\nrun_web() {\n  export CC_DROP_TABLES=$1\n  exec uvicorn app.main:app\n}\n"
            'case "$1" in\n  migrate) exec alembic upgrade head ;;\n  web|serve) run_web true ;;\n'
            '  *) export CC_DROP_TABLES=false; exec "$@" ;;\nesac\n'
        },
        "entrypoint.sh, line 3",
        ["./entrypoint.sh", "web"],
    ),
    "the other case of it": Shape(
        main("")
        | {
            "entrypoint.sh": "#!/bin/sh\ncase $1 in\n  reset) export CC_DROP_TABLES=true ;;\nesac\n"
            'exec uvicorn app.main:app\nexport CC_DROP_TABLES=true\n'
        },
        command=["./entrypoint.sh", "web"],
    ),
    "a file that a script exports": Shape(
        main("")
        | {
            "run.sh": "[ -f prod.settings ] && export $(grep -v '^#' prod.settings | xargs)\nuvicorn app.main:app > /dev/null 2>&1\n",
            "prod.settings": "A=1\nCC_DROP_TABLES=true\n",
        },
        "prod.settings, line 2",
        ["sh", "run.sh"],
    ),
    "a folder of files that a script reads": Shape(
        main("")
        | {
            "run.sh": "for file in conf.d/*.sh; do\n  . $file\ndone\nexec uvicorn app.main:app\n",
            "conf.d/a.sh": "export A=1\n",
            "conf.d/b.sh": "export CC_DROP_TABLES=true\n",
        },
        "conf.d/b.sh, line 1",
        ["sh", "run.sh"],
    ),
    "a folder with a file for each variable, in a loop": Shape(
        main("")
        | {
            "bin/run.sh": 'cd "$(dirname "$0")/.."\nfor f in conf/env/*; do\n  export "$(basename "$f")=$(cat "$f")"\ndone\n'
            "exec uvicorn app.main:app\n",
            "conf/env/A": "1\n",
            "conf/env/CC_DROP_TABLES": "true\n",
        },
        "bin/run.sh, line 3",
        ["sh", "bin/run.sh"],
    ),
    "a folder with a file for each variable": Shape(
        main("") | {"conf/env/CC_DROP_TABLES": "true\n", "conf/env/A": "1"},
        "conf/env/CC_DROP_TABLES",
        ["envdir", "conf/env", "uvicorn", "app.main:app"],
    ),
    "the same by runit": Shape(
        main("") | {"env/CC_DROP_TABLES": "true\n"},
        "env/CC_DROP_TABLES",
        ["chpst", "-u", "app", "-e", "./env", "uvicorn", "app.main:app"],
    ),
    "a file of which all is exported": Shape(
        main("")
        | {
            "run.sh": 'here=$(cd "$(dirname "$0")" && pwd)\nset -a\n. "$here/settings"\nset +a\nexec uvicorn app.main:app\n',
            "settings": "A=1\nCC_DROP_TABLES=true\n",
        },
        "settings, line 2",
        ["sh", "{folder}/run.sh"],
    ),
    "variables from elsewhere": Shape(
        main("") | {"run.sh": "export $(curl -s http://vault/env)\nexec uvicorn app.main:app\n"},
        command=["sh", "run.sh"],
        problem="run.sh, line 1 sets variables whose names only running tells",
    ),
    "variables by eval": Shape(
        main("") | {"run.sh": 'eval "$(aws ssm env)"\nexec uvicorn app.main:app\n'},
        command=["sh", "run.sh"],
        problem="run.sh, line 1 sets variables whose names only running tells",
    ),
    "lines of a file, one after another": Shape(
        main("") | {"run.sh": 'while read -r line; do export "$line"; done < conf\nexec uvicorn app.main:app\n'},
        command=["sh", "run.sh"],
        problem="run.sh, line 1 sets variables whose names only running tells",
    ),
    "a function that has the name as a default": Shape(
        main("import os\ndef flag(name='CC_DROP_TABLES', default='on'):\n    return os.environ.get(name, default) == 'on'\n"),
        unsure="the default in {folder}/app/main.py, line 2",
    ),
    "a function of its own that is given both": Shape(
        main("import os\ndef flag(name, *, default=''):\n    return os.environ.get(name, default)\n"
             "def start():\n    return flag('CC_DROP_TABLES', default='on')\n"),
        unsure="the default in {folder}/app/main.py, line 5",
    ),
    "a dataclass that nothing has made yet": Shape(
        main("import dataclasses\ndef on():\n    return True\n@dataclasses.dataclass\nclass Config:\n"
             "    drop_tables: bool = dataclasses.field(default_factory=on)\n"),
        unsure="app.main.Config.drop_tables, which nothing has made yet",
    ),
    "a model that nothing has made yet": Shape(
        main("import pydantic\nclass Config(pydantic.BaseModel):\n    cc_drop_tables: bool = True\n"),
        unsure="app.main.Config.cc_drop_tables, which nothing has made yet", needs=("pydantic",),
    ),
    "a dataclass that was made otherwise": Shape(
        main("import dataclasses\n@dataclasses.dataclass\nclass Config:\n    drop_tables: bool = True\n"
             "config = Config(drop_tables=False)\n")
    ),
    "beside a proxy of what is not there yet": Shape(
        main("class Proxy:\n    def __getattribute__(self, name):\n        raise RuntimeError('outside of a request')\n"
             "request = Proxy()\nclass Late:\n    __dict__ = property(lambda self: 1 / 0)\n    def __call__(self): ...\nlate = Late()\nclass Settings:\n    def __init__(self):\n        self.request = request\n"
             "        self.cc_drop_tables = True\nsettings = Settings()\n"),
        "app.main.settings.cc_drop_tables",
    ),
    "as another user": Shape(
        main(""), "the start command, line 1", ["su", "app", "-c", "CC_DROP_TABLES=1 uvicorn app.main:app"]
    ),
    "s6": Shape(
        main("")
        | {
            "etc/services.d/pap/run": "#!/usr/bin/with-contenv bash\ncd {folder}\nexport CC_DROP_TABLES=1\n"
            "exec s6-setuidgid app uvicorn app.main:app\n"
        },
        "pap/run, line 3",
        ["/init"],
    ),
    "a server that loads it elsewhere": Shape(
        main("import os\nos.environ['CC_DROP_TABLES'] = '1'\n")
        | {"serve.py": "import socket\nsocket.create_server(('', 0))\n"},
        "{folder}/app/main.py, line 2",
        ["python", "serve.py", "app.main:app"],
    ),
    "a login shell": Shape(
        main("") | {"etc/profile.d/pap.sh": "export CC_DROP_TABLES=yes\n"},
        "etc/profile.d/pap.sh, line 1",
        ["bash", "-lc", "exec uvicorn app.main:app"],
    ),
    "a file that every shell reads": Shape(
        main("") | {"rc": "CC_DROP_TABLES=1\n"}, "rc, line 1", ["bash", "-c", "uvicorn app.main:app"], {"BASH_ENV": "rc"}
    ),
    "an option": Shape(
        {"run.py": "import sys\nDROP = '--drop-tables' in sys.argv\n"},
        "the start command, as --drop-tables",
        ["python", "run.py", "--drop-tables", "--x"],
    ),
    "an option that is off": Shape({"run.py": ""}, command=["python", "run.py", "--cc-drop-tables=false"]),
    "uWSGI": Shape(
        main("") | {"uwsgi.ini": "[uwsgi]\nmodule = app.main\nenv = A=1\nenv = CC_DROP_TABLES=true\n"},
        "uwsgi.ini, line 4",
        ["uwsgi", "--ini", "uwsgi.ini"],
        problem="no program that could be read",
    ),
    "a configuration of the application object": Shape(
        {"app/main.py": "from fastapi import FastAPI\napp = FastAPI()\napp.state.drop_tables = True\n"},
        "app.main.app.state.drop_tables",
        needs=("fastapi",),
    ),
    "what another variable decides, off": Shape(
        main("") | {".env": "CC_DROP_TABLES=${RESET:-false}\n"}, environment={"RESET": "no"}
    ),
    "what another variable decides, on": Shape(
        main("") | {".env": "CC_DROP_TABLES=${RESET:-false}\n"}, ".env, line 1", environment={"RESET": "yes"}
    ),
    "a section of the only stages that there are": Shape(
        main("STAGES = {'dev': {'drop_tables': True}, 'other': {'drop_tables': False}}\n"),
        "app.main.STAGES.dev.drop_tables",
    ),
    # What must not stop a deploy.
    "a section of another stage": Shape(
        main("STAGES = {'dev': {'drop_tables': True}, 'prod': {'drop_tables': False}}\n")
    ),
    "a section of another stage than a variable says": Shape(
        main("STAGES = {'dev': {'drop_tables': True}, 'blue': {'drop_tables': False}}\n"), environment={"STAGE": "blue"}
    ),
    "names and texts about it": Shape(
        main(
            "import enum, os\nclass Mode(enum.Enum):\n    NEVER = 'never'\nCC_DROP_TABLES = Mode.NEVER\n"
            "VARIABLE = 'CC_DROP_TABLES'\nHELP = {'CC_DROP_TABLES': 'Drops every table when it is true'}\n"
            "TYPES = {'CC_DROP_TABLES': bool}\ndef on():\n    return os.environ.get('CC_DROP_TABLES', 'unset')\n"
        )
    ),
    "off everywhere": Shape(
        settings(FIELD) | {"app.toml": "cc_drop_tables = false\n", "start.sh": "# export CC_DROP_TABLES=true\n"
                           "export CC_DROP_TABLES=false\nexec uvicorn app.main:app\n"},
        command=["sh", "start.sh"], needs=NEEDS,
    ),
    "told of in words": Shape(
        main("'''Set CC_DROP_TABLES=true to reset.'''\nopen('README.md').read()\nDROP_TABLES = 'DROP TABLE x'\n"
             "def drop_tables(): ...\nNAMES = {'drop_tables': ['a']}\n")
        | {"README.md": "CC_DROP_TABLES=true\n", "docs/conf.toml": "cc_drop_tables = true # main.py\n",
           ".env.example": "CC_DROP_TABLES=true\n", "tests/conf.yaml": "cc_drop_tables: true\n",
           ".github/ci.yml": "env:\n  CC_DROP_TABLES: true\n", "docker-compose.dev.yml": "CC_DROP_TABLES: true\n",
           "compose.override.yml": "services:\n  api:\n    environment:\n      CC_DROP_TABLES: 'true'\n",
           "app/tests/test_x.py": "import os\nos.environ['CC_DROP_TABLES'] = '1'\n"},
    ),
}  # fmt: skip


def look(base: Path, shape: Shape) -> tuple[list[str], list[str], str]:
    """The places that say yes, those that perhaps do, and what could not be seen."""
    files = {"app/__init__.py": "", "app/models.py": ASGI, **shape.files}
    for name, text in files.items():
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{folder}", str(base)), encoding="utf-8")
        path.chmod(0o755)
    given = {"{bin}": str(Path(sys.executable).parent), "{folder}": str(base)}
    commands = [[re.sub(r"\{\w+\}", lambda match: given[match[0]], word) for word in shape.command]]
    request: dict[str, Any] = {
        "variable": "CC_DROP_TABLES", "models": ["app.models:Base"], "environment": "production",
        "words": commands[0], "commands": commands, "controls": [shape.control], "folders": [], "root": str(base), "seconds": 15,
        "links": {shape.link: str(base)} if shape.link else {},
    }  # fmt: skip
    with Agent(HostSite(), sys.executable, cwd=str(base), env=shape.environment) as app_session:
        answers = [app_session.call(name, request) for name in ("environment.files", "environment.started")]

    def on(kind: str) -> list[str]:
        items = [item for answer in answers for item in answer.get(kind, ())]
        return [item["source"] for item in items if drop_tables_values({"CC_DROP_TABLES": item["value"]})]

    return on("found"), on("unsure"), answers[1]["problem"]


@pytest.mark.parametrize("name", SHAPES)
def test_the_switch_is_seen_as_the_application_sees_it(tmp_path: Path, name: str) -> None:
    shape = SHAPES[name]
    if missing := [package for package in shape.needs if not importlib.util.find_spec(package)]:
        pytest.skip(f"needs {', '.join(missing)}")
    found, unsure, problem = look(tmp_path, shape)
    where = shape.where.replace("{folder}", str(tmp_path))
    assert bool(found) == bool(where) and any(where in source for source in found or [""]), (found, problem)
    perhaps = shape.unsure.replace("{folder}", str(tmp_path))
    assert bool(unsure) == bool(perhaps) and any(perhaps in source for source in unsure or [""]), unsure
    assert shape.problem in problem and bool(shape.problem) == bool(problem), problem
