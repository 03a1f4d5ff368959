"""What a statement connects to by dblink is the copy; what only looks like it stays as it is."""

from __future__ import annotations

import pytest
from papdeploy.migrations.dblink import pointed

LIVE, COPY = "shop", "shop__scratch_r1"

CHANGED = [
    ("SELECT dblink_exec('dbname=shop', 'DELETE FROM t')", "SELECT dblink_exec('dbname={}', 'DELETE FROM t')"),
    ("SELECT dblink_connect('x', 'host=h dbname = shop user=u')", "SELECT dblink_connect('x', 'host=h dbname = {} user=u')"),
    ("SELECT * FROM dblink('dbname=''shop'' port=1', 'q') AS t(a int)", "SELECT * FROM dblink('dbname=''{}'' port=1', 'q') AS t(a int)"),
    ("SELECT public.dblink_exec('postgresql://u:p%40w@h:5/shop', 'q')", "SELECT public.dblink_exec('postgresql://u:p%40w@h:5/{}', 'q')"),
    ("SELECT DBLINK_EXEC('postgres://u@h/x?dbname=shop', 'q')", "SELECT DBLINK_EXEC('postgres://u@h/x?dbname={}', 'q')"),
    ("DO $$ BEGIN PERFORM dblink_exec('dbname=shop', 'q'); END $$", "DO $$ BEGIN PERFORM dblink_exec('dbname={}', 'q'); END $$"),
]  # fmt: skip
KEPT = [
    "SELECT dblink_exec('dbname=shop2', 'q')",
    "SELECT dblink_exec('dbname=shop-old', 'q')",
    "SELECT dblink_exec('dbname=other', 'SELECT * FROM shop')",
    "SELECT dblink_exec('postgresql://u@h/shops', 'q')",
    "SELECT dblink_exec('dbname=' || current_database(), 'UPDATE shop SET a = 1')",
    "INSERT INTO notes VALUES ('dbname=shop')",
]


@pytest.mark.parametrize(("text", "wanted"), CHANGED)
def test_a_connection_to_the_live_database_is_one_to_the_copy(text: str, wanted: str) -> None:
    assert pointed(text, LIVE, COPY) == wanted.format(COPY)


@pytest.mark.parametrize("text", KEPT)
def test_everything_else_stays(text: str) -> None:
    assert pointed(text, LIVE, COPY) == text
