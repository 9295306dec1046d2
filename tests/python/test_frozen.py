"""Frozen programs: what is started to run a child is the whole program, which must see that.

A program is frozen here by a script that is its executable, and by sys.frozen, which freezers set.
"""

import sys

import pytest

MAIN = """
import sys
sys.frozen, sys.executable = True, {executable!r}
import mproc; mproc.install()
import multiprocessing as mp
open({log!r}, "a").write("ran ")
def f(end): end.send(sys.argv[1:])
def main():
    ctx = mp.get_context({method!r})
    reader, writer = ctx.Pipe(False)
    p = ctx.Process(target=f, args=(writer,)); p.start(); writer.close()
    try: print(reader.recv())
    except EOFError: print("no answer")
    p.join(); print(p.exitcode)
    if p.exitcode: sys.exit(3)
    with ctx.Pool(2) as pool: print(pool.map(abs, [-1, -2]))
if __name__ == "__main__":
    {support}
    main()
"""


@pytest.fixture
def frozen(program, method):
    def run(support):
        executable = program.write(
            "app", f'#!/bin/sh\nexec {sys.executable} {program.folder}/main.py "$@"\n'
        )
        executable.chmod(0o755)
        log = program.folder / "log"
        text = MAIN.format(executable=str(executable), log=str(log), method=method, support=support)
        program.write("main.py", text)
        done = program.run("main.py", "-x")
        return done, log.read_text().count("ran")

    return run


def test_a_frozen_program(frozen, method):
    """freeze_support() does the work of children, and of the template."""
    done, _ = frozen("mp.freeze_support()")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "['-x']\n0\n[1, 2]\n"


def test_a_frozen_program_that_does_not_ask(frozen, method):
    """Without freeze_support() a child runs the program, but starts no others."""
    done, times = frozen("pass")
    if method == "fork":
        assert (done.returncode, done.stdout) == (0, "['-x']\n0\n[1, 2]\n")
    else:
        assert times in (2, 3)  # a template that has ended is started once more
        assert done.returncode != 0
        assert "call multiprocessing.freeze_support() first in its main module" in done.stderr
