# Shared by the scripts in this folder (sourced, never run). Promises: no function here touches the system's server;
# nothing that starts a server runs as root; whatever runs below a folder of ours can be found and stopped.
# shellcheck shell=bash

umask 022
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL DEBUG INJECTION UBSAN WERROR
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# pg_major prints the PostgreSQL version to use: that of PG_CONFIG if given, else the one this Debian release ships.
pg_major() {
  if [ -n "${PG_CONFIG:-}" ]; then
    "$PG_CONFIG" --version | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p'
    return
  fi
  local codename
  codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release 2>/dev/null | tr -d '"')
  case $codename in
    bookworm) echo 15 ;;
    trixie) echo 17 ;;
    forky | sid) echo 18 ;;
    *) local newest
       newest=$(find /usr/lib/postgresql -mindepth 3 -maxdepth 3 -path '*/bin/postgres' 2>/dev/null | cut -d/ -f5 | sort -n | tail -n 1)
       [ -n "$newest" ] || newest=$(apt-cache depends postgresql 2>/dev/null | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1)
       echo "${newest:-15}" ;;
  esac
}

# system_pg_config prints the pg_config whose server is copied into the private prefix.
system_pg_config() { printf '%s\n' "${PG_CONFIG:-/usr/lib/postgresql/$(pg_major)/bin/pg_config}"; }

# server_user prints the account that servers run as: we ourselves, or, for root, the one Debian's package created.
server_user() {
  if [ "$(id -u)" -ne 0 ]; then id -un
  elif getent passwd postgres >/dev/null; then echo postgres
  else echo nobody; fi
}

# as_server_user runs a command as that account, with nothing of ours in the way.
as_server_user() {
  if [ "$(id -u)" -ne 0 ]; then "$@"; return; fi
  local user
  user=$(server_user)
  setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups -- env HOME=/tmp USER="$user" LOGNAME="$user" "$@"
}

# state_dir prints the folder for private prefixes: build/ in the checkout, or, where that account cannot look into the
# checkout or its path has blanks (which PGXS cannot take), a folder of our own below /tmp.
state_dir() {
  local dir
  if [[ $ROOT != *[[:space:]]* ]] && as_server_user test -r "$ROOT/Makefile"; then
    dir=$ROOT/build
    mkdir -p "$dir"
    chmod a+rx "$dir"
  else
    dir=/tmp/pg_writecache-$(id -u)-$(printf '%s' "$ROOT" | cksum | cut -d' ' -f1)
    mkdir -p "$dir"
    { [ -O "$dir" ] && [ ! -L "$dir" ]; } || die "$dir belongs to somebody else"
    chmod 755 "$dir"
  fi
  printf '%s\n' "$dir"
}

# scratch_dir prints a new, short-named folder below /tmp that the server's account owns (sockets need short paths).
scratch_dir() {
  local dir
  dir=$(mktemp -d /tmp/pgwc.XXXXXX)
  chmod 755 "$dir"
  [ "$(id -u)" -ne 0 ] || chown "$(server_user):" "$dir"
  printf '%s\n' "$dir"
}

# pids_below DIR prints the processes whose working folder is DIR or below; a server's processes all sit in its PGDATA.
pids_below() {
  local link cwd
  for link in /proc/[0-9]*/cwd; do
    cwd=$(readlink "$link" 2>/dev/null) || continue
    case $cwd in "$1" | "$1"/*) link=${link%/cwd}; printf '%s\n' "${link#/proc/}" ;; esac
  done
}

# start_guard DIR PID prints the process group of a guard that, once PID is gone however it went, stops whatever runs
# below DIR and removes it. end_guard GROUP dismisses it.
start_guard() {
  # shellcheck disable=SC2016
  setsid bash -c '. "$0"; trap "" INT TERM HUP
    while [ -d "/proc/$2" ]; do sleep 0.5; done
    stop_below "$1"; rm -rf "$1"' "$ROOT/test/tools/lib.sh" "$1" "$2" </dev/null >/dev/null 2>&1 &
  echo $!
}
end_guard() { kill -KILL -- "-$1" 2>/dev/null || true; }

# stop_below DIR stops every server below DIR (SIGQUIT, so that shared memory is given back), then whatever is left.
stop_below() {
  local file pid i
  while IFS= read -r file; do
    pid=$(head -n 1 "$file" 2>/dev/null) || continue
    case $(readlink "/proc/$pid/cwd" 2>/dev/null) in "$1"/*) kill -QUIT "$pid" 2>/dev/null || true ;; esac
  done < <(find "$1" -name postmaster.pid 2>/dev/null)
  for i in 1 2 3 4 5 6 7 8 9 10; do
    [ -n "$(pids_below "$1")" ] || return 0
    [ "$i" -eq 1 ] || sleep 0.3
  done
  for pid in $(pids_below "$1"); do [ "$pid" = "$$" ] || kill -KILL "$pid" 2>/dev/null || true; done
}
