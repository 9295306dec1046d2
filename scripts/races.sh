#!/usr/bin/env bash
# Usage: scripts/races.sh [3.13t [threads|threads_pools|threads_served]…]
# The tests of threads in Python (tests/python/test_threads*.py; all when none is named) under ThreadSanitizer: with a
# free-threaded interpreter and an extension that are both built with it. tests/python/races.supp has what is left out,
# and why. They take some 15 minutes, and at first make-python.sh compiles the interpreter. A race makes the script fail
# and is named; build/races/reports has the stacks.
set -euo pipefail
version=${1:-3.13t}
# Newer kernels spread addresses wider than ThreadSanitizer can bear.
[ -n "${RACES_STARTED:-}" ] || RACES_STARTED=1 exec setarch -R "$0" "$version" "${@:2}"
. "$(dirname "$0")/common.sh"

DIR=$BUILD/races
FILES=("${@:2}")
[ ${#FILES[@]} -gt 0 ] || FILES=(threads threads_pools threads_served)
# CPython's own pickler goes over a list that another thread changes, and crashes.
LEFT_OUT='not test_list_that_changes_while_it_is_sent'
# A forked child of a process with threads goes on, as it does without the sanitizer.
OPTIONS="suppressions=$ROOT/tests/python/races.supp history_size=7 exitcode=0 report_signal_unsafe=0 die_after_fork=0"

build_package() {
    printf "[binaries]\npython = '%s'\n" "$python" >"$BUILD/races.ini"
    meson_dir "$DIR/package" --native-file "$BUILD/races.ini" --buildtype=debugoptimized -Db_sanitize=thread \
        -Db_lundef=false -Dpython=true -Dlibrary=false -Dtests=false \
        -Dpython.purelibdir=/ -Dpython.platlibdir=/ -Dpython.bytecompile=0
    meson_build "$DIR/package"
    rm -rf "$DIR/site/mproc"
    quietly "mproc into ${DIR#"$ROOT/"}/site" tools meson install -C "$DIR/package" --no-rebuild --destdir "$DIR/site"
}

# By another interpreter's pip, since one with the sanitizer takes minutes to start it.
install_tools() {
    local wanted=(--python-version "${version%t}" --implementation cp --abi "cp${version//./}" --only-binary :all:)
    [ -d "$DIR/site/numpy" ] || quietly "pytest and numpy into ${DIR#"$ROOT/"}/site" "$VENV/bin/python" -m pip install \
        --disable-pip-version-check --target "$DIR/site" "${wanted[@]}" \
        -r <(grep -E '^(pytest|numpy)' scripts/requirements.txt)
}

# run_file NAME: the sanitizer's reports of its processes are reports/NAME.PID.
run_file() {
    local name=$1 status=0
    say "  test_$name"
    TSAN_OPTIONS="$OPTIONS log_path=$DIR/reports/$name" PYTHONPATH=$DIR/site env --default-signal=INT,QUIT \
        "$python" -m pytest -q -p no:cacheprovider --timeout 900 -k "$LEFT_OUT" --junitxml="$RESULTS/$name.xml" \
        "tests/python/test_$name.py" >"$RESULTS/$name.log" 2>&1 </dev/null || status=$?
    printf '%s\n' "$status" >"$RESULTS/$name.log.exit"
}

# The races of all files, each with how often it was seen, as a test that fails when there are any.
judge_reports() {
    local found
    found=$(find "$DIR/reports" -type f -exec cat {} + | sed -n 's/^SUMMARY: ThreadSanitizer: //p' | sort | uniq -c)
    if [ -n "$found" ]; then
        printf '%s\n0 passed, 1 failed\n' "$found"
    else
        echo '1 passed, 0 failed'
    fi
}

export TSAN_OPTIONS="report_bugs=0 exitcode=0" # of what is run here to build
scripts/setup.sh
python=$(SANITIZE=thread scripts/make-python.sh "$version")
RESULTS=$DIR/results
rm -rf "$DIR/reports" "$RESULTS"
mkdir -p "$DIR/site" "$DIR/reports" "$RESULTS"
build_package
install_tools
results=()
for name in "${FILES[@]}"; do
    run_file "$name"
    results+=("$name=$RESULTS/$name.xml")
done
judge_reports >"$RESULTS/races.log"
echo 0 >"$RESULTS/races.log.exit"
"$VENV/bin/python" scripts/tally.py "${results[@]}" "races=$RESULTS/races.log"
