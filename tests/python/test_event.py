"""Event: between threads, between processes, and when a waiter dies."""

import os
import pickle
import re
import signal
import threading
import time

import pytest
from conftest import alarmed

import mproc
from mproc import synchronize

LONG = 30  # seconds that no wait takes: after them something is wrong


def wait_and_tell(event, connection):
    connection.send(os.getpid())
    connection.send(event.wait(LONG))


def set_it(event):
    event.set()


@pytest.fixture
def event():
    return mproc.Event()


def test_module():
    assert "Event" in synchronize.__all__
    assert isinstance(mproc.Event(), synchronize.Event)


def test_is_a_flag(event):
    assert event.is_set() is False
    assert event.wait(0) is False
    assert event.wait(-1) is False
    assert event.set() is None
    assert event.is_set() is True
    assert event.wait() is True
    assert event.wait(timeout=0) is True
    assert event.clear() is None
    assert event.is_set() is False


def test_repr(event):
    assert re.fullmatch(r"<Event at 0x[0-9a-f]+ unset>", repr(event))
    event.set()
    assert re.fullmatch(r"<Event at 0x[0-9a-f]+ set>", repr(event))


def test_a_timeout_passes(event):
    start = time.monotonic()
    assert event.wait(0.02) is False
    assert time.monotonic() - start >= 0.02


@pytest.mark.parametrize("timeout", ["1", float("nan"), 1e300])
def test_wrong_timeouts(event, timeout):
    with pytest.raises((TypeError, ValueError, OverflowError)):
        event.wait(timeout)


@pytest.mark.parametrize(("args", "kwargs"), [((1, 2), {}), ((1,), {"timeout": 1}), ((), {"t": 1})])
def test_wrong_arguments(event, args, kwargs):
    with pytest.raises(TypeError):
        event.wait(*args, **kwargs)


def test_set_and_clear_ends_the_waits_of_before(event):
    ended = []
    thread = threading.Thread(target=lambda: ended.append(event.wait(LONG)))
    thread.start()
    while not sleeps(thread.native_id):
        time.sleep(0.001)
    event.set()
    event.clear()
    thread.join()
    assert ended == [True]


def sleeps(tid):
    with open(f"/proc/self/task/{tid}/wchan") as file:
        return "futex" in file.read()


def test_a_signal_handler_that_raises_ends_the_wait(event):
    class Stop(Exception):
        pass

    def stop(number, frame):
        raise Stop

    old = signal.signal(signal.SIGALRM, stop)
    try:
        with pytest.raises(Stop):
            alarmed(0.02, event.wait, LONG)
    finally:
        signal.signal(signal.SIGALRM, old)


def test_is_not_pickled_for_nobody(event):
    with pytest.raises(RuntimeError, match=r"^Event objects should only be shared between"):
        pickle.dumps(event)


def test_a_child_sets_it(ctx):
    event = ctx.Event()
    process = ctx.Process(target=set_it, args=(event,))
    process.start()
    assert event.wait(LONG) is True
    process.join()
    assert process.exitcode == 0


def test_all_who_wait_go_on_though_one_has_died(ctx):
    event = ctx.Event()
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        processes = [ctx.Process(target=wait_and_tell, args=(event, writer)) for _ in range(3)]
        for process in processes:
            process.start()
            reader.recv()
        processes[0].kill()
        processes[0].join()
        event.set()
        assert [reader.recv(), reader.recv()] == [True, True]
        for process in processes[1:]:
            process.join()
            assert process.exitcode == 0
