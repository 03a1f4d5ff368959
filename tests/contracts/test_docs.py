"""What the pages say exists: every command with its options and variables, every link, file and name in Python."""

from __future__ import annotations

import importlib
import re
import shlex
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ansible.cli.doc import DocCLI
from ansible.cli.playbook import PlaybookCLI
from papdeploy.cli import command
from papdeploy.logwatch.metrics import FAMILIES
from papdeploy.schema.cli import command as schema_command
from support import ROOT
from support.doc_commands import PROGRAMS, blocks, command_lines

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
# Read by playbooks and the sandbox's inventory, and so in no role's argument specs.
PLAY_VARIABLES = {
    "history_limit",
    "pap_serial",
    "pap_stop_after_failure",
    "pap_rehearse",
    "pap_sandbox_release",
    "status_acknowledge",
}
METRICS = {family.name for family in FAMILIES}
VARIABLE = re.compile(
    r"(?!pap_deploy)(?:pap|watch|receipt|report|notify|preflight|backup|rollback|rehearse|migrate|docker_sdk)_[a-z_]+"
)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands(page: Path) -> list[list[str]]:
    """Every call of one of our programs on the page as its words; of alternatives the first, with what is optional."""
    found = []
    for line in command_lines(page.read_text()):
        line = re.sub(r"[\[\]…]", "", line)
        words = shlex.split(line) if line.startswith(PROGRAMS) else []
        if len(words) > 1 and words[0] in PROGRAMS:
            found.append(words[: words.index("|")] if "|" in words else words)
    return found


def understood(parser: ArgumentParser, words: list[str]) -> None:
    """The parser takes these words."""
    try:
        parser.parse_args(words)
    except SystemExit as error:
        raise AssertionError(f"{parser.prog} does not take {words}") from error


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_exists_with_its_options(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text() + (ROOT / "sandbox" / "sandbox.mk").read_text()
    for program, *words in commands(page):
        if program == "ansible-playbook":
            line = PlaybookCLI([program, *words])
            line.parse()
            for playbook in line.parser.parse_args(words).args:
                own = playbook.removeprefix("pap.deploy.")  # in the collection
                assert (ROOT / (playbook if own == playbook else f"playbooks/{own}.yml")).is_file(), playbook
            named = any(word in ("-l", "--limit", "-i") for word in words)
            assert named, f"one environment or stack at a time: {words}"
        elif program == "ansible-doc":
            DocCLI([program, *words]).parse()
        elif program == "make":
            for word in words:
                name, given, _ = word.partition("=")
                assert re.search(rf"^{name}( \?=)" if given else rf"^{name}:", makefile, re.MULTILINE), word
        elif words[:2] == ["-m", "papdeploy"]:
            if words[2:3] == ["check"]:
                understood(schema_command.parser(), words[3:])
            elif words[2:]:
                understood(command.parser(), words[2:])
        elif program == "python" and words[0] == "check_db_schema.py":
            understood(schema_command.parser(), words[1:])
        elif program == "python" and words[0].endswith(".py") and not words[0].startswith("migrations/20"):
            source = (ROOT / words[0]).read_text()
            for option in re.findall(r"--[a-z-]+", " ".join(words)):
                assert f'"{option}"' in source, f"{words[0]} {option}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_variable_is_one_that_something_reads(page: Path) -> None:
    text = page.read_text()
    named = re.findall(r"-e '?\"?(\w+)=", text) + re.findall(rf"`({VARIABLE.pattern})(?:[:=][^`]*)?`", text)
    for block in blocks(text, "yaml", "yml"):
        named += [name for name in keys(yaml.safe_load(block)) if VARIABLE.fullmatch(name)]
    for name in named:
        known = f"`{name}`" in REFERENCE or name in PLAY_VARIABLES | METRICS or name.startswith("pap_hook_")
        assert known or (ROOT / "library" / f"{name}.py").exists(), (
            f"{page.name}: {name} is no variable of tools/options.yml; a new one needs tools/generate_reference.py"
        )


def keys(data: object) -> Iterator[str]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield str(key)
            yield from keys(value)
    elif isinstance(data, list):
        for item in data:
            yield from keys(item)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text()):
        if "://" not in target:
            other = (page.parent / target).resolve() if target else page
            assert other.exists(), f"{page.name} links to {target}, which does not exist"
            assert other.is_dir() or other.stat().st_size > 0, f"{target} is empty"
            assert not anchor or anchor in anchors(other), f"{page.name} links to {target}#{anchor}: no such heading"


def test_the_readme_leads_to_every_page() -> None:
    text = (ROOT / "README.md").read_text()
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "docs" / "ci" / "README.md"]
    assert [name_of(page) for page in pages if f"]({name_of(page)})" not in text] == [], "link them in README.md"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_and_python_names_are_there(page: Path) -> None:
    text = page.read_text()
    folders = "benchmarks|docker|docs|inventory|library|module_utils|molecule|playbooks|plugins|roles|sandbox|tests"
    for path in re.findall(rf"`((?:{folders}|\.ci|\.github)/[\w./-]+)`", text):
        if "." in Path(path).name:
            assert (ROOT / path).exists() or (ROOT / path).with_suffix("").is_dir(), path
    imports = re.findall(r"^from (papdeploy[\w.]*) import (.+)$", "\n".join(blocks(text, "python")), re.MULTILINE)
    for module, names in imports:
        for name in re.split(r",\s*", names):
            assert hasattr(importlib.import_module(module), name), f"{module}.{name}"
    for dotted in re.findall(r"`(papdeploy\.\w+\.[\w.]+)`", text):
        module, _, name = dotted.rpartition(".")
        assert hasattr(importlib.import_module(module), name), dotted
