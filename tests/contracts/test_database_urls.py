"""``core.database_url`` is the only reader and writer of database URLs and of libpq's connection strings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT

PACKAGE = ROOT / "module_utils" / "papdeploy"
HOME = PACKAGE / "core" / "database_url.py"
OURS = ("module_utils", "library", "plugins", "sandbox", "benchmarks", "docs", "roles", "migrations")

READERS = {
    "urlsplit", "urlparse", "urlunsplit", "urlunparse", "parse_qsl", "parse_qs", "make_url", "parse_dsn", "make_dsn",
    "conninfo_to_dict", "make_conninfo",
}  # fmt: skip
# What reads a URL of something else, or is an application (which reads its own).
OTHERS = {
    "module_utils/papdeploy/sites/docker/exec_stream.py": "the address of a Docker engine",
    "module_utils/papdeploy/schema/models/recorder.py": "an engine for no database at all",
    "sandbox/app/database.py": "the sandbox's application",
    "sandbox/postgresql.py": "writes what a person writes into an environment file: the sandbox needs nothing of ours",
    "module_utils/papdeploy/core/http.py": "addresses of web servers",
    "module_utils/papdeploy/core/secret_names.py": "secrets of web addresses",
    "module_utils/papdeploy/core/url_spellings.py": "other libraries' schemes, and URLs in a text",
    "module_utils/papdeploy/core/secret_patterns.py": "finds the URLs of any program in a text, to mask what is in them",
}
# A literal that takes a URL apart or puts one together, or looks for its scheme.
MADE_BY_HAND = re.compile(r"postgres.*://|://.*@")
TAKES_APART = {"startswith", "removeprefix", "replace", "split", "partition"}


def sources() -> Iterator[Path]:
    for folder in OURS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path != HOME and str(path.relative_to(ROOT)) not in OTHERS:
                yield path


def found_in(source: str) -> list[str]:
    """Names that read URLs, and literals in code that do (docstrings show URLs to people)."""
    tree = ast.parse(source)
    shown = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found += [alias.name for alias in node.names if alias.name in READERS]
        elif isinstance(node, (ast.Attribute, ast.Name)):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            found += [name] if name in READERS else []
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in shown:
            found += [node.value] if MADE_BY_HAND.search(node.value) else []
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in TAKES_APART:
            words = [word.value for word in node.args if isinstance(word, ast.Constant) and isinstance(word.value, str)]
            found += [word for word in words if word.startswith("postgres")]
    return found


def test_there_is_no_other_reader() -> None:
    by_file = {str(path.relative_to(ROOT)): found_in(path.read_text(encoding="utf-8")) for path in sources()}
    assert len(by_file) > 150
    assert {name: found for name, found in by_file.items() if found} == {}
    for name in OTHERS:
        assert found_in((ROOT / name).read_text(encoding="utf-8")), f"{name} needs no exception"


@pytest.mark.parametrize(
    "source",
    [
        "from urllib.parse import urlsplit",
        "import sqlalchemy as sa\nsa.make_url(url)",
        "import psycopg2.extensions as e\ne.parse_dsn(x)",
        'url = f"postgresql://{user}:{password}@{host}"',
        'if url.startswith("postgres://"): pass',
        'if url.startswith("postgresql+asyncpg"): pass',
        r're.compile(r"postgres(?:ql)?(?:\+(?P<driver>\w+))?://")',
        r're.match(r"\w+://[^:/@]*:([^@]+)@", value)',
    ],
)
def test_a_reader_of_another_hand_is_found(source: str) -> None:
    assert found_in(source)
