"""BoundedSemaphore: it gets the permits of a process back that dies.

What it has in common with Semaphore is tested there.
"""

import os
import signal
import threading

import pytest

import mproc

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


@pytest.fixture
def semaphore():
    return mproc.BoundedSemaphore(2)


def test_repr(semaphore):
    semaphore.acquire()
    assert repr(semaphore) == "<BoundedSemaphore(value=1, maxvalue=2)>"


def test_released_too_many_times(semaphore):
    with pytest.raises(ValueError, match=r"^semaphore or lock released too many times$"):
        semaphore.release()
    assert semaphore.get_value() == 2


def test_threads_use_it(semaphore):
    threads = [threading.Thread(target=use, args=(semaphore, 200)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert semaphore.get_value() == 2


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
