#!/usr/bin/env bash
# Checks the types that the package shows to its users: stubtest compares the stubs, and what the sources say, with the
# installed package; mypy --strict and pyright read the examples, and tests/types/generic.py, which says what type is
# found where. What stubtest may find is listed in tests/types/stubtest.txt, with the reasons. Part of `make lint`.
set -euo pipefail
. "$(dirname "$0")/common.sh"

TOOLS=$BUILD/venv-types
failed=()

check() {
    quietly "$@" || failed+=("$1")
}

scripts/build.sh package
environment "$TOOLS" "$VENV/bin/python" scripts/types-requirements.txt
# hello.py is shown to those who see mproc for the first time, and has no types.
mapfile -t typed < <(git ls-files --cached --others --exclude-standard -- 'examples/python/*.py' 'tests/types/*.py' |
    grep -v /hello.py)
check "stubtest" "$VENV/bin/python" -m mypy.stubtest mproc --concise --mypy-config-file pyproject.toml \
    --allowlist tests/types/stubtest.txt
check "mypy --strict, examples" "$VENV/bin/mypy" --strict "${typed[@]}"
check "pyright, examples" "$TOOLS/bin/pyright" --pythonpath "$VENV/bin/python" "${typed[@]}"
[ "${#failed[@]}" -eq 0 ] || die "types: failed: ${failed[*]}"
