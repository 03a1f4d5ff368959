"""``new``: write a dated migration file, empty or filled from the differences between models and database."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Optional

from ...core.errors import Refused
from ...sql.statements import split
from ..run.apply import who_am_i

_HEADER = '''"""{title}

Date: {date}
Author: {author}
"""

from __future__ import annotations
{requires}
transactional = {transactional}


def upgrade(db):
{upgrade}


def downgrade(db):
{downgrade}


if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "module_utils"))
    from papdeploy.migrations.cli.file import main

    raise SystemExit(main(__file__))
'''


@dataclass
class Draft:
    """The bodies of one file: statements (SQL, or ``--`` remarks for the person) up and down."""

    up: list[str] = field(default_factory=list)
    down: list[str] = field(default_factory=list)


def url_for(given: Optional[str]) -> str:
    """The database URL, given or of the environment. Raises Refused if there is none."""
    url = given or os.environ.get("DATABASE_URL")
    if not url:
        raise Refused("No database URL, so nothing to compare the models with.", hint="Set DATABASE_URL.")
    return url


def new(
    folder: Path,
    name: str,
    *,
    author: str = "",
    models: Sequence[str] = (),
    url: str = "",
    scratch_url: Optional[str] = None,
    today: Optional[date] = None,
) -> list[Path]:
    """Write ``folder/YYYY_MM_DD_name.py`` and return the paths of what was written; never overwrites.

    With ``models`` it is filled with what the database at ``url`` lacks. Statements with CONCURRENTLY get a second file
    of their own, which requires the first.
    """
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if not slug:
        raise Refused(f"{name!r} gives no file name.", hint="Say in a few words what it does: add_api_key.")
    if not folder.is_dir():
        raise Refused(f"There is no folder {folder}.")
    day = today or date.today()
    first = folder / f"{day:%Y_%m_%d}_{slug}.py"
    alone = folder / f"{day:%Y_%m_%d}_{slug}_concurrently.py"
    together, concurrent = _from_models(models, url, scratch_url) if models else (Draft(), Draft())
    paths = [first, alone] if concurrent.up else [first]
    for path in paths:
        if path.exists():
            raise Refused(f"{path} is there already.", hint="Choose another name.")
    title = name.strip().rstrip(".") + "."
    first.write_text(_text(title, day, author, together, transactional=True), encoding="utf-8")
    if concurrent.up:
        title = f"{name.strip()}, the part outside a transaction."
        text = _text(title, day, author, concurrent, transactional=False, requires=first.stem)
        alone.write_text(text, encoding="utf-8")
    return paths


def _text(title: str, day: date, author: str, draft: Draft, transactional: bool, requires: str = "") -> str:
    return _HEADER.format(
        title=title[:1].upper() + title[1:].replace("_", " "),
        date=day.isoformat(),
        author=author or who_am_i().partition("@")[0],
        requires=f'\nrequires = ["{requires}"]' if requires else "",
        transactional=transactional,
        upgrade=_body(draft.up, 'raise NotImplementedError("write the change")'),
        downgrade=_body(draft.down, 'raise NotImplementedError("write the downgrade, or say why there is none")'),
    )


def _body(statements: Sequence[str], empty: str) -> str:
    lines: list[str] = []
    for statement in statements:
        if statement.lstrip().startswith("--"):
            lines += [f"    # {line.lstrip('- ')}" for line in statement.splitlines()]
        else:
            lines.append(f"    db.execute({_literal(statement)})")
    if not any(line.startswith("    db.") for line in lines):
        lines.append(f"    {empty}")
    return "\n".join(lines)


def _literal(statement: str) -> str:
    """A readable Python literal: triple-quoted only where the SQL has several lines."""
    text = statement.strip().rstrip(";")
    if "\n" in text and '"""' not in text and "\\" not in text and not text.endswith('"'):
        return f'"""{text}"""'
    if '"' in text and "'" not in text and "\\" not in text:
        return "'" + text + "'"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _from_models(models: Sequence[str], url: str, scratch_url: Optional[str]) -> tuple[Draft, Draft]:
    from .from_models import differences

    up, down = differences(models, url, scratch_url)
    if not up:
        raise Refused("The database matches the models: there is nothing to migrate.")
    together, concurrent = Draft(), Draft()
    # What would throw rows or values away is proposed, for the person to decide; and so is the downgrade.
    destructive = {difference.object for difference in up if _destroys(difference)}
    for difference in up:
        (concurrent if _concurrently(difference) else together).up.extend(_statements(difference, destructive))
    for difference in reversed(down):
        (concurrent if _concurrently(difference) else together).down.extend(_statements(difference, destructive))
    return together, concurrent


def _destroys(difference: Any) -> bool:
    return any(text.startswith("--") and "destroys" in text for text in difference.repair)


def _statements(difference: Any, proposed: Collection[str]) -> list[str]:
    """The repair of a difference, headed by what it is about; as a remark only, if its object is in ``proposed``."""
    head = f"-- {difference.kind} {difference.object}: {difference.expected} instead of {difference.actual}"
    repair = [_repeatable(text) for text in difference.repair]
    if difference.object in proposed:
        repair = [text if text.startswith("--") else f"-- db.execute({_literal(text)})" for text in repair]
    return [head, *repair]


def _repeatable(statement: str) -> str:
    """A CONCURRENTLY statement so that it can run again after an interruption: the other kind is rolled back."""
    text = re.sub(r"^(CREATE (?:UNIQUE )?INDEX CONCURRENTLY) (?!IF )", r"\1 IF NOT EXISTS ", statement)
    return re.sub(r"^(DROP INDEX CONCURRENTLY) (?!IF )", r"\1 IF EXISTS ", text)


def _concurrently(difference: Any) -> bool:
    """Whether its repair needs CONCURRENTLY: then all of it goes outside the transaction, in its order."""
    return any(s.has("CONCURRENTLY") for text in difference.repair for s in split(text))
