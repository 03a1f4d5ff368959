"""Every command that the pages of operation name exists, with the options and variables that they give it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["runbook.md", "security.md", "fleets.md", "comparison.md"]
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
# Given to playbooks and read nowhere else.
PLAY_VARIABLES = {"history_limit", "pap_serial", "pap_stop_after_failure", "pap_rehearse"}


def commands(page: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text()
    blocks = "\n".join(re.findall(r"```(?:\w*)\n(.*?)```", text, re.DOTALL))
    inline = re.findall(r"`(ansible-playbook [^`]+)`", text)
    found = [line.strip() for line in [*blocks.splitlines(), *inline]]
    return [re.sub(r"\s+#.*", "", line) for line in found if line.startswith(("ansible-playbook ", "make ", "python "))]


@pytest.mark.parametrize("page", PAGES)
def test_playbooks_make_targets_and_programs_exist(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text() + (ROOT / "sandbox" / "sandbox.mk").read_text()
    for line in commands(page):
        program, first, *_ = shlex.split(line)
        if program == "ansible-playbook":
            assert (ROOT / first).is_file(), line
            limited = "-l" in shlex.split(line) or "--limit" in shlex.split(line)
            assert limited, f"one environment or stack at a time: {line}"
        elif program == "make":
            assert re.search(rf"^{re.escape(first)}:", makefile, re.MULTILINE), line
        elif first.endswith(".py"):
            assert (ROOT / first).is_file(), line


@pytest.mark.parametrize("page", PAGES)
def test_variables_are_ones_that_something_reads(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    for name in re.findall(r"-e '?(\w+)=", text):
        assert f"`{name}`" in REFERENCE or name in PLAY_VARIABLES, name
    for name in re.findall(r"`((?:pap|watch|receipt|report|notify|backup|rollback|rehearse|migrate)_[a-z_]+)`", text):
        known = f"`{name}`" in REFERENCE or name in PLAY_VARIABLES or name.startswith("pap_hook_")
        assert known or (ROOT / "library" / f"{name}.py").exists(), name


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (ROOT / "docs" / target).exists(), target
    anchors = {
        re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.M)
    }
    for anchor in re.findall(r"\]\(#([^)]+)\)", text):
        assert anchor in anchors, anchor
