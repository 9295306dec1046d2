"""The ends of queues: descriptors that tell whether there is something to get."""

import asyncio
import gc
import os
import select
import signal
import threading

import pytest
from conftest import wait_until

import mproc
from mproc.connection import wait

LONG = 60  # seconds that no wait takes: after them something is wrong


@pytest.fixture(params=["Queue", "JoinableQueue", "SimpleQueue"])
def q(request):
    return getattr(mproc, request.param)()


def readable(end):
    return bool(select.select([end], [], [], 0)[0])


def becomes(end, there):
    return wait_until(lambda: readable(end) is there, LONG)


def run(ctx, target, *args):
    child = ctx.Process(target=target, args=args)
    child.start()
    child.join()
    assert child.exitcode == 0
    child.close()


def put(queue, *objects):
    for obj in objects:
        queue.put(obj)


def take(queue, n):
    for _ in range(n):
        queue.get()


def test_own_puts_and_gets_show_at_once(q):
    end = q._reader
    assert q._reader is end
    assert not readable(end)
    q.put(1)
    assert readable(end)
    q.put(2)
    assert q.get() == 1
    assert readable(end)
    assert q.get() == 2
    assert not readable(end)


def test_what_is_there_already_shows_at_once(q):
    q.put(1)
    assert readable(q._reader)
    assert q.get() == 1


def test_puts_and_gets_of_others_show(ctx, method):
    for q in (ctx.Queue(), ctx.SimpleQueue()):
        end = q._reader
        assert not readable(end)
        run(ctx, put, q, 1, 2)
        assert becomes(end, True)
        run(ctx, take, q, 2)
        assert becomes(end, False)
        run(ctx, put, q, 3)
        assert becomes(end, True)
        assert q.get() == 3
        assert not readable(end)


def test_waiting_for_several_queues(ctx):
    queues = [ctx.Queue() for _ in range(3)]
    child = ctx.Process(target=put, args=(queues[1], "here"))
    child.start()
    (ready,) = wait([q._reader for q in queues], LONG)
    assert ready is queues[1]._reader
    assert queues[1].get() == "here"
    assert wait([q._reader for q in queues], 0) == []
    child.join()
    child.close()


def test_many_messages_pass_by_a_selector(ctx):
    q, got = ctx.Queue(), []
    child = ctx.Process(target=put, args=(q, *range(500)))
    child.start()
    while len(got) < 500:
        assert wait([q._reader], LONG)
        while not q.empty():
            got.append(q.get())
    assert got == list(range(500))
    child.join()
    child.close()


def test_asyncio(fork):
    q = fork.Queue()

    async def main():
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        got = []

        def ready():
            got.append(q.get())
            if len(got) == 3:
                done.set()

        loop.add_reader(q._reader.fileno(), ready)
        child = fork.Process(target=put, args=(q, 1, 2, 3))
        child.start()
        await asyncio.wait_for(done.wait(), LONG)
        loop.remove_reader(q._reader.fileno())
        child.join()
        child.close()
        return got

    assert asyncio.run(main()) == [1, 2, 3]


@pytest.fixture
def fork():
    return mproc.get_context("fork")


def test_a_forked_child_has_a_descriptor_of_its_own(fork):
    q, told = fork.Queue(), fork.Queue()
    end = q._reader
    assert not readable(end)

    def use_in_child():
        told.put(end.fileno())
        q.put(1)
        assert readable(q._reader) and readable(end)
        q.get()
        assert not readable(q._reader)

    run(fork, use_in_child)
    told.get(timeout=LONG)
    assert becomes(end, False)
    q.put(2)
    assert readable(end)
    q.get()


def test_a_forked_child_that_does_not_ask_leaves_the_parents_alone(fork):
    q = fork.Queue()
    end = q._reader
    assert not readable(end)

    def use_in_child():
        q.put(1)
        assert q.get() == 1

    run(fork, use_in_child)
    assert becomes(end, False)
    assert threading.active_count() >= 2
    run(fork, put, q, 1)
    assert becomes(end, True)
    assert q.get() == 1


def test_a_consumer_that_sleeps_beside_the_thread_is_woken(fork):
    q, answers = fork.Queue(), fork.Queue()
    end = q._reader
    assert not readable(end)

    def echo():
        while (obj := q.get()) is not None:
            answers.put(obj)

    child = fork.Process(target=echo)
    child.start()
    for n in range(100):
        q.put(n)
        assert answers.get(timeout=LONG) == n
    q.put(None)
    child.join()
    child.close()


def test_the_reader_reads(q):
    with q._reader as end:
        assert end.poll() is False
        assert end.poll(0.01) is False
        q._writer.send("x")
        assert end.poll(LONG)
        assert end.recv() == "x"
        assert not readable(end)
        assert (end.readable, end.writable) == (True, False)


def test_the_writer_is_writable(q):
    with q._writer as end:
        assert q._writer is end
        assert select.select([], [end], [], 0)[1] == [end]
        assert (end.readable, end.writable) == (False, True)


def test_poll_of_a_simple_queue():
    q = mproc.SimpleQueue()
    assert q._poll() is False
    assert q._poll(0.01) is False
    q.put(1)
    assert q._poll() is True
    assert q.get() == 1


def test_close_closes_the_ends(q):
    ends = [q._reader, q._writer]
    fds = [end.fileno() for end in ends]
    assert not any(end.closed for end in ends)
    q.close()
    q.close()
    for end, fd in zip(ends, fds, strict=True):
        assert end.closed
        with pytest.raises(OSError, match="handle is closed"):
            end.fileno()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    with pytest.raises(OSError, match="handle is closed"):
        q._reader.recv()
    with pytest.raises(OSError, match="handle is closed"):
        q._writer.send(1)


def test_the_ends_of_a_closed_queue(q):
    q.close()
    assert q._reader.closed and q._writer.closed


def test_an_end_outlives_its_queue():
    end = mproc.Queue()._reader
    gc.collect()
    assert not readable(end)
    end._handle.put(1)
    assert becomes(end, True)
    assert end.recv() == 1
    assert not readable(end)


def test_a_signal_handler_may_use_the_queue(q):
    end, got = q._reader, []

    def handler(signum, frame):
        q.put(signum)
        got.append(q.get())

    old = signal.signal(signal.SIGALRM, handler)
    try:
        assert not readable(end)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        while len(got) < 50:
            q.put(0)
            got.append(q.get())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert becomes(end, False)


def test_what_the_standard_queue_keeps_for_its_thread():
    q = mproc.Queue(3)
    q.put(1)
    assert (q._thread, len(q._buffer), q._ignore_epipe, q._opid) == (None, 0, False, os.getpid())
    assert q._sem.get_value() == 2
    with q._rlock, q._wlock:
        assert q._rlock is q._rlock
        assert q.get() == 1
    q._terminate_broken()
    assert q._reader.closed


VENDORED = """
import concurrent.futures, importlib.util, os, signal, sys, sysconfig
import multiprocessing

path = os.path.join(sysconfig.get_path("stdlib"), "concurrent", "futures", "process.py")
spec = importlib.util.spec_from_file_location("vendored", path)
vendored = sys.modules["vendored"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(vendored)

def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with vendored.ProcessPoolExecutor(2, context) as pool:
        print(multiprocessing.__name__, list(pool.map(abs, range(-20, 0), chunksize=3)))
        futures = [pool.submit(abs, -n) for n in range(50)]
        print(sum(future.result() for future in concurrent.futures.as_completed(futures)))
        print(type(pool.submit(lambda: 1).exception()).__name__ != "NoneType")
        print(type(pool.submit(kill_self).exception()).__name__)
"""


def test_the_standard_executor_runs_on_our_queues(program, method):
    """Packages carry copies of it."""
    program.write("main.py", VENDORED)
    lines = program.output("-m", "mproc", "main.py", method).splitlines()
    assert lines == [f"mproc {list(range(20, 0, -1))}", "1225", "True", "BrokenProcessPool"]
