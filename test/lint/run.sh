#!/usr/bin/env bash
# Runs every check of this folder (or those named as arguments) and says at the end which failed. Each check prints
# what its failure means; exit status 0 means that all hold.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
[ $# -gt 0 ] || set -- format layers listed scripts exports tidy
failed=()
for check in "$@"; do
  if output=$("test/lint/$check.sh" 2>&1); then
    printf 'ok    %s\n' "$check"
  else
    printf 'FAIL  %s\n%s\n' "$check" "$output"
    failed+=("$check")
  fi
done
[ ${#failed[@]} -eq 0 ] || { printf 'lint failed: %s\n' "${failed[*]}"; exit 1; }
