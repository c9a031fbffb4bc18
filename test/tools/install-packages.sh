#!/usr/bin/env bash
# install-packages.sh build|demo|test|bench|lint|matrix: installs the Debian packages that this needs and lacks.
# Promises: quick and silent when nothing is missing; never asks a question; starts no service and creates no cluster.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

major=$(pg_major)
[ -n "$major" ] || die "cannot tell which PostgreSQL version to use; say PG_CONFIG=/path/to/pg_config"

build=(g++ make libboost-dev)
demo=(python3 procps)
case ${PG_CONFIG:-/usr/lib/postgresql} in
  /usr/lib/postgresql* | /usr/bin/*)
    build+=("postgresql-server-dev-$major")
    demo+=("postgresql-$major") ;;
esac
test=(libgtest-dev libbenchmark-dev "postgresql-$major-pgtap" libipc-run-perl clang libclang-rt-dev)

case ${1:-} in
  build) wanted=("${build[@]}") ;;
  demo) wanted=("${build[@]}" "${demo[@]}") ;;
  test) wanted=("${build[@]}" "${demo[@]}" "${test[@]}") ;;
  bench) wanted=("${build[@]}" "${demo[@]}" libbenchmark-dev redis-server) ;;
  lint) wanted=("${build[@]}" python3 libgtest-dev libbenchmark-dev clang-format clang-tidy shellcheck) ;;
  matrix) wanted=(debootstrap) ;;
  *) die "usage: install-packages.sh build|demo|test|bench|lint|matrix" ;;
esac

installed() { dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^ii  *//p'; }
missing=()
have=$'\n'$(installed "${wanted[@]}" || true)$'\n'
for package in "${wanted[@]}"; do
  [[ $have == *$'\n'"$package"$'\n'* ]] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -eq 0 ]; then sudo=()
elif sudo -n true 2>/dev/null; then sudo=(sudo -n)
else die "these packages are missing and only root can install them: ${missing[*]}"; fi
as_root() { "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true "$@" </dev/null; }

log=$(mktemp)
started_policy=
finish() {
  [ -z "$started_policy" ] || as_root rm -f /usr/sbin/policy-rc.d
  rm -f "$log"
}
trap finish EXIT

apt() {
  as_root apt-get -y -q -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 "$@" >"$log" 2>&1 && return
  tail -n 30 "$log" >&2
  die "apt-get ${1} failed; needed: ${missing[*]}"
}

printf 'installing from Debian: %s\n' "${missing[*]}"
# While packages are set up no service may start (a system server would be one).
if [ ! -e /usr/sbin/policy-rc.d ]; then
  as_root sh -c 'printf "#!/bin/sh\nexit 101\n" > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d'
  started_policy=yes
fi
apt update
# Debian creates a "main" cluster when a server is first installed; nobody asked for one here.
if [[ " ${missing[*]} " == *" postgresql-"* ]] && [ -z "$(installed postgresql-common || true)" ]; then
  apt install --no-install-recommends postgresql-common
  as_root sed -i 's/^#\? *create_main_cluster *=.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
fi
apt install --no-install-recommends "${missing[@]}"
