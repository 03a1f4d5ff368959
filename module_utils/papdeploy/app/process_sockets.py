"""The TCP connections that a tree of processes holds, as a database server sees them: by the client's address and port;
and, when the work is over, what is left of the tree, which is ended.

The processes are known by a variable of their environment, which children inherit also where they leave their parent's
group, session or terminal. A program at the site looks at /proc many times a second; it needs no right but that of the
processes' own user, and nothing but Python.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

from ..core.errors import PapError, Unavailable, VerificationFailed
from ..core.records import read_known
from ..sites.host import Process, Site

TOKEN = "PAP_DEPLOY_COPY"
_GONE_S = 0.5  # the server may still show a session whose client has just given up its port
_START_S = 20.0

_GRACE_S = 1.0  # for what ends by itself once the work is over
_END_S = 10.0

# argv: what the environment has to hold, seconds between two looks, seconds of grace. Prints {"sockets": [[address,
# port, pid, program]]} whenever that is different, and once a second. What a process is, is asked when it is new, and
# again for a second: it may not have executed its own program yet. At the end of its standard input it ends those that
# are left after the grace, prints {"left": [[pid, program]]}, and ends.
PROGRAM = r"""
import json, os, signal, socket, struct, sys, threading, time
wanted, pause, grace = sys.argv[1].encode(), float(sys.argv[2]), float(sys.argv[3])
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.buffer.read(), over.set()), daemon=True).start()
processes, known, said, at = {}, {}, None, 0.0

def read(pid, name):
    try:
        with open("/proc/%s/%s" % (pid, name), "rb") as file:
            return file.read()
    except OSError:
        return b""

def ours():
    now, there = time.monotonic(), {name for name in os.listdir("/proc") if name.isdigit()}
    for pid in set(processes) - there:
        del processes[pid]
    for pid in there:
        seen = processes.setdefault(pid, {"since": now, "parent": "", "ours": False})
        if not seen["ours"] and now - seen["since"] < 1:
            stat = read(pid, "stat").rpartition(b")")[2].split()
            seen["parent"] = stat[1].decode() if len(stat) > 1 else ""
            parent = processes.get(seen["parent"])
            seen["ours"] = wanted in read(pid, "environ").split(b"\0") or bool(parent and parent["ours"])
    return [pid for pid, seen in processes.items() if seen["ours"]]

def inodes(pid):
    try:
        names = os.listdir("/proc/%s/fd" % pid)
    except OSError:
        return
    for name in names:
        try:
            link = os.readlink("/proc/%s/fd/%s" % (pid, name))
        except OSError:
            continue
        if link.startswith("socket:["):
            yield link[8:-1]

def address(text):
    host, port = text.split(":")
    raw = bytes.fromhex(host)
    raw = b"".join(struct.pack("=I", *struct.unpack(">I", raw[n:n + 4])) for n in range(0, len(raw), 4))
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw), int(port, 16)

def look_up(pid, missing):
    for kind in ("net/tcp", "net/tcp6"):
        for line in read(pid, kind).decode().splitlines()[1:]:
            parts = line.split()
            if len(parts) > 9 and parts[9] in missing and parts[3] != "0A":
                known[parts[9]] = address(parts[1])

def program(pid):
    return " ".join(read(pid, "cmdline").decode("utf-8", "replace").replace("\0", " ").split())[:120]

def alive(pid):
    state = read(pid, "stat").rpartition(b")")[2].split()[:1]
    return state not in ([], [b"Z"], [b"X"])

def end():
    if wanted in read("self", "environ").split(b"\0"):  # a container of the work's own, which ends as a whole
        return {}
    limit, left = time.monotonic() + grace, {}
    while True:
        now = [pid for pid in ours() if alive(pid)]
        if not now:
            return left
        if time.monotonic() > limit:
            for pid in now:  # stopped first, so that none starts another one meanwhile
                left.setdefault(pid, program(pid))
                for number in (signal.SIGSTOP, signal.SIGKILL):
                    try:
                        os.kill(int(pid), number)
                    except OSError:
                        pass
            if time.monotonic() > limit + 5:
                return left
        time.sleep(pause)

while not over.is_set():
    held = {}
    for pid in ours():
        for inode in inodes(pid):
            held.setdefault(inode, pid)
    missing = set(held) - set(known)
    if missing:
        for pid in {held[inode] for inode in missing}:
            look_up(pid, missing)
    for inode in set(known) - set(held):
        del known[inode]
    now = sorted([*known[inode], int(held[inode])] for inode in known)
    if now != said or time.monotonic() - at > 1:
        sys.stdout.write(json.dumps({"sockets": [[*item, program(item[2])] for item in now]}) + "\n")
        sys.stdout.flush()
        said, at = now, time.monotonic()
    over.wait(pause)
sys.stdout.write(json.dumps({"left": [[int(pid), said] for pid, said in end().items()]}) + "\n")
sys.stdout.flush()
os._exit(0)
"""


@dataclass(frozen=True)
class Holder:
    """The process that holds a connection."""

    pid: int
    program: str


@dataclass(frozen=True)
class _Look:
    """A line of the program."""

    sockets: tuple[tuple[str, int, int, str], ...] = ()
    left: Optional[tuple[tuple[int, str], ...]] = None


class ProcessSockets:
    """The connections of the processes that have our token in their environment, while a block runs."""

    def __init__(self, pause_s: float = 0.02) -> None:
        self.token = secrets.token_hex(16)
        self._pause_s = pause_s
        self._held: dict[tuple[str, int], Holder] = {}
        self._gone: dict[tuple[str, int], tuple[float, Holder]] = {}
        self._stopping = False
        self.left: list[Holder] = []
        """What was still there when the work was over, and was ended."""
        self._ready = threading.Event()
        self.problem: Optional[str] = None

    @property
    def environment(self) -> dict[str, str]:
        """The variable by which the processes are known: part of the environment that they are started with."""
        return {TOKEN: self.token}

    @contextlib.contextmanager
    def watched(self, site: Site, python: str) -> Iterator[None]:
        """Look for them at ``site`` while the block runs; from its beginning on. Raises Unavailable if that fails."""
        argv = [python, "-c", PROGRAM, f"{TOKEN}={self.token}", str(self._pause_s), str(_GRACE_S)]
        with site.popen(argv, stdin=True) as process:
            reader = threading.Thread(target=self._read, args=(process,), daemon=True)
            reader.start()
            if not self._ready.wait(_START_S) or self.problem:
                said = process.errors().strip()[-300:] or self.problem or "it said nothing in time"
                raise Unavailable(
                    f"The connections of processes on {site.label} cannot be seen: {said}",
                    hint=f"{python} there has to be able to read /proc.",
                )
            try:
                yield
            finally:
                self._stopping = True
                if process.stdin:
                    with contextlib.suppress(OSError):
                        process.stdin.close()
                reader.join(_GRACE_S + _END_S)

    def refuse_left(self, what: str) -> None:
        """Raise VerificationFailed if something of the work ``what`` was still there when it was over."""
        if self.left:
            raise VerificationFailed(
                f"{what[:1].upper()}{what[1:]} left programs running, which were ended: {named(self.left)}.",
                hint="What they would have done later is not known. Let a migration wait for what it starts.",
            )

    def _read(self, process: Process) -> None:
        try:
            for line in iter(process.stdout.readline, b""):
                said = read_known(_Look, json.loads(line))
                if said.left is not None:
                    self.left = [Holder(pid, program) for pid, program in said.left]
                    continue
                held = {(normal(a), port): Holder(pid, program) for a, port, pid, program in said.sockets}
                ended = {key: (time.monotonic(), holder) for key, holder in self._held.items() if key not in held}
                self._held, self._gone = held, {**self._gone, **ended}
                self._ready.set()
        except (ValueError, OSError, PapError) as error:
            self.problem = str(error)
        finally:
            if not self._stopping:
                self.problem = self.problem or "the program that looks for them ended"
            self._ready.set()

    def holder(self, address: Optional[str], port: Optional[int]) -> Optional[Holder]:
        """The process that holds the client's end of a session now, or did a moment ago; None if it is not ours."""
        if not address or not port or port < 0:
            return None
        key = (normal(address), port)
        at, holder = self._gone.get(key, (0.0, None))
        return self._held.get(key) or (holder if time.monotonic() - at < _GONE_S else None)


def named(holders: Sequence[Holder]) -> str:
    """A few of them, for a person."""
    more = f", and {len(holders) - 3} more" if len(holders) > 3 else ""
    return ", ".join(f"{holder.program} (process {holder.pid})" for holder in holders[:3]) + more


def normal(address: str) -> str:
    """One spelling for an address; an IPv4 address inside IPv6 is that IPv4 address."""
    parsed = ipaddress.ip_address(address.partition("/")[0].partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)
