"""The agent's calls: plain data in, plain data out, over the functions that a deploy uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from papdeploy.agent_calls import resolve
from papdeploy.errors import Refused

CORPUS = Path(__file__).resolve().parents[1] / "corpus" / "schema"
MODELS = {"models": ["corpus_models:Base", "corpus_models:Other"], "path": str(CORPUS)}


def call(name: str, **request: Any) -> dict[str, Any]:
    events: list[dict[str, Any]] = []
    answer = resolve(name)(json.loads(json.dumps(request)), events.append)
    return json.loads(json.dumps(answer))  # type: ignore[no-any-return]


def test_a_deploys_road(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch, live = server.create("scratch"), server.create("live")
    try:
        compiled = call("schema.ddl", **MODELS, server_version=server.major)
        assert compiled["tables"] == 14
        expected = call("schema.expect", **MODELS, url=server.url(scratch, "postgresql"))
        assert expected["digest"] == compiled["digest"]
        with pytest.raises(Refused, match="not empty"):
            call("schema.expect", **MODELS, url=server.url(scratch, "postgresql"))
        for statement in compiled["ddl"]:
            server.sql(statement, live)
        monkeypatch.setenv("DATABASE_URL", server.url(live, "postgresql"))
        before = call("schema.describe")
        result = call("schema.check", expected=expected["catalog"], options={"fail_on": "error"})
        assert result["matches"] is True
        assert result["differences"] == []
        server.sql("ALTER TABLE users DROP COLUMN bio", live)
        result = call("schema.check", expected=expected["catalog"], options={"ignore": ["legacy_*"]})
        assert [d["object"] for d in result["differences"]] == ["users.bio"]
        assert call("schema.describe")["fingerprint"] != before["fingerprint"]
    finally:
        server.drop(scratch)
        server.drop(live)
