# Makes OCI image layouts: a real Debian (or Ubuntu) of the machine's own release with security updates pending.
# Promises: the package mirror is the machine's own, read from apt at run time; blobs are exactly what sha256sum says.
# Sourced after common.sh; needs BED. A layout is a folder; an image in it has a name (`oci:FOLDER:NAME` for skopeo).
# shellcheck shell=bash

# ---- OCI layouts ------------------------------------------------------------------------------------------------------

OCI_TYPE=application/vnd.oci.image

new_layout() {
  rm -rf "$1"
  mkdir -p "$1/blobs/sha256"
  echo '{"imageLayoutVersion":"1.0.0"}' >"$1/oci-layout"
  echo '{"schemaVersion":2,"manifests":[]}' >"$1/index.json"
}

# Moves a file into a layout's blobs and prints its descriptor: put_blob LAYOUT MEDIA_TYPE FILE
put_blob() {
  local hex size
  hex=$(sha256sum "$3" | cut -d' ' -f1)
  size=$(stat -c %s "$3")
  mv "$3" "$1/blobs/sha256/$hex"
  jq -nc --arg type "$2" --arg digest "sha256:$hex" --argjson size "$size" '{mediaType: $type, digest: $digest, size: $size}'
}

# The same for JSON on standard input.
put_json() {
  local file
  file=$(mktemp -p "$1")
  cat >"$file"
  put_blob "$1" "$2" "$file"
}

# Stores an image manifest and prints its descriptor: put_manifest LAYOUT CONFIG_DESCRIPTOR LAYER_DESCRIPTORS(JSON list)
put_manifest() {
  jq -nc --arg type "$OCI_TYPE.manifest.v1+json" --argjson config "$2" --argjson layers "$3" \
    '{schemaVersion: 2, mediaType: $type, config: $config, layers: $layers}' | put_json "$1" "$OCI_TYPE.manifest.v1+json"
}

# Gives the descriptor on standard input a name in the layout: name_image LAYOUT NAME
name_image() {
  local index
  index=$(jq -c --arg name "$2" --argjson it "$(cat)" '.manifests |= map(select(.annotations["org.opencontainers.image.ref.name"] != $name))
    + [$it + {annotations: {"org.opencontainers.image.ref.name": $name}}]' "$1/index.json")
  echo "$index" >"$1/index.json"
}

# Prints the blob of a descriptor.
blob_of() { cat "$1/blobs/sha256/$(jq -r '.digest | ltrimstr("sha256:")' <<<"$2")"; }
descriptor_of() { jq -c --arg name "$2" '.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == $name) | del(.annotations)' "$1/index.json"; }

# Pushes a named image with its bytes unchanged: push_image LAYOUT NAME HOST:PORT/REPOSITORY:TAG [SKOPEO OPTIONS]
push_image() {
  local layout=$1 name=$2 to=$3
  shift 3
  quietly "$BED/log/push.log" skopeo copy --all --dest-tls-verify=false "$@" "oci:$layout:$name" "docker://$to"
}

# ---- a real Debian ----------------------------------------------------------------------------------------------------

# This machine's release: `debian bookworm`, `ubuntu noble`.
machine_release() { (. /etc/os-release && echo "$ID ${VERSION_CODENAME:?this machine has no release name}"); }

# Prints the sources of an image of a release, as this machine's apt has them: updates and security fixes included. Nothing if apt has no such source, or no lists of it yet.
apt_sources() {
  # shellcheck disable=SC2016  # apt's own placeholders
  apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Identifier: Packages' 'Component: main' |
    awk -v release="$1" '$1 == release || $1 == release "-updates" || $1 == release "-security" {print "deb", $2, $1, "main"}' |
    sort --key=3,3 --unique
}

# Prints the apt settings that a container needs to reach the mirrors as this machine does.
apt_proxy() { apt-config dump | grep -E '^Acquire::(http|https|ftp)::[^:]*[Pp]roxy' || true; }

# Packs a root file system as it was released, with sources that have fixes for it:
# make_root_file_system RELEASE SOURCES FILE.tar
make_root_file_system() {
  local release=$1 mirror include=()
  mirror=$(awk -v release="$release" '$3 == release {print $2}' <<<"$2")
  [ -n "$mirror" ] || die "apt on this machine has no source for $release main, so no image can be made of it"
  [[ $2 != *https:* ]] || include=(--include=ca-certificates)
  echo "$2" >"$BED/images/sources.list"
  apt_proxy >"$BED/images/proxy.conf"
  # shellcheck disable=SC2016  # mmdebstrap's shell expands $1, the new root
  quietly "$BED/log/mmdebstrap.log" env TMPDIR="$BED/images" mmdebstrap --mode=root --variant=minbase --components=main \
    "${include[@]}" --customize-hook="install -m 644 '$BED/images/sources.list' \"\$1/etc/apt/sources.list\"" \
    --customize-hook="test ! -s '$BED/images/proxy.conf' || install -m 644 '$BED/images/proxy.conf' \"\$1/etc/apt/apt.conf.d/90proxy\"" \
    "$release" "$3" "$mirror"
}

# Makes the layout $BED/images/base with the image `base`, at most once a day (fixes come out daily):
# base_image CONFIG, where CONFIG is the JSON of the image's `config` member.
base_image() {
  local layout=$BED/images/base id release sources key tar diff_id layer config start=$SECONDS
  read -r id release <<<"$(machine_release)"
  sources=$(apt_sources "$release")
  if [ -z "$sources" ]; then
    quietly "$BED/log/apt-update.log" apt-get update
    sources=$(apt_sources "$release")
  fi
  key="$(date +%F) $id $release $(cat "${BASH_SOURCE[0]}" <(echo "$1 $sources") | sha256sum | cut -c1-16)"
  [ "$(cat "$layout/key" 2>/dev/null)" != "$key" ] || return 0
  say "making a real $id $release as it was released, with mmdebstrap from this machine's own mirror (about 40 s, once a day)"
  mkdir -p "$BED/images" "$BED/log"
  new_layout "$layout"
  tar=$BED/images/root.tar
  make_root_file_system "$release" "$sources" "$tar"
  diff_id=sha256:$(sha256sum "$tar" | cut -d' ' -f1)
  gzip -n -f "$tar"
  layer=$(put_blob "$layout" "$OCI_TYPE.layer.v1.tar+gzip" "$tar.gz")
  config=$(jq -nc --argjson config "$1" --arg diff_id "$diff_id" --arg arch "$(dpkg --print-architecture)" \
    '{created: "2026-01-01T00:00:00Z", architecture: $arch, os: "linux", config: $config,
      rootfs: {type: "layers", diff_ids: [$diff_id]}, history: [{created: "2026-01-01T00:00:00Z", created_by: "mmdebstrap"}]}' |
    put_json "$layout" "$OCI_TYPE.config.v1+json")
  put_manifest "$layout" "$config" "[$layer]" | name_image "$layout" base
  multi_image "$layout"
  echo "$key" >"$layout/key"
  say "made it in $((SECONDS - start)) s: $(jq .size <<<"$layer") bytes compressed"
}

# Adds the image `multi` to a layout that has `base`: an index of `base`, a child for another architecture, and an attestation of `base`, as `docker buildx`
# writes them. Only the first can run here.
multi_image() {
  local layout=$1 native foreign config layers attestation statement
  native=$(descriptor_of "$layout" base)
  layers=$(blob_of "$layout" "$native" | jq -c .layers)
  config=$(blob_of "$layout" "$(blob_of "$layout" "$native" | jq -c .config)" | jq -c '.architecture = "arm64" | .variant = "v8"' |
    put_json "$layout" "$OCI_TYPE.config.v1+json")
  foreign=$(put_manifest "$layout" "$config" "$layers")
  statement=$(jq -nc '{_type: "https://in-toto.io/Statement/v1", predicateType: "https://slsa.dev/provenance/v1", subject: [], predicate: {}}' |
    put_json "$layout" application/vnd.in-toto+json)
  config=$(jq -nc --arg id "$(jq -r .digest <<<"$statement")" \
    '{architecture: "unknown", os: "unknown", config: {}, rootfs: {type: "layers", diff_ids: [$id]}}' |
    put_json "$layout" "$OCI_TYPE.config.v1+json")
  attestation=$(put_manifest "$layout" "$config" "[$statement]")
  jq -nc --arg type "$OCI_TYPE.index.v1+json" --arg arch "$(dpkg --print-architecture)" \
    --argjson native "$native" --argjson foreign "$foreign" --argjson attestation "$attestation" '
    {schemaVersion: 2, mediaType: $type, manifests: [
      $native + {platform: {architecture: $arch, os: "linux"}},
      $foreign + {platform: {architecture: "arm64", os: "linux", variant: "v8"}},
      $attestation + {platform: {architecture: "unknown", os: "unknown"}, annotations: {
        "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": $native.digest}}]}' |
    put_json "$layout" "$OCI_TYPE.index.v1+json" | name_image "$layout" multi
}
