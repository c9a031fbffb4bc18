#!/usr/bin/env bash
# format.sh [--fix]: C++ sources are formatted as .clang-format says.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
files() { find src test -type f \( -name '*.cpp' -o -name '*.hpp' -o -name '*.h' \) -print0; }
if [ "${1:-}" = --fix ]; then
  files | xargs -0 -r clang-format -i
elif ! files | xargs -0 -r clang-format --dry-run -Werror; then
  echo 'Meaning: these lines differ from what clang-format writes. `make format` mends them.'
  exit 1
fi
