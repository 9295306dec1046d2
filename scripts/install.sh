#!/usr/bin/env bash
# Usage: scripts/install.sh PREFIX
# Installs library, debug library, header, pkg-config files and the program mproc under PREFIX. DESTDIR is honoured.
set -euo pipefail
prefix=${1:?usage: scripts/install.sh PREFIX}
[[ $prefix == /* ]] || prefix=$PWD/$prefix
. "$(dirname "$0")/common.sh"

scripts/build.sh lib
quietly "prefix $prefix" tools meson configure "$BUILD/release" --prefix "$prefix" -Dlibdir=lib
quietly "install into ${DESTDIR:-}$prefix" tools meson install -C "$BUILD/release"
