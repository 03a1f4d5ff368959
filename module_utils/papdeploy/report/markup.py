"""The pieces of which the sections of a page are made."""

from __future__ import annotations

from collections.abc import Sequence

from .format import escape

EMPTY = "–"  # a cell without a value


def section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def table(
    caption: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Sequence[int] = (),
    sql: Sequence[int] = (),
) -> str:
    """A table; cells are HTML already. Columns in ``numbers`` are set to the right, those in ``sql`` keep their lines.
    A column in which nothing was recorded is left out."""

    def cell(tag: str, column: int, content: str, scope: str = "") -> str:
        kind = ' class="num"' if column in numbers else ' class="sql"' if column in sql and tag == "td" else ""
        return f"<{tag}{kind}{scope}>{content}</{tag}>"

    empty = {i for i in range(len(head)) if rows and all(row[i] == EMPTY for row in rows)}
    head = [text for i, text in enumerate(head) if i not in empty]
    rows = [[text for i, text in enumerate(row) if i not in empty] for row in rows]
    numbers = [i - sum(1 for e in empty if e < i) for i in numbers if i not in empty]
    top = "".join(cell("th", i, escape(text), ' scope="col"') for i, text in enumerate(head))
    body = "".join("<tr>" + "".join(cell("td", i, text) for i, text in enumerate(row)) + "</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def figures(*items: tuple[str, str]) -> str:
    """Large numbers with what they mean."""
    shown = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in items)
    return f'<div class="figures">{shown}</div>'


def none(text: str) -> str:
    return f'<p class="none">{escape(text)}</p>'


def mark(good: bool, yes: str = "passed", no: str = "failed") -> str:
    """A word with a sign, so that colour is not all that tells."""
    return f'<span class="ok">✓ {escape(yes)}</span>' if good else f'<span class="bad">✗ {escape(no)}</span>'


def items_in_blocks(items: str) -> str:
    """Each dt with its dd in a block of its own, as the grid wants them."""
    return items.replace("<dt>", "<div><dt>").replace("</dd>", "</dd></div>")
