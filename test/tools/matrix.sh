#!/usr/bin/env bash
# matrix.sh [SUITE...]: builds the extension with -Werror and runs the regress suite against the PostgreSQL of later
# Debian releases (trixie: 17, forky: 18), each in a chroot of its own; prints a line per version.
# Promises: nothing outside MATRIX_DIR, build/ and /tmp changes (debootstrap is installed if missing); mounts and
# processes live in namespaces that end with this script. The chroots stay for the next run.
# Environment: MATRIX_DIR (default: ~/.cache/pg_writecache/chroots), MIRROR, TESTS (default: regress).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if [ "$(id -u)" -ne 0 ]; then
  sudo -n true 2>/dev/null || die "needs root: debootstrap and chroot do"
  exec sudo -n --preserve-env=MATRIX_DIR,MIRROR,TESTS,XDG_CACHE_HOME,HOME,http_proxy,https_proxy "$0" "$@"
fi
[ $# -gt 0 ] || set -- trixie forky
"$ROOT/test/tools/install-packages.sh" matrix
chroots=${MATRIX_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/pg_writecache/chroots}
mirror=${MIRROR:-http://deb.debian.org/debian}
mkdir -p "$chroots" "$ROOT/build"

make_chroot() {
  local suite=$1 dir=$chroots/$1 script=
  # debootstrap removes DIR/debootstrap as its last step
  if [ -e "$dir/var/lib/dpkg/status" ] && [ ! -e "$dir/debootstrap" ]; then return; fi
  rm -rf "$dir"
  [ -e "/usr/share/debootstrap/scripts/$suite" ] || script=/usr/share/debootstrap/scripts/sid
  debootstrap --variant=minbase "$suite" "$dir" "$mirror" $script
}

run_in_chroot() {
  local dir=$chroots/$1
  rm -rf "$dir"/tmp/pg_writecache
  mkdir -p "$dir/tmp/pg_writecache" "$dir/dev/shm"
  # A mirror that lags behind serves a testing suite whose date has passed; debootstrap takes it, so apt has to as well.
  echo 'Acquire::Check-Valid-Until "false";' >"$dir/etc/apt/apt.conf.d/90pg_writecache"
  tar -C "$ROOT" --exclude=./build --exclude=./.git -cf - . | tar -C "$dir/tmp/pg_writecache" -xf -
  [ ! -e /etc/resolv.conf ] || cp -L /etc/resolv.conf "$dir/etc/resolv.conf"
  # shellcheck disable=SC2016  # expanded by the inner shells
  unshare --mount --pid --fork --kill-child bash -euc '
    mount --make-rprivate /
    mount -t proc proc "$1/proc"
    mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
    exec chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
      ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} bash -euc "
        cd /tmp/pg_writecache
        test/tools/install-packages.sh $2
        make -j\$(nproc) WERROR=1
        test/tools/run-tests.py $3"' bash "$dir" "$packages" "$tests"
}

tests=${TESTS:-regress}
packages=demo
[ "$tests" = regress ] || packages='test'
failed=0
for suite in "$@"; do
  log=$ROOT/build/matrix-$suite.log
  if make_chroot "$suite" >"$log" 2>&1 && run_in_chroot "$suite" >>"$log" 2>&1; then word=ok; else word=FAILED failed=1; fi
  version=$(sed -n 's/^Package: postgresql-\([0-9]*\)$/PostgreSQL \1/p' "$chroots/$suite/var/lib/dpkg/status" 2>/dev/null | sort -uV | tail -n 1)
  printf '%-15s %-8s %s: %s\n' "${version:-PostgreSQL ?}" "$suite" "$word" "$(tail -n 1 "$log")"
  if [ $word = FAILED ]; then
    grep -nE ': (fatal )?(error|warning):|undefined reference|\*\*\*' "$log" | head -n 20 || true
    tail -n 30 "$log"
    echo "(all of it: $log)"
  fi
done
exit "$failed"
