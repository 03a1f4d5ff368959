"""Run in a subprocess with a given Python, SQLAlchemy and driver: what the runner does there, as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

from papdeploy.core.errors import PapError
from papdeploy.migrations import files
from papdeploy.migrations.options import RunOptions
from papdeploy.migrations.run import apply, revert

from support.migration_runner import ADD_X, CREATE_A, FILL_A, Verdict, migration

CONNECTION = migration(
    """
    from sqlalchemy import text
    with db.connection.begin_nested():
        db.connection.execute(text("UPDATE a SET n = n + :more WHERE id = :id"), {"more": 1000, "id": 1})
    try:
        with db.connection.begin_nested():
            db.connection.execute(text("SELECT 1/0"))
    except Exception:
        pass
    from sqlalchemy.orm import Session
    with Session(bind=db.connection, future=True) as session:
        session.execute(text("UPDATE a SET n = n + 1 WHERE id = 2"))
        session.commit()
    assert db.scalar(text("SELECT n FROM a WHERE id = 1")) == 1001
    assert db.rows("SELECT id, n FROM a WHERE id = :id", {"id": 1})[0].n == 1001
    """,
    "pass",
)
ALONE = migration(
    """
    db.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS ix ON a (n)")
    for batch in db.batches("SELECT id FROM a", size=40):
        db.execute("UPDATE a SET x = 'done' WHERE id = ANY(:ids)", {"ids": batch.keys})
    """,
    'db.execute("DROP INDEX CONCURRENTLY ix")',
    head="transactional = False",
)
GOOD = {
    "2025_01_01_a.py": CREATE_A, "2025_01_02_fill.py": FILL_A, "2025_01_03_x.py": ADD_X,
    "2025_01_04_alone.py": ALONE, "2025_01_05_connection.py": CONNECTION,
}  # fmt: skip
BAD = {
    "COMMIT": 'db.execute("COMMIT")',
    "commit()": "from sqlalchemy import text\ndb.connection.execute(text('SELECT 1'))\ndb.connection.commit()",
    "driver": "db.connection.connection.commit()",
    "swallowed": 'try:\n    db.execute("SELECT 1/0")\nexcept Exception:\n    pass',
    "second": "import os, sqlalchemy\nsqlalchemy.create_engine(os.environ['TEST_URL']).connect()",
    "error": "from sqlalchemy import text\ndb.connection.execute(text('SELECT 1/0'))",
}


def main(url: str, has_connection: bool) -> dict[str, object]:
    good = {n: s for n, s in GOOD.items() if has_connection or "connection" not in n}
    loaded = files.load_sources(good)

    def check(connection: Any) -> Verdict:
        return Verdict(connection.exec_driver_sql("SELECT count(*) FROM a").scalar() == 100)

    options = RunOptions(deadline_s=60)
    use_check = check if has_connection else None
    answers: dict[str, object] = {}
    result = apply.apply(url, loaded, check=use_check, options=options)
    answers["applied"] = [ran.identity for ran in result.applied]
    answers["statements"] = {ran.identity: ran.statement_count for ran in result.applied}
    answers["check"] = result.check
    answers["again"] = apply.apply(url, loaded, options=options).changed
    for name, code in BAD.items():
        if not has_connection and "connection" in code:
            continue
        bad = files.load_sources(
            {**good, "2025_02_01_bad.py": migration('db.execute("CREATE TABLE bad (id int)")\n' + code)}
        )
        try:
            apply.apply(url, bad, options=options)
            answers[name] = "was not noticed"
        except PapError as error:
            answers[name] = error.message.split(": ", 1)[-1].split(".")[0].split("\n")[0]
    if not has_connection:
        try:
            apply.apply(url, files.load_sources({**good, "2025_02_01_c.py": CONNECTION}), options=options)
        except PapError as error:
            answers["no dialect"] = error.message
    answers["reverted"] = [ran.identity for ran in revert.revert(url, loaded, count=9, options=options).reverted]
    return answers


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2] == "with-connection")))
