#!/usr/bin/env bash
# Usage: scripts/man.sh DIR
# Makes DIR/man3 of the comments of mproc.h by Doxygen: a page a room of the header, and one for each function, type and
# macro that leads there. What Doxygen reads for the manual is left in DIR/../doxygen.
set -euo pipefail
. "$(dirname "$0")/common.sh"

dir=${1:?usage: scripts/man.sh DIR}
scratch=$(dirname "$dir")/doxygen
mkdir -p "$dir/man3" "$scratch"
{
    cat docs/Doxyfile
    echo "OUTPUT_DIRECTORY = $scratch"
} | doxygen - 2>&1 | tee "$scratch/warnings"
[ ! -s "$scratch/warnings" ] || die "the header has names without documentation, or comments that cannot be read"
rm -rf "$dir/man3"
mkdir -p "$dir/man3"
cp "$scratch"/man/man3/mproc[-_]*.3 "$scratch"/man/man3/MPROC_*.3 "$dir/man3"
