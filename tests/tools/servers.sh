# The servers of the test bed and of the quickstart: an upstream registry, a BuildKit, a package repository.
# Promises: all on 127.0.0.1 or a unix socket, all state under $BED, all ended by stop_daemon.
# Sourced after common.sh; needs BED and SOCKETS.
# shellcheck shell=bash

# Prints the port of a server that was used before if it is free, else another one, and remembers it: remembered_port NAME
remembered_port() {
  local file=$BED/run/$1.port
  mkdir -p "$BED/run"
  free_port "$(cat "$file" 2>/dev/null || echo 0)" | tee "$file.new"
  mv "$file.new" "$file"
}

# Starts Debian's docker-registry (distribution 2.8) as the upstream and sets REGISTRY=HOST:PORT.
start_registry() {
  local port
  if daemon_id registry >/dev/null; then
    REGISTRY=127.0.0.1:$(cat "$BED/run/registry.port")
    return
  fi
  port=$(remembered_port registry)
  REGISTRY=127.0.0.1:$port
  mkdir -p "$BED/registry"
  cat >"$BED/registry/config.yml" <<EOF
version: 0.1
log: {level: info, accesslog: {disabled: false}}
storage: {filesystem: {rootdirectory: $BED/registry/store}, delete: {enabled: true}}
http: {addr: "$REGISTRY", secret: loopback-only}
EOF
  start_daemon registry docker-registry serve "$BED/registry/config.yml"
  await_daemon registry curl -fsS "http://$REGISTRY/v2/"
}

# Serves $BED/apt and sets APT_URL.
start_apt_repository() {
  local port
  mkdir -p "$BED/apt"
  if daemon_id apt >/dev/null; then
    port=$(cat "$BED/run/apt.port")
  else
    port=$(remembered_port apt)
    start_daemon apt busybox httpd -f -p "127.0.0.1:$port" -h "$BED/apt"
  fi
  APT_URL=http://127.0.0.1:$port
  # Any answer will do: there may be no index yet.
  await_daemon apt curl -sS "$APT_URL/"
}

# Containers of this BuildKit use the host's network, so that they reach package sources on loopback.
write_buildkit_config() {
  mkdir -p "$BED/buildkit"
  cat >"$BED/buildkit/buildkitd.toml" <<EOF
insecure-entitlements = ["network.host"]
[worker.oci]
enabled = true
snapshotter = "auto"
networkMode = "host"
[worker.containerd]
enabled = false
EOF
}

# Starts BuildKit and sets BUILDKIT_ADDR.
# Gives BuildKit a file system of its own in a sparse file. dpkg removes thousands of files that are on disk by then, and on
# some disks (ext4 with online discard, for one) each takes more than a millisecond: an upgrade of 10 s took 25. Where none
# can be mounted, BuildKit's folder is an ordinary one.
mount_buildkit_disk() {
  local disk=$BED/buildkit/disk.ext4 root=$BED/buildkit/root
  mkdir -p "$root" "$BED/log"
  ! mountpoint -q "$root" && [ -z "$(ls -A "$root")" ] || return 0
  {
    { [ -e "$disk" ] || { truncate -s 20G "$disk.new" && mkfs.ext4 -q -F "$disk.new" && mv "$disk.new" "$disk"; }; } &&
      mount -o loop,nodiscard "$disk" "$root"
  } >"$BED/log/disk.log" 2>&1 || warn "BuildKit gets no file system of its own ($BED/log/disk.log says why); patches may be slow"
}

# After BuildKit was stopped. A container that was killed with it may have left mounts inside.
unmount_buildkit_disk() {
  ! mountpoint -q "$BED/buildkit/root" || umount --recursive "$BED/buildkit/root" || umount --lazy "$BED/buildkit/root"
}

start_buildkit() {
  BUILDKIT_ADDR=unix://$SOCKETS/buildkitd.sock
  daemon_id buildkitd >/dev/null && return
  mount_buildkit_disk
  write_buildkit_config
  start_daemon buildkitd buildkitd --config "$BED/buildkit/buildkitd.toml" --root "$BED/buildkit/root" --addr "$BUILDKIT_ADDR" \
    --otel-socket-path "$SOCKETS/otel.sock"
  await_daemon buildkitd buildctl --addr "$BUILDKIT_ADDR" debug workers
}
