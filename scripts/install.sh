#!/usr/bin/env bash
# Usage: scripts/install.sh PREFIX
# Installs library, debug library, headers, pkg-config files, the program mproc, and, where there is Doxygen, the man
# pages under PREFIX. DESTDIR is honoured.
set -euo pipefail
prefix=${1:?usage: scripts/install.sh PREFIX}
[[ $prefix == /* ]] || prefix=$PWD/$prefix
. "$(dirname "$0")/common.sh"

scripts/build.sh lib
quietly "prefix $prefix" tools meson configure "$BUILD/release" --prefix "$prefix" -Dlibdir=lib
quietly "install into ${DESTDIR:-}$prefix" tools meson install -C "$BUILD/release"
if command -v doxygen >/dev/null; then
    quietly "man pages" scripts/man.sh "$BUILD/docs/man"
    mkdir -p "${DESTDIR:-}$prefix/share/man/man3"
    cp "$BUILD"/docs/man/man3/*.3 "${DESTDIR:-}$prefix/share/man/man3"
else
    say "  no man pages: they need Doxygen"
fi
