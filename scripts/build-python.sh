#!/usr/bin/env bash
# Usage: scripts/build-python.sh PYTHON DEST
# Builds the package for any interpreter (incrementally in build/pyX.Y) and puts an importable mproc/ into DEST.
# Nothing is installed into the interpreter itself.
set -euo pipefail
python=${1:?usage: scripts/build-python.sh PYTHON DEST}
dest=${2:?usage: scripts/build-python.sh PYTHON DEST}
[[ $dest == /* ]] || dest=$PWD/$dest
python=$(command -v "$python") || { echo "mproc: no such interpreter: $1" >&2; exit 1; }
. "$(dirname "$0")/common.sh"

scripts/setup.sh
python=$("$python" -c 'import sys; print(sys.executable)')
name=$("$python" -c 'import sys; print(f"py{sys.version_info[0]}.{sys.version_info[1]}{sys.abiflags}")')
mkdir -p "$BUILD" "$dest"
native=$BUILD/$name.ini
printf "[binaries]\npython = '%s'\n" "$python" >"$native"
meson_dir "$BUILD/$name" --native-file "$native" --buildtype=release -Db_ndebug=true \
    -Dpython=true -Dlibrary=false -Dtests=false \
    -Dpython.purelibdir=/ -Dpython.platlibdir=/ -Dpython.bytecompile=0
meson_build "$BUILD/$name"
rm -rf "${dest:?}/mproc"
quietly "mproc for $name into $dest" tools meson install -C "$BUILD/$name" --no-rebuild \
    --destdir "$dest"
