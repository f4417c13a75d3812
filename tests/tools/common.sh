# Shared by tests/tools/* and deploy/quickstart: messages, free ports, and daemons that are ended by their own id.
# Promises: everything lives under $BED; only processes that start_daemon recorded are ever signalled.
# Sourced by bash with `set -euo pipefail`; the caller sets BED (a folder) before it starts a daemon.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
TOOLS=${PATCHPORT_TOOLS_DIR:-$ROOT/.testbed/tools}
PATH=$TOOLS/bin:$TOOLS/debian/usr/bin:$TOOLS/debian/usr/sbin:$PATH
export PATH

say() { printf '==> %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# Runs a command with its output in a log file, and shows the end of that file if the command fails.
quietly() {
  local log=$1
  shift
  mkdir -p "$(dirname "$log")"
  if ! "$@" >"$log" 2>&1 </dev/null; then
    tail -n 25 "$log" >&2
    die "failed: $* (whole output: $log)"
  fi
}

# Sets SOCKETS, the folder for unix sockets: $BED/run, or a short one under /tmp where that would be too long for a socket
# address (107 characters).
choose_sockets() {
  SOCKETS=$BED/run
  [ ${#SOCKETS} -gt 80 ] || return 0
  SOCKETS=/tmp/patchport-$(id -u)-$(printf %s "$BED" | sha256sum | cut -c1-12)
  install -d -m 700 "$SOCKETS"
}

remove_sockets() { [ "$SOCKETS" = "$BED/run" ] || rm -rf "$SOCKETS"; }

port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Prints a free loopback port: the wanted one if it is free, else one at random.
free_port() {
  local port=${1:-0} try
  for try in {1..50}; do
    if [ "$port" -gt 0 ] && port_is_free "$port"; then
      echo "$port"
      return
    fi
    port=$((20000 + (RANDOM + try) % 12000))
  done
  die "found no free port on 127.0.0.1"
}

# Tries a command until it succeeds or the seconds are over: wait_for SECONDS COMMAND...
wait_for() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

# A process id is reused after a while; together with its start time it is not. Prints nothing for a process that ended.
started_at() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" {print $20}'; }

# Prints the id of a running daemon of ours; fails if it does not run.
daemon_id() {
  local pid start
  read -r pid start 2>/dev/null <"$BED/run/$1.pid" || return 1
  [ -n "$start" ] && [ "$(started_at "$pid")" = "$start" ] && echo "$pid"
}

# start_daemon NAME COMMAND...: output goes to $BED/log/NAME.log, the id to $BED/run/NAME.pid.
start_daemon() {
  local name=$1 pid
  shift
  mkdir -p "$BED/run" "$BED/log"
  setsid "$@" >"$BED/log/$name.log" 2>&1 </dev/null &
  pid=$!
  echo "$pid $(started_at "$pid")" >"$BED/run/$name.pid"
}

# Waits until a daemon answers; shows its log if it does not: await_daemon NAME COMMAND...
await_daemon() {
  local name=$1
  shift
  wait_for 30 "$@" && return
  tail -n 25 "$BED/log/$name.log" >&2
  die "$name did not become ready within 30 s (its output: $BED/log/$name.log)"
}

has_ended() { ! daemon_id "$1"; }

stop_daemon() {
  local name=$1 pid
  if pid=$(daemon_id "$name"); then
    kill "$pid"
    if ! wait_for 15 has_ended "$name"; then
      warn "$name (process $pid) did not stop within 15 s, killing it"
      kill -KILL "$pid"
    fi
  fi
  rm -f "$BED/run/$name.pid"
}
