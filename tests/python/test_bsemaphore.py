"""BoundedSemaphore: it knows who took its permits, and has them back when one dies."""

import os
import pickle
import signal
import threading
import time

import pytest

import mproc
from mproc import synchronize

LONG = 30  # seconds that no wait takes: after them something is wrong


def use(semaphore, times):
    for _ in range(times):
        with semaphore:
            pass


def give(semaphore):
    semaphore.release()


def take_and_die(semaphore):
    semaphore.acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def wait_and_tell(semaphore, connection):
    connection.send(os.getpid())
    connection.send(semaphore.acquire(timeout=LONG))


@pytest.fixture
def semaphore():
    return mproc.BoundedSemaphore(2)


def test_module():
    assert "BoundedSemaphore" in synchronize.__all__
    assert isinstance(mproc.BoundedSemaphore(), synchronize.BoundedSemaphore)
    assert mproc.BoundedSemaphore().get_value() == 1


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


def test_repr(semaphore):
    semaphore.acquire()
    assert repr(semaphore) == "<BoundedSemaphore(value=1, maxvalue=2)>"


@pytest.mark.parametrize("value", [-1, 2**31, 2**62])
def test_impossible_values(value):
    with pytest.raises(ValueError, match=rf"not {value}$"):
        mproc.BoundedSemaphore(value)


@pytest.mark.parametrize("value", ["1", 1.5, None])
def test_values_of_other_types(value):
    with pytest.raises(TypeError):
        mproc.BoundedSemaphore(value)


def test_released_too_many_times(semaphore):
    with pytest.raises(ValueError, match=r"^semaphore or lock released too many times$"):
        semaphore.release()
    assert semaphore.get_value() == 2


def test_a_timeout_passes():
    semaphore = mproc.BoundedSemaphore(0)
    start = time.monotonic()
    assert semaphore.acquire(timeout=0.02) is False
    assert time.monotonic() - start >= 0.02


def test_threads_use_it(semaphore):
    threads = [threading.Thread(target=use, args=(semaphore, 200)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert semaphore.get_value() == 2


def test_a_signal_handler_that_raises_ends_the_wait():
    class Stop(Exception):
        pass

    def stop(number, frame):
        raise Stop

    semaphore = mproc.BoundedSemaphore(0)
    old = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(Stop):
            semaphore.acquire()
    finally:
        signal.signal(signal.SIGALRM, old)
    assert semaphore.get_value() == 0


def test_is_not_pickled_for_nobody(semaphore):
    with pytest.raises(RuntimeError, match=r"^BoundedSemaphore objects should only be"):
        pickle.dumps(semaphore)


def test_children_use_it(ctx):
    semaphore = ctx.BoundedSemaphore(2)
    processes = [ctx.Process(target=use, args=(semaphore, 50)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LONG)
        assert process.exitcode == 0
    assert semaphore.get_value() == 2


def test_a_child_gives_back_what_its_parent_took(ctx):
    semaphore = ctx.BoundedSemaphore(1)
    semaphore.acquire()
    process = ctx.Process(target=give, args=(semaphore,))
    process.start()
    assert semaphore.acquire(timeout=LONG) is True
    process.join()
    assert process.exitcode == 0
    semaphore.release()
    assert semaphore.get_value() == 1


def test_the_dead_give_back(ctx):
    semaphore = ctx.BoundedSemaphore(1)
    process = ctx.Process(target=take_and_die, args=(semaphore,))
    process.start()
    process.join()
    assert semaphore.acquire(timeout=LONG) is True
    assert semaphore.get_value() == 0
    semaphore.release()
    assert semaphore.get_value() == 1


def test_a_waiter_dies(ctx):
    semaphore = ctx.BoundedSemaphore(1)
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
        assert semaphore.get_value() == 1
