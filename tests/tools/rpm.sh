# Gives tests the root file system of an rpm distribution, which none can be had of here: Debian's own build of rpm, dnf and zypper
# on a Debian that says it is Rocky Linux 9, without dpkg and apt. rpm's database is empty and where distributions keep it.
# Promises: made once, then kept under $TOOLS; nothing outside it is touched. Sourced after common.sh and images.sh.
#
#   $TOOLS/rpm/root.tar.gz      the root file system as the layer of an image
#   $TOOLS/rpm/diff_id          the digest of its tar
# shellcheck shell=bash

# mmdebstrap's shell expands $1, the new root.
# shellcheck disable=SC2016
# dnf's own lock on versions comes from a package that cannot be installed beside zypper: it is only unpacked.
PLUGINS='set -e; cd "$1/tmp"; chroot "$1" sh -c "cd /tmp && apt-get -o APT::Sandbox::User=root -qq download dnf-plugins-core"
  dpkg-deb -x dnf-plugins-core_*.deb plugins; rm dnf-plugins-core_*.deb
  folder=usr/lib/python3/dist-packages/dnf-plugins; mkdir -p "$1/$folder" "$1/etc/dnf/plugins"
  cp "plugins/$folder/versionlock.py" "$1/$folder/"; cp -r plugins/usr/lib/python3/dist-packages/dnfpluginscore "$1/$folder/.."
  printf "[main]\nenabled=1\nlocklist=/etc/dnf/plugins/versionlock.list\n" >"$1/etc/dnf/plugins/versionlock.conf"; rm -rf plugins'

# What makes it another distribution, and what only makes it larger.
# shellcheck disable=SC2016
DISGUISE='set -e; cd "$1"
  rm -rf var/lib/dpkg var/log/* usr/bin/apt* usr/bin/dpkg* usr/lib/dpkg var/backups
  rm -rf usr/share/doc usr/share/man usr/share/info usr/share/locale usr/share/zoneinfo usr/share/i18n
  rm -rf usr/bin/*perl* usr/share/perl* usr/lib/*/perl* usr/lib/*/gconv usr/share/bash-completion
  printf "NAME=\"Rocky Linux\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"\nPLATFORM_ID=\"platform:el9\"\n" >usr/lib/os-release
  rm -f etc/os-release; ln -s ../usr/lib/os-release etc/os-release
  mkdir -p etc/rpm etc/yum.repos.d var/lib/rpm var/lib/dnf etc/dnf/plugins
  printf "%%_dbpath /var/lib/rpm\n%%_db_backend sqlite\n" >etc/rpm/macros
  printf "[main]\ngpgcheck=1\ninstallonly_limit=3\nbest=True\n" >etc/dnf/dnf.conf
  rm -rf root/.rpmdb'

install_rpm_root() {
  local folder=$TOOLS/rpm stamp work mirror release sources include=() start=$SECONDS
  read -r _ release <<<"$(machine_release)"
  stamp="$release $(sha256sum "$ROOT/tests/tools/rpm.sh" | cut -d' ' -f1)"
  [ "$(cat "$folder/stamp" 2>/dev/null)" != "$stamp" ] || return 0
  sources=$(apt_sources "$release")
  if [ -z "$sources" ]; then
    quietly "$TOOLS/log/apt-update.log" apt-get update
    sources=$(apt_sources "$release")
  fi
  mirror=$(awk -v release="$release" '$3 == release {print $2}' <<<"$sources")
  [ -n "$mirror" ] || die "apt on this machine has no source for $release main, so no image with rpm can be made of it"
  [[ $sources != *https:* ]] || include=(--include=ca-certificates)
  say "making an image with rpm, dnf and zypper, with mmdebstrap from this machine's own mirror (about a minute, once)"
  rm -rf "$folder"
  mkdir -p "$folder"
  work=$(mktemp -d -p "$folder")
  apt_proxy >"$work/proxy.conf"
  quietly "$TOOLS/log/rpm-root.log" env TMPDIR="$work" mmdebstrap --mode=root --variant=minbase --components=main \
    --include=dnf,rpm,zypper "${include[@]}" \
    --customize-hook="test ! -s '$work/proxy.conf' || install -m 644 '$work/proxy.conf' \"\$1/etc/apt/apt.conf.d/90proxy\"" \
    --customize-hook="$PLUGINS" --customize-hook="$DISGUISE" "$release" "$work/root.tar" "$mirror"
  echo "sha256:$(sha256sum "$work/root.tar" | cut -d' ' -f1)" >"$folder/diff_id"
  gzip -n -1 <"$work/root.tar" >"$folder/root.tar.gz"
  rm -rf "$work"
  echo "$stamp" >"$folder/stamp"
  say "an image with rpm after $((SECONDS - start)) s: $(stat -c %s "$folder/root.tar.gz") bytes"
}
