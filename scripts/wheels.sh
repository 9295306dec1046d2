#!/usr/bin/env bash
# Usage: scripts/wheels.sh [VERSION…]
# Makes an sdist, and of that, without git, a wheel for each version of Python that this machine has (or for those that
# are named), in build/wheels. They are built by zig's C compiler for glibc 2.28, so they run on systems from 2018 on;
# auditwheel checks that, and each is tried in a fresh environment. Ends with N passed, N failed.
set -euo pipefail
. "$(dirname "$0")/common.sh"

OUT=$BUILD/wheels
TARGET=x86_64-linux-gnu.2.28
PLATFORM=manylinux_2_28_x86_64
passed=0 failed=0 skipped=0

# tools_for VERSION: $tools is the directory of an environment's programs, made anew when the requirements change.
tools_for() {
    local venv=$BUILD/venv-wheels-$1 python stamp
    python=$(scripts/find-python.sh "$1")
    stamp=$("$python" -V; fingerprint scripts/wheels-requirements.txt)
    tools=$venv/bin
    [ "$stamp" != "$(cat "$venv/stamp" 2>/dev/null)" ] || return 0
    rm -rf "$venv"
    quietly "python$1 -m venv ${venv#"$ROOT/"}" "$python" -m venv "$venv"
    quietly "pip install the tools of scripts/wheels-requirements.txt" \
        "$tools/python" -m pip install --disable-pip-version-check -r scripts/wheels-requirements.txt
    printf '%s\n' "$stamp" >"$venv/stamp"
}

# zig's compiler and archiver as single commands, which is how meson wants them.
write_compiler() {
    printf '#!/bin/sh\nexec "%s/python" -m ziglang cc -target %s "$@"\n' "$tools" "$TARGET" >"$OUT/cc"
    printf '#!/bin/sh\nexec "%s/python" -m ziglang ar "$@"\n' "$tools" >"$OUT/ar"
    chmod +x "$OUT/cc" "$OUT/ar"
}

make_sdist() {
    PATH="$tools:$PATH" "$tools/python" -m build --sdist --no-isolation --outdir "$OUT" .
    tar -xzf "$OUT"/mproc-*.tar.gz -C "$OUT/source" --strip-components=1
}

make_wheel() {
    rm -rf "$OUT/raw"
    CC=$OUT/cc AR=$OUT/ar PATH="$tools:$PATH" \
        "$tools/python" -m build --wheel --no-isolation --outdir "$OUT/raw" "$OUT/source"
    PATH="$tools:$PATH" "$tools/auditwheel" repair --plat "$PLATFORM" --wheel-dir "$OUT" "$OUT"/raw/*.whl
}

# A new user's environment: the script prints on mproc what it prints on the standard library.
try_wheel() {
    local venv=$OUT/venv words=(examples/python/wordcount.py include/mproc.h scripts/tally.py LICENSE)
    rm -rf "$venv"
    "$(scripts/find-python.sh "$1")" -m venv "$venv"
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-index "$OUT"/mproc-*-"cp${1/./}"-*"$PLATFORM"*.whl
    "$venv/bin/python" "${words[@]}" >"$OUT/stock"
    "$venv/bin/python" -m mproc "${words[@]}" >"$OUT/mproc"
    cmp "$OUT/stock" "$OUT/mproc"
    "$venv/bin/python" -m mproc ps >"$OUT/ps"
}

one() {
    if ! scripts/find-python.sh "$1" >/dev/null 2>&1; then
        say "SKIP no Python $1 on this machine"
        skipped=$((skipped + 1))
        return
    fi
    tools_for "$1"
    write_compiler
    if quietly "wheel for Python $1" make_wheel && quietly "try it" try_wheel "$1"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
}

scripts/setup.sh
rm -rf "$OUT"
mkdir -p "$OUT/source"
[ $# -gt 0 ] || set -- 3.11 3.12 3.13 3.14 3.15
tools_for "$1"
write_compiler
quietly "sdist" make_sdist
for version in "$@"; do one "$version"; done
for wheel in "$OUT"/*.whl; do
    [ ! -f "$wheel" ] || "$tools/auditwheel" show "$wheel" 2>/dev/null | tr '\n' ' ' | sed 's/\. .*/.\n/'
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
