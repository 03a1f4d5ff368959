"""Print what a stack in containers is and holds, as JSON. Knows nothing of pap-deploy, on purpose.

Usage: python look.py NAME   (the containers are NAME-db, NAME-api and what was set aside of them)
"""

from __future__ import annotations

import json
import sys
import urllib.request
from typing import Any

import docker

DATABASE, OWNER = "control_core_db", "control_core"
TABLES = """
SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pap_deploy')
ORDER BY 1
"""
CONTENT = """
SELECT json_build_object(
  'columns', (SELECT json_agg(json_build_array(a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                                               pg_get_expr(d.adbin, d.adrelid)) ORDER BY a.attname)
              FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
              WHERE a.attrelid = '{table}'::regclass AND a.attnum > 0 AND NOT a.attisdropped),
  'rows', (SELECT count(*) FROM {table}),
  'digest', (SELECT md5(coalesce(string_agg(to_jsonb(t)::text, E'\\n' ORDER BY to_jsonb(t)::text), '')) FROM {table} t))
"""


def main(name: str) -> None:
    engine = docker.from_env().api  # type: ignore[attr-defined] # found in the folder docker

    def sql(statement: str) -> list[str]:
        argv = ["psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", OWNER, "-d", DATABASE, "-c", statement]
        made = engine.exec_create(f"{name}-db", argv)["Id"]
        output = engine.exec_start(made).decode()
        if engine.exec_inspect(made)["ExitCode"] != 0:
            sys.exit(output)
        return [line for line in output.splitlines() if line]

    found: dict[str, Any] = {
        "tables": {table: json.loads(sql(CONTENT.format(table=table))[0]) for table in sql(TABLES)},
        "databases": sql("SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1"),
        "ledger": sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'pap_deploy'") != ["0"],
        "containers": {},
        "one_off": [],
    }
    for item in engine.containers(all=True):
        inspected = engine.inspect_container(item["Id"])
        own = inspected["Name"][1:]
        if (inspected["Config"]["Labels"] or {}).get("pap-deploy.for") == f"{name}-api":
            found["one_off"].append(own)
        elif own.split("__")[0] in (f"{name}-api", f"{name}-db"):
            found["containers"][own] = {
                "id": inspected["Id"],
                "image": inspected["Config"]["Image"],
                "running": inspected["State"]["Running"],
                "policy": inspected["HostConfig"]["RestartPolicy"]["Name"],
                "user": inspected["Config"]["User"],
                "read_only": inspected["HostConfig"]["ReadonlyRootfs"],
            }
    inspected = engine.inspect_container(f"{name}-api")
    port = inspected["NetworkSettings"]["Ports"]["8000/tcp"][0]["HostPort"]
    found["url"] = f"http://127.0.0.1:{port}"
    with urllib.request.urlopen(f"{found['url']}/version", timeout=10) as answer:
        version = json.load(answer)
    found["version"] = {key: version[key] for key in ("release", "version", "environment")}
    print(json.dumps(found, sort_keys=True))


if __name__ == "__main__":
    main(sys.argv[1])
