"""A process that is stopped in the middle of a section keeps no thread but those that need it."""

import contextlib
import functools
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

import mproc
from mproc.futures import BrokenProcessPool, ProcessPoolExecutor

TRIES = 2000
STOPPED = 0.3  # seconds
HELD_UP = 0.28  # calls that take longer have met the stopped process in a section
TICKS = 5  # meanwhile, of some 60; on a busy machine there may be none, and it is tried again

# Another process has to do this: the one that waits may be unable to. A byte begins each time, and
# a byte ends it.
GOES_ON = """
import os, select, signal, sys
while os.read(0, 1):
    if not select.select([0], [], [], float(sys.argv[2]))[0]:
        os.kill(int(sys.argv[1]), signal.SIGCONT)
    os.read(0, 1)
"""


def hammer(q):
    while True:
        q.put(1)
        q.get()


def test_other_threads_run_while_a_queue_is_held_up():
    ctx = mproc.get_context("fork")
    q, done, ticks = ctx.Queue(), threading.Event(), 0

    def tick():
        nonlocal ticks
        while not done.wait(0.005):
            ticks += 1

    child = ctx.Process(target=hammer, args=(q,), daemon=True)
    child.start()
    command = [sys.executable, "-c", GOES_ON, str(child.pid), str(STOPPED)]
    thread = threading.Thread(target=tick)
    thread.start()
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0) as other:
            for _ in range(TRIES):
                time.sleep(0.002 * random.random())
                os.kill(child.pid, signal.SIGSTOP)
                other.stdin.write(b"x")
                before, start = ticks, time.monotonic()
                for _ in range(3):
                    q.put(2)
                    q.get()
                held_up = time.monotonic() - start >= HELD_UP
                ran = ticks - before
                other.stdin.write(b"x")
                os.kill(child.pid, signal.SIGCONT)
                if held_up and ran >= TICKS:
                    break
            other.stdin.close()
    finally:
        done.set()
        thread.join()
        child.kill()
        child.join()
        child.close()
    assert held_up
    assert ran >= TICKS


def hold_and_let_go(kind, thing):
    while True:
        if kind == "queue":
            thing.put(1)
            thing.get()
        elif kind == "event":
            thing.set()
            thing.clear()
        elif kind == "Condition":
            with thing:
                thing.notify()
        elif kind == "Barrier":
            thing.reset()
        else:
            thing.acquire()
            thing.release()


def wait_a_little(kind, thing):
    """A call with a timeout; it may succeed."""
    if kind == "queue":
        try:
            thing.put(2, timeout=0.02)
            thing.get(timeout=0.02)
        except (queue.Full, queue.Empty):
            pass
    elif kind == "event":
        thing.wait(0.02)
    elif kind == "Condition":
        if thing.acquire(timeout=0.02):
            thing.wait(0.02)
            thing.release()
    elif kind == "Barrier":
        with contextlib.suppress(threading.BrokenBarrierError):
            thing.wait(0.02)
    elif thing.acquire(timeout=0.02) and kind != "BoundedSemaphore":  # its release() may wait
        thing.release()


@pytest.mark.parametrize(
    "kind",
    [
        "queue", "Lock", "RLock", "Semaphore", "BoundedSemaphore", "event", "Condition", "Barrier",
    ],
)  # fmt: skip
def test_timeouts_end_whoever_is_stopped(kind):
    """The child is stopped somewhere in its calls; only a call that ends lets it go on."""
    ctx = mproc.get_context("fork")
    make = {
        "queue": ctx.Queue,
        "event": ctx.Event,
        "Barrier": functools.partial(ctx.Barrier, 3),
        "BoundedSemaphore": functools.partial(ctx.BoundedSemaphore, 14),
    }.get(kind) or getattr(ctx, kind)
    thing = make()
    if kind == "BoundedSemaphore":
        thing.acquire()  # two processes have permits: then it has a section
    child = ctx.Process(target=hold_and_let_go, args=(kind, thing), daemon=True)
    child.start()
    try:
        for _ in range(12):
            time.sleep(0.002 * random.random())
            os.kill(child.pid, signal.SIGSTOP)
            wait_a_little(kind, thing)
            child.join(0.001)
            assert child.is_alive()
            os.kill(child.pid, signal.SIGCONT)
    finally:
        child.kill()
        child.join()
        child.close()


def end_with_a_word(path, barrier, never):
    """Have a worker, when it is asked to end, write a line. Return when all workers do."""
    global never_set
    never_set = never

    def at_end(*_):
        with open(path, "a") as file:
            file.write("asked\n")
        sys.exit()

    signal.signal(signal.SIGTERM, at_end)
    barrier.wait(60)


def wait_for_ever(_):
    never_set.wait()  # no signal is lost, as in the last instructions before a time.sleep()


@pytest.mark.parametrize("busy", [False, True])
def test_a_pool_ends_though_its_workers_are_stopped(ctx, busy, tmp_path):
    """They go on, and are asked to end as any others: none is killed when its time is up."""
    path = tmp_path / "asked"
    barrier = ctx.Barrier(4)
    pool = ctx.Pool(3, end_with_a_word, (str(path), barrier, ctx.Event()))
    try:
        barrier.wait(60)
        workers = list(pool._pool)
        if busy:
            pool.map_async(wait_for_ever, range(3), chunksize=1)
        for worker in workers:
            os.kill(worker.pid, signal.SIGSTOP)
    finally:
        pool.terminate()
        pool.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert path.read_text() == "asked\n" * 3


def test_an_executor_that_breaks_ends_workers_that_are_stopped(ctx):
    with ProcessPoolExecutor(2, mp_context=ctx) as executor:
        futures = [executor.submit(time.sleep, 60) for _ in range(2)]
        first, second = executor._processes.values()
        os.kill(first.pid, signal.SIGSTOP)
        second.kill()
        for future in futures:
            with pytest.raises(BrokenProcessPool):
                future.result(60)
    assert first.exitcode == -signal.SIGTERM
