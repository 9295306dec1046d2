#!/usr/bin/env bash
# The main job on real input: a pool counts the words of every .py file of the standard library. Three programs do it:
# examples/c/wordcount, examples/python/wordcount.py on mproc, and the same file on the standard library. The demo
# fails when their counts differ. `wordcount [--counts OUT] FILE…` shows its progress on stderr, prints the ten most
# frequent words, and writes all counts to OUT.
set -euo pipefail
. "$(dirname "$0")/common.sh"

OUT=$BUILD/demo
PYTHON=$VENV/bin/python

# timed NAME COMMAND…: leaves the seconds in $OUT/NAME.seconds and the counts in $OUT/NAME.counts.
timed() {
    local name=$1 began=$EPOCHREALTIME
    shift
    say "$name"
    "$@" --counts "$OUT/$name.counts" "${files[@]}" >"$OUT/$name.top"
    awk -v from="$began" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.3f", to - from }' >"$OUT/$name.seconds"
}

row() {
    awk -v name="$1" -v seconds="$(cat "$OUT/$1.seconds")" -v files="${#files[@]}" \
        'BEGIN { printf "  %-18s %8.3f s %10.0f files/s\n", name, seconds, files / seconds }'
}

same_counts() {
    local name
    for name in python-mproc python-stdlib; do
        LC_ALL=C cmp -s <(LC_ALL=C sort "$OUT/c-mproc.counts") <(LC_ALL=C sort "$OUT/$name.counts") ||
            die "the counts of c-mproc and $name differ: see ${OUT#"$ROOT/"}"
    done
}

scripts/build.sh
rm -rf "$OUT"
mkdir -p "$OUT"
library=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
mapfile -t files < <(find -L "$library" -name '*.py' -type f -not -path '*/site-packages/*' \
    -not -path '*/dist-packages/*' | LC_ALL=C sort)
[ "${#files[@]}" -gt 0 ] || die "no .py file in $library"
echo "${#files[@]} files, $(cat -- "${files[@]}" | wc -l) lines in $library"

timed c-mproc "$BUILD/release/examples/c/wordcount"
timed python-mproc "$PYTHON" -m mproc examples/python/wordcount.py
timed python-stdlib "$PYTHON" examples/python/wordcount.py
same_counts

echo "the ten most frequent words:"
cat "$OUT/c-mproc.top"
echo "the three counts agree:"
for name in c-mproc python-mproc python-stdlib; do row "$name"; done
