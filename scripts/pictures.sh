#!/usr/bin/env bash
# Usage: scripts/pictures.sh
# Makes the pictures of the documentation anew, with the package that is in .venv: docs/deadlock.svg, three processes
# that have taken three locks in a ring.
set -euo pipefail
. "$(dirname "$0")/common.sh"

coproc RING { exec "$VENV/bin/python" scripts/ring.py; }
ring=$RING_PID
read -r _ <&"${RING[0]}"
# `locks` exits with 3 when it has found a deadlock, and with 1 as long as there is no family.
until [[ $("$VENV/bin/python" -m mproc locks "$ring" || true) == *"DEADLOCK of 3"* ]]; do
    kill -0 "$ring" 2>/dev/null || die "scripts/ring.py has ended before its processes waited for each other"
    sleep 0.1
done
"$VENV/bin/python" -m mproc graph --svg "$ring" >docs/deadlock.svg
eval "exec ${RING[1]}>&-"
wait "$ring"
say "docs/deadlock.svg is made"
