#!/usr/bin/env bash
# Shell scripts pass shellcheck and stop on errors, Python scripts compile; no file names a path of somebody's machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
status=0
scripts=() pythons=()
while IFS= read -r -d '' file; do
  read -r first <"$file" || true
  case $file in
    *.sh) scripts+=("$file") ;;
    *.py) pythons+=("$file") ;;
    *) case ${first:-} in
         '#!'*sh) scripts+=("$file") ;;
         '#!'*python3) pythons+=("$file") ;;
       esac ;;
  esac
done < <(find .ci test demo -type f -size -200k -not -path '*/corpus/*' -print0 2>/dev/null)
# SC1091: lib.sh is found at run time. SC2016: single quotes around `make x` and $1 of inner shells are meant.
if ! shellcheck -x -e SC1091,SC2016 "${scripts[@]}"; then
  echo 'Meaning: shellcheck sees a fault in a script; a line "# shellcheck disable=... # reason" answers a false one.'
  status=1
fi
for file in "${scripts[@]}"; do
  case $file in */lib.sh) continue ;; esac
  if ! grep -qE '^set -e?uo? ' "$file"; then
    echo "$file: Meaning: without \`set -euo pipefail\` it goes on after an error."
    status=1
  fi
done
if [ ${#pythons[@]} -gt 0 ]; then
  python3 - "${pythons[@]}" <<'PY' || { echo 'Meaning: a Python script does not compile.'; status=1; }
import ast, sys
for path in sys.argv[1:]:
    ast.parse(open(path).read(), path)
PY
fi
if git grep -nE '(^|[^A-Za-z0-9_./-])/(home|work|farm|Users)/[A-Za-z0-9_.]' -- . ':!test/lint/scripts.sh' 2>/dev/null; then
  echo 'Meaning: a path of one machine does not exist on another.'
  status=1
fi
exit "$status"
