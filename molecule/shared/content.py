"""Print what a database holds: per table its rows and a checksum of them. Knows nothing of pap-deploy, on purpose.

Usage: python content.py state.json [--without TABLE …]   (state.json is the sandbox's description of one environment)
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql

TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pap_deploy')
AND n.nspname NOT LIKE 'pg\\_toast%' ORDER BY 1, 2
"""
COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1
"""


def content(state: dict[str, Any], without: set[str]) -> dict[str, Any]:
    """Table name to columns, number of rows, and a digest of the sorted rows; and the databases of the server."""
    server = state["postgres"]
    password = Path(server["superuser_password_file"]).read_text().strip()
    connection = psycopg2.connect(
        host=server["host"],
        port=server["port"],
        user=server["superuser"],
        password=password,
        dbname=server["database"],
    )
    found: dict[str, Any] = {}
    with connection, connection.cursor() as cursor:
        cursor.execute(TABLES)
        for schema, table in cursor.fetchall():
            if table in without:
                continue
            name = sql.Identifier(schema, table)
            cursor.execute(COLUMNS, [name.as_string(connection)])
            columns = cursor.fetchall()
            listed = sql.SQL(", ").join(sql.Identifier(column[0]) for column in columns)
            cursor.execute(sql.SQL("SELECT ROW({})::text FROM {} ORDER BY 1").format(listed, name))
            rows = [row[0] for row in cursor]
            digest = hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]
            found[f"{schema}.{table}"] = {"columns": columns, "rows": len(rows), "digest": digest}
        cursor.execute("SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1")
        found["databases"] = [row[0] for row in cursor]
    connection.close()
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("state")
    parser.add_argument("--without", nargs="*", default=[])
    given = parser.parse_args()
    print(json.dumps(content(json.loads(Path(given.state).read_text()), set(given.without)), sort_keys=True))
