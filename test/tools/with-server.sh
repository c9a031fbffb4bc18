#!/usr/bin/env bash
# with-server.sh [--test] [--conf FILE] [-c name=value]... [-- COMMAND...]: runs COMMAND (default: psql) with a private,
# throw-away server that has the extension loaded and created. --test takes the build with assertions.
# The command finds PGHOST, PGPORT, PGUSER, PGDATABASE, PGDATA, PATH and PG_CONFIG set.
# Promises: Unix socket only; the server and its data are gone when the command ends, however it ends.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

kind=release conf=() extra=
while [ $# -gt 0 ]; do
  case $1 in
    --test) kind='test' ;;
    --conf) conf+=("$2"); shift ;;
    -c) extra+="${2%%=*} = '${2#*=}'"$'\n'; shift ;;
    --) shift; break ;;
    *) die "unknown option $1" ;;
  esac
  shift
done
[ $# -gt 0 ] || set -- psql

prefix=$("$ROOT/test/tools/prefix.sh" "$kind")
dir=$(scratch_dir)
guard=$(start_guard "$dir" $$)
child=
finish() {
  trap - EXIT INT TERM HUP
  [ -z "$child" ] || kill "$child" 2>/dev/null || true
  stop_below "$dir"
  rm -rf "$dir"
  end_guard "$guard"
}
trap finish EXIT
trap 'exit 143' TERM HUP
trap 'exit 130' INT

cd "$dir"
as_server_user "$prefix/bin/initdb" -D "$dir/data" -U postgres -A trust -N --encoding=UTF8 --locale=C.UTF-8 >"$dir/initdb.log" 2>&1 ||
  { cat "$dir/initdb.log" >&2; die "initdb failed"; }
{
  printf "%s\n" "shared_preload_libraries = 'pg_writecache'" "listen_addresses = ''" "unix_socket_directories = '$dir'"
  [ ${#conf[@]} -eq 0 ] || (cd "$OLDPWD" && cat "${conf[@]}")
  printf '%s' "$extra"
} >"$dir/extra.conf"
as_server_user sh -c 'cat >>"$1"' sh "$dir/data/postgresql.conf" <"$dir/extra.conf"
as_server_user "$prefix/bin/pg_ctl" -D "$dir/data" -l "$dir/server.log" -w -t 60 start >/dev/null ||
  { tail -n 30 "$dir/server.log" >&2; die "the server does not start"; }

export PGHOST=$dir PGPORT=5432 PGUSER=postgres PGDATABASE=postgres PGDATA=$dir/data PATH=$prefix/bin:$PATH PG_CONFIG=$prefix/bin/pg_config
unset PGPASSWORD PGSERVICE PGOPTIONS PGSSLMODE
psql -X -q -v ON_ERROR_STOP=1 -c 'CREATE EXTENSION pg_writecache'
cd "$OLDPWD"
if [ -t 0 ]; then "$@"; else
  "$@" <&0 &
  child=$!
  wait "$child"
fi
