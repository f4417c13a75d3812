# The benchmark `patch`: a real Debian with fixes pending, patched by Copacetic and by Patchport through the same BuildKit, in turn.
# Promises: a BuildKit and a registry folder of its own; Copacetic is built from its Go module, pinned in tests/bench/copa.
# Sourced after common.sh and the test bed's env; needs BED, ROOT and scratch.
#
# Copacetic's helper images cannot be had from here: a Debian of the same release stands in for them, served from loopback. Its pull
# is a part of Copacetic's cold time, as it is in life.
# shellcheck shell=bash

patch_buildkit='' mirror=''

# Ends what the benchmark started.
end_patch() {
  local process
  for process in $mirror $patch_buildkit; do
    kill "$process" 2>/dev/null || true
    wait "$process" || true
  done
  mirror='' patch_buildkit=''
}

# How often each is measured, alternating.
PATCH_RUNS=${PATCH_RUNS:-3}

build_copa() {
  : "${scratch:?}"
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

forget_all() { buildctl --addr "unix://$scratch/buildkit/socket" prune --all >/dev/null; }

# Seconds of a command: seconds_of COMMAND...
seconds_of() {
  local start end
  start=$(date +%s.%N)
  "$@" >"$scratch/last.log" 2>&1 || die "failed: $*: $(tail -n 5 "$scratch/last.log")"
  end=$(date +%s.%N)
  awk -v start="$start" -v end="$end" 'BEGIN { printf "%.2f\n", end - start }'
}

by_copa() {
  "$scratch/copa" patch --image "$PATCHPORT_TEST_REGISTRY/$PATCHPORT_TEST_IMAGE_DEBIAN" --tag "$PATCHPORT_TEST_REGISTRY/bench/copa:patched" \
    --addr "unix://$scratch/buildkit/socket" --push --timeout 10m
}

# Starts a mirror with an empty store, and sets `mirror` to its process and `front` to its address.
start_mirror() {
  local store
  store=$(mktemp -d "$scratch/store.XXXX")
  front=127.0.0.1:$(free_port 0)
  cat >"$store/patchport.toml" <<TOML
[[listener]]
address = "$front"
default_upstream = "up.test"
[admin]
address = "127.0.0.1:0"
[store]
dir = "$store/data"
[buildkit]
address = "unix://$scratch/buildkit/socket"
[[upstream]]
name = "up.test"
url = "http://$PATCHPORT_TEST_REGISTRY"
[[rule]]
name = "all"
match = ["**"]
action = "patch"
wait = "25s"
on_timeout = "deny"
on_failure = "deny"
TOML
  "${CARGO_TARGET_DIR:-target}/release/patchport" serve --config "$store/patchport.toml" >"$store/log" 2>&1 &
  mirror=$!
  for _ in $(seq 100); do
    curl -fs "http://$front/v2/" >/dev/null && return
    sleep 0.05
  done
  die "the mirror does not start: $(tail -n 3 "$store/log")"
}

stop_mirror() {
  kill "$mirror"
  wait "$mirror" || true
  mirror=''
}

# A pull of the tag until its answer is the patched image.
by_patchport() {
  until skopeo copy -q --src-tls-verify=false "docker://$front/$PATCHPORT_TEST_IMAGE_DEBIAN" "dir:$scratch/pulled.$(date +%s%N)"; do :; done
}

median_of() { sort -n | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'; }

bench_patch() {
  say "building copacetic"
  build_copa
  start_patch_buildkit
  local kind
  for _ in $(seq "$PATCH_RUNS"); do
    forget_all
    seconds_of by_copa >>"$scratch/copa.cold"
    seconds_of by_copa >>"$scratch/copa.warm"
    forget_all
    start_mirror
    seconds_of by_patchport >>"$scratch/patchport.cold"
    stop_mirror
    # A new store: the patch is made anew, but BuildKit knows the image.
    start_mirror
    seconds_of by_patchport >>"$scratch/patchport.warm"
    seconds_of by_patchport >>"$scratch/patchport.known"
    size_of_patch "docker://$front/$PATCHPORT_TEST_IMAGE_DEBIAN" >"$scratch/patchport.size"
    stop_mirror
  done
  size_of_patch "docker://$PATCHPORT_TEST_REGISTRY/bench/copa:patched" >"$scratch/copa.size"
  for kind in cold warm; do
    printf '%-42s copa %7s s   patchport %7s s (with the pull)\n' "patch a Debian, $kind" "$(median_of <"$scratch/copa.$kind")" "$(median_of <"$scratch/patchport.$kind")"
  done
  printf '%-42s %30s s\n' "the second pull of the tag" "$(median_of <"$scratch/patchport.known")"
  printf '%-42s copa %7s B   patchport %7s B\n' "the new layers" "$(cat "$scratch/copa.size")" "$(cat "$scratch/patchport.size")"
  end_patch
}

# The bytes of the layers that an image has more than its original.
size_of_patch() {
  local original
  original=$(skopeo inspect --raw --tls-verify=false "docker://$PATCHPORT_TEST_REGISTRY/$PATCHPORT_TEST_IMAGE_DEBIAN" | jq '.layers | length')
  skopeo inspect --raw --tls-verify=false "$1" | jq --argjson from "$original" '[.layers[$from:][].size] | add'
}
