#!/usr/bin/env bash
# Usage: scripts/bench.sh [NAME…]
#        scripts/bench.sh python [ARGUMENT…]
#        scripts/bench.sh engines [ARGUMENT…]
#        scripts/bench.sh inspection [ARGUMENT…]
# Builds and runs the benchmarks of bench/meson.build (all, or the named ones), one after the other; or
# bench/python/compare.py, bench/python/engines.py or bench/python/inspection.py with its arguments. The engines are
# those that scripts/engines.sh has installed.
set -euo pipefail
. "$(dirname "$0")/common.sh"

if [ "${1:-}" = python ]; then
    shift
    scripts/build.sh lib package
    exec "$VENV/bin/python" bench/python/compare.py "$@"
fi
if [ "${1:-}" = engines ]; then
    shift
    scripts/build.sh package
    exec "$VENV/bin/python" bench/python/engines.py "$@"
fi
if [ "${1:-}" = inspection ]; then
    shift
    scripts/build.sh package
    exec "$VENV/bin/python" bench/python/inspection.py "$@"
fi
scripts/setup.sh bench
meson_dir "$BUILD/bench" --buildtype=release -Db_ndebug=true -Dbench=true -Dtests=false
meson_build "$BUILD/bench"
if [ $# -eq 0 ]; then
    mapfile -t all < <(programs_in "$BUILD/bench/bench" | sed 's|.*/bench_||')
    set -- "${all[@]}"
fi
[ $# -gt 0 ] || die "no benchmark is listed in bench/meson.build"
for name in "$@"; do
    [ -x "$BUILD/bench/bench/bench_$name" ] || die "no such benchmark: $name"
    "$BUILD/bench/bench/bench_$name"
done
