#!/usr/bin/env bash
# Usage: scripts/system_calls.sh [TEST…]
# Runs C tests under strace, and compares the system calls that they make with docs/system_calls.md. A call that is not
# in its tables, and not among those that only the tests make, is a failure. Ends with N passed, N failed: a test each.
set -euo pipefail
. "$(dirname "$0")/common.sh"

# What the tests alone do, and the shells that they start: they mount file systems, lock memory, and look what was left
# over.
OF_TESTS=(alarm dup epoll_wait getegid geteuid getgid getpgrp getsid getuid lseek mlockall mount munlockall pause
    pidfd_getfd setitimer setuid umask unshare)
NOUNS=(barrier bsemaphore buffer channel condition event inspect label lock offer pipe process queue rlock semaphore shm
    shareable_list surroundings template watch)
passed=0 failed=0

# shellcheck disable=SC2016 # the quotes of Markdown
listed() { sed -n 's/^| \(`[^|]*\) |.*/\1/p' docs/system_calls.md | grep -o '`[a-z0-9_]*`' | tr -d '`' | sort -u; }

# The names in a summary of strace's; a signal may cut a call's line short, which then has a dash.
made() { awk '$1 ~ /^[0-9]/ && $NF ~ /^[a-z]/ && $NF != "total" { print $NF }' "$1" | sort -u; }

# unlisted TEST: runs it and prints the calls that are not listed.
unlisted() {
    local summary=$BUILD/system_calls/$1
    MPROC_TEST_TIMEOUT=300 timeout 600 strace -f -qq -c -o "$summary" "$BUILD/test/tests/c/test_$1" \
        >"$summary.log" 2>&1 </dev/null || true # that the tests pass is shown elsewhere
    [ -s "$summary" ] || die "strace has seen nothing of test_$1"
    made "$summary" | comm -23 - <(printf '%s\n' "$(listed)" "${OF_TESTS[@]}" | sort -u)
}

if ! command -v strace >/dev/null; then
    [ "$(id -u)" -eq 0 ] || die "strace is missing; install it as root: apt-get install strace"
    quietly "apt-get install strace" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y strace
fi
scripts/build.sh tests
mkdir -p "$BUILD/system_calls"
[ $# -gt 0 ] || set -- "${NOUNS[@]}"
for test in "$@"; do
    found=$(unlisted "$test" | tr '\n' ' ')
    if [ -z "$found" ]; then
        passed=$((passed + 1))
    else
        say "test_$test makes calls that docs/system_calls.md does not list: $found"
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
