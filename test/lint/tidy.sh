#!/usr/bin/env bash
# clang-tidy, with the checks of .clang-tidy, over the sources and the core's tests. FILES=... picks some.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. test/tools/lib.sh
server=$("$(system_pg_config)" --includedir-server)
common=(-std=c++20 -Isrc -Itest -DPGWC_ASSERT -DPGWC_INJECTION -Wno-everything)
run() {
  find_files "$1" | xargs -0 -r -P "$(nproc)" -I{} clang-tidy --quiet {} -- "${@:2}" 2>&1 | grep -vE '^[0-9]+ warnings? (generated|treated)|^Suppressed|^Use -header-filter|^$' || true
}
find_files() {
  local dir
  for dir in $1; do
    [ ! -d "$dir" ] || find "$dir" -name '*.cpp' -print0
  done | { if [ -n "${FILES:-}" ]; then grep -zE "$FILES" || true; else cat; fi; }
}
output=$(run 'src/core test/unit test/fuzz test/bench/core' "${common[@]}"; run src/pg "${common[@]}" -isystem "$server" -Wno-register)
if [ -n "$output" ]; then
  # a finding in a header comes once per file that includes it
  grep -E ' (error|warning): ' <<<"$output" | sort -u
  echo 'Meaning: clang-tidy sees a likely bug. Mend it, or say beside it why it is none: // NOLINT(check): reason.'
  exit 1
fi
