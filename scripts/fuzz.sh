#!/usr/bin/env bash
# Usage: FUZZ_SECONDS=60 scripts/fuzz.sh
# Runs each target of tests/fuzz/meson.build that long; a crash ends with the input that caused it in build/fuzz/found.
set -euo pipefail
. "$(dirname "$0")/common.sh"

seconds=${FUZZ_SECONDS:-60}
scripts/setup.sh fuzz
export CC=clang
meson_dir "$BUILD/fuzz" --buildtype=debugoptimized -Dfuzz=true -Dlibrary=false -Dtests=false -Db_lundef=false
meson_build "$BUILD/fuzz"
mkdir -p "$BUILD/fuzz/found"
passed=0 failed=0
while read -r target; do
    name=$(basename "$target")
    mkdir -p "$BUILD/corpus/$name"
    if quietly "$name, $seconds s" "$target" -max_total_time="$seconds" -timeout=10 -verbosity=0 \
        -artifact_prefix="$BUILD/fuzz/found/$name-" "$BUILD/corpus/$name"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
done < <(programs_in "$BUILD/fuzz/tests/fuzz")
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
