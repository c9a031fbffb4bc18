#!/usr/bin/env bash
# server.sh create|start: makes or starts the demo's private server in PGDATA, Unix socket in PGHOST.
# Starting it includes PostgreSQL's recovery after a crash, which is when pg_writecache looks at its buffer file.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../test/tools/lib.sh"

create() {
  local log=$PGHOST/initdb.log
  as_server_user initdb -D "$PGDATA" -U postgres -A trust -N --encoding=UTF8 --locale=C.UTF-8 >"$log" 2>&1 || {
    cat "$log" >&2
    die 'initdb failed'
  }
  # fsync and synchronous_commit are on, as they are by default: the plain table that the demo compares with needs them.
  as_server_user tee -a "$PGDATA/postgresql.conf" >/dev/null <<CONF
shared_preload_libraries = 'pg_writecache'
writecache.buffer_size = 64MB
listen_addresses = ''
unix_socket_directories = '$PGHOST'
shared_buffers = 256MB
max_wal_size = 1GB
CONF
}

start() {
  as_server_user pg_ctl -D "$PGDATA" -l "$PGHOST/server.log" -w -t 30 start >"$PGHOST/start.log" 2>&1 && return
  tail -n 30 "$PGHOST/start.log" "$PGHOST/server.log" >&2
  die 'the server does not start'
}

case ${1:-} in
  create | start) "$1" ;;
  *) die 'usage: server.sh create|start' ;;
esac
