#!/usr/bin/env bash
# bench.sh [PATTERN]: runs the benchmarks, those of the core (Google Benchmark) and those with a server
# (test/bench/*.sh and *.py), all of them or the ones whose name contains PATTERN. Release build; run it on a machine
# that does nothing else. The server benchmarks start their own servers (test/tools/with-server.sh).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
pattern=${1:-}
found=0
if [ -z "$pattern" ] || [[ core == *"$pattern"* ]]; then
  make --no-print-directory -s -j "$(nproc)" build/bin/bench-core
  build/bin/bench-core
  found=1
fi
for bench in test/bench/*.sh test/bench/*.py; do
  [ -x "$bench" ] || continue
  [[ $(basename "$bench") == *"$pattern"* ]] || continue
  printf '\n== %s\n' "$(basename "$bench")"
  "$bench"
  found=1
done
[ "$found" -eq 1 ] || die "no benchmark is named like $pattern"
