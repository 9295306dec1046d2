#!/usr/bin/env bash
# Usage: scripts/pictures.sh
# Makes the pictures of the documentation anew, with the package that is in .venv: docs/deadlock.svg and docs/report.png,
# three processes that have taken three locks in a ring, and docs/top.png, a busy family on a terminal.
set -euo pipefail
. "$(dirname "$0")/common.sh"

scripts/setup.sh pictures
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mproc() { "$VENV/bin/python" -m mproc "$@"; }

# Runs a script under its name without the folder: the pictures show it, and are the same wherever they are made.
RUN='import sys; path = sys.argv[1]; exec(compile(open(path).read(), path.split("/")[-1], "exec"))'

# begin SCRIPT: starts a family, whose pid is $family, and which ends when `end` closes its standard input.
begin() {
    coproc FAMILY { PYTHONPATH=scripts exec "$VENV/bin/python" -c "$RUN" "$1"; }
    family=$FAMILY_PID
    read -r _ <&"${FAMILY[0]}"
}

end() {
    eval "exec ${FAMILY[1]}>&-"
    wait "$family"
}

# photograph URL FILE WIDTH HEIGHT
photograph() {
    quietly "$2" chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size="$3,$4" \
        --screenshot="$2" "$1"
}

ring() {
    begin scripts/ring.py
    # `locks` exits with 3 when it has found a deadlock, and with 1 as long as there is no family. A little later each
    # process says where it waits.
    until [[ $(mproc locks "$family" || true) == *"DEADLOCK of 3"*" in "*" in "*" in "*$'\n'lock* ]]; do
        kill -0 "$family" 2>/dev/null || die "scripts/ring.py has ended before its processes waited for each other"
        sleep 0.1
    done
    mproc graph --svg "$family" >docs/deadlock.svg
    mproc report -o "$scratch/report.html" "$family"
    end
    photograph "file://$scratch/report.html" docs/report.png 1000 900
}

# A terminal of 110 columns and 16 rows, after some rounds.
top() {
    local socket=$scratch/tmux
    begin scripts/shop.py
    tmux -S "$socket" new-session -d -x 110 -y 16 "$VENV/bin/python -m mproc top -d 0.5 $family"
    sleep 3
    tmux -S "$socket" capture-pane -e -p | aha --black >"$scratch/top.html"
    tmux -S "$socket" kill-server
    end
    photograph "file://$scratch/top.html" docs/top.png 880 280
}

ring
top
say "docs/deadlock.svg, docs/report.png and docs/top.png are made"
