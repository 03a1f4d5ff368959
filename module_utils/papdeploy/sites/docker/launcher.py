"""The few lines that start a program inside a container, with nothing but a shell (or Python) there.

The engine has no call that ends an exec, and killing ``docker exec`` leaves what it started: a pg_dump with its locks.
So the launcher stays beside the program. It says its process id first, on standard error; SIGTERM to it ends the
program; and a program that does not read standard input ends when the caller goes away (the connection, and with it
the launcher's standard input).

Ending goes from the leaves up. In a database container process 1 is usually the postmaster, which adopts orphans, and
takes one that died of a signal for a crashed backend: it then ends every session and goes through recovery (PostgreSQL,
postmaster.c, HandleChildCrash). So a parent is stopped while its children are killed, and goes on when all of them are
dead: it finds them together, reaps them, and only then is its own turn. (One that does not wait for its children cannot
be helped: only process 1 could reap them.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HELLO = b"pap-deploy started "
ABSENT = b"pap-deploy found no program"

_SHELL = f"""
mode=$1; shift
case $1 in
  */*) [ -x "$1" ] && [ ! -d "$1" ] ;;
  *) command -v "$1" >/dev/null 2>&1 ;;
esac || {{ echo "{ABSENT.decode()}" >&2; exit 127; }}
end() {{
  ended=1 round=0
  while round=$((round + 1)); [ $round -le 100 ]; do
    alive= parents= bereaved= stopped=" $$ 1 "
    for entry in /proc/[0-9]*; do
      {{ read -r line <"$entry/stat"; }} 2>/dev/null || continue
      set -- ${{line##*) }}
      pid=${{entry#/proc/}}
      [ "$3" = $$ ] && [ $pid != $$ ] || continue
      if [ "$1" = Z ]; then bereaved="$bereaved $2 "; continue; fi
      [ "$1" != T ] || stopped="$stopped $pid "
      alive="$alive $pid:$2" parents="$parents $2 "
    done
    [ -n "$alive" ] || return 0
    [ $round -le 20 ] || bereaved=
    for each in $alive; do
      pid=${{each%:*}}
      case "$parents" in *" $pid "*) kill -STOP $pid; continue ;; esac
      case "$bereaved" in *" $pid "*) kill -CONT $pid; continue ;; esac
      case "$stopped" in *" ${{each#*:}} "*) ;; *) [ $round -gt 20 ] || continue ;; esac
      kill -9 $pid
    done
    sleep 0.05
  done
  for each in $alive; do kill -9 ${{each%:*}}; done
}}
ended=
trap end TERM
echo "{HELLO.decode()}$$" >&2
exec 3<&0 </dev/null
if [ "$mode" = read ]; then "$@" <&3 3<&- & else "$@" </dev/null 3<&- & fi
work=$!
exec >/dev/null 2>&1
watch=
[ "$mode" = read ] || {{ {{ while read -r line; do :; done; kill -TERM $$; }} <&3 & watch=$!; }}
exec 3<&-
[ -z "$ended" ] || end
while :; do wait $work; code=$?; kill -0 $work || break; done
[ -z "$watch" ] || {{ kill -9 $watch; wait $watch; }}
exit $code
"""

_PYTHON = f"""
import os, shutil, signal, subprocess, sys, threading
mode, words = sys.argv[1], sys.argv[2:]
if not shutil.which(words[0]):
    os.write(2, {ABSENT!r} + b"\\n")
    os._exit(127)
work = subprocess.Popen(words, stdin=None if mode == "read" else subprocess.DEVNULL, start_new_session=True)
def end(*_):
    try:
        os.killpg(work.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
signal.signal(signal.SIGTERM, end)
os.write(2, {HELLO!r} + str(os.getpid()).encode() + b"\\n")
def watch():
    while os.read(0, 4096):
        pass
    end()
if mode == "read":
    os.close(0)
else:
    threading.Thread(target=watch, daemon=True).start()
for number in (1, 2):
    os.close(number)
code = work.wait()
os._exit(code if code >= 0 else 128 - code)
"""


@dataclass(frozen=True)
class Launcher:
    """One way to start and to end programs: ``program`` must be in the container."""

    program: str
    start: str

    def argv(self, argv: Sequence[str], reads_stdin: bool) -> list[str]:
        """The argument list that starts ``argv``; without ``reads_stdin`` it ends when the caller goes away."""
        # `sh -c text name …` takes one word more than `python -c text …`, for its own name.
        name = ["pap-deploy"] if self == SHELL else []
        return [self.program, "-c", self.start, *name, "read" if reads_stdin else "watch", *argv]

    def ending(self, pid: int) -> list[str]:
        """The argument list that asks the launcher with this process id to end its program."""
        if self == SHELL:
            return [self.program, "-c", 'kill -TERM "$1"', "pap-deploy", str(pid)]
        return [self.program, "-c", "import os, sys; os.kill(int(sys.argv[1]), 15)", str(pid)]

    def idling(self) -> list[str]:
        """A program that does nothing until its standard input ends."""
        text = "while read -r line; do :; done" if self == SHELL else "import sys\nsys.stdin.read()"
        return [self.program, "-c", text]


SHELL = Launcher("sh", _SHELL)
LAUNCHERS = (SHELL, *(Launcher(name, _PYTHON) for name in ("python3", "python")))
