#!/usr/bin/env bash
# Usage: scripts/programs.sh [NAME]…      (all but torch when nothing is named)
# Real programs on the standard library and under `python -m mproc`: what they print (but for times) and their exit
# codes must be the same. Installs pinned versions from PyPI into build/programs; torch, some gigabytes, only when it is
# named. The results are in docs/programs.md.
set -euo pipefail
. "$(dirname "$0")/common.sh"

HOME_OF=$BUILD/programs
PYTHON=$HOME_OF/venv/bin/python
PACKAGES=(
    aioprocessing==2.0.1 ansible-core==2.19.14 black==26.10.1 cython==3.3.1 dask==2026.8.0 flake8==7.5.0 green==4.0.2
    gymnasium==1.4.0 isort==9.0.2 joblib==1.6.0 loky==3.5.6 luigi==3.8.1 mpire==2.10.2 nltk==3.10.4 pebble==5.2.3
    pylint==4.1.4 rich==15.0.0 scikit-learn==1.9.1 sphinx==9.0.4 tqdm==4.70.1 uvicorn==0.54.0 yapf==0.43.0
)
TORCH=torch==2.13.0
has_torch() { "$PYTHON" -c 'import torch' 2>/dev/null; }

# Calls compare NAME ARGUMENT… for every program. The arguments are those of the interpreter.
each_program() {
    compare black -m black --workers 2 source
    compare pylint -m pylint -j 2 --score=n source/a.py source/b.py source/c.py
    compare yapf -m yapf -p -i source/a.py source/b.py source/c.py
    compare compileall -m compileall -q -f -j 2 source
    compare flake8 -m flake8 -j 2 source
    compare isort -m isort -j 2 --check-only source
    compare green -m green -s 2 suite
    for program in aioprocessing ansible cython dask gymnasium luigi mpire nltk pebble rich sphinx tqdm uvicorn; do
        compare $program "on_$program.py"
    done
    for backend in loky multiprocessing threading; do
        compare joblib-$backend on_joblib.py $backend
        compare scikit-learn-$backend on_sklearn.py $backend
    done
    for method in fork spawn forkserver; do
        compare torch-$method "$ROOT/tests/programs/torch_workers.py" $method
        compare torch-together-$method "$ROOT/tests/programs/torch_together.py" $method
    done
}

# What differs from run to run is left out: times, addresses, the order of lines.
normal() { sed -E 's/[0-9.]+ ?(ms|s|seconds)\b/TIME/g; s/0x[0-9a-f]+/ADDRESS/g; s/[0-9]+:[0-9]{2}/TIME/g' "$1" | sort; }

# What a run has left in shared memory. torch has a process of its own that removes its files, some seconds later.
left() {
    local name files=() tries=0
    while [ $((tries += 1)) -le 300 ]; do
        files=()
        while read -r name; do files+=("$name"); done < <(find /dev/shm -name 'torch_*' -newer "$HOME_OF/work")
        [ ${#files[@]} -gt 0 ] || break
        sleep 0.2
    done
    printf '%s' "${files[*]}"
}

failed=0
compare() {
    local name=$1 kind exit_code errors results=()
    shift
    if [ -n "$only_names" ]; then
        names+=("$name")
        return 0
    fi
    [[ " ${wanted[*]} " == *" $name "* ]] || return 0
    if [[ $name == torch-* ]] && ! has_torch; then
        say "  $name: skipped, torch is not to be had"
        return 0
    fi
    for kind in standard mproc; do
        local command=("$PYTHON")
        [ $kind = standard ] || command+=(-m mproc)
        rm -rf "$HOME_OF/work"
        cp -r tests/programs/real "$HOME_OF/work"
        touch "$HOME_OF/work"
        # With torch, threads of the standard library that lose a killed process print where they were.
        errors=$HOME_OF/$kind.out
        [[ $name != torch-* ]] || errors=$HOME_OF/$kind.err
        : >"$HOME_OF/$kind.out"
        exit_code=0
        (cd "$HOME_OF/work" && PYTHONPATH=$HOME_OF/path PYTHONDONTWRITEBYTECODE=1 \
            timeout 600 "${command[@]}" "$@") >>"$HOME_OF/$kind.out" 2>>"$errors" </dev/null || exit_code=$?
        left >>"$HOME_OF/$kind.out"
        results+=("$exit_code $(cat "$HOME_OF"/work/source/*.py "$HOME_OF/$kind.out" |
            normal /dev/stdin | cksum)")
    done
    if [ "${results[0]}" = "${results[1]}" ]; then
        say "  $name: the same (exit code ${results[0]%% *})"
    else
        say "  $name: DIFFERS (exit codes ${results[0]%% *} and ${results[1]%% *})"
        diff <(normal "$HOME_OF/standard.out") <(normal "$HOME_OF/mproc.out") | head -20 || true
        failed=1
    fi
}

# The first time through, the programs only say their names.
names=() only_names=1
each_program
only_names=

wanted=("$@")
for name in "${wanted[@]}"; do
    [[ " ${names[*]} " == *" $name "* ]] || die "there is no program $name; there are: ${names[*]}"
done
[ ${#wanted[@]} -gt 0 ] || mapfile -t wanted < <(printf '%s\n' "${names[@]}" | grep -v '^torch-')
scripts/build.sh package
if [ ! -x "$PYTHON" ] || [ "${PACKAGES[*]}" != "$(cat "$HOME_OF/packages" 2>/dev/null)" ]; then
    rm -rf "$HOME_OF"
    mkdir -p "$HOME_OF"
    "$VENV/bin/python" -m venv "$HOME_OF/venv"
    quietly "pip install ${#PACKAGES[@]} programs" "$PYTHON" -m pip install -q "${PACKAGES[@]}"
    printf '%s' "${PACKAGES[*]}" >"$HOME_OF/packages"
fi
if [[ ${wanted[*]} == *torch-* ]] && ! has_torch; then
    quietly "pip install $TORCH" "$PYTHON" -m pip install -q "$TORCH" || true
fi
# The package alone, without what else is installed beside it.
mkdir -p "$HOME_OF/path"
ln -sfn "$("$VENV/bin/python" -c 'import mproc, os; print(os.path.dirname(mproc.__file__))')" "$HOME_OF/path/mproc"

each_program
exit $failed
