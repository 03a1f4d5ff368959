"""Children of a process: whoever has none is told so without a look at every process of the host."""

from __future__ import annotations

import subprocess
import sys

import pytest

ASK = """
import os, subprocess, sys, time
from papdeploy.core import processes
looks = []
scan = processes._all
processes._all = lambda: (looks.append(1), scan())[1]
def asked():
    return [processes.has_children(), len(processes.children_of(os.getpid())), len(looks)]
none = asked()
sleeper = subprocess.Popen(["sleep", "60"])
running = asked()
sleeper.kill()
time.sleep(0.2)
unwaited = asked()
sleeper.wait()
processes.adopt_orphans()
subprocess.run(["sh", "-c", "sleep 60 & :"], check=True)
orphan = asked()
os.kill(processes.children_of(os.getpid())[0].pid, 9)
print(none, running, unwaited, orphan)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_children_that_run_are_found_and_none_costs_no_look() -> None:
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True, timeout=60)
    # Whether there is one that runs or was not waited for; how many run; how often all processes were looked at.
    assert done.stdout.split("] [") == ["[False, 0, 0", "True, 1, 1", "True, 0, 2", "True, 1, 3]\n"]
