#!/usr/bin/env bash
# Usage: scripts/soak.sh [SECONDS]
# Runs eight processes at everything that synchronises or is shared for so long (60 s), and kills some at random.
set -euo pipefail
. "$(dirname "$0")/common.sh"

scripts/setup.sh
meson_dir "$BUILD/test" --buildtype=debugoptimized -Dpoison=true
meson_build "$BUILD/test" soak
exec "$BUILD/test/tests/crash/soak" --seconds "${1:-60}"
