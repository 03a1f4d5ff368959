"""Write docs/adr/README.md, the index of the architecture decision records, from their titles and status lines.

``python tools/generate_adr_index.py`` writes it, ``--check`` fails (exit code 1) if it is not current.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "adr"
_TITLE = re.compile(r"# (\d+)\. (.+)")
_STATUS = re.compile(r"Status: (accepted|superseded|rejected|proposed), (\d{4}-\d\d-\d\d)(?:; (.+))?")
_HEAD = """\
# Architecture decisions

Made by `python tools/generate_adr_index.py`; do not edit it. A new record is `NNNN-title-in-words.md` with the lines

```
# N. Title that a reader would search for

Status: accepted, YYYY-MM-DD
```

and the paragraphs **Context**, **Decision** and **Consequences**, in 30 lines. A record that no longer holds is not
rewritten: its status becomes `superseded, YYYY-MM-DD; by ADR N`, or `accepted, YYYY-MM-DD; amended by ADR N`.

| number | decision | status | date |
| --- | --- | --- | --- |
"""


def main(arguments: list[str]) -> int:
    try:
        text = index(FOLDER)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    target = FOLDER / "README.md"
    if arguments == ["--check"]:
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            print("docs/adr/README.md is not current: python tools/generate_adr_index.py", file=sys.stderr)
            return 1
        return 0
    target.write_text(text, encoding="utf-8")
    return 0


def index(folder: Path) -> str:
    """The page. Raises ValueError for a record without a title or status line."""
    return _HEAD + "".join(row(path) for path in sorted(folder.glob("[0-9]*.md")))


def row(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").split("\n")
    title = _TITLE.fullmatch(lines[0])
    if not title or int(title[1]) != int(path.name[:4]):
        raise ValueError(f"{path.name} does not begin with a title of its number: # {int(path.name[:4])}. Title")
    status = _STATUS.fullmatch(lines[2]) if len(lines) > 2 else None
    if not status:
        raise ValueError(f"{path.name} has no status in its third line: Status: accepted, YYYY-MM-DD")
    more = f", {status[3]}" if status[3] else ""
    return f"| {title[1]} | [{title[2]}]({path.name}) | {status[1]}{more} | {status[2]} |\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
