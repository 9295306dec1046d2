#!/usr/bin/env bash
# Usage: scripts/sanitize.sh asan|tsan
# asan: all C tests under AddressSanitizer and UndefinedBehaviorSanitizer. tsan: the suite `tsan` under ThreadSanitizer.
set -euo pipefail
. "$(dirname "$0")/common.sh"

export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:abort_on_error=1:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:abort_on_error=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:allocator_may_return_null=1
# A fork under ThreadSanitizer takes 2 ms of processor time, and one test makes ten thousand.
export MPROC_TEST_TIMEOUT=300

case ${1:-} in
asan) sanitizers=address,undefined suite=c ;;
tsan) sanitizers=thread suite=tsan ;;
*) die "usage: scripts/sanitize.sh asan|tsan" ;;
esac
name=$1
dir=$BUILD/$name
log=$dir/meson-logs/testlog.json

scripts/setup.sh
# b_lundef: clang resolves the sanitizers' symbols only when a program is linked.
meson_dir "$dir" --buildtype=debugoptimized -Db_sanitize="$sanitizers" -Db_lundef=false -Dpoison=true
meson_build "$dir"
rm -f "$log"
say "  $name tests"
status=0
tools meson test -C "$dir" --no-rebuild --suite "$suite" --timeout-multiplier 5 >"$dir/test.log" 2>&1 </dev/null ||
    { status=$? && say "  some failed: the whole log is ${dir#"$ROOT/"}/meson-logs/testlog.txt"; }
printf '%s\n' "$status" >"${log%.json}.log.exit"
"$VENV/bin/python" scripts/tally.py "$name=$log"
