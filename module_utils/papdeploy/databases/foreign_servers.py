"""Foreign servers of a copy that lead back to the live database: there they lead to the copy itself."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import CommandFailed, Refused
from ..sql.quoting import quote_ident, quote_literal
from .psql import Database, bind

_SERVERS = """
SELECT s.srvname AS name, coalesce(o.host, '') AS host, coalesce(o.port, current_setting('port')) AS port,
       current_setting('port') AS own_port, coalesce(host(inet_server_addr()), '') AS own_address
FROM pg_foreign_server AS s, LATERAL (
    SELECT max(option_value) FILTER (WHERE option_name = 'dbname') AS dbname,
           max(option_value) FILTER (WHERE option_name IN ('host', 'hostaddr')) AS host,
           max(option_value) FILTER (WHERE option_name = 'port') AS port
    FROM pg_options_to_table(s.srvoptions)) AS o
WHERE o.dbname = %s
ORDER BY 1"""


@dataclass(frozen=True)
class _Server:
    name: str
    host: str
    port: str
    own_port: str
    own_address: str


def lead_to_copy(live: Database, copy: Database) -> list[str]:
    """Lead every foreign server of ``copy`` that means ``live`` to ``copy``; their names. Raises Refused if our role
    may not: what is written through such a server on the copy is written to the live database."""
    there, here = live.conninfo.dbname, copy.conninfo.dbname
    with copy.session() as session:
        found = [row for row in session.records(_Server, bind(_SERVERS, there)) if _is_own(row, live)]
        for row in found:
            try:
                session.execute(f"ALTER SERVER {quote_ident(row.name)} OPTIONS (SET dbname {quote_literal(here)})")
            except CommandFailed as error:
                raise Refused(
                    f"Foreign server {row.name} leads to the live database {there} itself, and on a copy it cannot"
                    f" be led elsewhere: {error.message}",
                    hint="Give it to a role of which pap_db_admin_user is a member (ALTER SERVER … OWNER TO …).",
                ) from None
        return [row.name for row in found]


def _is_own(server: _Server, live: Database) -> bool:
    """Whether its host and port are those of the server itself, as it would see them."""
    host = server.host
    here = host in ("", "localhost", "::1", live.conninfo.host, server.own_address) or host.startswith(("/", "127."))
    return here and server.port == server.own_port
