"""What a program finds around it: closed standard streams, limits of the system, settings."""

import itertools
import subprocess
import sys

import pytest

# Tells by a file what happened, since there may be nothing to print to.
PROGRAM = """
import os, sys
import mproc as mp


def double(queue, x):
    queue.put(x * 2)


def say_in_vain(fd):
    try:
        os.write(fd, b"a warning that nobody reads" * 200)
    except OSError:
        return
    raise AssertionError(f"something of mproc is descriptor {fd}")


if __name__ == "__main__":
    _, method, out, *closed = sys.argv
    mp.set_start_method(method)
    queue = mp.Queue()
    queue.put(1)
    first, second = mp.Pipe()
    children = [mp.Process(target=double, args=(queue, i)) for i in range(2)]
    for child in children:
        child.start()
    for fd in closed:
        say_in_vain(int(fd))
    for child in children:
        child.join()
    got = [queue.get(timeout=10) for _ in range(3)]
    first.send(got)
    assert sorted(second.recv()) == [0, 1, 2], got
    assert [child.exitcode for child in children] == [0, 0]
    with mp.Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]
    with open(out, "w") as file:
        file.write("done")
"""


def closings():
    return [c for n in (1, 2, 3) for c in itertools.combinations("012", n)]


@pytest.mark.parametrize("closed", closings(), ids="".join)
def test_closed_standard_streams(program, method, closed):
    path, out = program.write("main.py", PROGRAM), program.folder / "out"
    shell = "exec " + '"$@" ' + " ".join(f"{fd}<&-" for fd in closed)
    command = ["/bin/sh", "-c", shell, "sh", sys.executable, path, method, out, *closed]
    done = subprocess.run(command, env=program.env, stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert out.read_text() == "done"
