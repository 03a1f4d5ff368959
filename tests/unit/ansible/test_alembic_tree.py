"""``pap_alembic`` of the inventory becomes the declaration that travels with the migrations."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
from ansible.errors import AnsibleLookupError
from papdeploy.core.errors import PapError
from papdeploy.migrations.alembic.declaration import FILE, Declaration, of_sources
from support import ROOT


def declared(tree: dict[str, Any], target: str = "head") -> Any:
    path = ROOT / "plugins" / "lookup" / "pap_migrations.py"
    spec = importlib.util.spec_from_file_location("pap_migrations", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.LookupModule._declared(tree, target)


@pytest.mark.parametrize(
    ("tree", "target", "expected"),
    [
        ({"ini": "alembic.ini"}, "head", Declaration()),
        ({"ini": "a/b.ini", "order": "last", "x": ["k=v"]}, "heads", Declaration("a/b.ini", "heads", "last", ("k=v",))),
        ({"ini": "a.ini", "section": "prod"}, "4711", Declaration("a.ini", "4711", section="prod")),
    ],
)
def test_what_is_said_arrives(tree: dict[str, Any], target: str, expected: Declaration) -> None:
    assert of_sources({FILE: declared(tree, target), "2026_01_01_x.py": ""}) == expected
    assert of_sources({}) is None


@pytest.mark.parametrize("tree", [{"init": "alembic.ini"}, {"order": "first"}, {"ini": ""}])
def test_what_is_not_understood_is_refused(tree: dict[str, Any]) -> None:
    with pytest.raises(AnsibleLookupError, match=r"Write pap_alembic: \{ini: alembic.ini\}"):
        declared(tree)


@pytest.mark.parametrize("tree", [{"ini": "a.ini", "order": "middle"}, {"ini": "a.ini", "x": "k=v"}])
def test_wrong_values_are_refused(tree: dict[str, Any]) -> None:
    with pytest.raises(PapError):
        of_sources({FILE: declared(tree)})
