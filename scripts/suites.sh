#!/usr/bin/env bash
# Usage: scripts/suites.sh [NAME]…        (all when nothing is named; PYTHON=3.13 asks for another interpreter)
# Test-suites of others that lean on multiprocessing, each in one environment: on the standard library and under
# `python -m mproc`. The tests are those that the packages' own distributions on PyPI carry. Prints a line a suite, and
# the tests that fail on one side only; the exit status is 1 when one fails only on mproc. The results are in
# docs/programs.md. A suite takes some minutes, joblib and pebble ten and more.
set -euo pipefail
. "$(dirname "$0")/common.sh"

HOME_OF=$BUILD/suites${PYTHON:+-$PYTHON}
PYTEST=(pytest==9.2.0 pytest-timeout==2.4.0)

# suite NAME DISTRIBUTION REQUIREMENTS FILE…: FILE is a path in the source distribution, or a module that is installed.
each_suite() {
    suite aioprocessing aioprocessing==1.1.0 "" \
        tests/{connection_tests,lock_tests,pickle_test,pool_test,process_test,queue_test}.py
    suite dask dask==2026.8.0 \
        "click cloudpickle fsspec importlib_metadata numpy packaging pandas partd pytest-cov pyyaml toolz
            setuptools>=77 setuptools-scm" \
        dask/tests/test_{multiprocessing,local,system}.py
    suite gym gym==0.19.0 "numpy==1.23.5 cloudpickle scipy" \
        gym/vector/tests/test_{async_vector_env,shared_memory,sync_vector_env,vector_env}.py
    suite joblib joblib==1.4.2 "numpy psutil threadpoolctl" \
        joblib/test/test_{parallel,memmapping,config,cloudpickle_wrapper,missing_multiprocessing}.py
    suite loky loky==3.4.1 "numpy psutil cloudpickle" \
        tests/test_{loky_backend,synchronize,resource_tracker,cloudpickle_wrapper,loky_module,futures,worker_timeout,process_executor_loky}.py
    suite mpire mpire==2.3.5 "numpy dill multiprocess tqdm pygments ipywidgets" \
        tests/test_{pool,params,insights,comms,utils,signal}.py
    suite pebble pebble==5.2.3 "" test/test_*.py
}

# A source distribution is unpacked, for its tests. Some carry them in the package: then nothing is unpacked.
fetch() {
    local name=$1 distribution=$2 where=$HOME_OF/$1
    shift 2
    rm -rf "$where"
    mkdir -p "$where/source"
    "$HOST_PYTHON" -m venv "$where/venv"
    quietly "pip install what $name needs" "$where/venv/bin/python" -m pip install -q setuptools wheel "${PYTEST[@]}" "$@"
    # The setup of gym's is too old for today's tools, and it needs none.
    [ "$name" = gym ] || quietly "pip install $distribution" "$where/venv/bin/python" -m pip install -q --no-deps \
        --no-build-isolation "$distribution"
    [[ $tests != */* ]] || {
        quietly "download its tests" "$where/venv/bin/python" -m pip download -q --no-deps --no-build-isolation \
            --no-binary :all: -d "$where" "$distribution"
        tar -xzf "$where"/*.tar.gz -C "$where/source" --strip-components=1
    }
    printf '%s' "$*" >"$where/done"
}

failed=0
suite() {
    local name=$1 distribution=$2 requirements=$3 tests
    shift 3
    names+=("$name")
    [[ " ${wanted[*]} " == *" $name "* ]] || return 0
    tests=$1
    # shellcheck disable=SC2086 # requirements are words
    [ -f "$HOME_OF/$name/done" ] || fetch "$name" "$distribution" $requirements
    (cd "$HOME_OF/$name/source" && "$HOME_OF/$name/venv/bin/python" "$ROOT/scripts/suites.py" \
        --path "$HOME_OF/path" --results "$HOME_OF/$name" "$distribution" "$@") || failed=1
}

# The first time through, the suites only say their names.
names=() wanted=()
each_suite
wanted=("$@")
for name in "${wanted[@]}"; do
    [[ " ${names[*]} " == *" $name "* ]] || die "there is no suite $name; there are: ${names[*]}"
done
[ ${#wanted[@]} -gt 0 ] || wanted=("${names[@]}")
scripts/build.sh package
# The package alone, without what else is installed beside it.
mkdir -p "$HOME_OF/path"
ln -sfn "$("$VENV/bin/python" -c 'import mproc, os; print(os.path.dirname(mproc.__file__))')" "$HOME_OF/path/mproc"
each_suite
exit $failed
