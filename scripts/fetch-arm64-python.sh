#!/usr/bin/env bash
# Usage: scripts/fetch-arm64-python.sh DEST
# Unpacks the Python of this machine's Debian release, for arm64, and the libraries that it needs, into DEST. qemu-user
# runs it from there: qemu-aarch64-static -L DEST -E PYTHONHOME=DEST/usr DEST/usr/bin/python3. Nothing is installed.
# Needs a Debian machine and its mirror.
set -euo pipefail
dest=${1:?usage: scripts/fetch-arm64-python.sh DEST}
[[ $dest == /* ]] || dest=$PWD/$dest
. "$(dirname "$0")/common.sh"

APT=$dest/apt
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
PACKAGES=(python3-minimal:arm64 libpython3-stdlib:arm64)

# An apt with a state of its own, which knows arm64 only, and in which nothing is installed.
configure_apt() {
    local uri suite
    # shellcheck disable=SC2016 # $(REPO_URI) and $(SUITE) are apt's
    read -r uri suite < <(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
        grep -m 1 -E '/debian/? ')
    mkdir -p "$APT/lists/partial" "$APT/cache/archives/partial"
    echo "deb [arch=arm64 signed-by=$KEYRING] $uri $suite main" >"$APT/sources.list"
    : >"$APT/status"
    cat >"$APT/apt.conf" <<CONF
APT::Architecture "arm64";
APT::Architectures "arm64";
Dir::Etc::sourcelist "$APT/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::Lists "$APT/lists";
Dir::State::status "$APT/status";
Dir::Cache "$APT/cache";
Acquire::Languages "none";
APT::Sandbox::User "root";
CONF
}

trap 'rm -rf "$dest"' EXIT # what is there has been finished
rm -rf "$dest"
configure_apt
quietly "apt-get update for arm64" env APT_CONFIG="$APT/apt.conf" apt-get -q update
quietly "download Python for arm64" env APT_CONFIG="$APT/apt.conf" \
    apt-get -q -y --no-install-recommends --download-only install "${PACKAGES[@]}"
for deb in "$APT"/cache/archives/*.deb; do dpkg-deb -x "$deb" "$dest"; done
rm -rf "$APT"
qemu-aarch64-static -L "$dest" -E PYTHONHOME="$dest/usr" "$dest/usr/bin/python3" -c 'import ctypes' ||
    die "the Python for arm64 does not run here"
trap - EXIT
