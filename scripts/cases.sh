#!/usr/bin/env bash
# Usage: scripts/cases.sh [--standard] [-j N] [METHOD]… [NAME]…      (PYTHON=3.15 asks for another interpreter)
# Small programs that show faults, by each start method: a table, and what is bad and not on the list of
# tests/cases.toml. The programs are in the directory that MPROC_CASES names. scripts/cases.py says more.
set -euo pipefail
. "$(dirname "$0")/common.sh"

scripts/build.sh package
# The programs must not see what this script's own shell was given.
exec env -u PYTHON "$VENV/bin/python" scripts/cases.py "$@"
