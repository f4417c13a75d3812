# A private Podman: its own storage and settings, made to run where containers are cramped.
# Promises: neither reads nor writes this machine's own containers, images or settings.
# Sourced after common.sh; needs BED.
# shellcheck shell=bash

# Writes Podman's settings. From then on `podman` in this shell uses them.
# runc and cgroupfs, because crun refuses cgroup v1 in hybrid mode; explicit limits, because Podman's defaults are above the
# hard limits that a container or a sandbox usually has; the host's network, because a private one needs CNI plug-ins.
podman_settings() {
  local home=$BED/podman files processes
  files=$(ulimit -Hn) processes=$(ulimit -Hu)
  [ "$files" != unlimited ] && [ "$files" -lt 65536 ] || files=65536
  [ "$processes" != unlimited ] && [ "$processes" -lt 4096 ] || processes=4096
  mkdir -p "$home"
  cat >"$home/containers.conf" <<EOF
[containers]
default_ulimits = ["nofile=1024:$files", "nproc=$processes:$processes"]
netns = "host"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
tmp_dir = "$home/tmp"
[network]
network_config_dir = "$home/networks"
EOF
  cat >"$home/storage.conf" <<EOF
[storage]
driver = "overlay"
graphroot = "$home/images"
runroot = "$home/run"
EOF
  export CONTAINERS_CONF=$home/containers.conf CONTAINERS_STORAGE_CONF=$home/storage.conf
}

# Podman mounts its image folder on itself and leaves it so; nobody could remove the project's folder then.
podman_unmount() { ! mountpoint -q "$BED/podman/images/overlay" || umount "$BED/podman/images/overlay"; }

# Removes Podman's images and containers.
podman_reset() {
  [ -d "$BED/podman/images" ] || return 0
  podman_settings
  quietly "$BED/log/podman.log" podman rm --all --force
  podman_unmount
  rm -rf "$BED/podman"
}
