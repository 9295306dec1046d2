"""An interpreter of set_executable() that is a script, which runs the real one as its child."""

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys, time
import {library} as mp
from concurrent.futures import ProcessPoolExecutor

def greet(queue):
    queue.put("greeting")

def parent_lives(queue):
    queue.put((mp.parent_process().pid, mp.parent_process().is_alive(), os.getppid()))

def leave(code):
    sys.exit(code)

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def hold(lock, queue):
    lock.acquire()
    queue.put(os.getpid())
    time.sleep(1000)

def child_of_child(queue):
    process = mp.Process(target=greet, args=(queue,))
    process.start()
    process.join()
    queue.put(process.exitcode)

def ended(process):
    process.join(60)
    return process.exitcode

def run(target, *args):
    process = mp.Process(target=target, args=args)
    process.start()
    return process

if __name__ == "__main__":
    mp.set_start_method(sys.argv[1])
    mp.set_executable(sys.argv[2])
    queue = mp.Queue()
    print("exit code", ended(run(greet, queue)), queue.get(timeout=60))
    print("exit code", ended(run(leave, 7)), ended(run(die)))
    print("exit codes", ended(run(child_of_child, queue)), queue.get(timeout=60), queue.get())
    process = run(parent_lives, queue)
    parent, lives, ppid = queue.get(timeout=60)
    print("parent", parent == os.getpid(), lives, ended(process))
    with mp.Pool(2) as pool:
        print("pool", pool.map(abs, range(-4, 0)))
    with ProcessPoolExecutor(2) as executor:
        print("executor", list(executor.map(abs, range(-4, 0))))
    {more}
"""

KILLED = """
    lock = mp.Lock()
    process = mp.Process(target=hold, args=(lock, queue), daemon=True)
    process.start()
    worker = queue.get(timeout=60)
    process.kill()
    print("killed", ended(process), worker != process.pid)
    try:
        lock.acquire()
    except mp.OwnerDiedError:
        print("the worker follows its wrapper")
"""


@pytest.fixture
def wrapper(tmp_path):
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\n{sys.executable} "$@"\nexit $?\n')
    path.chmod(0o755)
    return str(path)


def lines_of(tmp_path, library, more, *args):
    path = tmp_path / f"{library}_program.py"
    path.write_text(PROGRAM.format(library=library, more=more.strip()))
    done = subprocess.run(
        [sys.executable, str(path), *args], capture_output=True, text=True, timeout=240, check=False
    )
    return done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_wrapper_that_does_not_exec(tmp_path, wrapper, method):
    out, err = lines_of(tmp_path, "mproc", KILLED, method, wrapper)
    assert out == [
        "exit code 0 greeting",
        # a shell's own word for a child that was killed
        f"exit code 7 {128 + signal.SIGKILL}",
        "exit codes 0 greeting 0",
        "parent True True 0",
        "pool [4, 3, 2, 1]",
        "executor [4, 3, 2, 1]",
        f"killed {-signal.SIGKILL} True",
        "the worker follows its wrapper",
    ], err
    assert "Traceback" not in err


DEAF = """#!{python}
import os, signal
os.closerange(3, os.sysconf("SC_OPEN_MAX"))
signal.pause()
"""

AFTER_A_DEAF_ONE = """
import multiprocessing as mp, sys
def main():
    context = mp.get_context("forkserver")
    context.set_executable(sys.argv[1])
    for _ in range(2):
        try:
            context.Process(target=print).start()
        except BrokenPipeError:
            print("broken", flush=True)
    context.set_executable(sys.executable)
    process = context.Process(target=print, args=("started",))
    process.start()
    process.join()
    print("exit code", process.exitcode)
if __name__ == "__main__":
    main()
"""


def test_what_is_no_template_is_not_asked_again(program, tmp_path):
    """It has closed its socket and runs on; the next executable is a right one."""
    deaf = tmp_path / "python"
    deaf.write_text(DEAF.format(python=sys.executable))
    deaf.chmod(0o755)
    done = program.run("-m", "mproc", program.write("main.py", AFTER_A_DEAF_ONE), deaf)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "broken\nbroken\nstarted\nexit code 0\n"
