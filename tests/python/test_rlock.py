"""RLock: its levels, its owner, and the death of the process that holds it."""

import os
import pickle
import signal
import threading
import time

import pytest

import mproc
from mproc import synchronize

LONG = 30  # seconds that no wait takes: after them something is wrong


def try_it(lock, connection):
    try:
        lock.release()
    except AssertionError as error:
        connection.send((lock.acquire(False), lock.acquire(True, 0.01), repr(lock), str(error)))


def take_twice_and_die(lock):
    lock.acquire()
    lock.acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def add(lock, path, times):
    for _ in range(times):
        with lock, lock:
            path.write_text(str(int(path.read_text()) + 1))


def in_thread(function, *args):
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*args)), name="Other")
    thread.start()
    thread.join()
    return results[0]


def cannot_release(lock):
    with pytest.raises(AssertionError):
        lock.release()
    return True


@pytest.fixture
def lock():
    return mproc.RLock()


def test_module():
    assert "RLock" in synchronize.__all__
    assert isinstance(mproc.RLock(), synchronize.RLock)


def test_is_held_as_often_as_it_was_taken(lock):
    for level in (1, 2, 3):
        assert lock.acquire() is True
        assert lock._count() == level
    for level in (2, 1, 0):
        assert lock.locked() is True
        assert lock.release() is None
        assert lock._count() == level
    assert lock.locked() is False


def test_with(lock):
    with lock as taken, lock:
        assert taken is True
        assert lock._count() == 2
    assert not lock.locked()


def test_released_by_who_does_not_hold_it(lock):
    words = "^attempt to release recursive lock not owned by thread$"
    with pytest.raises(AssertionError, match=words):
        lock.release()
    with lock:
        assert in_thread(cannot_release, lock)
        assert lock._is_mine()


def test_other_threads_wait(lock):
    with lock:
        assert in_thread(lock.acquire, False) is False
        start = time.monotonic()
        assert in_thread(lock.acquire, True, 0.02) is False
        assert time.monotonic() - start >= 0.02
        assert in_thread(lock._is_mine) is False


def test_repr(lock):
    assert repr(lock) == "<RLock(None, 0)>"
    with lock, lock:
        assert repr(lock) == "<RLock(MainProcess, 2)>"
        assert in_thread(repr, lock) == "<RLock(SomeOtherThread, nonzero)>"

    def with_it():
        with lock:
            return repr(lock)

    assert in_thread(with_it) == "<RLock(MainProcess|Other, 1)>"


def test_is_not_pickled_for_nobody(lock):
    with pytest.raises(RuntimeError, match=r"^RLock objects should only be shared between"):
        pickle.dumps(lock)


def test_is_not_a_childs(ctx):
    lock = ctx.RLock()
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer, lock:
        process = ctx.Process(target=try_it, args=(lock, writer))
        process.start()
        told = reader.recv()
        process.join()
    assert told[:3] == (False, False, "<RLock(SomeOtherProcess, nonzero)>")
    assert told[3] == "attempt to release recursive lock not owned by thread"


def test_processes_exclude_each_other(ctx, tmp_path):
    lock, path = ctx.RLock(), tmp_path / "number"
    path.write_text("0")
    processes = [ctx.Process(target=add, args=(lock, path, 100)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LONG)
        assert process.exitcode == 0
    assert path.read_text() == "300"


def test_the_holder_dies(ctx):
    lock = ctx.RLock()
    process = ctx.Process(target=take_twice_and_die, args=(lock,))
    process.start()
    process.join()
    with pytest.raises(mproc.OwnerDiedError) as caught, lock:
        pytest.fail("the holder is dead")
    error = caught.value
    assert (error.pid, error.name, error.exitcode) == (process.pid, process.name, -signal.SIGKILL)
    who = f"process {process.pid} ({process.name}, exit code -SIGKILL)"
    assert str(error) == f"{who} died while it held the lock (thread {error.tid})"
    with lock:
        assert repr(lock) == "<RLock(MainProcess, 1)>"
    assert not lock.locked()


def take_and_leave(lock):
    lock.acquire()


def end_a_thread_with(lock):
    thread = threading.Thread(target=take_and_leave, args=(lock,))
    thread.start()
    thread.join()


def test_a_thread_that_ends_with_it_is_a_death(ctx):
    """Nobody else can release it: one who waits is told, and nobody waits for ever."""
    lock = ctx.RLock()
    end_a_thread_with(lock)
    with pytest.raises(mproc.OwnerDiedError, match="of this process ended") as caught:
        lock.acquire(timeout=LONG)
    assert caught.value.pid == os.getpid()
    assert lock.acquire(timeout=LONG)
    lock.release()


def test_a_lock_may_be_left_to_another_thread(ctx):
    """A Lock is released by any thread: whose thread has ended still holds it."""
    lock = ctx.Lock()
    end_a_thread_with(lock)
    assert not lock.acquire(timeout=0.1)
    lock.release()
    assert lock.acquire(timeout=LONG)
    lock.release()
