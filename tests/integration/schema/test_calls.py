"""The agent's calls: plain data in, plain data out, over the functions that a deploy uses."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from papdeploy.core.errors import Refused
from papdeploy.core.redact import Redactor
from papdeploy.remote.client import Agent
from papdeploy.remote.handlers import resolve
from papdeploy.schema import drift, fingerprint
from papdeploy.schema.catalog.rows import Catalog
from papdeploy.sites.host import HostSite

pytestmark = pytest.mark.every_version

CORPUS = Path(__file__).resolve().parents[2] / "corpus" / "schema"
MODELS = {"models": ["corpus_models:Base", "corpus_models:Other"], "path": str(CORPUS)}


def call(name: str, **request: Any) -> dict[str, Any]:
    events: list[dict[str, Any]] = []
    answer = resolve(name)(json.loads(json.dumps(request)), events.append)
    travelled: dict[str, Any] = json.loads(json.dumps(answer))
    return travelled


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


TOKENS = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

class Base(DeclarativeBase):
    pass

class Token(Base):
    __tablename__ = "oauth_tokens"
    __table_args__ = (
        sa.CheckConstraint("token_type = 'bearer'", name="ck_token_type"),
        sa.Index("ix_secret", "secret", postgresql_where=sa.text("secret <> 'none'")),
        {"comment": "the secret: hashed with argon2"},
    )
    id = sa.Column(sa.Integer, primary_key=True)
    token_type = sa.Column(sa.Text, server_default="bearer", nullable=False)
    secret = sa.Column(sa.Text, comment="password: hunter2x is none; token=abc neither")
"""


def test_what_only_names_secrets_is_compared_and_repaired_as_it_is(server: Any, tmp_path: Path) -> None:
    """Over a real agent: defaults, checks and comments that speak of tokens and passwords, in the environment too."""
    (tmp_path / "token_models.py").write_text(TOKENS)
    scratch, live = server.create("scratch"), server.create("live")
    env = {"DATABASE_URL": server.url(live, "postgresql"), "SECRET_KEY": "oauth_tokens", "API_TOKEN": "bearer"}
    request = {"models": ["token_models:Base"], "path": str(tmp_path), "server_version": server.major}
    redactor = Redactor()
    try:
        with Agent(HostSite(), sys.executable, cwd=str(tmp_path), env=env, redactor=redactor) as beside:
            expected = beside.call("schema.expect", {**request, "url": server.url(scratch, "postgresql")})["catalog"]
            for statement in beside.call("schema.ddl", request)["ddl"]:
                server.sql(statement, live)
            before = beside.call("schema.describe", {})["catalog"]
            assert "********" not in json.dumps([expected, before])
            assert "nextval('public.oauth_tokens_id_seq'::regclass)" in json.dumps(before)
            assert beside.call("schema.check", {"expected": expected})["differences"] == []

            for statement in (
                "ALTER TABLE oauth_tokens DROP CONSTRAINT ck_token_type,"
                " ADD CONSTRAINT ck_token_type CHECK (token_type = 'evil')",
                "ALTER TABLE oauth_tokens ALTER id DROP DEFAULT, ALTER token_type SET DEFAULT 'token'",
                "COMMENT ON TABLE oauth_tokens IS 'the secret: kept in plain'",
                "COMMENT ON COLUMN oauth_tokens.secret IS 'password: hunter3x is none; token=abd neither'",
            ):
                server.sql(statement, live)
            after = Catalog.from_json(beside.call("schema.describe", {})["catalog"])
            changed = {item.object for item in drift(Catalog.from_json(before), after)}
            assert {"oauth_tokens.ck_token_type", "oauth_tokens.id"} <= {
                name.replace("public.", "") for name in changed
            }
            found = beside.call("schema.check", {"expected": expected})["differences"]
            repairs = [statement for item in found for statement in item["repair"] if not statement.startswith("--")]
            assert "********" not in json.dumps(found)
            for statement in repairs:
                server.sql(statement, live)
            assert beside.call("schema.check", {"expected": expected})["differences"] == []
            assert beside.call("schema.describe", {})["fingerprint"] == fingerprint(Catalog.from_json(before))
        assert server.password in redactor.secrets, "what the app has in its environment is known to the caller now"
    finally:
        server.drop(scratch)
        server.drop(live)
