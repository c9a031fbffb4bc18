#!/usr/bin/env bash
# The layers: pg -> core -> std and Boost; unit tests, fuzzers and core benchmarks -> core; nothing else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
status=0
# forbid MEANING PATTERN PATH...: no line of the C++ files below PATH matches.
forbid() {
  local meaning=$1 pattern=$2 hits dirs=() dir
  shift 2
  for dir; do [ ! -d "$dir" ] || dirs+=("$dir"); done
  [ ${#dirs[@]} -gt 0 ] || return 0
  hits=$(grep -rnE --include='*.cpp' --include='*.hpp' --include='*.h' -- "$pattern" "${dirs[@]}") || return 0
  printf '%s\nMeaning: %s\n\n' "$hits" "$meaning"
  status=1
}
forbid 'the core includes a PostgreSQL header. It is built and tested without PostgreSQL; move that code to src/pg.' \
  '^ *# *include *["<](postgres|c\.h|fmgr|miscadmin|access/|catalog/|commands/|executor/|lib/|libpq|nodes/|optimizer/|parser/|port/|postmaster/|replication/|storage/|tcop/|utils/)' \
  src/core test/unit test/fuzz test/bench/core
forbid 'the core, or a test of it, includes src/pg. Dependencies only go from pg to core.' \
  '^ *# *include *["<]((\.\./)*pg/|src/pg/)' src/core test/unit test/fuzz test/bench/core
forbid 'one header includes a .cpp file. Every source is compiled once, by itself.' \
  '^ *# *include *["<].*\.cpp[">]' src test
forbid 'iostream brings static objects whose constructors and destructors run in the server. Use PostgreSQL'\''s own output.' \
  '^ *# *include *<(iostream|fstream|sstream|thread|future|regex|filesystem)>' src
forbid 'an object made by Boost.Interprocess under a name outlives the postmaster and knows nothing of its recovery.' \
  '^ *# *include *<boost/interprocess/(managed_shared_memory|managed_mapped_file|shared_memory_object|sync/named_)' src

errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
# A header that compiles only after others have been included hides what it depends on.
while IFS= read -r -d '' header; do
  if ! ${CXX:-g++} -std=c++20 -fsyntax-only -Wno-pragma-once-outside-header -Isrc -x c++ "$header" 2>"$errors"; then
    head -n 3 "$errors"
    printf 'Meaning: %s does not compile by itself; include in it what it uses.\n\n' "$header"
    status=1
  fi
  if ${CXX:-g++} -std=c++20 -fsyntax-only -Wno-pragma-once-outside-header -Isrc -DPOSTGRES_H -x c++ "$header" 2>/dev/null; then
    printf 'Meaning: %s can be included after postgres.h. Include a core header with the tripwire (#ifdef POSTGRES_H, #error).\n\n' "$header"
    status=1
  fi
done < <(find src/core -name '*.hpp' -print0 2>/dev/null)
exit "$status"
