"""Semaphore, and what BoundedSemaphore has in common with it.

Between threads, between processes, and when one of them dies.
"""

import os
import pickle
import signal
import threading
import time

import pytest
from conftest import alarmed

import mproc
from mproc import synchronize

LONG = 30  # seconds that no wait takes: after them something is wrong


def take(semaphore, times):
    for _ in range(times):
        assert semaphore.acquire(timeout=LONG)


def give(semaphore, times):
    for _ in range(times):
        semaphore.release()


def take_and_die(semaphore):
    semaphore.acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def wait_and_tell(semaphore, connection):
    connection.send(os.getpid())
    connection.send(semaphore.acquire(timeout=LONG))


@pytest.fixture(params=["Semaphore", "BoundedSemaphore"])
def name(request):
    """The class of each kind in turn."""
    return request.param


@pytest.fixture
def make(name):
    return getattr(mproc, name)


@pytest.fixture
def semaphore(make):
    return make(2)


# ---- both kinds


def test_module(name, make):
    assert name in synchronize.__all__
    assert isinstance(make(), getattr(synchronize, name))
    assert make().get_value() == 1


def test_counts(semaphore):
    assert semaphore.acquire() is True
    assert semaphore.acquire(True, None) is True
    assert semaphore.acquire(False) is False
    assert semaphore.acquire(block=True, timeout=0.001) is False
    assert semaphore.acquire(timeout=-1) is False
    assert semaphore.locked() is True
    for value in (1, 2):
        assert semaphore.release() is None
        assert semaphore.get_value() == value
    assert semaphore.locked() is False


def test_with(semaphore):
    with semaphore as taken:
        assert taken is True
        assert semaphore.get_value() == 1
    assert semaphore.get_value() == 2


@pytest.mark.parametrize("value", [-1, 2**31, 2**62])
def test_impossible_values(make, value):
    with pytest.raises(ValueError, match=rf"not {value}$"):
        make(value)


@pytest.mark.parametrize("value", ["1", 1.5, None])
def test_values_of_other_types(make, value):
    with pytest.raises(TypeError):
        make(value)


def test_a_timeout_passes(make):
    semaphore = make(0)
    start = time.monotonic()
    assert semaphore.acquire(timeout=0.02) is False
    assert time.monotonic() - start >= 0.02


def test_a_signal_handler_that_raises_ends_the_wait(make):
    class Stop(Exception):
        pass

    def stop(number, frame):
        raise Stop

    semaphore = make(0)
    old = signal.signal(signal.SIGALRM, stop)
    try:
        with pytest.raises(Stop):
            alarmed(0.02, semaphore.acquire)
    finally:
        signal.signal(signal.SIGALRM, old)
    assert semaphore.get_value() == 0


def test_is_not_pickled_for_nobody(name, semaphore):
    with pytest.raises(RuntimeError, match=rf"^{name} objects should only be shared between"):
        pickle.dumps(semaphore)


def test_a_waiter_dies(ctx, name):
    semaphore = getattr(ctx, name)(1)
    semaphore.acquire()
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        processes = [ctx.Process(target=wait_and_tell, args=(semaphore, writer)) for _ in range(2)]
        for process in processes:
            process.start()
            reader.recv()
        processes[0].kill()
        processes[0].join()
        semaphore.release()
        assert reader.recv() is True
        processes[1].join()  # it ends holding the permit
        assert semaphore.get_value() == (name == "BoundedSemaphore")


# ---- Semaphore alone


def test_repr():
    assert repr(mproc.Semaphore(2)) == "<Semaphore(value=2)>"


def test_has_no_bound():
    semaphore = mproc.Semaphore(0)
    give(semaphore, 3)
    assert semaphore.get_value() == 3


def test_released_too_many_times():
    semaphore = mproc.Semaphore(synchronize.SEM_VALUE_MAX)
    with pytest.raises(ValueError, match=r"^semaphore or lock released too many times$"):
        semaphore.release()
    assert semaphore.get_value() == synchronize.SEM_VALUE_MAX


def test_threads_wait_for_each_other():
    to, fro = mproc.Semaphore(0), mproc.Semaphore(0)

    def answer():
        for _ in range(200):
            to.acquire()
            fro.release()

    thread = threading.Thread(target=answer)
    thread.start()
    for _ in range(200):
        to.release()
        assert fro.acquire(timeout=LONG)
    thread.join()


def test_children_take_and_give(ctx):
    semaphore = ctx.Semaphore(0)
    processes = [ctx.Process(target=take, args=(semaphore, 20)) for _ in range(2)]
    processes.append(ctx.Process(target=give, args=(semaphore, 41)))
    for process in processes:
        process.start()
    for process in processes:
        process.join(LONG)
        assert process.exitcode == 0
    assert semaphore.get_value() == 1


def test_the_dead_do_not_give_back(ctx):
    """It may have been a signal; BoundedSemaphore gives back."""
    semaphore = ctx.Semaphore(1)
    process = ctx.Process(target=take_and_die, args=(semaphore,))
    process.start()
    process.join()
    assert semaphore.acquire(timeout=0.1) is False
