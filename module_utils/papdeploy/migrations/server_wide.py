"""Which statements act on the whole server, so that they must not run on a copy that lives beside the live database.

Roles, databases, tablespaces and parameters are shared by all databases of a server: what is committed about them in a
copy is in force for the live database too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional

from ..sql import statements
from ..sql.statements import Statement

# Does nothing, needs no privilege, returns no rows: sent in the place of a statement that is left out.
NOTHING = "UNLISTEN pap_deploy_nothing"

_SUSPECT = re.compile(
    r"\b(?:database|role|user|group|system|tablespace|owned|subscription|grant|revoke)\b", re.IGNORECASE
)
_VERBS = ("CREATE", "ALTER", "DROP")
_OBJECTS = ("DATABASE", "ROLE", "USER", "GROUP", "TABLESPACE", "SUBSCRIPTION", "SYSTEM", "OWNED")
_COMMENTED = ("DATABASE", "ROLE", "TABLESPACE", "SUBSCRIPTION")
_GRANTED = ("DATABASE", "TABLESPACE", "PARAMETER")
_SHOWN = 80
# Behind these a statement of PL/pgSQL begins.
_BLOCK = ("BEGIN", "THEN", "ELSE", "LOOP")


def without(text: str) -> tuple[str, list[Statement]]:
    """``text`` without the statements that act on the whole server, and those. What is left may be empty."""
    found = (
        [statement for statement in statements.split(text) if is_server_wide(statement)]
        if _SUSPECT.search(text)
        else []
    )
    if not found:
        return text, []
    return ";\n".join(statement.text for statement in statements.split(text) if statement not in found), found


def is_server_wide(statement: Statement) -> bool:
    """Whether it acts on more than the database that it is sent to. A DO block does if one of its statements does as
    it stands there; SQL that a block or a function puts together is not seen here."""
    if statement.head == "DO":
        return any(_acts(words) for body in _bodies(statement) for words in _statements(body))
    return _acts(statement.words)


def shown(statement: Statement) -> str:
    """Its beginning for a person, without comments, up to the first string: that may be a password."""
    if statement.head == "DO":
        inside = next(words for body in _bodies(statement) for words in _statements(body) if _acts(words))
        return f"DO … {' '.join(inside[:3])} …"
    text = ""
    for kind, token, _ in statements.tokens(statement.text):
        if kind == "string" or len(text) + len(token) > _SHOWN:
            return f"{text.rstrip()} …"
        text += token if kind != "space" else "" if text.endswith(" ") else " "
    return text


def names_database(statement: Statement, name: str) -> bool:
    """Whether it names database ``name`` outside of strings and blocks."""
    return "DATABASE" in statement.words and any(word in (name.upper(), f'"{name}"') for word in statement.words)


@dataclass(frozen=True)
class LeftOut:
    """A statement that acts on the whole server, and was not run on a copy. ``by_name``: it names the database."""

    identity: str = ""
    direction: str = ""
    statement: str = ""
    by_name: bool = False


def said(left_out: LeftOut) -> str:
    """What was left out on a copy, in one sentence."""
    fenced = " (behind the fence it fails, for there the database has another name)" if left_out.by_name else ""
    return (
        f"not run here, because it acts on the whole server: {left_out.statement} of {left_out.identity};"
        f" the {'deploy' if left_out.direction == 'upgrade' else 'rollback'} runs it on the live database{fenced}"
    )


def _acts(words: tuple[str, ...]) -> bool:
    head, second = words[0], words[1] if len(words) > 1 else ""
    if head in _VERBS:
        return second in _OBJECTS and not _is_user_mapping(words)
    if head in ("GRANT", "REVOKE"):
        return _of_roles_or_shared(words)
    if head == "REASSIGN":
        return second == "OWNED"
    if head in ("COMMENT", "SECURITY"):
        on = words.index("ON") if "ON" in words else len(words)
        return words[on + 1 : on + 2] != () and words[on + 1] in _COMMENTED
    return False


def _is_user_mapping(words: tuple[str, ...]) -> bool:
    """USER MAPPING FOR …, and not a user whose name is mapping."""
    return words[1:3] == ("USER", "MAPPING") and words[3:4] in (("FOR",), ("IF",))


def _of_roles_or_shared(words: tuple[str, ...]) -> bool:
    """GRANT and REVOKE of a role have no ON; of privileges, the word behind ON says on what."""
    end = next((n for n, word in enumerate(words) if word in ("TO", "FROM")), len(words))
    if "ON" not in words[:end]:
        return True
    kind, name = (*words[words.index("ON") + 1 :], "", "")[:2]
    return kind in _GRANTED and name not in ("TO", "FROM", ",", ".")  # else a table that is called so


def _bodies(statement: Statement) -> list[str]:
    return [inside for word in statement.words if (inside := _inside(word)) is not None]


def _inside(word: str) -> Optional[str]:
    """The code in a quoted string, in either kind of quotes."""
    if word.startswith("$"):
        edge = word.index("$", 1) + 1
        return word[edge:-edge]
    return word[1:-1].replace("''", "'") if word.startswith("'") else None


def _statements(body: str) -> list[tuple[str, ...]]:
    """The statements of a block of PL/pgSQL, as far as words tell where one begins."""
    found = []
    for statement in statements.split(body):
        begins = [0, *(n + 1 for n, word in enumerate(statement.words) if word in _BLOCK)]
        found += [statement.words[n:] for n in begins if n < len(statement.words)]
    return found
