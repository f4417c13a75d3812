# The benchmark `patch`: Copacetic and a BuildKit for it and for Patchport; `patchport-bench patch` does the rest.
# Promises: a BuildKit and a registry folder of its own; Copacetic is built from its Go module, pinned in tests/bench/copa.
# Sourced after common.sh and the test bed's env; needs BED, ROOT, scratch and program.
#
# Copacetic's helper images cannot be had from here: a Debian of the same release stands in for them, served from loopback. Its pull
# is a part of Copacetic's cold time, as it is in life.
# shellcheck shell=bash

patch_buildkit=''

# Ends what the benchmark started.
end_patch() {
  [ -n "$patch_buildkit" ] || return 0
  kill "$patch_buildkit" 2>/dev/null || true
  wait "$patch_buildkit" || true
  patch_buildkit=''
}

# How often each is measured, alternating.
PATCH_RUNS=${PATCH_RUNS:-3}

build_copa() {
  : "${scratch:?}" "${program:?}"
  (cd tests/bench/copa && CGO_ENABLED=0 go build -mod=readonly -o "$scratch/copa" github.com/project-copacetic/copacetic)
}

# Starts a BuildKit that finds Copacetic's helper images at the test bed's registry.
start_patch_buildkit() {
  local name registry=$PATCHPORT_TEST_REGISTRY
  for name in library/debian project-copacetic/copacetic/debian; do
    for tag in stable-slim 12-slim 13-slim; do
      skopeo copy -q --src-tls-verify=false --dest-tls-verify=false "docker://$registry/$PATCHPORT_TEST_IMAGE_DEBIAN" "docker://$registry/$name:$tag"
    done
  done
  mkdir -p "$scratch/buildkit"
  cat >"$scratch/buildkit/buildkitd.toml" <<TOML
root = "$scratch/buildkit/state"
[grpc]
address = ["unix://$scratch/buildkit/socket"]
[worker.oci]
enabled = true
snapshotter = "overlayfs"
networkMode = "host"
[worker.containerd]
enabled = false
[registry."docker.io"]
mirrors = ["$registry"]
[registry."ghcr.io"]
mirrors = ["$registry"]
[registry."$registry"]
http = true
TOML
  "$PATCHPORT_TEST_BUILDKITD" --config "$scratch/buildkit/buildkitd.toml" >"$scratch/buildkit/log" 2>&1 &
  patch_buildkit=$!
  for _ in $(seq 100); do
    [ -S "$scratch/buildkit/socket" ] && return
    sleep 0.1
  done
  die "the benchmark's BuildKit does not start: $(tail -n 3 "$scratch/buildkit/log")"
}

bench_patch() {
  say "building copacetic"
  build_copa
  start_patch_buildkit
  "$program" patch --copa "$scratch/copa" --buildkit "$scratch/buildkit/socket" --registry "$PATCHPORT_TEST_REGISTRY" \
    --debian "$PATCHPORT_TEST_IMAGE_DEBIAN" --runs "$PATCH_RUNS"
  end_patch
}
