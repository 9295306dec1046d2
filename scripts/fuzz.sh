#!/usr/bin/env bash
# Usage: FUZZ_SECONDS=60 scripts/fuzz.sh [NAME…]
# Runs each target of tests/fuzz/meson.build, or the named ones, for that many seconds. A run begins with the inputs
# that are kept in tests/fuzz/corpus/NAME and those that earlier runs found, in build/fuzz/corpus/NAME. Prints a line
# for each target, the sum, and N passed, N failed. An input that fails is kept in build/fuzz/found.
set -euo pipefail
export CC=clang
unset CXX
. "$(dirname "$0")/common.sh"

SECONDS_EACH=${FUZZ_SECONDS:-60}
OUT=$ROOT/build/fuzz
export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1
passed=0 failed=0 skipped=0 inputs=0

# count NAME LOG: the value of a line of libFuzzer's statistics; 0 when the target ended without them.
count() { sed -n "s/^stat::$1: *//p" "$2" | tail -n 1 | grep . || echo 0; }

# A run that fails ends without statistics: its last progress line has the count.
executed() {
    local n
    n=$(count number_of_executed_units "$1")
    [ "$n" -gt 0 ] || n=$(sed -n 's/^#\([0-9]*\)\t.*/\1/p' "$1" | tail -n 1)
    echo "${n:-0}"
}

run_target() {
    if [ ! -x "$BUILD/fuzz/tests/fuzz/fuzz_$1" ]; then
        echo "SKIP $1: the interpreter of .venv has no library that a program could embed"
        skipped=$((skipped + 1))
        return
    fi
    local name=$1 log=$OUT/$1.log kept=tests/fuzz/corpus/$1 status=0 n began=$EPOCHREALTIME rate
    local options=(-max_total_time="$SECONDS_EACH" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1)
    # Python's caches look like leaks after each input, and each search for leaks takes a tenth of a second.
    [ ! -f "tests/fuzz/fuzz_$name.py" ] || options+=(-detect_leaks=0)
    mkdir -p "$OUT/corpus/$name" "$OUT/found"
    "$BUILD/fuzz/tests/fuzz/fuzz_$name" "${options[@]}" -artifact_prefix="$OUT/found/$name-" \
        "$OUT/corpus/$name" "$kept" >"$log" 2>&1 </dev/null || status=$?
    n=$(executed "$log")
    rate=$(awk -v n="$n" -v from="$began" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.0f", n / (to - from) }')
    inputs=$((inputs + n))
    printf '%-16s %11d inputs %9d a second\n' "$name" "$n" "$rate"
    if [ "$status" -eq 0 ]; then
        passed=$((passed + 1))
        return
    fi
    failed=$((failed + 1))
    echo "FAILED $name: the input is in $(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1), the log is $log"
    grep -E -m 3 'broken:|SUMMARY|runtime error|Error:' "$log" || tail -n 20 "$log"
}

scripts/setup.sh fuzz
meson_dir "$BUILD/fuzz" --buildtype=debugoptimized -Dfuzz=true -Dpython=true -Dlibrary=false -Dtests=false \
    -Db_lundef=false
meson_build "$BUILD/fuzz" fuzz
if [ $# -eq 0 ]; then
    mapfile -t all < <(printf '%s\n' tests/fuzz/fuzz_*.c | sed 's|.*/fuzz_||; s|\.c$||')
    set -- "${all[@]}"
fi
for name in "$@"; do
    [ -f "tests/fuzz/fuzz_$name.c" ] || die "no such target: $name"
done
for name in "$@"; do run_target "$name"; done
printf '%-16s %11d inputs\n' all "$inputs"
echo "$passed passed, $failed failed$([ "$skipped" -eq 0 ] || echo ", $skipped skipped")"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
