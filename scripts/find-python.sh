#!/usr/bin/env bash
# Usage: scripts/find-python.sh 3.12
# Prints the path of an interpreter of that version (with headers): from PATH, among pyenv's, or as fetch-python.sh has
# unpacked it. 3.13t is the free-threaded build of 3.13 (make-python.sh). The exit status is 1 when there is none.
set -euo pipefail
version=${1:?usage: scripts/find-python.sh X.Y[t]}

# Prints the real path, because a pyenv shim may be another interpreter in another directory.
real_path() {
    "$1" -c 'import os, sys, sysconfig
threads = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
if f"{sys.version_info[0]}.{sys.version_info[1]}{threads}" != sys.argv[1]: raise SystemExit(1)
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")): raise SystemExit(1)
print(sys.executable)' "$version" 2>/dev/null
}

candidates() {
    type -ap "python$version" "python3" || true
    ls -d "${PYENV_ROOT:-$HOME/.pyenv}/versions/${version%t}".*/bin/"python$version" 2>/dev/null || true
    ls "$(dirname "$0")/../.pythons/$version"/{usr/,}bin/"python$version" 2>/dev/null || true
}

while read -r candidate; do
    real_path "$candidate" && exit 0
done < <(candidates)
echo "mproc: no Python $version with its headers on this machine" >&2
exit 1
