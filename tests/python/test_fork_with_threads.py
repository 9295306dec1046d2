"""Processes that are forked while other threads are inside the library."""

import contextlib
import os
import threading
import warnings

import pytest

import mproc
from mproc import shared_memory

CHILDREN = 20
PATIENCE = 60


def square(x):
    return x * x


class Things:
    """What threads and children use at the same time."""

    def __init__(self):
        ctx = mproc.get_context("fork")
        self.pool = ctx.Pool(1)
        self.answers, self.busy = ctx.Queue(), ctx.Queue()
        self.lock, self.condition, self.semaphore = ctx.Lock(), ctx.Condition(), ctx.Semaphore(2)
        self.value = ctx.Value("i", 0, lock=False)

    def put_and_get(self):
        for item in (b"x" * 30_000, 1):
            self.busy.put(item)
        for _ in range(2):
            self.busy.get(timeout=PATIENCE)

    def use_locks(self):
        with self.lock, self.semaphore:
            pass
        with self.condition:
            self.condition.notify_all()

    def allocate(self):
        for size in (1, 1_000, 30_000):
            mproc.Array("i", size)[0] = 1
        mproc.Event().set()

    def make_segment(self):
        segment = shared_memory.SharedMemory(create=True, size=5_000)
        segment.close()
        segment.unlink()

    def ask_pool(self):
        assert self.pool.apply(square, (3,)) == 9

    def in_child(self):
        with self.lock:
            self.value.value += 1
        self.use_locks()
        self.allocate()
        self.make_segment()
        mproc.Queue().put(1)
        self.answers.put((os.getpid(), b"y" * 20_000))


@contextlib.contextmanager
def hammered(things):
    """Threads that are all the time in each part of the library."""
    done, failed = threading.Event(), []

    def run(function):
        try:
            while not done.is_set():
                function()
        except BaseException as error:
            failed.append(error)

    uses = (things.put_and_get, things.put_and_get, things.use_locks, things.allocate)
    uses += (things.make_segment, things.ask_pool)
    threads = [threading.Thread(target=run, args=(use,)) for use in uses]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failed == []


def fork_barely(things):
    pid = os.fork()
    if pid == 0:
        try:
            things.in_child()
            os._exit(0)
        finally:
            os._exit(1)
    assert things.answers.get(timeout=PATIENCE)[0] == pid
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def start_process(things):
    child = mproc.get_context("fork").Process(target=things.in_child)
    child.start()
    assert things.answers.get(timeout=PATIENCE)[0] == child.pid
    child.join()
    code = child.exitcode
    child.close()
    return code


@pytest.mark.parametrize("fork", [fork_barely, start_process])
def test_children_find_no_lock_of_the_library_taken(fork):
    things = Things()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with hammered(things):
            codes = [fork(things) for _ in range(CHILDREN)]
    assert codes == [0] * (CHILDREN)
    assert things.value.value == CHILDREN
    things.pool.terminate()
    things.pool.join()
