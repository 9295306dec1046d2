#!/usr/bin/env bash
# Usage: scripts/joblib.sh [--rounds N] [--jobs N] [WORD…]
# What loky and the backend mproc cost for the same calls of joblib and scikit-learn, as tables: those of docs/joblib.md.
# WORD: only cases whose names contain one of them. Installs pinned versions from PyPI into build/joblib.
set -euo pipefail
. "$(dirname "$0")/common.sh"

HOME_OF=$BUILD/joblib
PYTHON=$HOME_OF/venv/bin/python
PACKAGES=(joblib==1.6.0 numpy scikit-learn==1.9.1)

scripts/build.sh package
if [ ! -x "$PYTHON" ] || [ "${PACKAGES[*]}" != "$(cat "$HOME_OF/packages" 2>/dev/null)" ]; then
    rm -rf "$HOME_OF"
    mkdir -p "$HOME_OF/path"
    "$VENV/bin/python" -m venv "$HOME_OF/venv"
    quietly "pip install ${PACKAGES[*]}" "$PYTHON" -m pip install -q --disable-pip-version-check "${PACKAGES[@]}"
    printf '%s' "${PACKAGES[*]}" >"$HOME_OF/packages"
fi
# The package alone, without what else is installed beside it.
ln -sfn "$("$VENV/bin/python" -c 'import mproc, os; print(os.path.dirname(mproc.__file__))')" "$HOME_OF/path/mproc"
PYTHONPATH=$HOME_OF/path exec "$PYTHON" bench/python/joblib_loky.py "$@"
