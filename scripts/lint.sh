#!/usr/bin/env bash
# Usage: scripts/lint.sh [format | tidy | quick]
# Every check that needs no running program; with `format`, formats C and Python in place instead. tidy: clang-tidy
# alone, which takes minutes; quick: all but clang-tidy.
set -euo pipefail
. "$(dirname "$0")/common.sh"

failed=()

# check NAME COMMAND…: goes on after a failure, so that all of them are seen at once.
check() {
    local name=$1
    shift
    quietly "$name" "$@" || failed+=("$name")
}

files() { git ls-files --cached --others --exclude-standard -- "$@"; }

# header_as HEADER COMPILER LANGUAGE STANDARD: a public header alone, as the strictest of its users compiles it.
header_as() {
    echo "#include \"$1\"" | "$2" -x "$3" -std="$4" -Iinclude -Wall -Wextra -Wpedantic -Werror -fsyntax-only -
}

tidy() {
    meson_dir "$BUILD/tidy" --buildtype=debugoptimized -Dpoison=true -Dpython=true
    tools ninja -C "$BUILD/tidy" build.ninja # knows the files that were added since
    files 'src/*.c' 'python/_mproc/*.c' | xargs -P "$(nproc)" -n 2 clang-tidy --quiet -p "$BUILD/tidy"
}

# A file that stands in no list would silently be no part of the build.
listed() {
    local status=0 list path
    while read -r path; do
        list=$(dirname "$path")/meson.build
        while [ ! -f "$list" ]; do list=$(dirname "$(dirname "$list")")/meson.build; done
        grep -qE "\b$(basename "${path%.cpp}" .c | sed -E 's/^(test|crash|fuzz|bench)_//')\b" "$list" ||
            { echo "$path is not listed in $list"; status=1; }
    done < <(files 'src/*.c' 'python/_mproc/*.c' 'python/mproc/*.py' 'tests/c/*.c' 'tests/crash/*.c' \
        'tests/fuzz/*.c' 'bench/*.c' 'examples/c/*.c' 'tests/cpp/*.cpp' 'examples/cpp/*.cpp')
    return $status
}

finish() {
    [ "${#failed[@]}" -eq 0 ] || die "lint failed: ${failed[*]}"
    say "lint: clean"
}

case ${1:-} in
'' | format | tidy | quick) ;;
*) die "lint.sh: no such part: $1" ;;
esac
scripts/setup.sh lint
mapfile -t c_files < <(files '*.c' '*.h' '*.cpp' '*.hpp')
mapfile -t shell_files < <(files 'scripts/*.sh' '.ci/run' 'tests/*.sh')

if [ "${1:-}" = format ]; then
    quietly "clang-format" clang-format -i "${c_files[@]}"
    quietly "ruff check --fix-only" "$VENV/bin/ruff" check --fix-only .
    quietly "ruff format" "$VENV/bin/ruff" format .
    exit 0
fi

if [ "${1:-}" = tidy ]; then
    check "clang-tidy" tidy
    finish
    exit 0
fi

check "clang-format" clang-format --dry-run -Werror "${c_files[@]}"
check "mproc.h as C11" header_as mproc.h cc c c11
check "mproc.h as C++11" header_as mproc.h c++ c++ c++11
for standard in c++17 c++20; do
    check "mproc.hpp as $standard" header_as mproc.hpp c++ c++ "$standard"
done
check "lists of files" listed
check "laws" scripts/laws.py
[ "${1:-}" = quick ] || check "clang-tidy" tidy
check "ruff check" "$VENV/bin/ruff" check .
check "ruff format" "$VENV/bin/ruff" format --check .
check "mypy" "$VENV/bin/mypy"
check "types" scripts/types.sh
check "shellcheck" shellcheck -x -P SCRIPTDIR "${shell_files[@]}"
finish
