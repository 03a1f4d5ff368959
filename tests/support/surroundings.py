"""Surroundings in which a person or a job runs the playbooks, as data."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

LANGUAGE = ("LANG", "LANGUAGE", "TZ")


@dataclass(frozen=True)
class Surroundings:
    """``variables`` of the environment, over the test's own; a ``home`` that cannot be written to; ``in_odd_folder``:
    the clone is in a folder with blanks, umlauts and characters that shells and templates read. ``choices``: variables
    of the inventory that are another than by default, so that each choice is deployed with once."""

    variables: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)
    umask: int = 0o022
    home: str = ""
    in_odd_folder: bool = False

    def environment(self, own: Mapping[str, str], locales: Path) -> dict[str, str]:
        kept = {name: value for name, value in own.items() if name not in LANGUAGE and not name.startswith("LC_")}
        made = {**kept, **self.variables}
        if "UTF-8" in made.get("LC_ALL", "") + made.get("LANG", ""):
            made["LOCPATH"] = str(locales)
        if made.get("TZ") == "changes now":
            made["TZ"] = changes_at(time.time() + 25)
        if self.home:  # Ansible itself needs a folder of its own then
            made |= {"HOME": self.home, "ANSIBLE_HOME": f"{own['PAP_SANDBOX_HOME']}/ansible"}
            made |= {"ANSIBLE_REMOTE_TEMP": f"{made['ANSIBLE_HOME']}/tmp"}
        return made


def changes_at(when: float) -> str:
    """A time zone (POSIX, tzset(3)) whose clock goes back by an hour at ``when``, seconds since the epoch."""
    at = time.gmtime(when + 3600)  # daylight saving time is in force until then
    seconds = f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
    start = time.gmtime(when - 90 * 86400).tm_yday - 1
    return f"AAA0BBB,{start},{at.tm_yday - 1}/{seconds}"


@contextlib.contextmanager
def made_locales() -> Iterator[Path]:
    """A folder with the locales, for LOCPATH; they are not installed on a small system."""
    with tempfile.TemporaryDirectory(prefix="pap-locales-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for language in ("de_DE", "tr_TR"):
            command = ["localedef", "-i", language, "-f", "UTF-8", str(folder / f"{language}.UTF-8")]
            subprocess.run(command, check=False, capture_output=True)
        yield folder


SURROUNDINGS = {
    "German": Surroundings({"LC_ALL": "de_DE.UTF-8"}, {"pap_mode": "online"}),
    "Turkish": Surroundings({"LC_ALL": "tr_TR.UTF-8"}, {"backup_proof": "schema", "migrate_restore_point": "snapshot"}),
    "POSIX": Surroundings({"LANG": "POSIX"}, {"migrate_restore_point": "dump", "rehearse_data": "sample"}),
    "no language": Surroundings(),
    "Kathmandu": Surroundings({"TZ": "Asia/Kathmandu"}, {"migrate_restore_point": "backup"}),
    "Newfoundland": Surroundings(
        {"TZ": "America/St_Johns"}, {"backup_proof": "none", "rehearse_data": "schema", "watch_blindness": "fail"}
    ),
    "the end of summer time": Surroundings({"TZ": "changes now"}),
    "umask 077": Surroundings(umask=0o077),
    "umask 000": Surroundings(umask=0o000),
    "a home to read only": Surroundings(home="/sys"),
    "an odd folder": Surroundings(in_odd_folder=True),
    "all of it": Surroundings({"LC_ALL": "tr_TR.UTF-8", "TZ": "Asia/Kathmandu"}, umask=0o077, in_odd_folder=True),
}
