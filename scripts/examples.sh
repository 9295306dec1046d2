#!/usr/bin/env bash
# Runs every example of examples/c, examples/cpp and examples/python to its end, each under a watchdog, and ends with
# N passed, N failed. An example that exists in several languages must print the same in all. The libraries are
# installed as a user would install them, and the README's C program is built with each. C++ has a program of its own.
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

# A program of the documents, built by a user of the installed libraries.
build_with() {
    local flags compiler=("$CC")
    [[ $2 != *.cpp ]] || compiler=("$CXX" -std=c++17)
    flags=$(PKG_CONFIG_PATH=$OUT/prefix/lib/pkgconfig pkg-config --cflags --libs "$1")
    # shellcheck disable=SC2086 # flags are words
    "${compiler[@]}" "$2" -o "$3" $flags -Wl,-rpath,"$OUT/prefix/lib"
}

# The program that a document shows in one language: snippet FILE LANGUAGE
snippet() { awk -v begin="\`\`\`$2" '/^```/ { shown = $0 == begin; next } shown' "$1"; }

# A semaphore is taken for a queue: refused by the library, asserted by the debug library.
write_misuse() {
    cat >"$1" <<'END'
#include <mproc.h>

int main(int argc, char **argv) {
    mproc_semaphore *semaphore;
    if (mproc_init(argc, argv) != 0 || mproc_semaphore_new(&semaphore, 0) != 0) {
        return 1;
    }
    return mproc_queue_put((void *)semaphore, "", 0, 0) == MPROC_EOTHER ? 0 : 1;
}
END
}

# The README's program once more, by CMake, which looks for the library under the prefix.
by_cmake() {
    mkdir -p "$OUT/cmake"
    cp "$OUT/hello.c" "$OUT/cmake"
    cat >"$OUT/cmake/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.18)
project(hello C)
find_package(mproc 0.1 REQUIRED)
foreach(library mproc debug)
  add_executable(hello-${library} hello.c)
  target_link_libraries(hello-${library} mproc::${library})
endforeach()
END
    cmake -S "$OUT/cmake" -B "$OUT/cmake/build" -DCMAKE_PREFIX_PATH="$OUT/prefix" &&
        cmake --build "$OUT/cmake/build"
}

installed_cmake() {
    quietly "build by CMake" by_cmake
    example installed-cmake "$OUT/cmake/build/hello-mproc"
    example installed-cmake-debug "$OUT/cmake/build/hello-debug"
    same installed-hello-mproc installed-cmake
}

installed_cpp() {
    snippet docs/cpp.md cpp >"$OUT/hello.cpp"
    build_with mproc "$OUT/hello.cpp" "$OUT/hello-cpp"
    example installed-hello-cpp "$OUT/hello-cpp"
    echo '0 1 4 9 16 hello from child' >"$OUT/hello-cpp.expected"
    same installed-hello-cpp hello-cpp.expected
}

installed() {
    local name
    DESTDIR='' scripts/install.sh "$OUT/prefix"
    snippet README.md c >"$OUT/hello.c"
    write_misuse "$OUT/misuse.c"
    for name in mproc mproc-debug; do
        build_with "$name" "$OUT/hello.c" "$OUT/hello-$name"
        build_with "$name" "$OUT/misuse.c" "$OUT/misuse-$name"
        example "installed-hello-$name" "$OUT/hello-$name"
    done
    same installed-hello-mproc installed-hello-mproc-debug
    installed_cpp
    installed_cmake
    snippet docs/start.md c >"$OUT/start.c"
    build_with mproc "$OUT/start.c" "$OUT/start"
    example installed-start "$OUT/start"
    example installed-misuse "$OUT/misuse-mproc"
    example installed-misuse-debug bash -c "ulimit -c 0; \"$OUT/misuse-mproc-debug\"; [ \$? -eq 134 ]"
}

# The arguments of an example that needs some.
arguments_of() {
    case $1 in
    wordcount) arguments=(include/mproc.h scripts/tally.py LICENSE) ;;
    *) arguments=() ;;
    esac
}

scripts/setup.sh examples
rm -rf "$OUT"
mkdir -p "$OUT"
while read -r program; do
    name=$(basename "$program")
    arguments_of "$name"
    example "c-$name" "$program" "${arguments[@]}"
done < <(programs_in "$BUILD/release/examples/c")
while read -r program; do
    name=$(basename "$program")
    arguments_of "${name#cpp-}"
    example "$name" "$program" "${arguments[@]}"
    same "c-${name#cpp-}" "$name"
done < <(programs_in "$BUILD/release/examples/cpp")
for file in examples/python/*.py; do
    [ -f "$file" ] || continue
    name=$(basename "$file" .py)
    arguments_of "$name"
    [ "$name" != factory ] || arguments=("$BUILD/release/examples/c/factory") # in both languages
    example "python-$name" "$VENV/bin/python" -m mproc "$file" "${arguments[@]}"
    [ ! -f "$OUT/c-$name" ] || same "c-$name" "python-$name"
done
installed
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
