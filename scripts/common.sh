# shellcheck shell=bash disable=SC2034
# What every script shares: where things are, and how a step is run quietly. Sourced, not run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=$ROOT/.venv
BUILD=$ROOT/build
cd "$ROOT" || exit 1

# Each compiler that is asked for (CC=clang make) has build directories of its own. Its C++ is the one of
# the same name.
compiler=$(basename "${CC:-cc}")
case $compiler in
cc) ;;
clang*) BUILD=$BUILD/$compiler CXX=${CXX:-${CC%clang*}clang++${CC##*clang}} ;;
*) BUILD=$BUILD/$compiler ;;
esac
export CC=${CC:-cc} CXX=${CXX:-c++}

# .venv is made from the user's `python3`, also in a shell in which .venv is active. PYTHON=3.15 asks for that version
# instead, in an environment and build directories of its own; PYTHON=3.13t for the free-threaded build of one. (Other
# values are not ours: `make` users have them.)
PATH=${PATH//"$VENV/bin:"/}
HOST_PYTHON=python3
if [[ ${PYTHON:-} =~ ^3\.[0-9]+t?$ ]]; then
    HOST_PYTHON=$(scripts/find-python.sh "$PYTHON")
    VENV=$ROOT/.venv-$PYTHON
    VENV_BUILD=$BUILD/venv-$PYTHON
    RESULTS=$BUILD/results-$PYTHON
fi
VENV_BUILD=${VENV_BUILD:-$BUILD/venv}
RESULTS=${RESULTS:-$BUILD/results}

say() { printf '%s\n' "$*" >&2; }

die() {
    say "mproc: $*"
    exit 1
}

# quietly WHAT COMMAND…: prints WHAT and runs the command; shows the command's output only when it fails.
quietly() {
    local what=$1 log status=0
    shift
    log=$(mktemp)
    say "  $what"
    "$@" >"$log" 2>&1 </dev/null || status=$?
    if [ "$status" -ne 0 ]; then
        cat "$log" >&2
        say "mproc: failed ($status): $*"
    fi
    rm -f "$log"
    return "$status"
}

# fingerprint PATH…: prints one hash over the names and contents of all files in and under the paths.
fingerprint() {
    find "$@" -type f -not -name '*.pyc' -print0 2>/dev/null | LC_ALL=C sort -z |
        xargs -0 sha1sum | sha1sum | cut -d' ' -f1
}

# tools COMMAND…: runs a command that finds the private environment's programs first (meson needs its ninja).
tools() { PATH="$VENV/bin:$PATH" "$@"; }

# meson_dir DIR OPTION…: configures a build directory, and configures it anew when the options have changed.
meson_dir() {
    local dir=$1 options
    shift
    options="$(tools meson --version) CC=$CC CXX=$CXX $*"
    if [ ! -f "$dir/build.ninja" ] || [ "$options" != "$(cat "$dir/options" 2>/dev/null)" ]; then
        rm -rf "$dir"
        quietly "configure ${dir#"$ROOT/"}" tools meson setup --werror "$@" "$dir"
        printf '%s\n' "$options" >"$dir/options"
    fi
}

# meson_build DIR [TARGET…]
meson_build() {
    local dir=$1
    shift
    quietly "build ${dir#"$ROOT/"}" tools meson compile -C "$dir" "$@"
}

# environment DIR PYTHON REQUIREMENTS: a Python environment with what the file names, made anew when either has changed.
environment() {
    local dir=$1 python=$2 requirements=$3 stamp
    stamp=$("$python" -V; fingerprint "$requirements")
    [ "$stamp" != "$(cat "$dir/stamp" 2>/dev/null)" ] || return 0
    rm -rf "$dir"
    quietly "${python##*/} -m venv ${dir#"$ROOT/"}" "$python" -m venv "$dir"
    quietly "pip install what $requirements names" \
        "$dir/bin/python" -m pip install --disable-pip-version-check -r "$requirements"
    printf '%s\n' "$stamp" >"$dir/stamp"
}

# programs_in DIR: prints the paths of the executables in a build directory, one on each line.
programs_in() { find "$1" -maxdepth 1 -type f -executable | LC_ALL=C sort; }
