"""A user who may have no more processes (RLIMIT_NPROC): start() says so, and works again later."""

import os
import shutil
import subprocess
import sys

import pytest
from conftest import METHODS

PROGRAM = """
import gc, os, resource, sys, time
import mproc


def stay():
    time.sleep(1000)


def leave():
    sys.exit(7)


def run(target):
    child = mproc.Process(target=target)
    child.start()
    child.join()
    code = child.exitcode
    child.close()
    return code


def descriptors():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def fill():
    children = []
    for _ in range(20):
        child = mproc.Process(target=stay, daemon=True)
        try:
            child.start()
        except OSError as error:
            return children, type(error).__name__
        children.append(child)
    return children, "no error"


def empty(children):
    while children:
        child = children.pop()
        child.kill()
        child.join()
        child.close()


if __name__ == "__main__":
    mproc.set_start_method(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_NPROC, (8, 8))  # before there is a template, which keeps it
    run(leave)  # what is made once is there from now on
    before = descriptors()
    for _ in range(2):
        children, error = fill()
        print(error, len(children) > 2, all(child.is_alive() for child in children))
        empty(children)
    print(descriptors() - before, len(mproc.active_children()), run(leave))
"""

MAY = "+dac_override,+dac_read_search"  # the interpreter may be in root's own folder


@pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv(1)"
)
@pytest.mark.parametrize("method", METHODS)
def test_no_more_processes(tmp_path, method):
    path = tmp_path / "limit.py"
    path.write_text(PROGRAM)
    # A user that has no processes, not even those of the run before, which may be ending still.
    user = 60_321 + 3 * (os.getpid() % 1_000) + METHODS.index(method)
    limited = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    limited += [f"--{which}=-all,{MAY}" for which in ("inh-caps", "bounding-set")]
    command = [*limited, f"--ambient-caps={MAY}", sys.executable, str(path), method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    full = "BlockingIOError True True"
    assert done.stdout.splitlines() == [full, full, "0 0 7"], done.stderr
    assert done.stderr == ""
