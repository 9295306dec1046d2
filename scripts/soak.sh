#!/usr/bin/env bash
# Usage: scripts/soak.sh [SECONDS]
# Runs eight processes at everything that synchronises or is shared for so long (60 s), and kills some at random. Then it
# does the same to pairs of processes that talk through a channel, and to the eight workers of a pool in C, of a Pool in
# Python, and of an executor that heals, under so many tasks: for SECONDS = 60 at least 200,000 each. Last come members
# in C and in Python on the same objects, and processes that hold received arrays.
set -euo pipefail
. "$(dirname "$0")/common.sh"

seconds=${1:-60}
tasks=$((seconds * 10000 / 3))

scripts/build.sh package
meson_dir "$BUILD/test" --buildtype=debugoptimized -Dpoison=true
meson_build "$BUILD/test" soak chaos_channel chaos_pool program
"$BUILD/test/tests/crash/soak" --seconds "$seconds"
"$BUILD/test/tests/crash/chaos_channel" --seconds "$seconds"
"$BUILD/test/tests/crash/chaos_pool" --tasks "$tasks" --seconds "$seconds"
"$VENV/bin/python" tests/python/chaos.py --tasks "$tasks" --seconds "$seconds" pool executor
"$VENV/bin/python" tests/python/chaos_mixed.py --seconds "$seconds"
exec "$VENV/bin/python" tests/python/chaos_views.py --seconds "$seconds"
