"""Program: programs in C as members of the family, and Python as a member of a C program's."""

import ctypes
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
from conftest import wait_until

import mproc

np = pytest.importorskip("numpy", reason="numpy is not installed")

WORKER = str(Path(__file__).resolve().parents[2] / "build/test/tests/python/program")


@pytest.fixture
def echo():
    """Return a function that sends an object through a program in C, which reads and writes it."""
    there, back = mproc.Queue(), mproc.SimpleQueue()
    child = mproc.Program([WORKER, "echo"], args=(there, back))
    child.start()

    def send(obj):
        there.put(obj)
        while not back._poll(1):
            assert child.is_alive()
        return back.get()

    yield send
    assert send(None) is None
    child.join()
    assert child.exitcode == 0
    child.close()


# ---- values


def test_values_go_to_c_and_back(echo):
    for value in (
        *([None], True, 0, -(2**63), 2**64 - 1, 1.5, "", "fünf 🙂", "x" * 100_000),
        *(b"\0\xff", bytes(200_000), [], [1, [2, [3, (4, {})]]], ()),
        {"a": 1, 2: b"c", (3, 4): [None]},
        list(range(1000)),
    ):
        got = echo(value)
        assert got == value
        assert type(got) is type(value)


def test_arrays_go_to_c_and_back(echo):
    shared = mproc.empty((50, 50))
    shared[:] = 5
    for array in (
        np.arange(12.0).reshape(3, 4),
        np.asfortranarray(np.arange(12, dtype="i2").reshape(3, 4)),
        np.array(1j),
        np.zeros((0, 3)),
        np.arange(100_000),
        np.arange(10)[::3],
    ):
        got = echo({"array": array, "rest": [1]})
        assert got["rest"] == [1]
        assert (got["array"].dtype, got["array"].shape) == (array.dtype, array.shape)
        assert (got["array"] == array).all()
        assert got["array"].flags.fnc == array.flags.fnc
    got = echo(shared[10:])
    got[0, 0] = 6
    assert shared[10, 0] == 6


def test_c_names_what_it_cannot_read(echo):
    assert echo({1, 2}) == "byte 0: Python has pickled this object: it is no plain value"
    assert echo(pickle.PickleBuffer(bytes(100_000))).startswith("byte 0: Python has pickled")
    assert echo(2**70).startswith("byte 0: Python has pickled")


# ---- objects


def test_objects_are_found_by_their_kinds():
    queue, lock, rlock = mproc.Queue(), mproc.Lock(), mproc.RLock()
    semaphore, bounded = mproc.Semaphore(0), mproc.BoundedSemaphore(2)
    array, value, raw = mproc.Array("i", 3), mproc.Value("i", 5), mproc.RawArray("i", [7, 8])
    buffer, event = mproc.Buffer(10), mproc.Event()
    condition, barrier = mproc.Condition(), mproc.Barrier(2)
    grid, counts, numbers = np.arange(3), mproc.Dict(C=4), mproc.List([1, 2])
    names = mproc.Set("P")
    child = mproc.Program(
        [WORKER, "objects"],
        args=(
            *(queue, lock, rlock, semaphore, bounded, array, value, raw, buffer),
            *(counts, numbers, names, event, condition, barrier),
            [7, "text", grid],
        ),
    )
    with condition:
        child.start()
        assert event.wait()
        barrier.wait()
        condition.wait()
    rest = queue.get()
    child.join()
    assert child.exitcode == 0
    assert child.joined
    assert semaphore.acquire(timeout=0)
    assert bounded.get_value() == 2  # it came back with the program's end
    assert (list(array), value.value, list(raw)) == ([1, 1, 1], 6, [8, 9])
    assert bytes(buffer) == b"C" * 10
    assert (counts, numbers, names) == ({"C": 5}, [1, 2, 3], {"P", "C"})
    assert rest[:2] == [7, "text"]
    assert (rest[2] == grid).all()


def test_a_wrong_kind_is_named_in_c(capfd):
    child = mproc.Program([WORKER, "echo"], args=(mproc.Queue(), mproc.Lock()))
    child.start()
    child.join()
    assert child.exitcode == 3
    assert "argument 2: a queue is wanted, and a lock stands there" in capfd.readouterr().err


def test_too_few_arguments_are_named_in_c(capfd):
    child = mproc.Program([WORKER, "echo"], args=(mproc.Queue(),))
    child.start()
    child.join()
    assert child.exitcode == 3
    assert "no value is left" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arg", "error", "text"),
    [
        (lambda: object(), TypeError, r"args\[1\]: .* this object is neither"),
        (lambda: [mproc.Lock()], TypeError, r"args\[1\]: .* this list is neither"),
        (lambda: mproc.Pipe()[0], TypeError, r"args\[1\]: .* neither"),
        (lambda: mproc.Array("i", 3, lock=mproc.Lock()), TypeError, r"args\[1\]: .*RLock"),
        (lambda: mproc.Barrier(2, print), TypeError, r"args\[1\]: the action"),
        (lambda: (ctypes.c_int * 3)(), TypeError, r"args\[1\]: .* neither"),
        (
            lambda: mproc.sharedctypes.synchronized(ctypes.c_int()),
            TypeError,
            "not in shared memory",
        ),
        (lambda: 2**70, TypeError, r"args\[1\]"),
    ],
)
def test_arguments_that_cannot_be_given(arg, error, text):
    child = mproc.Program([WORKER, "echo"], args=(mproc.Queue(), arg()))
    with pytest.raises(error, match=text):
        child.start()
    assert child.exitcode is None
    assert child not in mproc.active_children()


def test_a_closed_queue_cannot_be_given():
    queue = mproc.Queue()
    queue.close()
    with pytest.raises(ValueError, match=r"args\[0\]: .* is closed"):
        mproc.Program([WORKER, "echo"], args=(queue,)).start()


# ---- Process's interface


def test_it_is_a_process():
    child = mproc.Program([WORKER, "stay"], name="camera", daemon=True)
    assert (child.name, child.daemon, child.pid, child.exitcode) == ("camera", True, None, None)
    assert not child.joined
    with pytest.raises(TypeError, match="start"):
        child.run()
    child.start()
    assert child.is_alive()
    assert child in mproc.active_children()
    assert child.pid
    assert "camera" in repr(child)
    child.join(0)
    assert child.is_alive()
    with pytest.raises(ValueError, match="still running"):
        child.close()
    child.terminate()
    child.join()
    assert child.exitcode == -signal.SIGTERM
    assert mproc.connection.wait([child.sentinel], 0)
    child.close()
    killed = mproc.get_context("spawn").Program([WORKER, "stay"])
    killed.start()
    killed.kill()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL


def test_it_is_found_on_path(monkeypatch):
    monkeypatch.setenv("PATH", f"/nowhere:{os.path.dirname(WORKER)}")
    child = mproc.Program("program")
    child.start()
    child.join()
    assert child.exitcode == 0
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        mproc.Program("no-such-program").start()


def test_its_environment():
    child = mproc.Program(
        ["/bin/sh", "-c", 'test "$A" = b && test -z "$HOME" && exec "$0"', WORKER], env={"A": "b"}
    )
    child.start()
    child.join()
    assert (child.exitcode, child.joined) == (0, True)


def test_a_program_ends_with_its_parent():
    source = f"""
import mproc, os, signal
for child in (
    mproc.Program([{WORKER!r}, "stay"], daemon=True),
    mproc.Program(["/bin/sleep", "1000"], daemon=True),
):
    child.start()
    print(child.pid)
print(flush=True)
input()
os.kill(os.getpid(), signal.SIGKILL)
"""
    with subprocess.Popen(
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        pids = [int(parent.stdout.readline()) for _ in range(2)]
        parent.communicate("\n")
    for pid in pids:
        assert wait_until(lambda pid=pid: not os.path.exists(f"/proc/{pid}"))


# ---- bad programs


def test_a_program_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="/nowhere/worker"):
        mproc.Program("/nowhere/worker", args=(mproc.Queue(),)).start()
    text = tmp_path / "text"
    text.write_text("no program")
    with pytest.raises(PermissionError, match="text"):
        mproc.Program([text]).start()
    text.chmod(0o755)
    with pytest.raises(OSError, match="Exec format error"):
        mproc.Program([text]).start()
    with pytest.raises(ValueError, match="argv is empty"):
        mproc.Program([])


def test_a_program_that_never_joins():
    child = mproc.Program("true", args=(mproc.Queue(), 1))
    child.start()
    with pytest.warns(RuntimeWarning, match="'true' has ended with exit code 0 and never joined"):
        child.join()
    assert (child.exitcode, child.joined) == (0, False)
    nothing_to_read = mproc.Program("true")
    nothing_to_read.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nothing_to_read.join()


def test_a_program_that_dies_before_it_joins():
    child = mproc.Program([WORKER, "early"], args=(mproc.Queue(),))
    child.start()
    child.join()
    assert (child.exitcode, child.joined) == (-signal.SIGABRT, False)


def test_a_program_whose_words_are_garbled_on_the_way(capfd):
    change = 'MPROC_FAMILY=$(echo "$MPROC_FAMILY" | sed "s/[0-9][0-9]*/99/") exec "$0" echo'
    child = mproc.Program(["/bin/sh", "-c", change, WORKER], args=(mproc.Queue(),))
    child.start()
    with pytest.warns(RuntimeWarning, match="libmproc"):
        child.join()
    assert child.exitcode == 3
    assert "mproc_init: " in capfd.readouterr().err


def test_a_program_whose_descriptors_are_closed(capfd):
    closing = 'for fd in /proc/$$/fd/*; do n=${fd##*/}; test $n -gt 2 && eval "exec $n>&-"; done; '
    child = mproc.Program(["/bin/bash", "-c", closing + 'exec "$0" echo', WORKER], args=(1,))
    child.start()
    with pytest.warns(RuntimeWarning, match="never joined"):
        child.join()
    assert child.exitcode == 127
    assert "the arena's descriptor was closed" in capfd.readouterr().err


def test_a_program_that_is_killed_gives_its_holds_back():
    queue, lock = mproc.Queue(), mproc.Lock()
    children = [mproc.Program([WORKER, "echo"], args=(queue, queue)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
    queue.put(1)
    assert queue.get() == 1
    with lock:
        pass


def test_programs_start_in_threads():
    def run():
        child = mproc.Program([WORKER], args=(queue, 1))
        child.start()
        child.join()
        codes.append(child.exitcode)

    queue, codes = mproc.Queue(), []
    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0] * 4


# ---- Python as the member of a C program


SCRIPT = """
import mproc
queue, lock, rlock, semaphore, bounded, event, condition, barrier, array, raw, buffer, *rest = (
    mproc.child_args()
)
with lock, rlock:
    pass
semaphore.release()
bounded.acquire()
event.set()
with condition:
    condition.notify_all()
barrier.wait()
with array.get_lock():
    array[2] += 40
raw[2] += 2
memoryview(buffer)[:] = b"P" * len(buffer)
assert rest[0] == "from C" and rest[1].tolist() == [1, 2], rest
assert mproc.child_args()[0] is queue
queue.put("from Python")
"""


def run_c(script, tmp_path):
    path = tmp_path / "script.py"
    path.write_text(script)
    return subprocess.run(
        [WORKER, "start", sys.executable, path], capture_output=True, text=True, check=False
    )


def test_c_starts_python(tmp_path):
    result = run_c(SCRIPT, tmp_path)
    assert (result.returncode, result.stderr) == (0, "0: 0 blocks\n")
    assert result.stdout == "from Python 42 1 1 2 P\n"


def test_containers_reach_a_script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(
        "import mproc\ncounts, numbers, names = mproc.child_args()\ncounts.add('P')\n"
        "numbers += [*names]\n"
    )
    counts, numbers, names = mproc.Dict(P=4), mproc.List([1]), mproc.Set("P")
    child = mproc.Program([sys.executable, "-m", "mproc", path], args=(counts, numbers, names))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert (counts, numbers) == ({"P": 5}, [1, "P"])


def test_c_starts_python_that_fails(tmp_path):
    result = run_c("import mproc\nmproc.child_args()\nraise SystemExit(5)", tmp_path)
    assert (result.returncode, result.stderr) == (5, "5: 0 blocks\n")


def test_c_starts_python_that_never_joins(tmp_path):
    result = run_c("raise SystemExit(6)", tmp_path)
    assert (result.returncode, result.stderr) == (6, "6: 0 blocks\n")


def test_child_args_without_a_starter():
    result = subprocess.run(
        [sys.executable, "-c", "import mproc; mproc.child_args()"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "RuntimeError: no process of mproc has started this program" in result.stderr
