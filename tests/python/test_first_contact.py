"""What a newcomer tries first: -v, --check, is_active(), pytest, and the tools beside a program."""

import signal
import sys

import pytest

import mproc

POOL = """
import multiprocessing as mp, multiprocessing.queues
def double(x): return 2 * x
def main():
    with mp.Pool(2) as pool: print(pool.map(double, [1, 2]), mp.__name__)
"""
GUARD = "\nif __name__ == '__main__': main()\n"


def test_is_active(program):
    assert not mproc.is_active()
    text = "import mproc; mproc.install(); print(mproc.is_active()); mproc.uninstall(); "
    assert program.output("-c", text + "print(mproc.is_active())") == "True\nFalse\n"
    assert program.output("-m", "mproc", "-c", "import mproc; print(mproc.is_active())") == "True\n"


@pytest.mark.parametrize("options", [[], ["-X", "utf8"], ["-bb"]])
def test_verbose_says_what_is_replaced(program, options):
    program.write("main.py", POOL + GUARD)
    done = program.run("-m", "mproc", "-v", *options, "main.py")
    assert (done.returncode, done.stdout) == (0, "[2, 4] mproc\n")
    first, last = done.stderr.splitlines()
    assert first.startswith(f"mproc {mproc.__version__}: takes the place of multiprocessing, ")
    assert last.startswith("mproc: the program has imported multiprocessing")
    assert last.endswith("imported multiprocessing, multiprocessing.queues")


def test_verbose_without_multiprocessing(program):
    done = program.run("-m", "mproc", "-v", "-c", "import sys; sys.exit(7)")
    assert (done.returncode, done.stdout) == (7, "")
    assert done.stderr.splitlines()[1] == "mproc: the program has imported nothing"
    done = program.run("-m", "mproc", "-v")
    assert done.returncode == 2 and "usage:" in done.stderr


# ---- --check

DIFFERS = """
import multiprocessing as mp
import multiprocessing.resource_tracker
from multiprocessing import process as p, Queue
from multiprocessing.heap import Arena
print(mp.Pool, mp.util._exit_function, p._children, multiprocessing.resource_tracker.unregister)
"""


def test_check_tells_what_differs(program):
    program.write("main.py", DIFFERS)
    done = program.run("-m", "mproc", "--check", "main.py")
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["main.py:3", "multiprocessing.resource_tracker"],
        ["main.py:5", "multiprocessing.heap.Arena"],
        ["main.py:6", "multiprocessing.process._children"],
        ["main.py:6", "multiprocessing.resource_tracker.unregister"],
        ["main.py:6", "multiprocessing.util._exit_function"],
    ]


def test_check_of_what_does_not_differ(program):
    program.write("main.py", POOL + GUARD)
    for env in (program.env, {**program.env, "MPROC_INSTALL": "1"}):
        told = program.output("-m", "mproc", "--check", "main.py", env=env)
        assert told == "main.py: nothing that differs was found\n"


def test_check_finds_names_that_are_not_there(program, monkeypatch):
    from mproc._alias import check

    assert check._difference("multiprocessing.no_such_name") is None
    monkeypatch.setattr("multiprocessing.only_there", 1, raising=False)
    assert check._difference("multiprocessing.only_there") == "mproc has nothing of that name"


def test_check_of_the_executor(program):
    names = "ProcessPoolExecutor, BrokenProcessPool, _process_worker"
    program.write("main.py", f"from concurrent.futures.process import {names}\n")
    told = program.run("-m", "mproc", "--check", "main.py").stdout
    assert [line.split(": ")[1] for line in told.splitlines()] == [
        "concurrent.futures.process._process_worker"
    ]
    for found in (
        "import concurrent.futures\nconcurrent.futures.process._process_worker\n",
        "import concurrent.futures as f\nf.process._process_worker\n",
        "from concurrent import futures\nfutures.process._process_worker\n",
        "from concurrent.futures import process\nprocess._process_worker\n",
    ):
        program.write("main.py", found)
        told = program.run("-m", "mproc", "--check", "main.py").stdout
        assert told.startswith("main.py:2: concurrent.futures.process._process_worker: ")
    program.write("main.py", "import concurrent.futures.process as p\np.BrokenProcessPool\n")
    told = program.output("-m", "mproc", "--check", "main.py")
    assert told == "main.py: nothing that differs was found\n"


def test_check_of_bad_files(program):
    program.write("bad.py", "def f(:\n")
    program.write("main.py", DIFFERS)
    for arguments in ([], ["bad.py"], ["none.py"], ["main.py", "none.py"], ["none.py", "main.py"]):
        done = program.run("-m", "mproc", "--check", *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith((*arguments, "usage")) or "none.py" in done.stderr
    done = program.run("-m", "mproc", "--check", "none.py")
    assert done.stderr == "none.py: No such file or directory\n"


# ---- pytest, pdb, and how it ends

TEST = """
import multiprocessing, sys
def double(x): return 2 * x
def test_it():
    assert multiprocessing.__name__ == "{name}"
    with multiprocessing.get_context("{method}").Pool(2) as pool:
        assert pool.map(double, [1, 2]) == [2, 4]
"""


def test_pytest_with_the_plugin(program, method):
    program.write("test_it.py", TEST.format(name="mproc", method=method))
    assert "1 passed" in program.output("-m", "pytest", "-p", "mproc", "test_it.py")


def test_pytest_without_the_plugin(program):
    text = "import mproc\n" + TEST.format(name="multiprocessing", method="fork")
    program.write("test_it.py", text)
    assert "1 passed" in program.output("-m", "pytest", "test_it.py")


def test_pdb(program):
    program.write("main.py", POOL + GUARD)
    commands = "b 5\nc\np 'at', mp.__name__\nc\nq\n"
    told = program.output("-m", "mproc", "-m", "pdb", "main.py", input=commands)
    assert "('at', 'mproc')" in told and "[2, 4] mproc" in told


MEASURED = """
import multiprocessing as mp
def in_a_process():
    print("of a process", mp.__name__, flush=True)
def in_a_worker(x):
    return -x
if __name__ == "__main__":
    mp.set_start_method(METHOD)
    child = mp.Process(target=in_a_process)
    child.start()
    child.join()
    pool = mp.Pool(1)
    print(pool.map(in_a_worker, [1]))
    pool.close()
    pool.join()
"""


# Lines that only children run are measured, too: no line of the program is missing.
def test_coverage(program, method):
    pytest.importorskip("coverage")
    program.write(".coveragerc", "[run]\nconcurrency = multiprocessing\nparallel = True\n")
    program.write("main.py", MEASURED.replace("METHOD", repr(method)))
    ran = program.output("-m", "mproc", "-m", "coverage", "run", "main.py")
    assert ran == "of a process mproc\n[-1]\n"
    program.output("-m", "coverage", "combine", "-q")
    told = program.output("-m", "coverage", "report", "--include=main.py", "-m")
    assert told.splitlines()[2].split()[1:] == ["14", "0", "100%"]


def test_a_signal_ends_it_as_it_ends_python(program):
    text = f"import os; os.kill(os.getpid(), {int(signal.SIGTERM)})"
    assert program.run("-m", "mproc", "-c", text).returncode == -signal.SIGTERM


def test_freeze_support(program):
    text = "import multiprocessing, sys; multiprocessing.freeze_support(); print(sys.argv)"
    assert program.output("-m", "mproc", "-c", text, "a") == "['-c', 'a']\n"
    assert sys.executable
