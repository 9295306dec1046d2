#!/usr/bin/env bash
# Usage: [SANITIZE=thread] scripts/make-python.sh 3.13t [SUITE]…
#        C_LIBRARY=musl scripts/make-python.sh 3.13 [SUITE]…
# Prints the path of a free-threaded interpreter of that version, with headers and CPython's test-suite. When this
# machine has none, it is compiled from Debian's source of the first SUITE that has it (testing, stable and sid when none
# is named), which takes some minutes, and installed into .pythons/3.13t. Nothing is installed into the system, and
# find-python.sh looks there last. Needs a Debian machine, its mirror and PyPI. Debian packages no such interpreter
# itself. SANITIZE=thread: one that is built with ThreadSanitizer, in .pythons/3.13t-thread, where races.sh looks.
# C_LIBRARY=musl: one with a lock, for musl, without the modules that need other libraries (ctypes, ssl, zlib and the
# like), in .pythons/3.13-musl, where wheels.sh looks.
set -euo pipefail
version=${1:?usage: scripts/make-python.sh VERSION [SUITE]…}
shift
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/apt.sh"

DIR=$ROOT/.pythons/$version${SANITIZE:+-$SANITIZE}${C_LIBRARY:+-$C_LIBRARY}
WORK=$DIR.work
OPTIONS=(--disable-gil)
MODULES=ctypes,sqlite3,ssl,test # for which the headers of other libraries were needed
NEEDS=python
SUITES=("$@")
[ $# -gt 0 ] || SUITES=(testing stable sid)

case ${C_LIBRARY:-} in
'') [[ $version =~ ^3\.[0-9]+t$ ]] || die "make-python.sh: $version is no free-threaded version, such as 3.13t" ;;
musl)
    [[ $version =~ ^3\.[0-9]+$ ]] || die "make-python.sh: $version is no version with a lock, such as 3.13"
    OPTIONS=(--without-ensurepip --disable-test-modules --with-pkg-config=no "CC=$WORK/cc")
    MODULES=mmap,select,socket
    NEEDS=musl
    ;;
*) die "make-python.sh: C_LIBRARY is empty or musl, not $C_LIBRARY" ;;
esac
case ${SANITIZE:-} in
'') ;;
thread)
    OPTIONS+=(--with-thread-sanitizer)
    # The compiled interpreter takes part in its own making, where its reports would be failures.
    export CFLAGS='-O1 -g' TSAN_OPTIONS=report_bugs=0:exitcode=0
    ;;
*) die "make-python.sh: SANITIZE is empty or thread, not $SANITIZE" ;;
esac

# fetch SUITE: the source of the version into WORK/SUITE; fails where the suite has none, or its mirror has not.
fetch() {
    local apt=$WORK/$1
    configure_apt "$apt" "$1" && sed -i 's/^deb /deb-src /' "$apt/sources.list" || return 1
    (
        export APT_CONFIG=$apt/apt.conf
        cd "$apt" && apt-get -q update && apt-get -q source --download-only --tar-only "python${version%t}"
    )
}

fetch_any() {
    local suite
    for suite in "${SUITES[@]}"; do
        if fetch "$suite"; then
            mkdir -p "$WORK/source" &&
                tar -xf "$WORK/$suite"/python*.orig.tar.* -C "$WORK/source" --strip-components 1
            return
        fi
    done
    return 1
}

# musl-gcc is the system's compiler, and answers for the system when it is asked for which platform it compiles.
write_musl_compiler() {
    cat >"$WORK/cc" <<'SH'
#!/bin/sh
case " $* " in
*" --print-multiarch "*) echo "$(uname -m)-linux-musl" ;;
*) exec musl-gcc "$@" ;;
esac
SH
    chmod +x "$WORK/cc"
}

# Into WORK first: where find-python.sh looks there is a whole interpreter or none.
compile() (
    cd "$WORK/source" && ./configure -q "${OPTIONS[@]}" --prefix="$DIR" && make -s -j"$(nproc)" &&
        make -s install DESTDIR="$WORK/made"
)

is_complete() {
    env -u PYTHON_GIL PYTHONHOME="$1" "$1/bin/python$version" -c \
        "import sys, $MODULES; raise SystemExit('$version'[-1] == 't' and sys._is_gil_enabled())"
}

print_found() {
    if [ -z "${SANITIZE:-}${C_LIBRARY:-}" ]; then
        scripts/find-python.sh "$version" 2>/dev/null
    else
        ls "$DIR/bin/python$version" 2>/dev/null
    fi
}

print_found && exit
command -v apt-get >/dev/null || die "no Python $version on this machine, and no apt-get to take its source from Debian"
mkdir -p "$(dirname "$DIR")"
exec 9>"$DIR.lock"
flock 9 # another run may be making the same one
print_found && exit
rm -rf "$DIR" "$WORK"
trap 'rm -rf "$WORK"' EXIT
scripts/setup.sh "$NEEDS"
mkdir -p "$WORK"
[ "${C_LIBRARY:-}" != musl ] || write_musl_compiler
quietly "download the source of Python ${version%t} (${SUITES[*]})" fetch_any ||
    die "no suite of Debian's has the source of Python ${version%t}: ${SUITES[*]}"
quietly "compile Python $version" compile
is_complete "$WORK/made$DIR" || die "the Python $version that was compiled is not complete"
mv "$WORK/made$DIR" "$DIR"
print_found
