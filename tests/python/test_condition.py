"""Condition: over both locks, between threads and processes, and when one of them dies."""

import gc
import os
import pickle
import re
import signal
import threading
import time
import weakref

import pytest
from conftest import alarmed

import mproc
from mproc import synchronize

LONG = 30  # seconds that no wait takes: after them something is wrong


def wait_and_tell(condition, connection):
    with condition, condition:
        connection.send(os.getpid())
        ended = condition.wait(LONG)
        connection.send((ended, condition._lock._count()))


def wait_once_and_tell(condition, connection):
    with condition:
        connection.send(os.getpid())
        connection.send(condition.wait(LONG))


def notify_it(condition):
    with condition:
        condition.notify()


def notify_and_die(condition):
    condition.acquire()
    condition.notify()
    os.kill(os.getpid(), signal.SIGKILL)


def until_they_wait(condition, number):
    """Everybody has the lock before the wait, so having it means that they wait."""
    while condition._waiting() < number:
        time.sleep(0.001)


@pytest.fixture
def condition():
    return mproc.Condition()


def test_module():
    assert "Condition" in synchronize.__all__
    assert isinstance(mproc.Condition(), synchronize.Condition)


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_has_the_locks_methods(kind):
    lock = getattr(mproc, kind)()
    condition = mproc.Condition(lock)
    assert condition._lock is lock
    assert condition.acquire() is True
    assert lock.locked()
    assert condition.release() is None
    with condition as taken:
        assert taken is True
        assert lock.locked()
        assert condition.wait(0) is False
    assert not lock.locked()


@pytest.mark.parametrize("lock", [1, threading.Lock(), mproc.Semaphore()])
def test_works_over_locks_only(lock):
    with pytest.raises(TypeError, match=r"^a condition works over a Lock or RLock, not "):
        mproc.Condition(lock)


def test_repr(condition):
    assert repr(condition) == "<Condition(<RLock(None, 0)>, 0)>"


def test_needs_its_lock(condition):
    with pytest.raises(AssertionError, match=r"^must acquire\(\) condition before using wait"):
        condition.wait()
    for notify in (condition.notify, condition.notify_all):
        with pytest.raises(AssertionError, match=r"^lock is not owned$"):
            notify()


def test_a_timeout_passes(condition):
    with condition:
        start = time.monotonic()
        assert condition.wait(0.02) is False
        assert time.monotonic() - start >= 0.02
        assert condition.wait(timeout=-1) is False


@pytest.mark.parametrize("n", [-1, 0, 1, 5, 2**40])
def test_nobody_to_notify(condition, n):
    with condition:
        assert condition.notify(n) is None
        assert condition.notify(n=n) is None
        assert condition.notify_all() is None
        assert condition.wait(0) is False  # a notification is not stored


def test_wait_for(condition):
    values = []

    def predicate():
        values.append(None)
        return len(values)

    with condition:
        assert condition.wait_for(predicate) == 1
        assert condition.wait_for(list, 0.01) == []
        assert condition.wait_for(lambda: 0, timeout=-1) == 0


def test_wait_for_a_thread(condition):
    state = []

    def change():
        for i in range(3):
            with condition:
                state.append(i)
                condition.notify()

    thread = threading.Thread(target=change)
    with condition:
        thread.start()
        assert condition.wait_for(lambda: len(state) == 3, LONG) is True
    thread.join()


def test_wait_releases_all_levels(condition):
    ended = []

    def wait():
        with condition, condition:
            ended.append(condition.wait(LONG))
            ended.append(condition._lock._count())

    thread = threading.Thread(target=wait)
    thread.start()
    until_they_wait(condition, 1)
    assert repr(condition) == "<Condition(<RLock(None, 0)>, 1)>"
    with condition:
        condition.notify()
        assert ended == []
    thread.join()
    assert ended == [True, 2]


def test_a_signal_handler_that_raises_ends_the_wait(condition):
    class Stop(Exception):
        pass

    def stop(number, frame):
        raise Stop

    old = signal.signal(signal.SIGALRM, stop)
    try:
        with condition:
            with pytest.raises(Stop):
                alarmed(0.02, condition.wait, LONG)
            assert condition._lock._is_mine()
    finally:
        signal.signal(signal.SIGALRM, old)
    assert not condition._lock.locked()


def test_a_signal_handler_loses_no_notification(condition):
    handled = []
    old = signal.signal(signal.SIGALRM, lambda number, frame: handled.append(number))
    thread = threading.Thread(target=lambda: (until_handled(handled), notify_it(condition)))
    try:
        with condition:
            thread.start()
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            assert condition.wait(LONG) is True
    finally:
        signal.signal(signal.SIGALRM, old)
        thread.join()
    assert handled == [signal.SIGALRM]


def until_handled(handled):
    while not handled:
        time.sleep(0.001)


def test_is_not_pickled_for_nobody(condition):
    with pytest.raises(RuntimeError, match=r"^Condition objects should only be shared between"):
        pickle.dumps(condition)


def test_cycles_are_collected():
    condition = mproc.Condition()
    condition._lock.condition = condition
    gone = weakref.ref(condition)
    del condition
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_children_are_notified(ctx, kind):
    condition = ctx.Condition(getattr(ctx, kind)())
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        processes = [
            ctx.Process(target=wait_once_and_tell, args=(condition, writer)) for _ in range(3)
        ]
        for process in processes:
            process.start()
            reader.recv()
        until_they_wait(condition, 3)
        with condition:
            condition.notify(2)
        assert [reader.recv(), reader.recv()] == [True, True]
        with condition:
            assert not reader.poll()
            condition.notify_all()
        assert reader.recv() is True
        for process in processes:
            process.join()
            assert process.exitcode == 0


def test_a_child_notifies(ctx):
    condition = ctx.Condition()
    process = ctx.Process(target=notify_it, args=(condition,))
    with condition:
        process.start()
        assert condition.wait(LONG) is True
    process.join()
    assert process.exitcode == 0


@pytest.mark.parametrize("known", [True, False])
def test_a_waiter_dies(ctx, known):
    """notify() does not wait for dead waiters, and a living one gets the notification."""
    condition = ctx.Condition()
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        processes = [ctx.Process(target=wait_and_tell, args=(condition, writer)) for _ in range(2)]
        for number, process in enumerate(processes, 1):
            process.start()
            reader.recv()
            until_they_wait(condition, number)
        processes[0].kill()
        if known:
            processes[0].join()
        with condition:
            condition.notify()
        assert reader.recv() == (True, 2)
        processes[0].join()
        processes[1].join()
        with condition:
            condition.notify_all()
        assert condition._waiting() == 0


def test_the_last_holder_dies(ctx):
    condition = ctx.Condition()
    with condition:
        process = ctx.Process(target=notify_and_die, args=(condition,))
        process.start()
        with pytest.raises(mproc.OwnerDiedError) as caught:
            condition.wait(LONG)
        assert caught.value.pid == process.pid
        assert condition._lock._count() == 1
    process.join()
    with condition:
        assert re.match(r"<Condition\(<RLock\(MainProcess, 1\)>, 0\)>", repr(condition))


def test_the_last_holder_dies_in_silence(ctx):
    condition = ctx.Condition(ctx.RLock(on_owner_death="recover"))
    with condition:
        process = ctx.Process(target=notify_and_die, args=(condition,))
        process.start()
        assert condition.wait(LONG) is True
    process.join()
