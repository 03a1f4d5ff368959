"""``new`` for a project with an Alembic tree: a revision of it, made from the project's own template."""

from __future__ import annotations

import contextlib
import io
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from ...core.errors import Refused
from ..alembic import tree
from ..alembic.declaration import Declaration
from .large_tables import Code

# What SQLAlchemy would read as the name of a parameter, in the text that op.execute() takes.
_PARAMETER = re.compile(r"(?<![:\w\\]):(?=\w)")


def write(declared: Declaration, title: str, up: Sequence[str], down: Sequence[str], *, transactional: bool) -> Path:
    """Write a revision on top of the newest with the statements up and down; returns its path."""
    from alembic.util import rev_id

    home = tree.load(declared).home
    bodies = {"upgrades": _body(up, transactional), "downgrades": _body(down, transactional)}
    # What Alembic says of it is not our answer.
    with tree.refusing(declared), home.entered(), contextlib.redirect_stdout(io.StringIO()):
        made = home.script.generate_revision(rev_id(), title.rstrip("."), imports="", **bodies)
    if made is None:
        raise Refused(f"Alembic wrote no revision in {home.script.dir}.", hint="Look at its env.py and script.py.mako.")
    return Path(str(made.path))


def _body(statements: Sequence[str], transactional: bool) -> str:
    """The lines of a function, the first without its indent: a template has that."""
    lines: list[str] = []
    for statement in statements:
        if statement.lstrip().startswith("--"):
            lines += [f"# {line.removeprefix('--').strip()}".replace("db.execute(", "op.execute(")
                      for line in statement.splitlines()]  # fmt: skip
        else:
            # What a migration of ours does in pieces is one statement here.
            sent = statement.statement if isinstance(statement, Code) else statement
            escaped = _PARAMETER.sub(r"\\:", sent.strip().rstrip(";"))
            lines.append(f"op.execute({escaped!r})")
    if not any(line.startswith("op.") for line in lines):
        lines.append("pass")
    elif not transactional:
        lines = ["with op.get_context().autocommit_block():", *textwrap.indent("\n".join(lines), "    ").splitlines()]
    return textwrap.indent("\n".join(lines), "    ").strip()
