#!/usr/bin/env bash
# Runs every example of examples/c and examples/python to its end, each under a watchdog, and ends with
# N passed, N failed. An example that exists in both languages must print the same in both.
set -euo pipefail
. "$(dirname "$0")/common.sh"

LIMIT=120
OUT=$BUILD/results/examples
passed=0 failed=0

# example NAME COMMAND…: its output is kept in $OUT/NAME.
example() {
    local name=$1 status=0
    shift
    timeout --kill-after=5 "$LIMIT" "$@" >"$OUT/$name" 2>"$OUT/$name.err" </dev/null || status=$?
    if [ "$status" -eq 0 ]; then
        passed=$((passed + 1))
        return
    fi
    failed=$((failed + 1))
    echo "FAILED $name: exit status $status"
    tail -n 20 "$OUT/$name.err"
}

same() {
    if cmp -s "$OUT/$1" "$OUT/$2"; then
        passed=$((passed + 1))
        return
    fi
    failed=$((failed + 1))
    echo "FAILED $1 and $2 differ"
    diff "$OUT/$1" "$OUT/$2" | head -n 20
}

# The arguments of an example that needs some.
arguments_of() {
    case $1 in
    wordcount) arguments=(include/mproc.h scripts/tally.py LICENSE) ;;
    *) arguments=() ;;
    esac
}

rm -rf "$OUT"
mkdir -p "$OUT"
while read -r program; do
    name=$(basename "$program")
    arguments_of "$name"
    example "c-$name" "$program" "${arguments[@]}"
done < <(programs_in "$BUILD/release/examples/c")
for file in examples/python/*.py; do
    [ -f "$file" ] || continue
    name=$(basename "$file" .py)
    arguments_of "$name"
    example "python-$name" "$VENV/bin/python" -m mproc "$file" "${arguments[@]}"
    [ ! -f "$OUT/c-$name" ] || same "c-$name" "python-$name"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
