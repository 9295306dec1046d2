#!/usr/bin/env bash
# Usage: scripts/engines.sh [TASKS]
# Runs programs on Dask, Ray and MPI, which are started on this machine: the tests of tests/engines, with so many tasks of
# which 40 kill their workers (2000). It installs what they need into .venv, and Debian's Open MPI, Slurm and iproute2,
# whose network namespaces are hosts that can be cut off. What cannot be had is skipped by name. Ends with one line:
# N passed, N failed.
set -euo pipefail
. "$(dirname "$0")/common.sh"

# One after the other, so that one that cannot be had is no reason to lack the others.
install_engines() {
    local package
    while read -r package; do
        "$VENV/bin/python" -m pip install -q --disable-pip-version-check "$package" 2>/dev/null ||
            say "mproc: $package could not be had"
    done < <(grep -v '^#' scripts/requirements-engines.txt)
    want_of_debian mpirun openmpi-bin
    want_of_debian mpicc libopenmpi-dev
    want_of_debian ip iproute2
    want_of_debian slurmctld slurmctld
    want_of_debian slurmd slurmd
    want_of_debian srun slurm-client
    want_of_debian munged munge
}

# want_of_debian PROGRAM PACKAGE
want_of_debian() {
    command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || [ "$(id -u)" -ne 0 ] ||
        quietly "apt-get install $2" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -q -y --no-install-recommends "$2" || say "mproc: $2 could not be had"
}

# The C library with its plugin for MPI, and what is run over it.
build_for_c() {
    command -v mpicc >/dev/null || return 0
    meson_dir "$BUILD/engines" -Dmpi=enabled -Dpoison=true
    quietly "build for MPI" tools meson compile -C "$BUILD/engines" mproc_mpi test_engine mproc_sockets \
        examples/c/wordcount
}

scripts/build.sh package
install_engines
build_for_c
export MPROC_TASKS=${1:-2000}
RESULTS=$RESULTS-engines # the laboratory may run beside this, and has the other
rm -rf "$RESULTS" && mkdir -p "$RESULTS"
status=0
"$VENV/bin/python" -m pytest -q --timeout 300 --junitxml="$RESULTS/engines.xml" tests/engines 2>&1 |
    tee "$RESULTS/engines.log" || status=$?
echo "$status" >"$RESULTS/engines.log.exit"
exec python3 scripts/tally.py "engines=$RESULTS/engines.xml"
