"""Plain SQL files as editors, dumps and file systems leave them."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from papdeploy.core.errors import PapError, Refused
from papdeploy.migrations import files, notes, static_sql
from papdeploy.migrations.authoring import lint
from support.migration_runner import Bench
from support.postgres_servers import Server

TEXT = """-- Notes.
CREATE TABLE notes (id int, body text);
CREATE FUNCTION outer_one() RETURNS text LANGUAGE plpgsql AS $a$
DECLARE found text;
BEGIN
  EXECUTE $b$ SELECT $c$one; two $a $$ -- migrate: down
$c$ $b$ INTO found;
  RETURN found;
END; $a$;
INSERT INTO notes VALUES (1, outer_one());
-- migrate: down
DROP FUNCTION outer_one();
DROP TABLE notes;
"""
FORMS = {
    "as it is": TEXT,
    "BOM": "\ufeff" + TEXT,
    "CRLF": TEXT.replace("\n", "\r\n"),
    "BOM and CRLF": "\ufeff" + TEXT.replace("\n", "\r\n"),
    "old Mac": TEXT.replace("\n", "\r"),
    "mixed": TEXT.replace("\n", "\r\n", 3),
    "no end of line": TEXT.rstrip("\n"),
}


@pytest.fixture
def bench(server: Server, database: str) -> Bench:
    return Bench(server, database)


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_forms_of_one_text(bench: Bench, text: str) -> None:
    """They have one checksum, run alike, and go down again."""
    assert bench.apply({"2026_01_01_notes.sql": text}).applied[0].statement_count == 3
    assert bench.sql("SELECT btrim(body, E' \n') FROM notes") == [("one; two $a $$ -- migrate: down",)]
    assert not bench.apply({"2026_01_01_notes.sql": TEXT}).changed
    assert len(bench.revert({"2026_01_01_notes.sql": text}, count=1).reverted) == 1
    assert bench.tables() == []


PSQL = (
    (r"\connect", "\\connect other\nSELECT 1;"),
    (r"\c", "SELECT 1; \\c other"),
    (r"\gexec", "SELECT 'CREATE TABLE x (id int)' \\gexec"),
    (r"\gset", "SELECT 1 AS one \\gset\nSELECT 2;"),
    (r"\i", "\\i other.sql\n"),
    (r"\if", "\\if true\nSELECT 1;\n\\endif\n"),
    (r"\copy", "\\copy notes from 'notes.csv' csv\n"),
    (r"\.", "SELECT 1;\n\\.\n"),
    (r"\.", "SELECT 1;\r\n\\.\r\n"),
    ("COPY … FROM stdin", "CREATE TABLE n (id int);\nCOPY n FROM stdin;\n1\n2\n\\.\n"),
    ("COPY … FROM stdin", "copy n (id) from STDIN with (format csv);\n1\n\\.\n"),
    ("COPY … FROM stdin", 'COPY public.n (id, "from") FROM STDIN WITH CSV HEADER;\nid\n1\n\\.\n'),
    ("COPY … FROM stdin", "CREATE TABLE n (id int);\nCOPY n FROM stdin;\n"),
    ("COPY … FROM stdin", "COPY n FROM stdin;\nit's\n\\.\nSELECT 1;\n"),
    ("COPY … FROM stdin", "COPY n FROM stdin;\r\n1\r\n\\.\r\n"),
    ("COPY … FROM stdin", "COPY /* here; */ n -- there\n FROM\n /* the */ stdin;\n1\n\\.\n"),
    ("COPY … TO stdout", "COPY (SELECT 1) TO STDOUT;\n"),
)


@pytest.mark.parametrize("command, text", PSQL, ids=[text for _, text in PSQL])
def test_what_only_psql_reads(bench: Bench, command: str, text: str) -> None:
    """It is refused by name: as a file of SQL before anything runs, in Python by the lint, the plan and the run."""
    named = re.escape(command) + ", which only psql"
    with pytest.raises(Refused, match=f"2026_01_01_notes.sql has {named}"):
        files.load_sources({"2026_01_01_notes.sql": text})
    loaded = files.load_sources({"2026_01_01_notes.py": f"def upgrade(db):\n    db.execute({text!r})\n"})
    (note,) = notes.of(loaded)
    assert note.rule == "only-psql" and re.search(named, str(note))
    assert [f.severity for f in lint.judge(loaded, None).findings if f.rule == "only-psql"] == ["error"]
    with pytest.raises(PapError, match="psql"):
        bench.apply({"2026_01_01_notes.py": loaded[0].source})
    assert bench.tables() == []


CONTROL = (
    ("BEGIN", "BEGIN;\nCREATE TABLE a (id int);\nCOMMIT;"),
    ("START TRANSACTION", "START TRANSACTION; CREATE TABLE a (id int); END;"),
    ("ROLLBACK", "CREATE TABLE a (id int); ROLLBACK;"),
    ("PREPARE TRANSACTION", "CREATE TABLE a (id int); PREPARE TRANSACTION 'x';"),
    ("ABORT AND", "CREATE TABLE a (id int); ABORT AND CHAIN;"),
)


@pytest.mark.parametrize("sent, text", CONTROL)
def test_the_ends_of_the_transaction_are_told_before(bench: Bench, sent: str, text: str) -> None:
    source = {"2026_01_01_notes.sql": text}
    assert str(notes.of(files.load_sources(source))[0]).startswith(f"2026_01_01_notes, line 1: It sends {sent}")
    with pytest.raises(PapError, match=f"{sent} was sent"):
        bench.apply(source)
    assert bench.tables() == []
    alone = {"2026_01_01_notes.sql": f"-- transactional: false\n{text}"}
    assert notes.of(files.load_sources(alone)) == []


@pytest.mark.parametrize(
    "text",
    [
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END;\nSELECT 3;",
        "SELECT U&'d\\0061t'; SELECT E'a\\'; \\c b';",
        "SELECT '\n\\connect x\n\\.\nCOPY n FROM stdin;\n';\x0cSELECT $$\\gexec$$ /* \\i x */ -- \\q\n",
    ],
)
def test_what_only_looks_like_it_runs(bench: Bench, text: str) -> None:
    assert notes.of(files.load_sources({"2026_01_01_notes.sql": text})) == []
    assert bench.apply({"2026_01_01_notes.sql": text}).applied[0].statement_count == 2


READERS = (
    'from pathlib import Path\ndef upgrade(db):\n    db.execute((Path(__file__).parent / "s.sql").read_text())\n',
    "import pathlib\nHERE = pathlib.Path(__file__).resolve().parent\ndef upgrade(db):\n"
    '    db.execute(HERE.joinpath("s.sql").read_text(encoding="utf-8"))\n',
    'import os\ndef upgrade(db):\n    with open(os.path.join(os.path.dirname(__file__), "s.sql"), encoding="utf-8") as f:\n'
    "        db.execute(f.read())\n",
    'from pathlib import Path\ndef upgrade(db):\n    text = Path(__file__).with_name("s.sql").open().read()\n'
    "    db.execute(text)\n",
)


@pytest.mark.parametrize("source", READERS)
def test_a_file_beside_it_is_read(tmp_path: Path, source: str) -> None:
    (tmp_path / "s.sql").write_text("CREATE TABLE a (id int);\nCOPY a FROM stdin;\n1\n\\.\n")
    (tmp_path / "2026_01_01_a.py").write_text(source)
    loaded = files.load_folder(tmp_path)
    assert static_sql.sql_of(loaded[0]).exact
    assert [note.rule for note in notes.of(loaded)] == ["only-psql"]
    (tmp_path / "s.sql").unlink()
    assert not static_sql.sql_of(loaded[0]).exact and notes.of(loaded) == []


def test_names(bench: Bench) -> None:
    name = "2026_01_01_größe_é.sql"
    composed, decomposed = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    bench.apply({decomposed: "SELECT 1;"})
    assert not bench.apply({composed: "SELECT 1;"}).changed
    with pytest.raises(PapError, match="Two files are the migration"):
        files.load_sources({composed: "SELECT 1;", decomposed: "SELECT 1;"})
