"""_cpython: what is done where CPython's private names are missing."""

import os
import pickle
import runpy
import sys
import threading
import traceback

import pytest
from conftest import METHODS

import mproc
from mproc import _cpython, _current

fork = mproc.get_context("fork")

# What a version without the private names looks like, before mproc is imported.
WITHOUT = """
import atexit, contextlib, sys, _thread, threading, weakref, collections.abc, pickle, runpy
import os, signal
import traceback  # it imports one of these modules itself, from 3.15 on
for module in ("_weakref", "_weakrefset", "_collections_abc"):
    sys.modules[module] = None
for owner, name in ((atexit, "_clear"), (atexit, "_run_exitfuncs"), (_thread, "_local"),
                    (_thread, "_count"), (runpy, "_run_module_as_main"),
                    (sys, "_xoptions"), (os, "memfd_create"), (os, "pidfd_open"),
                    (signal, "pidfd_send_signal")):
    delattr(owner, name)
if sys.version_info < (3, 13):  # from 3.13.15 on, at the latest, the import system itself uses it
    del _thread.RLock
"""

PROGRAM = """
import absent
import mproc
from mproc import _cpython, util

def work(queue):
    queue.put(9)

def look(queue):
    from mproc import inspect
    inspect.answer_stacks()
    queue.put(mproc.parent_process().is_alive())

def end(queue):
    import threading
    threading.Thread(target=lambda: queue.put("thread")).start()

if __name__ == "__main__":
    assert _cpython.ThreadLocal is absent.threading.local
    assert _cpython.WeakSet is absent.weakref.WeakSet and _cpython.ref is absent.weakref.ref
    assert _cpython.MutableSet is absent.collections.abc.MutableSet
    assert _cpython.RLock is absent.threading.RLock
    assert not _cpython.CHILDREN_RUN_EXIT_FUNCTIONS
    assert "-X" not in util._args_from_interpreter_flags()
    for method in ("fork", "spawn", "forkserver"):
        ctx = mproc.get_context(method)
        queue = ctx.Queue()
        for target, wanted in ((work, 9), (look, True), (end, "thread")):
            process = ctx.Process(target=target, args=(queue,))
            process.start()
            process.join()
            assert process.exitcode == 0
            assert queue.get() == wanted
    with mproc.Pool(2) as pool:
        print(pool.map(abs, [-1, 2]))
    with mproc.Manager() as manager:
        print(manager.list([1, 2]), manager.dict(a=1))
"""


def test_a_program_without_the_names(program):
    program.write("absent.py", WITHOUT)
    program.write("main.py", PROGRAM)
    assert program.output("main.py") == "[1, 2]\n[1, 2] {'a': 1}\n"


def test_threads_are_counted(program):
    program.write("absent.py", "import _thread\ndel _thread._count\n")
    program.write(
        "main.py", "import absent\nfrom mproc import _cpython\nprint(_cpython.has_threads())"
    )
    assert program.output("main.py") == "True\n"  # nobody knows
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    assert _cpython.has_threads()
    end.set()
    thread.join()


def test_reduction_without_the_accelerator(program):
    program.write("absent.py", 'import sys\nsys.modules["_pickle"] = None\n')
    program.write(
        "main.py",
        """
import absent, pickle
from mproc.reduction import ForkingPickler
assert ForkingPickler.__bases__ == (pickle.Pickler,)
ForkingPickler.register(complex, lambda number: (complex, (number.imag, number.real)))
print(ForkingPickler.loads(ForkingPickler.dumps([1, 2j])))
""",
    )
    assert program.output("main.py") == "[1, (2+0j)]\n"


@pytest.mark.parametrize("what", ["module", "folder"])
def test_running_a_main_without_runpys_own(program, what):
    program.write("absent.py", WITHOUT)
    program.write("run.py", "import absent, sys\nfrom mproc._alias.runner import main\n"
                  "main(sys.argv[1:])\n")  # fmt: skip
    program.write("some/__init__.py", "")
    program.write("some/__main__.py", "import sys\nprint(__name__, sys.argv[1:])\n")
    option = ["-m", "some"] if what == "module" else ["some"]
    assert program.output("run.py", *option, "x") == "__main__ ['x']\n"


def test_pickle_has_a_counterpart(monkeypatch):
    assert _cpython.pickle() is sys.modules["_pickle"]
    monkeypatch.setitem(sys.modules, "_pickle", None)
    assert _cpython.pickle() is pickle


def test_interpreter_options(monkeypatch):
    assert _cpython.interpreter_options() == sys._xoptions
    monkeypatch.delattr(sys, "_xoptions")
    assert _cpython.interpreter_options() == {}


def test_exit_functions(monkeypatch):
    told = []
    monkeypatch.setattr(_cpython, "_forget_exit_functions", lambda: told.append("forget"))
    monkeypatch.setattr(_cpython, "_run_exit_functions", lambda: told.append("run"))
    _cpython.forget_exit_functions()
    _cpython.run_exit_functions()
    assert told == ["forget", "run"]
    monkeypatch.setattr(_cpython, "_forget_exit_functions", None)
    monkeypatch.setattr(_cpython, "_run_exit_functions", None)
    _cpython.forget_exit_functions()
    _cpython.run_exit_functions()
    assert told == ["forget", "run"]


def leave_a_thread(end, inner):
    """End the process' work while threads run: one of them starts another."""

    def second():
        end.send("second")

    def first():
        inner.wait()
        threading.Thread(target=second).start()

    threading.Thread(target=first).start()
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    inner.set()


@pytest.mark.parametrize("absent", [None, "_shutdown"])
def test_threads_are_waited_for(monkeypatch, absent):
    if absent is not None:
        monkeypatch.delattr(threading, absent)
    ours, theirs = fork.Pipe()
    process = fork.Process(target=leave_a_thread, args=(theirs, fork.Event()))
    process.start()
    process.join()
    monkeypatch.undo()
    assert process.exitcode == 0
    assert ours.poll(0) and ours.recv() == "second"
    ours.close()
    theirs.close()


def test_what_waits_for_the_threads_is_called_though_there_are_none(monkeypatch):
    told = []
    monkeypatch.setattr(threading, "_shutdown", lambda: told.append("shutdown"))
    monkeypatch.setattr(threading, "_threading_atexits", [])
    monkeypatch.setattr(_cpython, "_thread_count", lambda: 0)
    _cpython.end_threads(threading)
    assert told == []
    monkeypatch.setattr(threading, "_threading_atexits", [print])
    _cpython.end_threads(threading)
    assert told == ["shutdown"]
    monkeypatch.delattr(threading, "_threading_atexits")
    _cpython.end_threads(threading)
    assert told == ["shutdown", "shutdown"]


def tell_native_id(end):
    end.send((threading.main_thread().native_id, os.getpid()))


def test_native_id(monkeypatch):
    ours, theirs = fork.Pipe()

    def ask():
        process = fork.Process(target=tell_native_id, args=(theirs,))
        process.start()
        process.join()
        return ours.recv()

    number, pid = ask()
    assert number == pid
    monkeypatch.setattr(_current, "set_native_id", lambda threading, number: None)
    number, pid = ask()
    monkeypatch.undo()
    known = number == pid  # some versions correct it themselves

    names = {}
    _cpython.set_native_id(names, 5)
    _cpython.set_native_id({"_main_thread": None}, 5)
    assert names == {}
    assert known or number == threading.main_thread().native_id
    ours.close()
    theirs.close()


class PlainLock:
    """A lock without _at_fork_reinit."""


def test_locks_are_freed():
    lock = threading.Lock()
    lock.acquire()
    assert _cpython.free_lock(lock) is lock
    assert not lock.locked()
    new = _cpython.free_lock(PlainLock())
    assert not new.locked()


def test_a_fork_aware_lock_without_reinit(monkeypatch):
    from mproc import util

    lock = util.ForkAwareThreadLock()
    lock.acquire()
    monkeypatch.setattr(util, "_free_lock", lambda lock: _cpython.free_lock(PlainLock()))
    lock._at_fork()
    assert lock.acquire(False)
    with pytest.raises(RuntimeError):
        lock.release() or lock.release()


def test_running_as_main(monkeypatch):
    run = runpy._run_module_as_main
    assert _cpython.running_as_main("some") == (run, "some", True)
    assert _cpython.running_as_main(None, "/path") == (run, "__main__", False)
    monkeypatch.delattr(runpy, "_run_module_as_main")
    assert _cpython.running_as_main("some")[0] is runpy.run_module
    assert _cpython.running_as_main(None, "/path")[:2] == (runpy.run_path, "/path")


def test_the_raw_environment(monkeypatch):
    assert _cpython.raw_environment() == os.environb._data
    forkserver = mproc.forkserver.ForkServer()
    forkserver._environment = dict(os.environ)
    monkeypatch.setattr(os, "environ", {**os.environ, "MPROC_TEST_A": "1"})
    assert _cpython.raw_environment() is None
    assert forkserver.environment_changes() == {"MPROC_TEST_A": "1"}


# ---- what an error looks like


class Mute(Exception):
    def __str__(self):
        raise ValueError("no words")


def chain():
    """An error that came from another one while a third one was handled, with a note."""
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise Mute from error
    except Mute:
        try:
            raise OSError(2, "third")
        except OSError as error:
            error.add_note("a note")
            return error


def test_the_text_of_an_error_is_the_interpreters():
    error = chain()
    assert _cpython.text_of(error) == "".join(traceback.format_exception(error))


@pytest.mark.parametrize("told", [_cpython.text_of, _cpython.print_error])
def test_an_error_is_told_of_where_nothing_can_be_imported(told, monkeypatch, capsys):
    error, here = chain(), os.path.relpath(__file__)
    monkeypatch.setitem(sys.modules, "traceback", None)
    text = told(error) or capsys.readouterr().err
    lines = text.replace(__file__, here).splitlines()
    frames = [line for line in lines if line.startswith("  File")]
    assert len(frames) == 3 and all(line.endswith(", in chain") for line in frames)
    assert [line for line in lines if line not in frames] == [
        "Traceback (most recent call last):",
        "KeyError: 'first'",
        "",
        "and then:",
        "",
        "Traceback (most recent call last):",
        "Mute: its str() fails",
        "",
        "and then:",
        "",
        "Traceback (most recent call last):",
        "FileNotFoundError: [Errno 2] third",
        "a note",
    ]


def test_errors_that_come_from_each_other_are_told_of_once(monkeypatch):
    one, two = ValueError(), ValueError(2)
    one.__cause__, two.__cause__ = two, one
    monkeypatch.setitem(sys.modules, "traceback", None)
    assert _cpython.text_of(one) == "ValueError: 2\n\nand then:\n\nValueError\n"


CONFINED = """
import resource, sys
import mproc

def fail():
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    raise ValueError("told")

if __name__ == "__main__":
    process = mproc.get_context(sys.argv[1]).Process(target=fail)
    process.start()
    process.join()
    print(process.exitcode)
"""


CONFINED_SAYS = ["Traceback (most recent call last):", "ValueError: told"]


@pytest.mark.parametrize("method", METHODS)
def test_a_process_that_may_read_no_files_tells_of_its_error(program, method):
    told = program.run(program.write("confined.py", CONFINED), method)
    assert told.stdout == "1\n"
    lines = [line for line in told.stderr.splitlines() if not line.startswith("  ")]
    name = mproc.get_context(method).Process()._name
    assert lines == [f"Process {name.rpartition('-')[0]}-1:", *CONFINED_SAYS]
