#!/usr/bin/env bash
# Usage: scripts/newcomer.sh [WHEEL]
# Follows README.md word by word in a Debian 12 that has nothing yet: installs the wheel by pip, runs README's program in
# Python, builds the one in C with the wheel's library and with that of `make install`, and opens a man page. The wheel
# is one for Python 3.11; scripts/wheels.sh makes it where none is named. Ends with N passed, N failed.
# Needs root, a Debian machine, its mirror and PyPI. The new system stands in build/newcomer. It is gone at the end, with
# all that runs in it, also when this script is interrupted.
set -euo pipefail
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/apt.sh"

PLACE=$BUILD/newcomer
SYSTEM=$PLACE/root
FOLDER=$SYSTEM/root # the newcomer's own
GREETING=$'[0, 1, 4, 9, 16]\nhello from child'
inside=''

# ---- what README says

# command_with WORDS: prints the one command of README, an indented line, that has these words.
command_with() {
    local found
    found=$(sed -n 's/^    //p' README.md | grep -F -- "$1") || die "README.md has no command with '$1'"
    [ "$(wc -l <<<"$found")" -eq 1 ] || die "README.md has several commands with '$1'"
    printf '%s\n' "$found"
}

# program_in LANGUAGE: prints README's first program in that language.
program_in() {
    awk -v fence="\`\`\`$1" '/^```$/ && on { exit } on { print } $0 == fence { on = 1 }' README.md
}

# step NAME COMMAND…: prints shell code that runs the commands, up to the first that fails, and tells that all are done.
step() {
    printf 'echo "--- %s"\n' "$1"
    shift
    printf '{ %s\n} || exit\n' "$@"
    echo 'echo "=== done"'
}

# greets COMMAND: prints shell code that fails unless the command prints what README's programs print.
greets() { printf '%s >said && cat said && cmp said greeting' "$1"; }

write_session() {
    printf 'set -o pipefail\ncd\n'
    step "the packages" "$(command_with 'apt-get install')"
    step "an environment" "$(command_with 'python3 -m venv')"
    step "the wheel" "$(command_with 'pip install mproc-')"
    step "the program in Python" "$(greets "$(command_with 'python -m mproc your_script.py')")"
    step "the program in C, with the wheel's library" "$(command_with 'get_library())')" "$(command_with "-L\$at")" \
        "$(greets ./hello)" 'rm hello'
    step "make install" 'cd source' "$(command_with 'make install')" 'cd ..'
    step "the program in C, with the installed library" "$(command_with 'pkg-config --cflags')" "$(greets ./hello)"
    step "the man page" "$(command_with 'man mproc_pool_map') | tee page" 'grep -q "int mproc_pool_map" page' \
        'grep -q "MPROC_E" page'
}

# ---- the new system

want_debootstrap() {
    [ "$(id -u)" -eq 0 ] || die "a new system can be made by root only"
    command -v debootstrap >/dev/null && return 0
    quietly "apt-get update" apt-get update -q
    quietly "apt-get install debootstrap" apt-get install -q -y --no-install-recommends debootstrap
}

# What the newcomer has got: the wheel, a copy of the source, and README's programs. What pip would fetch there, the pip
# of this machine fetches, which knows where from; so the new system needs the mirror alone.
pack() {
    mkdir -p "$PLACE/folder/source" "$PLACE/folder/tools"
    cp "$1" "$PLACE/folder"
    git ls-files -z | tar -c --null -T - | tar -x -C "$PLACE/folder/source"
    program_in python >"$PLACE/folder/your_script.py"
    program_in c >"$PLACE/folder/hello.c"
    printf '%s\n' "$GREETING" >"$PLACE/folder/greeting"
    write_session >"$PLACE/folder/session.sh"
    quietly "what pip needs there" "$VENV/bin/python" -m pip download --disable-pip-version-check --python-version 3.11 \
        --only-binary :all: -d "$PLACE/folder/tools" -r scripts/requirements.txt
}

# Runs in a namespace of its own: what it mounts and starts ends with it.
make_and_use() {
    local mirror
    mirror=$(debian_mirror | cut -d' ' -f1)
    quietly "debootstrap" debootstrap --variant=minbase bookworm "$SYSTEM" "$mirror"
    cp /etc/resolv.conf /etc/hosts "$SYSTEM/etc"
    mount -t proc proc "$SYSTEM/proc"
    mkdir -p "$SYSTEM/dev/shm"
    mount -t tmpfs -o mode=1777 tmpfs "$SYSTEM/dev/shm"
    cp -r "$PLACE/folder/." "$FOLDER"
    chroot "$SYSTEM" /usr/bin/env -i HOME=/root DEBIAN_FRONTEND=noninteractive PIP_NO_INDEX=1 PIP_FIND_LINKS=/root/tools \
        LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin bash /root/session.sh
}

remove() {
    local try
    [ -z "$inside" ] || kill -KILL "$inside" 2>/dev/null || true
    for try in 1 2 3; do # what has been killed may still be writing
        rm -rf "$PLACE" && return 0
        sleep "$try"
    done
}

# ---- the whole

if [ "${1:-}" = --inside ]; then
    make_and_use
    exit 0
fi
trap remove EXIT
trap 'exit 130' INT TERM HUP
scripts/setup.sh
want_debootstrap
wheel=${1:-}
if [ -z "$wheel" ]; then
    PLATFORMS=manylinux-$(uname -m) scripts/wheels.sh 3.11
    wheel=$(ls "$BUILD"/wheels/mproc-*-cp311-cp311-manylinux*_"$(uname -m)".whl)
fi
[ -f "$wheel" ] || die "no such wheel: $wheel"
rm -rf "$PLACE"
pack "$wheel"
log=$BUILD/newcomer.log
unshare --mount --pid --fork --kill-child scripts/newcomer.sh --inside >"$log" 2>&1 </dev/null &
inside=$!
status=0
wait "$inside" || status=$?
inside=''
passed=$(grep -c '^=== done$' "$log") || true
grep '^--- ' "$log" >&2 || true
if [ "$status" -ne 0 ]; then
    tail -n 60 "$log" >&2
    say "the newcomer got no further (exit $status); all of it is in ${log#"$ROOT/"}"
fi
echo "$passed passed, $((status != 0)) failed"
[ "$status" -eq 0 ]
