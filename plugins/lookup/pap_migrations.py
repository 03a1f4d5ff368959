"""Read migration files on the controller, so that modules can carry them to the target."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

_DATED = re.compile(r"\d{4}_\d{2}_\d{2}_")
_MARKED = re.compile(r"^--[ \t]*migrate[ \t]*:", re.IGNORECASE | re.MULTILINE)

DOCUMENTATION = r"""
name: pap_migrations
short_description: Read the files of migration folders on the controller
version_added: "0.1.0"
author: pap-deploy authors
description:
  - Returns one dictionary of file name and text for all folders together.
  - Every C(*.py) file is included; the migration runner decides which of them are migrations.
  - A C(*.sql) file is included where its name begins with a date, or it says C(-- migrate) in a comment; and every
    C(invariants/*.sql).
  - The order of migrations without a date comes along as the text of C(_order.txt).
options:
  _terms:
    description: Folders. A folder that does not exist is an error.
    required: true
  order:
    description: Names of migrations in the order in which they run, in place of what a folder's own C(_order.txt) says.
    type: list
    elements: str
    default: []
  alembic:
    description: The Alembic tree of the release, as C(pap_alembic) declares it; it comes along as C(_alembic.json).
    type: dict
    default: {}
  target:
    description: The revision of that tree to go to.
    type: str
    default: head
"""

EXAMPLES = r"""
- name: Show which files would be sent
  ansible.builtin.debug:
    msg: "{{ lookup('pap_migrations', 'migrations') | list }}"
"""

RETURN = r"""
_list:
  description: One dictionary, file name to text.
  type: list
  elements: dict
"""


class LookupModule(LookupBase):
    def run(self, terms: Any, variables: Any = None, **kwargs: Any) -> list[Any]:
        self.set_options(var_options=variables, direct=kwargs)
        sources: dict[str, str] = {}
        order = list(self.get_option("order"))
        listed: list[str] = []
        homes: dict[str, Path] = {}
        for term in self._flatten(terms):
            folder = Path(term)
            if not folder.is_dir():
                raise AnsibleLookupError(f"The migrations folder {folder} does not exist. Check pap_migrations_dirs.")
            for path in self._files(folder):
                name = path.relative_to(folder).as_posix()
                if name in homes:
                    raise AnsibleLookupError(
                        f"{name} is in both {homes[name]} and {folder}. Migrations need different names."
                    )
                homes[name] = folder
                sources[name] = path.read_text(encoding="utf-8")
            own = folder / "_order.txt"
            listed += own.read_text(encoding="utf-8").splitlines() if own.is_file() else []
        if order or listed:
            sources["_order.txt"] = "\n".join(order or listed) + "\n"
        if self.get_option("alembic"):
            sources["_alembic.json"] = self._declared(self.get_option("alembic"), self.get_option("target"))
        return [sources]

    @staticmethod
    def _declared(tree: dict[str, Any], target: str) -> str:
        unknown = sorted(set(tree) - {"ini", "order", "x", "section"})
        if unknown or not tree.get("ini"):
            wrong = f"does not know {', '.join(unknown)}" if unknown else "names no ini file"
            raise AnsibleLookupError(f"pap_alembic {wrong}. Write pap_alembic: {{ini: alembic.ini}}.")
        return json.dumps({**tree, "target": target}, sort_keys=True)

    @staticmethod
    def _files(folder: Path) -> list[Path]:
        """What may be a migration, and the invariants; no other SQL that lies beside them, a dump perhaps."""
        sql = [
            path
            for path in folder.glob("*.sql")
            if _DATED.match(path.name) or _MARKED.search(path.read_text(encoding="utf-8", errors="replace"))
        ]
        return [*sorted([*folder.glob("*.py"), *sql]), *sorted(folder.glob("invariants/*.sql"))]
