#!/usr/bin/env python3
"""Usage: layout.py ROOT OUT.c DEPFILE: `mproc__layout`, a number that stands for the sources.

Two builds may share memory when their structures are the same. No size of a structure tells that:
a word that moves within one leaves its size as it was. So the number comes from all sources, and
another release has another one.
"""

import hashlib
import sys
from pathlib import Path


def sources(root: Path) -> list[Path]:
    """What structures in the arena are declared in: the header and the library's own files."""
    return sorted(path for folder in ("include", "src") for path in (root / folder).rglob("*.[ch]"))


def number(root: Path, paths: list[Path]) -> int:
    """64 bits of a hash over the names, from the root, and the contents."""
    digest = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return int.from_bytes(digest.digest()[:8], "little")


def main() -> None:
    root, out, depfile = map(Path, sys.argv[1:])
    paths = sources(root)
    constant = f"const uint64_t mproc__layout = {number(root, paths):#x}u;"
    out.write_text(f'#include "core/family.h"\n\n{constant}\n', encoding="ascii")
    escaped = (str(path).replace(" ", "\\ ") for path in paths)
    depfile.write_text(f"{out}: {' '.join(escaped)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
