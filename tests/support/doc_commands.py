"""The command lines of the pages for people: what a reader would type."""

from __future__ import annotations

import re

PROGRAMS = ("ansible-playbook", "ansible-doc", "ansible-builder", "make", "python")


def blocks(text: str, *languages: str) -> list[str]:
    """The fenced blocks in one of these languages, without the indentation of a list around them."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [re.sub(f"^{indent}", "", body, flags=re.MULTILINE) for indent, kind, body in found if kind in languages]


def command_lines(text: str) -> list[str]:
    """Each line of a block of commands, and each piece of code in the prose that calls one of our programs.

    In a block that shows a terminal, those behind a prompt. A block marked ``run: NAME`` is a script of several lines,
    which a test reads by that name.
    """
    text = re.sub(r"<!-- run: \w+ -->\n *```sh\n.*?```", "", text, flags=re.DOTALL)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines = [line for body in blocks(text, "", "sh") for line in body.replace("\\\n", " ").splitlines()]
    for body in blocks(text, "console"):
        lines += [line[2:] for line in body.splitlines() if line.startswith("$ ")]
    called = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]
    called += [line[4:] for line in prose.splitlines() if line.startswith("    ")]
    lines += [code for code in called if code.startswith(tuple(f"{program} " for program in PROGRAMS))]
    without_remarks = (re.sub(r"\s+#.*", "", line).strip() for line in lines)
    return [line for line in without_remarks if line]
