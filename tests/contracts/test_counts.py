"""No message puts a number before a plural by hand: ``plural()`` of ``core.text`` does, which knows of "1 row"."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
FOLDERS = ("module_utils", "library", "plugins", "sandbox")

# What is counted anywhere in messages, beside the nouns that the code itself gives to plural().
NOUNS = set(
    re.findall(
        r"\w+",
        """attempt backup change check column container copy database day deletion difference endpoint entry error event
        file hour index line lock log login message migration minute note object partition process record relation release
        request restart row schema second sequence session stack statement step table test time type value view warning""",
    )
)
# Not counts: a limit that is never one, and a sentence that has another for one.
ALLOWED = {"1 to {MAX_NAME_BYTES} bytes, no NUL", "{_MAX_REDIRECTS} times were followed", "{others:,} sessions are"}


def trees() -> Iterator[tuple[Path, ast.AST]]:
    for folder in FOLDERS:
        for path in sorted((HERE / folder).rglob("*.py")):
            if not {"releases", "app"} & set(path.relative_to(HERE / folder).parts) or folder != "sandbox":
                yield path, ast.parse(path.read_text(encoding="utf-8"))


def nouns() -> set[str]:
    """The nouns of every call of plural() as well: what is counted in one place is not spelled by hand in another."""
    found = set(NOUNS)
    for _, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "plural":
                words = [word.value for word in node.args[1:2] if isinstance(word, ast.Constant)]
                found |= {str(word).rpartition(" ")[2] for word in words}
    return found


def plurals(known: set[str]) -> set[str]:
    return {f"{noun}s" for noun in known} | {f"{noun}es" for noun in known} | {f"{noun[:-1]}ies" for noun in known}


def by_hand(tree: ast.AST, known: set[str]) -> Iterator[str]:
    """A value followed by a plural noun, and a noun with an s that depends on a number."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.JoinedStr):
            continue
        for value, after in zip(node.values, [*node.values[1:], None]):
            if not isinstance(value, ast.FormattedValue):
                continue
            if isinstance(value.value, ast.IfExp) and "'s'" in map(ast.unparse, (value.value.body, value.value.orelse)):
                yield ast.unparse(node)
            text = after.value if isinstance(after, ast.Constant) else ""
            match = re.match(r" (?:(?:more|new|log|open|other) )?([a-z]+)\b(?!/)", str(text))
            counted = not isinstance(value.value, ast.Name) or value.value.id not in ("where", "verb", "name")
            if match and match[1] in known and counted:
                yield ast.unparse(node)


def test_numbers_and_nouns_agree() -> None:
    known = plurals(nouns())
    found = [
        f"{path.relative_to(HERE)}: {text}"
        for path, tree in trees()
        for text in by_hand(tree, known)
        if not any(allowed in text for allowed in ALLOWED)
    ]
    assert not found, "write these with plural() of core/text.py, or as another sentence:\n" + "\n".join(found)


def test_the_finder_finds() -> None:
    known = plurals(NOUNS)
    for text in ('f"{n} rows"', 'f"{len(x):,} more tables"', "f\"{n} row{'s' if n != 1 else ''}\"", 'f"{n} entries"'):
        assert list(by_hand(ast.parse(text), known)), text
    for text in ("f\"{plural(n, 'row')} of it\"", 'f"{where} records nothing"[0]', 'f"{rate} rows/s"'):
        assert not list(by_hand(ast.parse(text), known - {"records"})), text
