#!/usr/bin/env bash
# Usage: scripts/build.sh [lib|package|tests]…      (lib and package when nothing is named)
# lib: the optimised C library and examples in build/release. package: mproc in .venv. tests: the C and crash
# tests in build/test.
set -euo pipefail
. "$(dirname "$0")/common.sh"

build_lib() {
    meson_dir "$BUILD/release" --buildtype=release -Ddebug=true -Db_ndebug=true -Dtests=false \
        -Ddebug_library=true
    meson_build "$BUILD/release"
}

# Installs a copy, as a user would have it. its build directory keeps the objects, so only what changed is compiled again.
build_package() {
    local stamp
    stamp="$CC $(fingerprint include src python meson.build meson.options pyproject.toml "$VENV/stamp")"
    [ "$stamp" = "$(cat "$VENV/package" 2>/dev/null)" ] && return 0
    quietly "install the package into ${VENV##*/}" tools "$VENV/bin/python" -m pip install \
        --disable-pip-version-check --no-build-isolation --no-deps --force-reinstall \
        -Cbuild-dir="$VENV_BUILD" -Csetup-args=--werror .
    printf '%s\n' "$stamp" >"$VENV/package"
}

# With asserts, and free blocks are filled with rubbish. Optimised like the release, because the crash
# laboratory is about real code.
build_tests() {
    meson_dir "$BUILD/test" --buildtype=debugoptimized -Dpoison=true
    meson_build "$BUILD/test"
}

scripts/setup.sh
for part in "${@:-lib package}"; do
    for name in $part; do "build_$name"; done
done
