#!/usr/bin/env bash
# Usage: scripts/setup.sh [lint|docs|examples|bench|fuzz|…]
# Installs what the named work needs: Debian packages, and the private environment .venv with the pinned
# tools of scripts/requirements.txt. Does nothing when nothing has changed.
set -euo pipefail
. "$(dirname "$0")/common.sh"

missing=()

# want PACKAGE CHECK…: the package is missing when the check fails.
want() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

has() { command -v "$1"; }
header() { echo "#include <$1>" | "${2:-cc}" -x "${3:-c}" -E - ; }
clang_runtime() { ls "$(clang --print-runtime-dir)/libclang_rt.$1-$(uname -m).a"; }
is_debians() { [[ $("$HOST_PYTHON" -c 'import sys; print(sys.base_prefix)') == /usr ]]; }
python_header() {
    "$HOST_PYTHON" -c 'import os, sysconfig
raise SystemExit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))'
}

want_for_build() {
    want gcc has cc
    want libc6-dev header stdio.h
    want pkg-config has pkg-config
    [ "$(basename "$CC")" != clang ] || want_for_clang
    want python3 has python3
    if has python3 >/dev/null && is_debians; then
        want python3-dev python_header
        want python3-venv python3 -c 'import ensurepip'
    fi
}

want_for_lint() {
    want g++ has c++
    want clang-format has clang-format
    want clang-tidy has clang-tidy
    want shellcheck has shellcheck
    want libopenmpi-dev has mpicc # for src/mpi, which clang-tidy reads, too
}

want_for_examples() {
    want g++ has c++
    want cmake has cmake
}

want_for_pictures() {
    want aha has aha
    want chromium has chromium
    want tmux has tmux
}

# What the interpreter's own extensions are compiled with.
want_for_python() {
    want make has make
    want libffi-dev header ffi.h
    want libsqlite3-dev header sqlite3.h
    want libssl-dev header openssl/ssl.h
    want zlib1g-dev header zlib.h
}

want_for_musl() {
    want make has make
    want musl-tools has musl-gcc
}

want_for_docs() {
    want doxygen has doxygen
}

want_for_clang() {
    want clang has clang
    want llvm has llvm-ar
    want libclang-rt-14-dev clang_runtime asan
}

want_for_fuzz() {
    want_for_clang
    want libclang-rt-14-dev clang_runtime fuzzer
}

want_for_bench() {
    want g++ has c++
    want libzmq3-dev header zmq.h
    want libnng-dev header nng/nng.h
    want liblmdb-dev header lmdb.h
    want libhiredis-dev header hiredis/hiredis.h
    want redis-server has redis-server
    want libboost-dev header boost/interprocess/ipc/message_queue.hpp c++ c++
}

install_missing() {
    [ "${#missing[@]}" -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ] || ! has apt-get >/dev/null; then
        say "mproc: these Debian packages are missing; install them as root with"
        say "    apt-get install ${missing[*]}"
        exit 1
    fi
    apt_install || { quietly "apt-get update" apt-get update -q && apt_install; } ||
        die "apt-get could not install: ${missing[*]}"
}

# The first try may fail on a machine whose package lists are empty or old; only the second one prints errors.
apt_install() {
    quietly "apt-get install ${missing[*]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "${missing[@]}"
}

check_python() {
    "$HOST_PYTHON" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' ||
        die "python3 is $("$HOST_PYTHON" -V 2>&1 | cut -d' ' -f2) ($(command -v "$HOST_PYTHON")); 3.11 or later is needed"
    python_header ||
        die "$(command -v "$HOST_PYTHON") has no C headers (Python.h): install the ones that belong to it"
}

# mypy has no wheel for a free-threaded interpreter, and no test needs it.
requirements() {
    case ${PYTHON:-} in
    3.*t) grep -v '^mypy==' scripts/requirements.txt ;;
    *) cat scripts/requirements.txt ;;
    esac
}

# The stamp names the interpreter and the tools: when either changes, .venv is made anew.
make_venv() {
    local stamp
    stamp="$("$HOST_PYTHON" -c 'import sys; print(sys.base_prefix, sys.version)') $(fingerprint scripts/requirements.txt)"
    [ "$stamp" = "$(cat "$VENV/stamp" 2>/dev/null)" ] && return 0
    rm -rf "$VENV" "$VENV_BUILD"
    quietly "python3 -m venv ${VENV##*/}" "$HOST_PYTHON" -m venv "$VENV"
    quietly "pip install the tools of scripts/requirements.txt" \
        "$VENV/bin/python" -m pip install --disable-pip-version-check -r <(requirements)
    printf '%s\n' "$stamp" >"$VENV/stamp"
}

want_for_build
for work in "$@"; do
    case $work in
    lint | docs | examples | pictures | python | musl | fuzz | bench) "want_for_$work" ;;
    *) die "setup.sh: no such work: $work" ;;
    esac
done
install_missing
check_python
make_venv
