#!/usr/bin/env bash
# prefix.sh release|test: prints the folder of a private PostgreSQL with the extension built and installed in it; its
# programs are in FOLDER/bin, which is a link to where the copy of Debian's tree has them.
# Promises: a relocated copy of lib, share and include, used through its own pg_config, so the system's server is never
# touched; calls at the same time wait for each other; release and test (assertions, injection points) never mix.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case ${1:-} in
  release) suffix='' options=() ;;
  test) suffix=-test options=(DEBUG=1 INJECTION=1 WERROR=1) ;;
  *) die "usage: prefix.sh release|test" ;;
esac

from=$(system_pg_config)
[ -x "$(command -v "$from")" ] || die "no pg_config at $from; run test/tools/install-packages.sh build"
bindir=$("$from" --bindir)
[ -x "$bindir/postgres" ] || die "no server in $bindir; run test/tools/install-packages.sh demo"
prefix=$(state_dir)/pg$(pg_major)$suffix

mkdir -p "$ROOT/build"
exec 9>"$ROOT/build/.lock"
flock 9

# PostgreSQL finds its files relative to its programs, so every tree keeps its absolute path below the prefix.
dirs=("$bindir" "$("$from" --sharedir)" "$("$from" --pkglibdir)" "$("$from" --includedir-server)")
stamp=$("$from" --version; stat -c '%n %Y' "${dirs[@]}" "${dirs[1]}/extension" "$bindir/postgres")
if [ "$(cat "$prefix/.copied" 2>/dev/null)" != "$stamp" ]; then
  rm -rf "$prefix"
  for dir in "${dirs[@]}"; do
    mkdir -p "$prefix$dir"
    cp -a --reflink=auto "$dir/." "$prefix$dir/"
  done
  ln -s ".$bindir" "$prefix/bin"
  printf '%s\n' "$stamp" >"$prefix/.copied"
fi

log=$prefix/.build.log
if ! make -C "$ROOT" --no-print-directory -j "$(nproc)" "${options[@]}" PG_CONFIG="$prefix$bindir/pg_config" install >"$log" 2>&1; then
  grep -E ': (fatal )?(error|warning):|undefined reference|\*\*\*' "$log" | head -n 40 >&2 || true
  die "the build failed; all of it is in $log"
fi
printf '%s\n' "$prefix"
