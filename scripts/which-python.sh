#!/usr/bin/env bash
# Prints the interpreter of the private environment in which the package is installed.
set -euo pipefail
. "$(dirname "$0")/common.sh"
scripts/build.sh package
printf '%s\n' "$VENV/bin/python"
