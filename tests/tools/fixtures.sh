# Makes images whose only package source is a repository of our own on loopback, so that a test knows every upgrade.
# Promises: needs no network; the packages, their versions and what their scripts do are all in this file.
# Sourced after images.sh; needs BED, the layout $BED/images/base, and the repository's address in APT_URL.
# shellcheck shell=bash
#
#   fixtures:outdated  these packages at 1.0-1 (held, conffiles changed, ...), all of them at 1.1-1 in the repository
#   fixtures:current   everything at the repository's version: nothing to do
#   fixtures:failing   as current, with one more package whose upgrade fails in its postinst
#
#   package            what its upgrade shows
#   fixture-simple     a file changes, a file goes (a whiteout in the layer), an epoch and a tilde in the version
#   fixture-conffile   edited.conf changed by the user and by the package (the user's stays), plain.conf by the package only
#   fixture-held       `apt-mark hold`: stays as it is, and is reported
#   fixture-service    its postinst starts a service with invoke-rc.d, which leaves /srv/service-started: must not happen.
#                      It brings `init` and `runlevel`, without which invoke-rc.d would start nothing anyway
#   fixture-newdep     the new version needs fixture-added, which is not installed
#   fixture-failing    postinst of 1.1-1 exits 1 (only in fixtures:failing)

# Builds one package: make_package FOLDER NAME VERSION [FIELD...] with its files on standard input as lines `/path content`.
# A path DEBIAN/... is a control file; `\n` in a content is a line break.
make_package() {
  local to=$1 name=$2 version=$3 path content tree
  shift 3
  tree=$(mktemp -d -p "$BED")
  mkdir -p "$tree/DEBIAN" "$to"
  printf '%s\n' "Package: $name" "Version: $version" "Architecture: all" "Maintainer: Patchport tests <tests@example.invalid>" \
    "Description: fixture of Patchport's tests" "$@" >"$tree/DEBIAN/control"
  while read -r path content; do
    mkdir -p "$(dirname "$tree/${path#/}")"
    printf '%b\n' "$content" >"$tree/${path#/}"
    case $path in *postinst | /etc/init.d/* | */sbin/*) chmod 755 "$tree/${path#/}" ;; esac
  done
  chmod 755 "$tree"
  dpkg-deb --root-owner-group -Znone --build "$tree" "$to/${name}_${version#*:}_all.deb" >/dev/null
  rm -rf "$tree"
}

# Builds every fixture at both versions: old ones for the image, new ones for the repository.
make_packages() {
  local old=$1 new=$2 service='#!/bin/sh\n### BEGIN INIT INFO\n# Provides: fixture-service\n# Required-Start:\n# Required-Stop:\n# Default-Start: 2 3 4 5\n# Default-Stop: 0 1 6\n### END INIT INFO\ntouch /srv/service-started'
  local init=$'/usr/sbin/init #!/bin/sh\n/usr/sbin/runlevel #!/bin/sh\\necho N 2'
  make_package "$old" fixture-simple '1:1.0~rc1-1' <<<$'/usr/share/fixture-simple/version 1.0\n/usr/share/fixture-simple/gone old'
  make_package "$new" fixture-simple '1:1.0-1+fix1' <<<'/usr/share/fixture-simple/version 1.1'

  local conffiles='DEBIAN/conffiles /etc/fixture/edited.conf\n/etc/fixture/plain.conf'
  make_package "$old" fixture-conffile 1.0-1 <<<"$conffiles"$'\n/etc/fixture/edited.conf package 1.0\n/etc/fixture/plain.conf package 1.0'
  make_package "$new" fixture-conffile 1.1-1 <<<"$conffiles"$'\n/etc/fixture/edited.conf package 1.1\n/etc/fixture/plain.conf package 1.1'

  make_package "$old" fixture-held 1.0-1 <<<'/usr/share/fixture-held/version 1.0'
  make_package "$new" fixture-held 1.1-1 <<<'/usr/share/fixture-held/version 1.1'

  make_package "$old" fixture-service 1.0-1 <<<"/etc/init.d/fixture-service $service"$'\n'"$init"
  make_package "$new" fixture-service 1.1-1 \
    <<<"/etc/init.d/fixture-service $service"$'\n'"$init"$'\nDEBIAN/postinst #!/bin/sh\\nset -e\\nupdate-rc.d fixture-service defaults\\ninvoke-rc.d fixture-service start'

  make_package "$old" fixture-newdep 1.0-1 <<<'/usr/share/fixture-newdep/version 1.0'
  make_package "$new" fixture-newdep 1.1-1 'Depends: fixture-added' <<<'/usr/share/fixture-newdep/version 1.1'
  make_package "$new" fixture-added 1.0-1 <<<'/usr/share/fixture-added/version 1.0'

  make_package "$old" fixture-failing 1.0-1 <<<'/usr/share/fixture-failing/version 1.0'
  make_package "$new" fixture-failing 1.1-1 \
    <<<$'/usr/share/fixture-failing/version 1.1\nDEBIAN/postinst #!/bin/sh\\necho "fixture-failing: this postinst fails on purpose" >&2\\nexit 1'
}

# Writes the repository's index next to its packages.
index_repository() {
  (cd "$1" && apt-ftparchive packages . >Packages && apt-ftparchive -o APT::FTPArchive::Release::Codename=fixtures release . >Release)
}

# Runs a command inside the unpacked image, quietly.
inside() { quietly "$BED/log/fixtures.log" env DEBIAN_FRONTEND=noninteractive LC_ALL=C chroot "$BED/images/bundle/rootfs" "$@"; }

# Installs package files in the unpacked image: install_inside FOLDER NAME-PATTERN...
install_inside() {
  local from=$1 root=$BED/images/bundle/rootfs pattern
  shift
  mkdir "$root/fixtures"
  # shellcheck disable=SC2086  # the pattern is meant to expand
  for pattern in "$@"; do cp "$from"/$pattern "$root/fixtures/"; done
  # A container has no init: what an image build does not start, this does not start either.
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
  chmod 755 "$root/usr/sbin/policy-rc.d"
  inside sh -c 'dpkg --force-confold --install /fixtures/*.deb'
  rm -rf "$root/fixtures" "$root/usr/sbin/policy-rc.d" "$root"/var/log/dpkg.log
}

# Adds what changed in the unpacked image as a layer: commit_layer NAME
commit_layer() {
  quietly "$BED/log/umoci.log" umoci repack --refresh-bundle --image "$BED/images/fixtures:$1" \
    --history.created_by "tests/tools/fixtures.sh: $1" --history.created 2026-01-01T00:00:00Z "$BED/images/bundle"
}

# Makes the layout $BED/images/fixtures with `outdated`, `current` and `failing`; the repository goes to $BED/apt.
fixture_images() {
  local layout=$BED/images/fixtures root=$BED/images/bundle/rootfs old=$BED/images/old key start=$SECONDS
  key=$(cat "$BED/images/base/key" "${BASH_SOURCE[0]}" <(echo "$APT_URL") | sha256sum)
  [ "$(cat "$layout/key" 2>/dev/null)" != "$key" ] || return 0
  say "making the fixture packages, their repository and their images"
  rm -rf "$old" "$layout" "$BED/images/bundle"
  # Its server holds the folder itself.
  find "$BED/apt" -mindepth 1 -delete
  make_packages "$old" "$BED/apt"
  index_repository "$BED/apt"
  quietly "$BED/log/umoci.log" skopeo copy "oci:$BED/images/base:base" "oci:$layout:base"
  quietly "$BED/log/umoci.log" umoci unpack --image "$layout:base" "$BED/images/bundle"

  echo "deb [trusted=yes] $APT_URL ./" >"$root/etc/apt/sources.list"
  rm -f "$root/etc/apt/apt.conf.d/90proxy"
  install_inside "$old" 'fixture-[!f]*'
  echo 'changed by the user' >"$root/etc/fixture/edited.conf"
  inside apt-mark hold fixture-held
  commit_layer outdated

  inside apt-mark unhold fixture-held
  install_inside "$BED/apt" 'fixture-[!f]*'
  commit_layer current

  install_inside "$old" 'fixture-failing*'
  commit_layer failing
  rm -rf "$BED/images/bundle" "$old"
  echo "$key" >"$layout/key"
  say "made them in $((SECONDS - start)) s"
}
