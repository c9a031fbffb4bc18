#!/usr/bin/env bash
# The release build compiles without warnings; its library shows exactly what src/exports.txt allows, every function the
# install script names, and runs no code of ours when it is loaded.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. test/tools/lib.sh
status=0
pg_config=$(system_pg_config)
major=$(pg_major)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! make -j "$(nproc)" WERROR=1 PG_CONFIG="$pg_config" all >"$log" 2>&1; then
  grep -E ': (fatal )?(error|warning):|undefined reference|\*\*\*' "$log" | head -n 30 || tail -n 30 "$log"
  echo 'Meaning: the release build gives warnings (or does not compile at all).'
  exit 1
fi
library=build/obj/pg$major-release/pg_writecache.so
shown=$(nm -D --defined-only "$library" | awk '{print $3}' | sed 's/@.*//')

is_shown() { grep -qx "$1" <<<"$shown"; }
complain() {
  printf '%s\nMeaning: %s\n' "$1" "$2"
  status=1
}

mapfile -t allowed < <(sed -n 's/^\([^#[:space:]][^[:space:]]*\).*/\1/p' src/exports.txt)
while read -r symbol; do
  [ -n "$symbol" ] || continue
  found=
  for glob in "${allowed[@]}"; do
    # shellcheck disable=SC2053  # a glob on purpose
    [[ $symbol != $glob ]] || found=yes
  done
  [ -n "$found" ] || complain "$symbol is exported" \
    'other libraries in the server could take this symbol for theirs. Name it as src/exports.txt says or keep it inside.'
done <<<"$shown"

for required in Pg_magic_func _PG_init; do
  is_shown "$required" || complain "$required is not exported" 'the server cannot load the library.'
done
while read -r symbol; do
  is_shown "$symbol" || complain "$symbol has PG_FUNCTION_INFO_V1 but is not exported" \
    'CREATE FUNCTION will fail; declare it PGDLLEXPORT.'
done < <(sed -n 's/^pg_finfo_//p' <<<"$shown")
while read -r symbol; do
  is_shown "pg_finfo_$symbol" || complain "$symbol is named in sql/ but not defined" 'CREATE EXTENSION will fail.'
done < <(cat sql/pg_writecache--*.sql | tr '\n' ' ' | grep -oE "'MODULE_PATHNAME' *, *'[^']+'" |
  sed "s/.*'\([^']*\)'$/\1/" | sort -u)

# Boost.Interprocess asks for the page size when it is loaded: sysconf, which neither throws nor needs undoing.
initialisers=$(objdump -dC --no-show-raw-insn "$library" |
  awk '/^[0-9a-f]+ <_GLOBAL__sub_I_/ {name = $2} /^$/ {name = ""} name != "" && /call|jmp .*@plt/ {print name, $NF}' |
  grep -v '<sysconf@plt>$' || true)
[ -z "$initialisers" ] || complain "$initialisers" 'a global has a constructor or destructor of its own. If it throws, the
server does not start; its destructor runs after PostgreSQL has shut down. Make it constinit and trivially destructible.'
exit "$status"
