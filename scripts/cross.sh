#!/usr/bin/env bash
# Usage: scripts/cross.sh arm64|musl [TEST…]
# Builds the C library and its tests for arm64, which run under qemu-user then, or with musl as the C library. Without
# names the tests of NOUNS run: one file a noun, those that are quick under an emulator. Ends with N passed, N failed.
# Needs Debian's cross compiler and qemu-user-static, or musl-tools; as root it installs them.
set -euo pipefail
. "$(dirname "$0")/common.sh"

case ${1:-} in
arm64 | musl) target=$1 ;;
*) die "usage: scripts/cross.sh arm64|musl [TEST…]" ;;
esac
shift

# qemu-user starts no program of another processor, makes no process that shares its maker's memory (which the watcher
# of named segments is), and its sigtimedwait() does not see a SIGPIPE that is pending. What needs those runs on musl
# only, and what measures fairness or is killed some thousand times, which takes an emulator minutes.
NOUNS=(barrier bsemaphore condition event rlock semaphore value)
[ "$target" = arm64 ] || NOUNS+=(list lock pipe queue shareable_list shm)
DIR=$ROOT/build/cross-$target
CROSS=$ROOT/build/cross-$target.ini
QEMU=/usr/bin/qemu-aarch64-static
ARM_ROOT=/usr/aarch64-linux-gnu

# want_packages PROGRAM PACKAGE…: installs the packages when there is no such program.
want_packages() {
    local program=$1
    shift
    command -v "$program" >/dev/null && return 0
    [ "$(id -u)" -eq 0 ] || die "these Debian packages are missing: $*"
    quietly "apt-get install $*" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "$@" ||
        { quietly "apt-get update" apt-get update -q && quietly "apt-get install $*" \
            env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"; }
}

# An emulator has a thread of its own in each process; the tests do not count it.
prepare_arm64() {
    want_packages aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu libc6-dev-arm64-cross
    want_packages qemu-aarch64-static qemu-user-static
    cat >"$CROSS" <<INI
[binaries]
c = 'aarch64-linux-gnu-gcc'
ar = 'aarch64-linux-gnu-ar'
strip = 'aarch64-linux-gnu-strip'
exe_wrapper = ['env', 'MPROC_TEST_EMULATED=1', '$QEMU', '-L', '$ARM_ROOT']
[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
INI
}

# musl brings no headers of the kernel. Those of the system are looked for last, and nothing else of /usr/include.
prepare_musl() {
    want_packages musl-gcc musl-tools
    local kernel=$ROOT/build/kernel-headers asm
    asm=$(dirname "$(ls /usr/include/*/asm/unistd.h)")
    mkdir -p "$kernel"
    ln -sfn /usr/include/linux "$kernel/linux"
    ln -sfn /usr/include/asm-generic "$kernel/asm-generic"
    ln -sfn "$asm" "$kernel/asm"
    cat >"$CROSS" <<INI
[binaries]
c = 'musl-gcc'
ar = 'ar'
strip = 'strip'
[built-in options]
c_args = ['-idirafter', '$kernel']
[properties]
needs_exe_wrapper = false
[host_machine]
system = 'linux'
cpu_family = '$(uname -m)'
cpu = '$(uname -m)'
endian = 'little'
INI
}

# musl's loader refuses a library that wants bytes of the threads that are there already, when a program opens it late.
opens_late() {
    local program=$DIR/open
    musl-gcc -x c - -o "$program" <<'C'
#include <dlfcn.h>
#include <stdio.h>
int main(int n, char **words) {
    void *library = n == 2 ? dlopen(words[1], RTLD_NOW) : NULL;
    if (library == NULL) puts(dlerror());
    return library == NULL;
}
C
    "$program" "$DIR/src/libmproc.so"
}

scripts/setup.sh
mkdir -p "$ROOT/build"
"prepare_$target"
[ $# -gt 0 ] || set -- "${NOUNS[@]}"
meson_dir "$DIR" --cross-file "$CROSS" --buildtype=plain -Doptimization=1
meson_build "$DIR" src/mproc:executable "${@/#/tests/c/test_}"
if [ "$target" = musl ]; then
    meson_build "$DIR" src/mproc:shared_library
    quietly "open the library late" opens_late
fi
status=0
rm -f "$DIR/meson-logs/testlog.json"
say "  tests for $target"
tools meson test -C "$DIR" --no-rebuild --timeout-multiplier 3 "$@" >"$DIR/test.log" 2>&1 </dev/null || status=$?
printf '%s\n' "$status" >"$DIR/meson-logs/testlog.log.exit"
"$VENV/bin/python" scripts/tally.py "$target=$DIR/meson-logs/testlog.json"
