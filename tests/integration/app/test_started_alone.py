"""An application that is only looked at reaches nothing: no database by whatever way, no process, no file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from papdeploy.remote.client import Agent
from papdeploy.sites.host import HostSite
from support.waiting import wait_until

if TYPE_CHECKING:
    from support.postgres_servers import Server

WIPE = "DROP TABLE kept"
# What the import of the main module does, whatever comes of it.
DEEDS: dict[str, str] = {
    "psycopg": "import psycopg\npsycopg.connect({dsn!r}, autocommit=True).execute({wipe!r})\n",
    "psycopg2": "import psycopg2\nc = psycopg2.connect({dsn!r})\nc.autocommit = True\nc.cursor().execute({wipe!r})\n",
    "an asynchronous driver": "import asyncio, psycopg\nasync def go():\n"
    "    c = await psycopg.AsyncConnection.connect({dsn!r}, autocommit=True)\n    await c.execute({wipe!r})\nasyncio.run(go())\n",
    "an engine": "from sqlalchemy import create_engine, text\n"
    "with create_engine({url!r}).begin() as c:\n    c.execute(text({wipe!r}))\n",
    "a creator": "import psycopg2\nfrom sqlalchemy import create_engine, text\n"
    "with create_engine('postgresql+psycopg2://', creator=lambda: psycopg2.connect({dsn!r})).begin() as c:\n"
    "    c.execute(text({wipe!r}))\n",
    "a thread": "import threading, psycopg\n"
    "t = threading.Thread(target=lambda: psycopg.connect({dsn!r}, autocommit=True).execute({wipe!r}))\nt.start(); t.join()\n",
    "a child": "import subprocess, sys\n"
    "subprocess.run([sys.executable, '-c', 'import psycopg; psycopg.connect(\"{dsn}\", autocommit=True).execute(\"{wipe}\")'],"
    " check=True)\n",
    "a program": "import subprocess\nsubprocess.run([{psql!r}, {dsn!r}, '-c', {wipe!r}], check=True)\n",
    "a child that leaves": "import os, time, psycopg\nif not os.fork():\n    os.setsid()\n    if not os.fork():\n"
    "        time.sleep(0.5)\n        psycopg.connect({dsn!r}, autocommit=True).execute({wipe!r})\n    os._exit(0)\n",
    "several hosts": "import psycopg\n"
    "psycopg.connect('host=127.0.0.1,127.0.0.1 port=1,{port} dbname={dbname} user=postgres password={password}', autocommit=True)"
    ".execute({wipe!r})\n",
    "an address": "import psycopg\n"
    "psycopg.connect('hostaddr=127.0.0.1 port={port} dbname={dbname} user=postgres password={password}', autocommit=True).execute({wipe!r})\n",
    "a Unix socket": "import psycopg\n"
    "psycopg.connect('host={socket} port={port} dbname={dbname} user=postgres password={password}', autocommit=True).execute({wipe!r})\n",
    "a service": "import os, psycopg\nos.environ['PGSERVICEFILE'] = 'services'\n"
    "psycopg.connect('service=live', autocommit=True).execute({wipe!r})\n",
}


def look(folder: Path, source: str, seconds: float = 15, **modules: str) -> dict[str, Any]:
    (folder / "app").mkdir()
    for name, text in {"__init__": "", "models": "", "main": source, **modules}.items():
        (folder / "app" / f"{name}.py").write_text(text)
    request = {"variable": "CC_DROP_TABLES", "models": ["app.models"], "environment": "production",
               "commands": [["python", "-c", "import app.main"]], "seconds": seconds}  # fmt: skip
    with Agent(HostSite(), sys.executable, cwd=str(folder)) as app_session:
        return app_session.call("environment.started", request)


@pytest.mark.parametrize("deed", DEEDS)
def test_no_import_reaches_the_database(tmp_path: Path, servers: dict[int, Server], deed: str) -> None:
    server = servers[16]
    database = server.create("alone")
    server.sql("CREATE TABLE kept (id int)", database)
    access = f"user=postgres password={server.password}"
    (tmp_path / "services").write_text(
        f"[live]\nhost=127.0.0.1\nport={server.port}\ndbname={database}\n" + access.replace(" ", "\n")
    )
    socket = str(server.sql("SHOW unix_socket_directories")[0][0])
    source = DEEDS[deed].format(
        dsn=f"host=127.0.0.1 port={server.port} dbname={database} {access}", url=server.url(database), wipe=WIPE,
        psql=str(server.bin_dir / "psql"), port=server.port, dbname=database, socket=socket, password=server.password,
    )  # fmt: skip
    answer = look(tmp_path, source)
    if "leaves" in deed:
        time.sleep(1)
    elif deed != "a thread":
        assert "where it reaches no database" in answer["problem"], answer
    assert server.sql("SELECT count(*) FROM kept", database) == [(0,)]
    subprocess.run([sys.executable, "-c", source], cwd=tmp_path, check=True, timeout=60)  # where it is not confined
    wait_until(lambda: server.sql("SELECT to_regclass('kept')", database) == [(None,)], "the deed is none")


def test_it_ends_in_time_and_says_what_it_saw(tmp_path: Path) -> None:
    source = (
        "import os, time\nos.environ['CC_DROP_TABLES'] = '1'\n"
        "while True:\n    try:\n        time.sleep(60)\n    except BaseException:\n        pass\n"
    )
    started = time.monotonic()
    stubborn = look(tmp_path, source, seconds=1)
    assert time.monotonic() - started < 15 and "neither served nor ended" in stubborn["problem"]


def test_one_that_waits_for_its_database_is_ended(tmp_path: Path) -> None:
    answer = look(tmp_path, "import os, time\nos.environ['CC_DROP_TABLES'] = '1'\ntime.sleep(60)\n", seconds=1)
    assert "did not begin to serve in time" in answer["problem"]
    assert [item["value"] for item in answer["found"]] == ["1"]


def test_no_process_and_no_file_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "x").write_text("kept")
    (tmp_path / "pid").write_text(str(os.getpid()))
    source = (
        "import os, shutil, signal, pathlib\nshutil.rmtree('cache', ignore_errors=True)\n"
        "pathlib.Path('pid').unlink()\n"
        "for deed in (lambda: os.kill(int(open('pid').read()), signal.SIGTERM), lambda: os.rename('pid', 'old'),\n"
        "             lambda: os.truncate('pid', 0)):\n"
        "    try:\n        deed()\n    except OSError:\n        continue\n    raise SystemExit(3)\n"
        "os.environ['CC_DROP_TABLES'] = 'true'\n"
    )
    answer = look(tmp_path, source)
    assert answer["problem"] == "" and [item["value"] for item in answer["found"]] == ["true"]
    assert (tmp_path / "cache" / "x").read_text() == "kept" and (tmp_path / "pid").read_text() == str(os.getpid())


LITTER = """
import subprocess, sys, tempfile
with tempfile.NamedTemporaryFile() as file, tempfile.TemporaryDirectory() as folder:
    file.write(b"mine")
child = "import app.helper, tempfile; tempfile.NamedTemporaryFile(delete=False).write(b'x'); print(tempfile.mkdtemp())"
made = subprocess.run([sys.executable, "-c", child], check=True, capture_output=True, text=True).stdout
assert made.startswith(tempfile.gettempdir() + "/"), made
"""


def test_nothing_is_left_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python looks for a folder of temporary files by writing to each and taking that away."""
    usual = tmp_path / "usual"
    usual.mkdir()
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, str(usual))
    answer = look(tmp_path, LITTER, helper="")
    assert answer["problem"] == ""
    assert list(usual.iterdir()) == [] and sorted(path.name for path in tmp_path.iterdir()) == ["app", "usual"]
    assert sorted(path.name for path in (tmp_path / "app").iterdir()) == [
        "__init__.py",
        "helper.py",
        "main.py",
        "models.py",
    ]
