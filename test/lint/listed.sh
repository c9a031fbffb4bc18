#!/usr/bin/env bash
# Every test file is picked up by a suite: it has the name, the place and the partner its suite looks for.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
status=0
fault() { printf '%s\n' "$*"; status=1; }
# partners FOLDER SUFFIX FOLDER SUFFIX: each file of either has its counterpart in the other.
partners() {
  local file name
  for file in "$1"/*."$2"; do
    name=$(basename "$file" ".$2")
    case $name in '*' | *--*) continue ;; esac
    [ -e "$3/$name.$4" ] || fault "$file has no $3/$name.$4: run the suite with ACCEPT=1 and read what it wrote"
  done
  for file in "$3"/*."$4"; do
    name=$(basename "$file" ".$4")
    [ "$name" = '*' ] && continue
    # NAME_1.out and so on are alternative outputs of NAME
    [ -e "$1/$name.$2" ] || [ -e "$1/${name%_[0-9]}.$2" ] || fault "$file is the output of no test: $1/$name.$2 is not there"
  done
}
partners sql sql expected out
partners test/specs spec test/expected out

# only FOLDER PATTERN WHY: FOLDER holds files of that name only.
only() {
  local file
  [ -d "$1" ] || return 0
  while IFS= read -r file; do
    [[ $file =~ $2 ]] || fault "$file is run by no suite: $3"
  done < <(find "$1" -type f -not -name 'README*')
}
only test/unit '^test/unit/[a-z0-9_]+(_test\.cpp|\.hpp)$' 'unit tests are test/unit/NAME_test.cpp, helpers NAME.hpp'
only test/fuzz '^test/fuzz/([a-z0-9_]+\.(cpp|hpp)|corpus/[a-z0-9_]+/[^/]+)$' 'fuzzers are test/fuzz/NAME.cpp, seeds corpus/NAME/*'
only test/specs '^test/specs/[a-z0-9_]+\.spec$' 'isolation tests are test/specs/NAME.spec'
only test/pgtap '^test/pgtap/[a-z0-9_]+\.sql$' 'pgTAP tests are test/pgtap/NAME.sql'
only test/t '^test/t/([0-9]{3}_[a-z0-9_]+\.pl|[A-Za-z]+\.pm)$' 'TAP tests are test/t/NNN_NAME.pl, helpers NAME.pm'

for file in test/unit/*_test.cpp; do
  [ ! -e "$file" ] || grep -qE '^ *(TYPED_|TYPED_TEST_|INSTANTIATE_)?TEST(_F|_P|_SUITE_P)?\(' "$file" || fault "$file contains no TEST"
done
for file in test/fuzz/corpus/*/; do
  name=$(basename "$file")
  [ "$name" = '*' ] || [ -e "test/fuzz/$name.cpp" ] || fault "$file is the corpus of no fuzzer"
done
for file in test/t/*.pl; do
  [ ! -e "$file" ] || grep -qE 'done_testing|plan|tests *=>' "$file" || fault "$file neither plans its tests nor calls done_testing"
done
[ "$status" -eq 0 ] || echo 'Meaning: a test that no suite runs protects nothing.'
exit "$status"
