#!/usr/bin/env bash
# run.sh: shows pg_writecache at work. Builds it, starts a private throw-away server, feeds it real readings from several
# clients, kills the server in the middle with SIGKILL, starts it again, and counts what is there in the end.
# Promises: ends within 60 seconds after the build; the server, the clients and their files are gone afterwards, however
# it ends; exit status 0 only if no acknowledged row is missing and none is there twice.
# Environment: NO_COLOR (no colours), PG_CONFIG (which PostgreSQL).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../test/tools/lib.sh"
demo=$ROOT/demo

# build_client: compiles demo/client.cpp with libpq, which comes with the server's headers.
build_client() {
  [ ! "$1" -nt "$demo/client.cpp" ] || return 0
  local pg_config libdir
  pg_config=$(system_pg_config)
  libdir=$("$pg_config" --libdir)
  mkdir -p "${1%/*}"
  "${CXX:-g++}" -std=c++20 -O2 -Wall -Wextra "-I$("$pg_config" --includedir)" "$demo/client.cpp" \
    "-L$libdir" "-Wl,-rpath,$libdir" -lpq -o "$1.$$"
  mv "$1.$$" "$1"
}

echo 'building pg_writecache and the demo client ...'
prefix=$("$ROOT/test/tools/prefix.sh" release)
client=$ROOT/build/bin/demo-client
build_client "$client"

free_kb=$(df -Pk /tmp | awk 'NR == 2 { print $4 }')
[ "$free_kb" -ge 1500000 ] || die "needs 1.5 GB below /tmp, which has $((free_kb / 1000)) MB free"

dir=$(scratch_dir)
guard=$(start_guard "$dir" $$)
show=
# shellcheck disable=SC2317  # the trap below calls it
finish() {
  trap - EXIT INT TERM HUP
  if [ -n "$show" ]; then
    kill "$show" 2>/dev/null || true
    wait "$show" 2>/dev/null || true
  fi
  stop_below "$dir"
  rm -rf "$dir"
  end_guard "$guard"
}
trap finish EXIT
trap 'exit 143' TERM HUP
trap 'exit 130' INT

unset "${!PG@}"
export PGHOST=$dir PGPORT=5432 PGUSER=postgres PGDATABASE=postgres PGDATA=$dir/data PATH=$prefix/bin:$PATH
"$demo/server.sh" create

# In the background, for only then a signal is answered at once; below $dir, where stop_below finds it.
mkdir "$dir/clients"
(cd "$dir/clients" && exec python3 -B "$demo/show.py" "$client" "$demo/data/seattle-hourly-readings.csv" </dev/null) &
show=$!
status=0
wait "$show" || status=$?
show=
exit "$status"
