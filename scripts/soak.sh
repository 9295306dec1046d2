#!/usr/bin/env bash
# Usage: scripts/soak.sh [SECONDS]
# Eight processes at everything that synchronises or is shared, some killed at random, for so long (60 s).
set -euo pipefail
. "$(dirname "$0")/common.sh"

scripts/setup.sh
meson_dir "$BUILD/test" --buildtype=debugoptimized -Dpoison=true
meson_build "$BUILD/test" soak
exec "$BUILD/test/tests/crash/soak" --seconds "${1:-60}"
