"""The page on security names the rights that the sandbox really deploys with."""

from __future__ import annotations

import re

from support import ROOT

from sandbox import postgresql


def statements(text: str) -> list[str]:
    bare = re.sub(r"--.*", "", text)
    found = [" ".join(part.split()) for part in bare.split(";")]
    return [re.sub(r"PASSWORD \S+", "PASSWORD", part) for part in found if postgresql.DEPLOYER in part]


def test_the_documented_role_is_the_one_of_the_sandbox() -> None:
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    block = re.search(r"```sql\n(.*?)```", page, re.DOTALL)
    assert block
    documented = statements(block[1])
    assert documented == statements(postgresql.ROLES)
    assert len(documented) == 5
    assert not any("SUPERUSER" in statement for statement in documented)
