#!/usr/bin/env bash
# Usage: scripts/answers.sh [NAME]…
# Small C programs that ask what a user of the library would: each is built against the installed library, run, and its
# answers are printed beside the right ones (tests/answers/NAME.txt). Ends with N passed, N failed.
set -euo pipefail
. "$(dirname "$0")/common.sh"

LIMIT=120
OUT=$BUILD/results/answers
passed=0 failed=0

build() {
    local flags more=()
    flags=$(PKG_CONFIG_PATH=$OUT/prefix/lib/pkgconfig pkg-config --cflags --libs mproc)
    case $1 in *_tsan) more=(-fsanitize=thread) ;; esac
    # shellcheck disable=SC2086 # flags are words
    "$CC" -std=gnu11 -Wall -Wextra -Werror -pthread "${more[@]}" "tests/answers/$1.c" -o "$OUT/$1" $flags \
        -Wl,-rpath,"$OUT/prefix/lib"
}

# The head of each program says how it is run.
run() {
    local program=$OUT/$1
    case $1 in
    closed_streams) bash -c '"$1" "$2" <&- >&- 2>&-' run "$program" "$OUT/$1.log" && cat "$OUT/$1.log" ;;
    core_dump) mkdir -p "$OUT/cores" && cd "$OUT/cores" && "$program" ;;
    limit) MPROC_ARENA_LIMIT=32M "$program" && MPROC_ARENA_LIMIT=much "$program" ;;
    locked_memory) MPROC_ARENA_SPAN=64M "$program" ;;
    *) "$program" ;;
    esac
}
export -f run
export OUT

ask() {
    local name=$1 status=0
    build "$name"
    # shellcheck disable=SC2016 # $1 is that of bash -c
    timeout --kill-after=5 "$LIMIT" bash -c 'run "$1"' run "$name" >"$OUT/$name.txt" 2>"$OUT/$name.err" </dev/null ||
        status=$?
    if [ "$status" -eq 0 ] && cmp -s "tests/answers/$name.txt" "$OUT/$name.txt"; then
        passed=$((passed + 1))
        echo "right  $name"
        sed 's/^/         /' "$OUT/$name.txt"
        return
    fi
    failed=$((failed + 1))
    echo "WRONG  $name: exit status $status"
    diff "tests/answers/$name.txt" "$OUT/$name.txt" | sed 's/^/         /' || true
    tail -n 20 "$OUT/$name.err"
}

rm -rf "$OUT"
mkdir -p "$OUT"
DESTDIR='' scripts/install.sh "$OUT/prefix"
for file in tests/answers/*.c; do
    name=$(basename "$file" .c)
    if [ $# -eq 0 ] || [[ " $* " == *" $name "* ]]; then ask "$name"; fi
done
rm -rf "$OUT/cores"
[ $((passed + failed)) -gt 0 ] || die "no program in tests/answers has a name of these: $*"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
