#!/usr/bin/env bash
# Usage: scripts/answers.sh [NAME]…
# Small C programs that ask what a user of the library would: each is built against the installed library, run, and its
# answers are printed beside the right ones (tests/answers/NAME.txt). Ends with N passed, N failed.
set -euo pipefail
. "$(dirname "$0")/common.sh"

LIMIT=120
OUT=$BUILD/results/answers
SKIPPED=77 # exit status of what cannot be asked on this machine
passed=0 failed=0 skipped=0

build() {
    local flags more=()
    flags=$(PKG_CONFIG_PATH=$OUT/prefix/lib/pkgconfig pkg-config --cflags --libs mproc)
    case $1 in *_tsan) more=(-fsanitize=thread) ;; esac
    # shellcheck disable=SC2086 # flags are words
    "$CC" -std=gnu11 -Wall -Wextra -Werror -pthread "${more[@]}" "tests/answers/$1.c" -o "$OUT/$1" $flags \
        -Wl,-rpath,"$OUT/prefix/lib"
}

# in_group BYTES COMMAND…: runs the command in a control group of its own that may use so much memory.
in_group() {
    local bytes=$1 root=/sys/fs/cgroup/memory limit=memory.limit_in_bytes status=0
    shift
    [ -d "$root" ] || root=/sys/fs/cgroup limit=memory.max
    local group=$root/mproc-answers-$$
    if ! mkdir "$group" || ! echo "$bytes" >"$group/$limit"; then
        [ ! -d "$group" ] || rmdir "$group"
        return "$SKIPPED"
    fi
    (echo "$BASHPID" >"$group/cgroup.procs" && exec "$@") || status=$?
    # The last process of the family may be a moment behind.
    for _ in {1..50}; do
        rmdir "$group" && break
        sleep 0.1
    done 2>/dev/null
    return "$status"
}

# The head of each program says how it is run.
run() {
    local program=$OUT/$1
    case $1 in
    closed_streams) bash -c '"$1" "$2" <&- >&- 2>&-' run "$program" "$OUT/$1.log" && cat "$OUT/$1.log" ;;
    core_dump) mkdir -p "$OUT/cores" && cd "$OUT/cores" && "$program" ;;
    full_group) in_group $((300 << 20)) "$program" ;;
    limit) MPROC_ARENA_LIMIT=32M "$program" && MPROC_ARENA_LIMIT=much "$program" ;;
    locked_memory) MPROC_ARENA_SPAN=64M "$program" && MPROC_ARENA_SPAN=64M "$program" later ;;
    *) "$program" ;;
    esac
}
export -f run in_group
export OUT SKIPPED

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
    if [ "$status" -eq "$SKIPPED" ]; then
        skipped=$((skipped + 1))
        echo "SKIP $name: $(tail -n 1 "$OUT/$name.err")"
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
[ $((passed + failed + skipped)) -gt 0 ] || die "no program in tests/answers has a name of these: $*"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
