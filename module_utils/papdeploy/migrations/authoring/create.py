"""``new``: write a dated migration file, empty or filled from the differences between models and database."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from ...core.errors import Refused
from ...sql.statements import split
from ..alembic.declaration import Declaration
from ..run.apply import who_am_i
from . import revisions
from .large_tables import Code, divided

if TYPE_CHECKING:
    from ...schema.repair.order import Step

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
    from papdeploy.migrations.cli.file import main

    raise SystemExit(main(__file__))
'''


@dataclass
class Draft:
    """The bodies of one file: statements (SQL, or ``--`` remarks for the person) up and down."""

    suffix: str = ""
    title: str = ""
    transactional: bool = True
    no_way_back: str = 'raise NotImplementedError("write the downgrade, or say why there is none")'
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
    renamed: Sequence[str] = (),
    sql: bool = False,
    declared: Optional[Declaration] = None,
    today: Optional[date] = None,
) -> list[Path]:
    """Write ``folder/YYYY_MM_DD_name.py`` (``.sql`` with ``sql``) and return what was written; never overwrites.

    With ``models`` it is filled with what the database at ``url`` lacks. New labels of enums, which nothing may use in
    their own transaction, get a file before it, statements with CONCURRENTLY one after it. ``declared``: they are
    revisions of that Alembic tree.
    """
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if not slug:
        raise Refused(f"{name!r} gives no file name.", hint="Say in a few words what it does: add_api_key.")
    if declared is not None:
        if sql:
            raise Refused("A revision of an Alembic tree is Python, not SQL.", hint="Leave out --sql.")
        drafts = _from_models(models, url, scratch_url, renamed) if models else [Draft()]
        return [
            revisions.write(
                declared, name.strip() + draft.title, draft.up, draft.down, transactional=draft.transactional
            )
            for draft in drafts
        ]
    if not folder.is_dir():
        raise Refused(f"There is no folder {folder}.")
    day = today or date.today()
    drafts = _from_models(models, url, scratch_url, renamed) if models else [Draft()]
    paths = [folder / f"{day:%Y_%m_%d}_{slug}{draft.suffix}{'.sql' if sql else '.py'}" for draft in drafts]
    for path in paths:
        if path.exists():
            raise Refused(f"{path} is there already.", hint="Choose another name.")
    before = ""
    for path, draft in zip(paths, drafts):
        title = f"{name.strip()}{draft.title}".rstrip(".") + "."
        written = _sql_text if sql else _text
        path.write_text(written(title, day, author, draft, requires=before), encoding="utf-8")
        before = path.stem
    return paths


def _text(title: str, day: date, author: str, draft: Draft, requires: str = "") -> str:
    return _HEADER.format(
        title=title[:1].upper() + title[1:].replace("_", " "),
        date=day.isoformat(),
        author=author or who_am_i().partition("@")[0],
        requires=f'\nrequires = ["{requires}"]' if requires else "",
        transactional=draft.transactional,
        upgrade=_body(draft.up, 'raise NotImplementedError("write the change")'),
        downgrade=_body(draft.down, draft.no_way_back),
    )


def _sql_text(title: str, day: date, author: str, draft: Draft, requires: str = "") -> str:
    head = [f"-- {title[:1].upper()}{title[1:].replace('_', ' ')}", f"-- Date: {day.isoformat()}"]
    head.append(f"-- Author: {author or who_am_i().partition('@')[0]}")
    head += [f"-- requires: {requires}"] * bool(requires) + ["-- transactional: false"] * (not draft.transactional)
    up, down = (_sql_lines(statements) for statements in (draft.up, draft.down))
    if draft.no_way_back == "pass":
        down.append("SELECT 1; -- nothing to undo, and no reason to refuse a revert")
    if not draft.up and not draft.down:
        up, down = ["-- write the change here"], ["-- and the way back here; without it the migration is irreversible"]
    return "\n".join([*head, "", "-- migrate: up", *up, "", "-- migrate: down", *down, ""])


def _sql_lines(statements: Sequence[str]) -> list[str]:
    """What Python does in pieces is a block that commits them."""
    return [text.statement if isinstance(text, Code) else text for text in statements]


def _body(statements: Sequence[str], empty: str) -> str:
    lines: list[str] = []
    for statement in statements:
        if isinstance(statement, Code):
            lines += textwrap.indent(statement, "    ").splitlines()
        elif statement.lstrip().startswith("--"):
            lines += [f"    # {line.removeprefix('--').strip()}" for line in statement.splitlines()]
        else:
            lines.append(f"    db.execute({_literal(statement)})")
    if not any(line.lstrip().startswith("db.") for line in lines):
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


def _from_models(models: Sequence[str], url: str, scratch_url: Optional[str], renamed: Sequence[str]) -> list[Draft]:
    from .from_models import repairs

    up, down = repairs(models, url, scratch_url, renamed)
    if not up.steps:
        raise Refused("The database matches the models: there is nothing to migrate.")
    labels = [step for step in up.steps if step.kind == "enum_label_missing"]
    alone = up.following([step for step in up.steps if _concurrently(step.statements)])
    early = Draft("_labels", ", the labels first", transactional=False, no_way_back="pass")
    main, late = Draft(), Draft("_concurrently", ", the part outside a transaction", transactional=False)
    # What would throw rows or values away is proposed, for the person to decide; and so is its downgrade.
    proposed = {step.name for step in up.steps if _destroys(step)}
    homes: dict[str, Draft] = {}
    for step in up.steps:
        home = early if step in labels else late if id(step) in alone else main
        here, pieces = (step.statements, []) if home is early else divided(step.statements, up.large)
        home = home if here else late
        homes.setdefault(step.name, home)
        home.up += _statements(step, here, proposed, transactional=home.transactional) if here else []
        late.up += _statements(step, pieces, proposed, transactional=False) if pieces else []
    for step in down.steps:
        home = homes.get(step.name, main)
        home = main if home is early else home  # a label goes by an exchange of the type, which rolls back
        home.down += _statements(step, step.statements, proposed, transactional=home.transactional)
    if late.up and not late.down:
        late.no_way_back = "pass"
        late.down.append("-- what was filled goes with its column, in the file before this one")
    if early.up:
        early.down.append("-- a label goes when its type is exchanged, in the file after this one")
    return [draft for draft in (early, main, late) if draft.up or draft is main]


def _destroys(step: Step) -> bool:
    return any(text.startswith("--") and "destroys" in text for text in step.statements)


def _statements(step: Step, statements: Sequence[str], proposed: Collection[str], *, transactional: bool) -> list[str]:
    """``statements`` of a step, headed by what it is about; as remarks only, if its object is in ``proposed``."""
    found = [f"-- {step.kind} {step.name}"]
    for text in statements:
        if text.startswith("--") or isinstance(text, Code):
            found.append(text)
            continue
        text = text.replace(" CONCURRENTLY", "", 1) if transactional else _repeatable(text)
        found.append(f"-- db.execute({_literal(text)})" if step.name in proposed else text)
    return found


def _repeatable(statement: str) -> str:
    """A statement outside a transaction so that it can run again after an interruption: the other kind rolls back."""
    text = re.sub(r"^(CREATE (?:UNIQUE )?INDEX CONCURRENTLY) (?!IF )", r"\1 IF NOT EXISTS ", statement)
    text = re.sub(r"^(ALTER TYPE \S+ ADD VALUE) (?!IF )", r"\1 IF NOT EXISTS ", text)
    return re.sub(r"^(DROP INDEX CONCURRENTLY) (?!IF )", r"\1 IF EXISTS ", text)


def _concurrently(statements: Sequence[str]) -> bool:
    """Whether any needs CONCURRENTLY: then all of the step goes outside the transaction, in its order."""
    return any(s.has("CONCURRENTLY") for text in statements for s in split(text))
