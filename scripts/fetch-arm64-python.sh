#!/usr/bin/env bash
# Usage: scripts/fetch-arm64-python.sh DEST
# Unpacks the Python of this machine's Debian release, for arm64, and the libraries that it needs, into DEST. qemu-user
# runs it from there: qemu-aarch64-static -L DEST -E PYTHONHOME=DEST/usr DEST/usr/bin/python3. Nothing is installed.
# Needs a Debian machine and its mirror.
set -euo pipefail
dest=${1:?usage: scripts/fetch-arm64-python.sh DEST}
[[ $dest == /* ]] || dest=$PWD/$dest
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/apt.sh"

APT=$dest/apt
PACKAGES=(python3-minimal:arm64 libpython3-stdlib:arm64)

trap 'rm -rf "$dest"' EXIT # what is there has been finished
rm -rf "$dest"
configure_apt "$APT" "" arm64
quietly "download Python for arm64" apt_download "$APT" "${PACKAGES[@]}"
for deb in "$APT"/cache/archives/*.deb; do dpkg-deb -x "$deb" "$dest"; done
rm -rf "$APT"
qemu-aarch64-static -L "$dest" -E PYTHONHOME="$dest/usr" "$dest/usr/bin/python3" -c 'import ctypes' ||
    die "the Python for arm64 does not run here"
trap - EXIT
