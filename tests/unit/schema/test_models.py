"""Importing models quietly and compiling them, without a database."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from papdeploy.core.errors import PapError
from papdeploy.schema import ModelSet, load_models
from papdeploy.schema.models.capture_output import silence
from papdeploy.schema.models.recorder import interpolate
from papdeploy.schema.models.source import Source
from support import ROOT


def simple(**columns: sa.types.TypeEngine[Any]) -> sa.MetaData:
    metadata = sa.MetaData()
    sa.Table(
        "t", metadata, sa.Column("id", sa.Integer, primary_key=True), *(sa.Column(n, t) for n, t in columns.items())
    )
    return metadata


def test_importing_the_package_needs_no_sqlalchemy() -> None:
    script = (
        "import sys; sys.path.insert(0, 'module_utils')\n"
        "sys.modules['sqlalchemy'] = None\n"
        "import papdeploy.schema as s, papdeploy.schema.handlers\n"
        "assert s.compare and s.fingerprint and s.CheckOptions and s.check and s.expect and s.load_models\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, timeout=60)


def test_the_digest_follows_models_and_server() -> None:
    one, same, other = (
        ModelSet([simple(a=sa.Text())]),
        ModelSet([simple(a=sa.Text())]),
        ModelSet([simple(a=sa.String())]),
    )
    assert one.digest(16) == same.digest(16)
    assert one.digest(16) != other.digest(16)
    assert one.digest(16) != one.digest(17)
    assert one.digest(16) != ModelSet([simple(a=sa.Text())], extensions=["citext"]).digest(16)
    assert one.ddl(16) == one.ddl(160004)


def test_indexes_in_any_order_give_one_digest() -> None:
    digests = set()
    for names in (["a", "b", "c"], ["c", "b", "a"]):
        metadata = simple(a=sa.Text(), b=sa.Text(), c=sa.Text())
        table = metadata.tables["t"]
        for name in names:
            sa.Index(f"ix_{name}", table.c[name])
        digests.add(ModelSet([metadata]).digest(16))
    assert len(digests) == 1


def test_listeners_of_every_kind_are_recorded() -> None:
    metadata = simple()
    asked = []

    @sa.event.listens_for(metadata, "after_create")
    def listener(target: sa.MetaData, connection: sa.Connection, **_: object) -> None:
        asked.append(connection.execute(sa.text("SELECT 1 FROM pg_type")).scalar())
        asked.append(connection.scalar(sa.text("SELECT 1")))
        asked.append(sa.inspect(connection).has_table("t"))
        connection.exec_driver_sql("CREATE VIEW one AS SELECT 'a%%b' AS x")
        connection.execute(sa.text("CREATE VIEW two AS SELECT 'a%b' AS x, :y AS y"), {"y": "it's"})
        connection.execute(sa.DDL("CREATE VIEW three AS SELECT 'a%%b' AS x"))
        connection.execute(metadata.tables["t"].insert(), [{"id": 1}, {"id": 2}])
        with connection.begin_nested():
            connection.exec_driver_sql("COMMENT ON TABLE t IS 'x'")
        connection.commit()

    statements = ModelSet([metadata]).ddl(160000)
    assert asked == [None, None, False]
    assert "CREATE VIEW one AS SELECT 'a%b' AS x" in statements
    assert "CREATE VIEW two AS SELECT 'a%b' AS x, 'it''s' AS y" in statements
    assert "CREATE VIEW three AS SELECT 'a%b' AS x" in statements
    assert "COMMENT ON TABLE t IS 'x'" in statements
    assert sum(s.startswith("INSERT INTO t") for s in statements) == 2


def test_concurrently_is_for_live_tables() -> None:
    metadata = simple(a=sa.Text())
    sa.Index("ix", metadata.tables["t"].c.a, postgresql_concurrently=True)
    assert ModelSet([metadata]).ddl(160000)[-1] == "CREATE INDEX ix ON t (a)"


def test_schemas_are_created_unless_the_models_do_it() -> None:
    metadata = sa.MetaData()
    sa.Table("t", metadata, sa.Column("k", sa.Enum("a", name="k", schema="types")), schema="audit")
    assert ModelSet([metadata]).ddl(16)[:2] == ["CREATE SCHEMA audit", "CREATE SCHEMA types"]
    sa.event.listen(metadata, "before_create", sa.DDL("CREATE SCHEMA IF NOT EXISTS audit"))
    statements = ModelSet([metadata]).ddl(16)
    assert "CREATE SCHEMA audit" not in statements
    assert statements.index("CREATE SCHEMA IF NOT EXISTS audit") < [s[:12] for s in statements].index("CREATE TABLE")


def test_an_enum_of_two_metadatas_is_created_once() -> None:
    pair = [simple(k=sa.Enum("a", "b", name="k")), simple(k=sa.Enum("a", "b", name="k"))]
    pair[1].remove(pair[1].tables["t"])
    sa.Table("u", pair[1], sa.Column("k", sa.Enum("a", "b", name="k")))
    assert sum(s.startswith("CREATE TYPE") for s in ModelSet(pair).ddl(16)) == 1


def test_a_listener_that_fails_is_a_sentence_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:very-secret-word@h/d")
    metadata = simple()

    @sa.event.listens_for(metadata, "before_create")
    def listener(*_: object, **__: object) -> None:
        raise RuntimeError("cannot reach very-secret-word")

    with pytest.raises(PapError) as caught:
        ModelSet([metadata], ["app.models"]).ddl(16)
    assert "cannot be compiled to SQL: RuntimeError: cannot reach ********" in caught.value.message


def test_silence_keeps_everything_and_gives_it_back(capfd: pytest.CaptureFixture[str]) -> None:
    with silence() as printed:
        print("to stdout")
        print("to stderr", file=sys.stderr)
        os.write(1, b"to the descriptor\n")
        kept = sys.stdout
    kept.write("late")
    print("after")
    assert capfd.readouterr().out == "after\n"
    assert all(word in printed.text for word in ("to stdout", "to stderr", "to the descriptor"))


@pytest.mark.parametrize(
    ("sql", "parameters", "written"),
    [
        ("SELECT 1", None, "SELECT 1"),
        ("SELECT 'a%%'", {}, "SELECT 'a%'"),
        ("SELECT %(a)s, %(b)s", {"a": 1, "b": None}, "SELECT 1, NULL"),
        ("SELECT %s", (True,), "SELECT true"),
        ("SELECT %(a)s", {"a": ["x", 2]}, "SELECT ARRAY['x', 2]"),
        ("SELECT %(a)s", {"a": b"\x01"}, "SELECT '\\x01'::bytea"),
    ],
)
def test_parameters_are_written_in(sql: str, parameters: object, written: str) -> None:
    assert interpolate(sql, parameters) == written


def test_classes_say_where_a_table_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "located_models.py").write_text(
        "from sqlalchemy import Column, Integer\nfrom sqlalchemy.orm import declarative_base\nBase = declarative_base()\n\n\n"
        "class Thing(Base):\n    __tablename__ = 'things'\n    __table_args__ = {'schema': 'audit'}\n"
        "    id = Column(Integer, primary_key=True)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    models = load_models(["located_models"])
    assert models.classes() == {"audit.things": Source("Thing", "located_models.py", 6)}
