"""SemLock: a named semaphore of the system; the attribute `_semlock` of other locks."""

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import alarmed

import mproc
from mproc import _mproc, synchronize
from mproc._alias import _multiprocessing
from mproc.semlock import SemLock
from mproc.synchronize import RECURSIVE_MUTEX, SEM_VALUE_MAX, SEMAPHORE

LONG = 30  # seconds that no wait takes: after them something is wrong


def file_of(name):
    return f"/dev/shm/sem.{name.lstrip('/')}"


@pytest.fixture
def name():
    name = f"/mproc_test_{os.getpid()}"
    yield name
    assert not os.path.exists(file_of(name))


@pytest.fixture
def make(name):
    """Makes a semaphore without a name."""
    return lambda kind, value, maxvalue: _mproc.SemLock(kind, value, maxvalue, name, True)


# ---- _multiprocessing.SemLock


def test_a_semaphore(make):
    semaphore = make(SEMAPHORE, 1, 2)
    assert semaphore.acquire() is True
    assert semaphore.acquire(False) is False
    assert semaphore.acquire(block=True, timeout=0.001) is False
    assert semaphore.acquire(True, -1) is False
    assert (semaphore._get_value(), semaphore._is_zero()) == (0, True)
    assert (semaphore._count(), semaphore._is_mine()) == (1, True)
    for value in (1, 2):
        assert semaphore.release() is None
        assert (semaphore._get_value(), semaphore._is_zero()) == (value, False)
    with pytest.raises(ValueError, match="released too many times"):
        semaphore.release()
    assert (semaphore._count(), semaphore._is_mine()) == (-1, False)


def test_a_recursive_mutex(make):
    mutex = make(RECURSIVE_MUTEX, 1, 1)
    with pytest.raises(AssertionError, match="not owned by thread"):
        mutex.release()
    with mutex as taken, mutex:
        assert taken is True
        assert (mutex._count(), mutex._get_value()) == (2, 0)
        seen = []
        thread = threading.Thread(
            target=lambda: seen.extend([mutex._is_mine(), mutex.acquire(False)])
        )
        thread.start()
        thread.join()
        assert seen == [False, False]
    assert (mutex._count(), mutex._get_value()) == (0, 1)


def test_attributes(make, name):
    named = _mproc.SemLock(SEMAPHORE, 3, 7, name, False)
    try:
        assert os.path.exists(file_of(name))
        assert (named.kind, named.maxvalue, named.name) == (SEMAPHORE, 7, name)
        assert named.handle > 0
    finally:
        _mproc.sem_unlink(name)
    assert make(SEMAPHORE, 0, 1).name is None
    assert _mproc.SemLock.SEM_VALUE_MAX == SEM_VALUE_MAX
    with pytest.raises(AttributeError):
        named.name = "x"


def test_the_same_by_its_name(name):
    one = _mproc.SemLock(SEMAPHORE, 0, 1, name, False)
    other = _mproc.SemLock._rebuild(one.handle, one.kind, one.maxvalue, one.name)
    _mproc.sem_unlink(name)
    other.release()
    assert one.acquire(timeout=LONG)
    assert other._is_zero()


def test_derived(name):
    class Derived(_mproc.SemLock):
        pass

    derived = Derived(SEMAPHORE, 0, 10, name, False)
    other = Derived._rebuild(derived.handle, SEMAPHORE, 10, name)
    _mproc.sem_unlink(name)
    assert type(other) is Derived


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((2, 1, 1, "/x", True), ValueError, "unrecognized kind 2"),
        ((1, 2, 1, "/x", True), ValueError, r"0 to maxvalue \(1\), not 2"),
        ((1, -1, 1, "/x", True), ValueError, "not -1"),
        ((1, 0, -1, "/x", True), ValueError, "not negative: -1"),
        ((1, 0, 1, "/a/b", True), OSError, "/a/b"),
        ((1, 0, 1, "", True), OSError, "Invalid argument"),
        ((1, 0, 1, "a\0b", True), ValueError, "null"),
        ((1, 0, 1, 5, True), TypeError, "str"),
        ((1, 0), TypeError, "maxvalue"),
    ],
)
def test_impossible(arguments, error, message):
    with pytest.raises(error, match=message):
        _mproc.SemLock(*arguments)


def test_names_that_are_taken_or_not_there(name):
    _mproc.SemLock(SEMAPHORE, 0, 1, name, False)
    with pytest.raises(FileExistsError, match=name):
        _mproc.SemLock(SEMAPHORE, 0, 1, name, False)
    _mproc.sem_unlink(name)
    with pytest.raises(FileNotFoundError, match=name):
        _mproc.sem_unlink(name)
    with pytest.raises(OSError, match="too long"):
        _mproc.sem_unlink("x" * 300)
    with pytest.raises(FileNotFoundError, match=name):
        _mproc.SemLock._rebuild(0, SEMAPHORE, 1, name)
    with pytest.raises(ValueError, match="without a name"):
        _mproc.SemLock._rebuild(0, SEMAPHORE, 1, None)
    with pytest.raises(TypeError, match="not 7"):
        _mproc.SemLock._rebuild(0, SEMAPHORE, 1, 7)
    with pytest.raises(ValueError, match="unrecognized kind"):
        _mproc.SemLock._rebuild(0, 9, 1, name)


def test_absurd_timeout(make):
    with pytest.raises(OverflowError):
        make(SEMAPHORE, 0, 1).acquire(True, 1e100)


def test_waits_for_another_thread(make):
    semaphore = make(SEMAPHORE, 0, 1)
    timer = threading.Timer(0.1, semaphore.release)  # several slices later
    timer.start()
    assert semaphore.acquire(timeout=LONG)
    timer.join()


class Interrupted(Exception):
    pass


def test_a_handler_that_raises_ends_the_wait(make):
    def handler(number, frame):
        raise Interrupted

    semaphore = make(SEMAPHORE, 0, 1)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises(Interrupted):
            alarmed(0.05, semaphore.acquire, True, LONG)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert semaphore._count() == 0


def test_a_handler_that_returns_does_not(make):
    semaphore = make(SEMAPHORE, 0, 1)
    before = signal.signal(signal.SIGALRM, lambda number, frame: semaphore.release())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert semaphore.acquire(timeout=LONG)
    finally:
        signal.signal(signal.SIGALRM, before)


STRANGER = """
import multiprocessing.process, _multiprocessing, sys
assert not any(name.startswith("mproc") for name in sys.modules)
_multiprocessing.SemLock._rebuild(0, 1, 5, sys.argv[1]).release()
"""


def test_is_that_of_the_standard_library(name):
    """Either end may be a process that runs on the standard library."""
    semaphore = _mproc.SemLock(SEMAPHORE, 0, 5, name, False)
    try:
        subprocess.run([sys.executable, "-c", STRANGER, name], check=True, timeout=LONG)
        assert semaphore.acquire(False)
    finally:
        _mproc.sem_unlink(name)


def test_module():
    assert _multiprocessing.SemLock is _mproc.SemLock
    assert _multiprocessing.sem_unlink is _mproc.sem_unlink
    assert _multiprocessing.flags["HAVE_SEM_OPEN"]


ASKING = "import _multiprocessing\nprint(_multiprocessing.SemLock.__module__)\n"


@pytest.mark.parametrize("way", [["-m", "mproc", "main.py"], ["installing.py"]])
def test_programs_get_it_as_the_extension(program, way):
    program.write("main.py", ASKING)
    program.write("installing.py", f"import _multiprocessing, mproc\nmproc.install()\n{ASKING}")
    assert program.output(*way) == "mproc._mproc\n"


# ---- synchronize.SemLock


def take_and_give(lock, connection):
    connection.send(lock.acquire(timeout=LONG))
    lock.release()
    lock.release()
    connection.send((lock._semlock._count(), lock._is_fork_ctx))


def test_between_processes(ctx):
    lock = synchronize.SemLock(SEMAPHORE, 0, 5, ctx=ctx)
    here, there = ctx.Pipe()
    process = ctx.Process(target=take_and_give, args=(lock, there))
    process.start()
    there.close()
    lock.release()
    assert here.recv() is True
    assert here.recv() == (-1, ctx.get_start_method() == "fork")
    process.join()
    assert process.exitcode == 0
    assert lock._semlock._get_value() == 2
    assert not lock.locked()
    here.close()


def test_with():
    lock = SemLock(SEMAPHORE, 1, 1, ctx=mproc.get_context("fork"))
    with lock as taken:
        assert taken is True
        assert lock.locked()
    assert not lock.locked()


@pytest.mark.parametrize("start_method", ["spawn", "forkserver"])
def test_name_goes_with_its_object(start_method):
    lock = SemLock(SEMAPHORE, 1, 1, ctx=mproc.get_context(start_method))
    file = file_of(lock._semlock.name)
    assert os.path.exists(file)
    del lock
    gc.collect()
    assert not os.path.exists(file)


def test_no_name_in_the_fork_context():
    assert SemLock(SEMAPHORE, 1, 1, ctx=mproc.get_context("fork"))._semlock.name is None


def test_name_may_be_gone_already():
    lock = SemLock(SEMAPHORE, 1, 1, ctx=mproc.get_context("spawn"))
    _mproc.sem_unlink(lock._semlock.name)
    del lock
    SemLock._cleanup("/mproc_test_nobody")


def test_names_can_be_chosen(monkeypatch, name):
    monkeypatch.setattr(SemLock, "_make_name", staticmethod(lambda: name))
    lock = SemLock(SEMAPHORE, 1, 1, ctx=mproc.get_context("spawn"))
    assert lock._semlock.name == name
    with pytest.raises(FileExistsError, match=name):
        SemLock(SEMAPHORE, 1, 1, ctx=mproc.get_context("spawn"))
    del lock
    gc.collect()


KILLED = """
import mproc, os, signal
from mproc.synchronize import SemLock
lock = SemLock(1, 1, 1, ctx=mproc.get_context("spawn"))
print(lock._semlock.name, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_name_goes_with_a_killed_family(program):
    done = program.run("-c", KILLED)
    assert done.returncode == -signal.SIGKILL
    file = file_of(done.stdout.strip())
    deadline = time.monotonic() + LONG
    while os.path.exists(file) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not os.path.exists(file)


def test_pickled_only_for_a_child():
    lock = SemLock(SEMAPHORE, 1, 1, ctx=mproc.get_context("spawn"))
    with pytest.raises(RuntimeError, match="through inheritance"):
        pickle.dumps(lock)


def test_fork_contexts_are_not_for_spawned_children():
    lock = SemLock(SEMAPHORE, 1, 1, ctx=mproc.get_context("fork"))
    process = mproc.get_context("spawn").Process(target=id, args=(lock,))
    with pytest.raises(RuntimeError, match="fork context"):
        process.start()


# ---- `_semlock` of what lives in the arena


@pytest.mark.parametrize(
    ("make", "kind", "maxvalue"),
    [
        (mproc.Lock, SEMAPHORE, 1),
        (mproc.RLock, RECURSIVE_MUTEX, 1),
        (mproc.Semaphore, SEMAPHORE, SEM_VALUE_MAX),
        (mproc.BoundedSemaphore, SEMAPHORE, 1),
    ],
)
def test_semlock_of_a_lock(make, kind, maxvalue):
    lock = make()
    assert isinstance(lock, SemLock)
    semlock = lock._semlock
    assert (semlock.kind, semlock.maxvalue, semlock.name) == (kind, maxvalue, None)
    assert semlock.handle == lock.address
    assert (semlock._get_value(), semlock._is_zero()) == (1, False)
    assert semlock.acquire(True, LONG) is True
    assert lock.locked()
    assert (semlock._get_value(), semlock._is_zero()) == (0, True)
    semlock.release()
    with semlock as taken:
        assert taken is True
        assert lock.locked()
    assert not lock.locked()


def test_semlock_of_a_lock_knows_the_holder():
    lock = mproc.RLock()
    with lock, lock:
        assert (lock._semlock._count(), lock._semlock._is_mine()) == (2, True)
    assert (lock._semlock._count(), lock._semlock._is_mine()) == (0, False)
    assert not hasattr(mproc.Semaphore()._semlock, "_count")


def test_others_are_none():
    assert not isinstance(mproc.Event(), SemLock)
    assert not hasattr(mproc.Condition(), "_semlock")
