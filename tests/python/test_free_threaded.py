"""Interpreters without a lock, and sub-interpreters."""

import sysconfig

import pytest

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
needs_free_threads = pytest.mark.skipif(
    not FREE_THREADED, reason="this interpreter has its lock always"
)

# All modules of the package that a program comes to have, and all types of the extension.
EVERYTHING = """
import sys
import mproc
from mproc import (aio, connection, dicts, engines, forkserver, futures, heap, joblib, listener,
                   lists, managers, pool, queues, reduction, sets, shared_memory, sharedctypes,
                   spawn, synchronize, util)
from mproc import _mproc
for add in [name for name in dir(_mproc) if name.startswith("_add_")]:
    getattr(_mproc, add)()
"""


@pytest.fixture
def undecided(program):
    """Programs whose interpreter keeps its lock off only while no extension wants it."""
    program.env.pop("PYTHON_GIL", None)
    return program


@needs_free_threads
def test_the_lock_stays_off(undecided):
    undecided.write("main.py", f"{EVERYTHING}\nprint(sys._is_gil_enabled())")
    assert undecided.output("-W", "error", "main.py").strip() == "False"


@needs_free_threads
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_the_lock_stays_off_in_children(undecided, method):
    undecided.write(
        "main.py",
        f"""
import sys
import mproc
def tell(queue):
    queue.put(sys._is_gil_enabled())
if __name__ == "__main__":
    ctx = mproc.get_context({method!r})
    queue = ctx.Queue()
    child = ctx.Process(target=tell, args=(queue,))
    child.start()
    with ctx.Pool(2) as pool:
        print(queue.get(), pool.apply(sys._is_gil_enabled))
    child.join()
""",
    )
    assert undecided.output("main.py").strip() == "False False"


@needs_free_threads
def test_the_lock_stays_off_under_the_standard_name(undecided):
    undecided.write(
        "main.py",
        """
import multiprocessing, multiprocessing.pool, multiprocessing.shared_memory
import concurrent.futures, sys
import multiprocessing.managers
if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool, concurrent.futures.ProcessPoolExecutor(2) as executor:
        print(pool.map(abs, [-1]), executor.submit(abs, -2).result())
    print(multiprocessing.Queue.__module__, sys._is_gil_enabled())
""",
    )
    assert undecided.output("-m", "mproc", "main.py").split("\n")[:2] == [
        "[1] 2",
        "mproc.context False",
    ]


# ---- sub-interpreters

IN_ANOTHER = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

BEGIN = f"import sys; sys.path[:] = {sys.path!r}; import mproc\\n"

def run(code):
    one = interpreters.create()
    try:
        failed = interpreters.run_string(one, BEGIN + code)
    except interpreters.RunFailedError as error:
        failed = error
    interpreters.destroy(one)
    return failed
"""


def in_another(program, code):
    """What a program says of the end of code in a sub-interpreter, after what the code prints."""
    program.write("main.py", f"{IN_ANOTHER}\nprint(run({code!r}))")
    return program.output("main.py").splitlines()


def test_objects_in_a_sub_interpreter(program):
    code = """
queue, lock, shared = mproc.Queue(), mproc.Lock(), mproc.Value("i", 3)
queue.put([1, {"two": (b"3", 4.0)}])
with lock, shared:
    print(queue.get(), shared.value, flush=True)
"""
    assert in_another(program, code) == ["[1, {'two': (b'3', 4.0)}] 3", "None"]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_process_of_a_sub_interpreter(program, method):
    code = f"""
ctx = mproc.get_context({method!r})
queue = ctx.SimpleQueue()
process = ctx.Process(target=queue.put, args=(7,))
process.start()
process.join()
print(queue.get(), process.exitcode, flush=True)
"""
    assert in_another(program, code) == ["7 0", "None"]


def test_a_sub_interpreter_does_not_fork(program):
    code = """
ctx = mproc.get_context("fork")
try:
    ctx.Process(target=print).start()
except RuntimeError as error:
    print(error, flush=True)
"""
    said = "a sub-interpreter cannot fork: choose the start method 'spawn' or 'forkserver'"
    assert in_another(program, code) == [said, "None"]
