#!/bin/bash
# What the official postgres image does at its start, as far as a stack needs it: POSTGRES_USER, POSTGRES_PASSWORD and
# POSTGRES_DB (or the *_FILE of each) are used once, on an empty data directory; process 1 becomes the postmaster.
set -euo pipefail

from_file() { # from_file NAME: take the value from the file that NAME_FILE names
    local file="$1_FILE"
    if [ -n "${!file:-}" ]; then export "$1=$(<"${!file}")"; fi
}

[ "${1:-}" = postgres ] || exec "$@"
if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" /run/postgresql
    chown postgres: "$PGDATA" /run/postgresql
    chmod 700 "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    for name in POSTGRES_USER POSTGRES_PASSWORD POSTGRES_DB; do from_file "$name"; done
    user=${POSTGRES_USER:-postgres}
    : "${POSTGRES_PASSWORD:?must be set for an empty data directory}"
    initdb --username="$user" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") --encoding=UTF8 --locale=C.UTF-8 \
        --auth-local=trust --auth-host=scram-sha-256 --no-sync
    printf 'host all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
    pg_ctl -D "$PGDATA" -w -o "-c listen_addresses='' -c fsync=off" start
    database=${POSTGRES_DB:-$user}
    if [ "$database" != postgres ]; then createdb --username="$user" --maintenance-db=postgres -- "$database"; fi
    for script in /docker-entrypoint-initdb.d/*.sql; do
        [ -e "$script" ] && psql -X -v ON_ERROR_STOP=1 --username="$user" --dbname="$database" --file="$script"
    done
    pg_ctl -D "$PGDATA" -w -m fast stop
fi
exec "$@" -c listen_addresses='*'
