#!/usr/bin/env bash
# Usage: [PYTHON=3.15] scripts/test.sh [c|crash|python|examples|answers]…     (all of them when nothing is named)
# versioned: the part of python that is not alike in all versions of Python. threads: the part of many threads at once,
# which PYTHON=3.13t asks of an interpreter without a lock.
# Builds what the tests need, runs them, and ends with one line: N passed, N failed.
set -euo pipefail
. "$(dirname "$0")/common.sh"

results=()

# C tests need neither the release nor the package, so tests of another compiler leave the package as it is.
build_what_is_tested() {
    case " $* " in
    *" python "* | *" versioned "* | *" threads "* | *" examples "* | *" answers "*) scripts/build.sh lib package tests ;;
    *) scripts/build.sh tests ;;
    esac
}

# A runner that fails does not stop the others; the tally reports it.
run() {
    local name=$1 status=0
    shift
    "$@" >"$RESULTS/$name.log" 2>&1 </dev/null || status=$?
    printf '%s\n' "$status" >"$RESULTS/$name.log.exit"
}

meson_suite() {
    local name=$1
    shift
    say "  $name tests"
    rm -f "$BUILD/test/meson-logs/testlog.json"
    run "$name" tools meson test -C "$BUILD/test" --no-rebuild --print-errorlogs "$@"
    [ -f "$BUILD/test/meson-logs/testlog.json" ] && mv "$BUILD/test/meson-logs/testlog.json" "$RESULTS/$name.json"
    results+=("$name=$RESULTS/$name.json")
}

test_c() { meson_suite c --suite c; }
test_crash() { meson_suite crash --suite crash; }

# Tests of the project's own tools, which say nothing about the Python that PYTHON asks for.
TOOLS='compare interpreters conformance_runner laws layout tally'

# The files that take the longest, in this order, and are not among the largest.
LONGEST=(interrupts conformance_runner pool process queues programs ctrl_c task_options pains)

# The files of tests in Python, what takes longest first: those, then the largest.
tests_in_python() {
    local tool files first
    first=$(printf 'tests/python/test_%s.py\n' "${LONGEST[@]}")
    # shellcheck disable=SC2010,SC2012 # their names have no characters that ls would change
    files=$first$'\n'$(ls -S tests/python/test_*.py | grep -vxF "$first")
    [ -z "${PYTHON:-}" ] || for tool in $TOOLS; do files=$(grep -v "/test_$tool.py$" <<<"$files"); done
    printf '%s\n' "$files"
}

# What is not alike in all versions of Python: start methods and what a child is told, executors, managers, named memory
# and its tracker, replacing multiprocessing. Also each file that asks for the version.
VERSIONED='authentication context cpython engines first_contact fork_with_threads free_threaded frozen future futures
    imports_at_fork install late_install managers managers_alike managers_direct name names pool_options private_names
    process resource_tracker shared_memory spawn surroundings synchronize thread_pool'

tests_of_version() {
    local named
    # shellcheck disable=SC2086 # several words
    named=$(printf 'tests/python/test_%s.py\n' $VERSIONED; grep -l version_info tests/python/test_*.py)
    tests_in_python | grep -xF "$named"
}

# Three shares of files at the same time, since the tests wait for half of their time. The files are dealt to and
# fro, so that no share gets all the large ones. A shell lets what it starts in the background ignore SIGINT, which the
# tests of Ctrl-C need.
pytest_of() {
    local name=$1 share files dealt='{ n = (NR - 1) % 6; if ((n < 3 ? n : 5 - n) == share) print }'
    say "  $name tests"
    for share in 0 1 2; do
        mapfile -t files < <(awk -v share="$share" "$dealt" <<<"$2")
        run "$name-$share" env --default-signal=INT,QUIT \
            "$VENV/bin/python" -m pytest -q --junitxml="$RESULTS/$name-$share.xml" "${files[@]}" &
        results+=("$name=$RESULTS/$name-$share.xml")
    done
    wait
}

test_python() { pytest_of python "$(tests_in_python)"; }
test_versioned() { pytest_of versioned "$(tests_of_version)"; }
test_threads() { pytest_of threads "$(ls tests/python/test_{free_threaded,threads{,_pools,_served}}.py)"; }

test_examples() {
    say "  examples"
    run examples scripts/examples.sh
    results+=("examples=$RESULTS/examples.log")
}

test_answers() {
    say "  answers"
    run answers scripts/answers.sh
    results+=("answers=$RESULTS/answers.log")
}

[ $# -gt 0 ] || set -- c crash python examples answers
build_what_is_tested "$@"
rm -rf "$RESULTS"
mkdir -p "$RESULTS"
for part in "$@"; do "test_$part"; done
"$VENV/bin/python" scripts/tally.py "${results[@]}"
