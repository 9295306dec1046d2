#!/usr/bin/env bash
# Usage: [PLATFORMS="manylinux-x86_64 …"] scripts/wheels.sh [VERSION…]
# Makes an sdist, and of that, without git, wheels for each version of Python that this machine has (or for those that
# are named), in build/wheels: for glibc 2.28, so they run on systems from 2018 on, on x86-64 and arm64, and when they
# are named also for musl 1.2, all built by zig's C compiler. auditwheel checks them. Each that this machine can run is
# tried: those for x86-64 and glibc in a fresh environment, those for arm64 with Debian's Python under qemu-user, the C
# library of those for musl by a program in C. What cannot be tried is skipped, by name. Ends with N passed, N failed.
set -euo pipefail
. "$(dirname "$0")/common.sh"

OUT=$BUILD/wheels
PLATFORMS=${PLATFORMS:-manylinux-x86_64 manylinux-aarch64}
QEMU=qemu-aarch64-static
MUSL_PYTHON=3.13 # compiled for musl, to try a wheel on
ARM_ROOT=$BUILD/arm64-python # Debian's own Python for arm64, unpacked
no_arm64='' # why no wheel for arm64 can be tried
passed=0 failed=0 skipped=0

# platform NAME: what zig, wheels and file names call it.
platform() {
    arch=${1#*linux-}
    case $1 in
    manylinux-*) libc=gnu zig_target=$arch-linux-gnu.2.28 tag=manylinux_2_28_$arch ;;
    musllinux-*) libc=musl zig_target=$arch-linux-musl tag=musllinux_1_2_$arch ;;
    *) die "wheels.sh: no such platform: $1" ;;
    esac
}

# tools_for VERSION: $tools is the directory of an environment's programs.
tools_for() {
    local venv=$BUILD/venv-wheels-$1
    tools=$venv/bin
    environment "$venv" "$(scripts/find-python.sh "$1")" scripts/wheels-requirements.txt
}

# zig's compiler and archiver as single commands, which is how meson wants them.
write_compiler() {
    printf '#!/bin/sh\nexec "%s/python" -m ziglang cc -target %s "$@"\n' "$tools" "$zig_target" >"$OUT/cc"
    printf '#!/bin/sh\nexec "%s/python" -m ziglang ar "$@"\n' "$tools" >"$OUT/ar"
    chmod +x "$OUT/cc" "$OUT/ar"
}

make_sdist() {
    PATH="$tools:$PATH" "$tools/python" -m build --sdist --no-isolation --outdir "$OUT" .
    tar -xzf "$OUT"/mproc-*.tar.gz -C "$OUT/source" --strip-components=1
}

# An interpreter for another platform cannot be asked how its modules are called, so this machine's answers for it. Its
# headers are right for the others, too: Debian's pyconfig.h of 3.13 for arm64 differs from that for x86-64 in
# HAVE_GCC_ASM_FOR_X64, HAVE_GCC_ASM_FOR_X87, HAVE_USABLE_WCHAR_T and PY_SUPPORT_TIER, on which nothing depends that the
# extension uses.
write_target() {
    mkdir -p "$OUT/target"
    "$tools/python" - "$arch-linux-$libc" >"$OUT/target/_sysconfigdata_target.py" <<'PYTHON'
import sys, sysconfig
known = sysconfig.get_config_vars()
there = known["MULTIARCH"]
for name in ("EXT_SUFFIX", "SOABI", "MULTIARCH"):
    known[name] = known[name].replace(there, sys.argv[1])
print("build_time_vars =", known)
PYTHON
    write_header
    cat >"$OUT/target/cross.ini" <<INI
[binaries]
c = '$OUT/cc'
ar = '$OUT/ar'
python = '$tools/python'
[built-in options]
c_args = ['-idirafter', '$OUT/target/include']
[properties]
needs_exe_wrapper = true
[host_machine]
system = 'linux'
cpu_family = '$arch'
cpu = '$arch'
endian = 'little'
INI
}

# Debian's pyconfig.h includes the one of the processor that it is compiled for. This machine's stands in for that.
write_header() {
    "$tools/python" - "$arch" "$OUT/target/include" <<'PYTHON'
import pathlib, sys, sysconfig
arch, folder = sys.argv[1:]
general = pathlib.Path(sysconfig.get_path("include"))
own = general.parent / str(sysconfig.get_config_var("MULTIARCH")) / general.name / "pyconfig.h"
theirs = pathlib.Path(folder, f"{arch}-linux-gnu", general.name, "pyconfig.h")
theirs.parent.mkdir(parents=True, exist_ok=True)
theirs.write_text(f'#include "{own if own.exists() else general / "pyconfig.h"}"\n')
PYTHON
}

# auditwheel looks for the libraries that a wheel needs where this machine has its own, and glibc's libc.so is a text for
# the linker. So it finds an empty library by that name, which it does not look into: musl's is everywhere that the wheel
# runs.
write_libc() {
    mkdir -p "$OUT/musl"
    printf '\n' >"$OUT/musl/libc.c"
    "$OUT/cc" -shared -nostdlib -o "$OUT/musl/libc.so" "$OUT/musl/libc.c"
}

make_wheel() {
    local raw=$OUT/raw options=() libraries=''
    rm -rf "$raw"
    write_compiler
    write_target
    if [ "$arch-$libc" = "$(uname -m)-gnu" ]; then
        CC=$OUT/cc AR=$OUT/ar PATH="$tools:$PATH" \
            "$tools/python" -m build --wheel --no-isolation --outdir "$raw" "$OUT/source"
    else
        options=(-Csetup-args=--cross-file="$OUT/target/cross.ini")
        PYTHONPATH=$OUT/target _PYTHON_SYSCONFIGDATA_NAME=_sysconfigdata_target _PYTHON_HOST_PLATFORM=linux-$arch \
            PATH="$tools:$PATH" \
            "$tools/python" -m build --wheel --no-isolation "${options[@]}" --outdir "$raw" "$OUT/source"
    fi
    # auditwheel takes the names of this machine's platforms only; that of another wheel it finds by itself.
    options=(--plat auto --only-plat)
    [ "$arch-$libc" != "$(uname -m)-gnu" ] || options=(--plat "$tag")
    [ "$libc" != musl ] || { write_libc && libraries=$OUT/musl; }
    LD_LIBRARY_PATH=$libraries PATH="$tools:$PATH" \
        "$tools/auditwheel" repair "${options[@]}" --wheel-dir "$OUT" "$raw"/*.whl
    wheel_of "$1"
}

# wheel_of VERSION: the file, of the platform at hand; an error if auditwheel has found it to need more.
wheel_of() { ls "$OUT"/mproc-*-"cp${1/./}-cp${1/./}"-*"$tag"*.whl; }

# ---- trying them

# The demo's part in Python, and files of the sdist, in which nobody works meanwhile.
WORDS=("$OUT"/source/{examples/python/wordcount.py,include/mproc.h,scripts/tally.py,LICENSE})

# The shell does not stop at a command that fails in a function whose status is asked for, as `quietly` does. So each of
# these ends there by itself.

# same_with FOLDER COMMAND…: a program prints on mproc, which is in the folder, what it prints on the standard library;
# "${python[@]}", the caller's, runs it.
same_with() {
    local folder=$1
    shift
    "${python[@]}" "$@" >"$OUT/stock" &&
        PYTHONPATH=$folder "${python[@]}" -m mproc "$@" >"$OUT/mproc" &&
        cmp "$OUT/stock" "$OUT/mproc"
}

# A new user's environment.
try_manylinux_x86_64() {
    local venv=$OUT/venv python=("$OUT/venv/bin/python")
    rm -rf "$venv"
    "$(scripts/find-python.sh "$1")" -m venv "$venv" &&
        "${python[@]}" -m pip install --disable-pip-version-check --no-index "$(wheel_of "$1")" &&
        same_with '' "${WORDS[@]}" &&
        "${python[@]}" -m mproc ps >"$OUT/ps"
}

unpack() {
    rm -rf "$OUT/unpacked"
    "$tools/python" -m zipfile -e "$(wheel_of "$1")" "$OUT/unpacked"
}

# Debian has one Python for arm64; it runs from where it is unpacked. fork is the method: qemu-user starts no programs.
try_manylinux_aarch64() {
    local python=("$QEMU" -L "$ARM_ROOT" -E "PYTHONHOME=$ARM_ROOT/usr" -E PYTHONDONTWRITEBYTECODE=1
        "$ARM_ROOT/usr/bin/python$1")
    unpack "$1" && same_with "$OUT/unpacked" "${WORDS[@]}"
}

# No CPython for musl can be had from Debian or PyPI: one version is compiled.
try_musllinux_x86_64() {
    unpack "$1" && has_all_from_musl && runs_with_musl || return
    [ "$1" != $MUSL_PYTHON ] || runs_on_musl_python
}

# What the extension takes from outside is the interpreter's, or is in musl.
has_all_from_musl() {
    local missing
    missing=$(comm -23 \
        <(nm -D --undefined-only "$OUT"/unpacked/mproc/_mproc.*.so | awk '$1 == "U" { print $2 }' | grep -v '^_\?Py' | sort -u) \
        <(nm -D --defined-only /lib/ld-musl-x86_64.so.1 | awk '{ print $3 }' | sort -u))
    [ -z "$missing" ] || { say "musl has not: $missing"; return 1; }
}

# A program in C, with the wheel's header and library.
runs_with_musl() {
    local package=$OUT/unpacked/mproc
    musl-gcc -I"$package/include" examples/c/hello.c -L"$package/lib" -lmproc \
        -Wl,--build-id -Wl,-rpath,"$package/lib" -o "$OUT/hello" &&
        [ "$("$OUT/hello" | tail -n 1)" = "hello from child" ]
}

runs_on_musl_python() {
    local python program method
    python=("$(C_LIBRARY=musl scripts/make-python.sh $MUSL_PYTHON)") && same_with "$OUT/unpacked" "${WORDS[@]}" || return
    for program in pool_recipes executor_parts managers_and_pools; do
        for method in fork spawn forkserver; do
            same_with "$OUT/unpacked" "$OUT/source/tests/programs/$program.py" $method || return
        done
    done
}

# why_not PLATFORM VERSION: prints why this machine cannot try the wheel; nothing if it can.
why_not() {
    case $1 in
    manylinux-x86_64) [ "$(uname -m)" = x86_64 ] || echo "this machine is no x86-64" ;;
    manylinux-aarch64)
        if [ -n "$no_arm64" ]; then
            echo "$no_arm64"
            return
        fi
        [ -x "$ARM_ROOT/usr/bin/python$2" ] || echo "Debian has no Python $2 for arm64 of this release"
        ;;
    musllinux-x86_64) command -v musl-gcc >/dev/null || echo "no musl-gcc" ;;
    *) echo "nothing here runs arm64 with musl" ;;
    esac
}

# The Python of this Debian release, for arm64. Where it cannot be had, no wheel for arm64 is tried: $no_arm64 says why.
fetch_arm64_python() {
    if ! command -v "$QEMU" >/dev/null; then
        no_arm64="there is no $QEMU (Debian's package qemu-user-static)"
    elif [ -d "$ARM_ROOT" ]; then
        return 0
    elif ! command -v apt-get >/dev/null; then
        no_arm64="there is no apt-get to take Debian's Python for arm64 with"
    elif ! quietly "Debian's Python for arm64" scripts/fetch-arm64-python.sh "$ARM_ROOT"; then
        no_arm64="scripts/fetch-arm64-python.sh failed"
    fi
    [ -z "$no_arm64" ] || say "The wheels for arm64 are built, and none of them is tried: $no_arm64"
}

one() {
    local name reason
    if ! scripts/find-python.sh "$1" >/dev/null 2>&1; then
        say "SKIP no Python $1 on this machine"
        skipped=$((skipped + 1))
        return
    fi
    tools_for "$1"
    for name in $PLATFORMS; do
        platform "$name"
        if ! quietly "wheel for Python $1, $name" make_wheel "$1"; then
            failed=$((failed + 1))
            continue
        fi
        reason=$(why_not "$name" "$1")
        if [ -n "$reason" ]; then
            say "SKIP the wheel for Python $1, $name is not tried: $reason"
            skipped=$((skipped + 1))
        elif quietly "try it" "try_${name//-/_}" "$1"; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
        fi
    done
}

scripts/setup.sh
rm -rf "$OUT"
mkdir -p "$OUT/source"
[ $# -gt 0 ] || set -- 3.11 3.12 3.13 3.14 3.15
tools_for "$1"
quietly "sdist" make_sdist
case $PLATFORMS in *manylinux-aarch64*) fetch_arm64_python ;; esac
for version in "$@"; do one "$version"; done
for wheel in "$OUT"/*.whl; do
    [ ! -f "$wheel" ] || "$tools/auditwheel" show "$wheel" 2>/dev/null | tr '\n' ' ' | sed 's/\. .*/.\n/'
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
