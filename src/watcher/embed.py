#!/usr/bin/env python3
"""Usage: embed.py PROGRAM OUT.c NAME: the bytes of a file as `const unsigned char NAME[]`."""

import sys
from pathlib import Path

LINE = 20


def embed(data: bytes, name: str) -> str:
    """C source of the bytes and of `const size_t NAME_size`."""
    lines = (",".join(map(str, data[i : i + LINE])) for i in range(0, len(data), LINE))
    return (
        '#include "watcher/watcher.h"\n\n'
        f"const unsigned char {name}[] = {{\n" + ",\n".join(lines) + "\n};\n"
        f"const size_t {name}_size = sizeof {name};\n"
    )


def main() -> None:
    program, out, name = sys.argv[1:]
    Path(out).write_text(embed(Path(program).read_bytes(), name), encoding="ascii")


if __name__ == "__main__":
    main()
