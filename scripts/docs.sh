#!/usr/bin/env bash
# Makes the manual: build/docs/html, and man pages in build/docs/man (make install installs those). A warning, a public
# name without documentation, or a link that leads nowhere is an error.
set -euo pipefail
. "$(dirname "$0")/common.sh"

OUT=$BUILD/docs
TOOLS=$BUILD/venv-docs

# The header has groups that the reference shows; one that it does not show would be missed by nobody.
all_groups() {
    local group status=0
    for group in $(python3 docs/comments.py include/mproc.h | sed -n 's|.*@defgroup \([^ ]*\) .*|\1|p'); do
        grep -q "^\`\`\`{doxygengroup} $group$" docs/api_c.md || { echo "docs/api_c.md lacks $group"; status=1; }
    done
    return $status
}

sphinx() {
    MPROC_DOXYGEN_XML=$OUT/doxygen/xml PYTHONPATH=$("$VENV/bin/python" -c \
        'import mproc, pathlib; print(pathlib.Path(mproc.__file__).parents[1])') \
        "$TOOLS/bin/python" -m sphinx -q -W --keep-going -b html -d "$OUT/doctrees" docs "$OUT/html"
}

scripts/build.sh package
scripts/setup.sh docs
environment "$TOOLS" "$VENV/bin/python" docs/requirements.txt
rm -rf "$OUT"
mkdir -p "$OUT"
quietly "man pages" scripts/man.sh "$OUT/man"
quietly "groups of mproc.h" all_groups
"$VENV/bin/python" docs/documented.py "$OUT/doxygen/xml" "$OUT/man" >&2
quietly "build/docs/html" sphinx
say "the manual: ${OUT#"$ROOT/"}/html/index.html, $(find "$OUT/html" -name '*.html' | wc -l) pages"
