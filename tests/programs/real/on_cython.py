"""cython: two processes translate modules, and a module with an error ends it."""

import sys
from pathlib import Path

from Cython.Build import cythonize
from Cython.Compiler.Errors import CompileError

if __name__ == "__main__":
    for number in range(4):
        Path(f"part{number}.pyx").write_text(f"def f(int x): return x * {number}\n")
    made = cythonize("part*.pyx", nthreads=2, force=True, language_level=3)
    print(sorted(extension.sources[0] for extension in made))
    print([path.stat().st_size > 10_000 for path in sorted(Path().glob("part*.c"))])
    Path("part4.pyx").write_text("cdef int f(:\n")
    try:
        cythonize("part4.pyx", nthreads=2, force=True, language_level=3)
    except CompileError as error:
        sys.exit(f"refused: {error}")
