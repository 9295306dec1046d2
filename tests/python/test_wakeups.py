"""Waits in pools end when what they wait for is there, and not with the slice that they sleep.

The slices are made so long here that a wait which needs one does not end. Where two threads have to
meet in a certain order, the first is stopped between its look and its sleep.
"""

import concurrent.futures
import os
import signal
import threading
import time

import errands
import pytest
from conftest import wait_until

import mproc
import mproc.pool
from mproc import _engine as engine
from mproc.context import ProcessError
from mproc.futures import ProcessPoolExecutor

LONG = 60  # seconds that no wait takes


@pytest.fixture(autouse=True)
def endless_slices(monkeypatch):
    monkeypatch.setattr(engine.Engine, "_slice", 3600.0)


@pytest.fixture
def fork():
    return mproc.get_context("fork")


@pytest.fixture
def gate(tmp_path):
    """A file: tasks wait for it; it is there at the end, whatever the test comes to."""
    path = tmp_path / "gate"
    yield path
    path.touch()


class Waiter(threading.Thread):
    """A thread that waits; get() returns what it got, or raises what that raised."""

    def __init__(self, call):
        super().__init__(daemon=True)
        self._call = call
        self.start()

    def run(self):
        self._outcome = concurrent.futures.Future()
        try:
            self._outcome.set_result(self._call())
        except BaseException as error:
            self._outcome.set_exception(error)

    def get(self):
        self.join(LONG)
        assert not self.is_alive(), "it sleeps on"
        return self._outcome.result(0)


def pumped(waits_in):
    """Wait until some thread pumps."""
    assert wait_until(lambda: waits_in._pumping.depth > 0)
    time.sleep(0.02)  # it may be asleep now, or not yet: both have to work


class Overtaken:
    """Has a task end, and another thread collect it, when this one is about to wait for it.

    The task waits for the gate. `until` tells whether it has been collected.
    """

    def __init__(self, monkeypatch, waits_in, gate, until):
        pump, pump_until, me = waits_in._pump, waits_in._pump_until, threading.current_thread()
        self.happened = False

        def overtake():
            if not self.happened and threading.current_thread() is me:
                self.happened = True
                gate.touch()
                other = Waiter(lambda: wait_until(lambda: (waits_in._collect(), until())[1], LONG))
                assert other.get()

        def overtaken(*args):
            overtake()
            return pump(*args)

        def overtaken_until(done, *how):
            return pump_until(lambda: (done(), overtake())[0], *how)

        monkeypatch.setattr(waits_in, "_pump", overtaken)
        monkeypatch.setattr(waits_in, "_pump_until", overtaken_until)


# ---- results that another thread collects


def test_a_result_comes_while_another_thread_waits_for_a_long_task(fork, gate):
    with fork.Pool(2) as pool:
        long = Waiter(lambda: pool.apply(errands.wait_for, (gate,)))
        pumped(pool)
        for number in range(20):
            assert Waiter(lambda number=number: pool.apply(abs, (-number,))).get() == number
        gate.touch()
        long.get()


def test_an_imap_unordered_goes_on_while_another_thread_waits_for_a_long_task(fork, gate):
    with fork.Pool(2) as pool:
        long = Waiter(lambda: pool.apply(errands.wait_for, (gate,)))
        pumped(pool)
        got = Waiter(lambda: sorted(pool.imap_unordered(abs, range(20))))
        assert got.get() == list(range(20))
        gate.touch()
        long.get()


def test_a_future_that_another_thread_settles_before_the_sleep(fork, gate, monkeypatch):
    with ProcessPoolExecutor(1, fork) as pool:
        future = pool.submit(errands.do_when_there, gate, abs, -5)
        overtaken = Overtaken(monkeypatch, pool._engine, gate, future.done)
        assert future.result() == 5
        assert overtaken.happened


def test_a_join_whose_last_result_another_thread_takes_before_the_sleep(fork, gate, monkeypatch):
    pool = fork.Pool(1)
    result = pool.apply_async(errands.do_when_there, (gate, abs, -5))
    pool.close()
    overtaken = Overtaken(monkeypatch, pool, gate, lambda: pool._tasks.open == 0)
    pool.join()
    assert overtaken.happened
    assert result.get() == 5


def test_a_shutdown_whose_last_result_another_thread_takes_before_the_sleep(
    fork, gate, monkeypatch
):
    pool = ProcessPoolExecutor(1, fork)
    future = pool.submit(errands.do_when_there, gate, abs, -5)
    overtaken = Overtaken(monkeypatch, pool._engine, gate, future.done)
    pool.shutdown()
    assert overtaken.happened


def test_an_imap_unordered_whose_part_another_thread_takes_before_the_sleep(
    fork, gate, monkeypatch
):
    with fork.Pool(1) as pool:
        results = pool.imap_unordered(errands.wait_for, [gate])
        overtaken = Overtaken(monkeypatch, pool, gate, lambda: results._at_hand)
        assert next(results) is None
        assert overtaken.happened


# ---- ends that are no results


def test_cancel_wakes_who_waits_for_the_future(fork, gate):
    with ProcessPoolExecutor(1, fork) as pool:
        first = pool.submit(errands.wait_for, gate)
        futures = [pool.submit(abs, number) for number in range(9)]
        waiters = [Waiter(futures[-1].result), Waiter(futures[-1].result)]
        pumped(pool._engine)
        assert futures[-1].cancel()
        for waiter in waiters:
            with pytest.raises(concurrent.futures.CancelledError):
                waiter.get()
        gate.touch()
        first.result()


def test_shutdown_that_cancels_wakes_who_waits(fork, gate):
    pool = ProcessPoolExecutor(1, fork)
    pool.submit(errands.wait_for, gate)
    futures = [pool.submit(abs, number) for number in range(9)]
    waiter = Waiter(futures[-1].result)
    pumped(pool._engine)
    pool.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(concurrent.futures.CancelledError):
        waiter.get()
    gate.touch()
    pool.shutdown()


def test_terminate_wakes_who_waits(fork, gate):
    pool = fork.Pool(1)
    waiters = [Waiter(lambda: pool.apply(errands.wait_for, (gate,))) for _ in range(2)]
    pumped(pool)
    pool.terminate()
    for waiter in waiters:
        with pytest.raises(ProcessError, match="terminated"):
            waiter.get()
    pool.join()


def test_a_pool_that_breaks_wakes_who_waits(fork, gate):
    with fork.Pool(1) as pool:
        waiters = [Waiter(lambda: pool.apply(errands.wait_for, (gate,))) for _ in range(2)]
        pumped(pool)
        pool._break(RuntimeError("no workers to be had"))
        for waiter in waiters:
            with pytest.raises(RuntimeError, match="no workers"):
                waiter.get()
        gate.touch()


# ---- signals


@pytest.fixture
def on_signal():
    """Set what SIGUSR1 does."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda call: signal.signal(signal.SIGUSR1, lambda *_: call())
    signal.signal(signal.SIGUSR1, before)


def signal_when(ready):
    """Send the main thread SIGUSR1 when it is time."""

    def send():
        assert wait_until(ready, LONG)
        os.kill(os.getpid(), signal.SIGUSR1)

    return Waiter(send)


def test_a_handler_that_collects_what_the_thread_waits_for(fork, gate, on_signal):
    with fork.Pool(2) as pool:
        result = pool.apply_async(errands.wait_for, (gate,))
        on_signal(lambda: (gate.touch(), result.get(), pool.apply(abs, (1,))))
        sender = signal_when(lambda: pool._pumping.depth > 0)
        result.get()
        sender.get()


def test_a_handler_that_collects_the_future_that_the_thread_waits_for(fork, gate, on_signal):
    with ProcessPoolExecutor(2, fork) as pool:
        future = pool.submit(errands.wait_for, gate)
        on_signal(lambda: (gate.touch(), future.result(), pool.submit(abs, 1).result()))
        sender = signal_when(lambda: pool._engine._pumping.depth > 0)
        future.result()
        sender.get()


class Heard(Exception):
    pass


def _raise():
    raise Heard


def test_a_handler_that_raises_while_another_thread_pumps(fork, gate, on_signal):
    on_signal(_raise)
    with fork.Pool(1) as pool:
        other = Waiter(lambda: pool.apply(errands.wait_for, (gate,)))
        pumped(pool)
        looks = pool._pumping.looks
        sender = signal_when(lambda: pool._pumping.looks != looks)
        with pytest.raises(Heard):
            pool.apply(abs, (1,))
        sender.get()
        gate.touch()
        other.get()


def test_threads_that_wait_go_on_when_the_pumping_one_is_interrupted(fork, gate, on_signal):
    on_signal(_raise)
    with fork.Pool(1) as pool:
        result = pool._apply_async(errands.wait_for, (gate,), None)
        others = []
        sender = signal_when(lambda: pool._pumping.depth > 0 and others)

        def begin():
            assert wait_until(lambda: pool._pumping.depth > 0, LONG)
            others.extend(Waiter(result.get) for _ in range(3))

        starter = Waiter(begin)
        with pytest.raises(Heard):
            result.get()
        starter.get()
        sender.get()
        gate.touch()
        for other in others:
            other.get()


# ---- a thread pool has the same waits


def test_the_waits_of_a_thread_pool():
    opened = threading.Event()
    with mproc.pool.ThreadPool(2) as pool:
        long = Waiter(lambda: pool.apply(opened.wait))
        pumped(pool)
        for number in range(20):
            assert Waiter(lambda number=number: pool.apply(abs, (-number,))).get() == number
        opened.set()
        assert long.get()


def test_terminate_wakes_who_waits_for_a_thread():
    opened = threading.Event()
    pool = mproc.pool.ThreadPool(1)
    waiter = Waiter(lambda: pool.apply(opened.wait))
    pumped(pool)
    pool.terminate()
    with pytest.raises(ProcessError, match="terminated"):
        waiter.get()
    opened.set()
    pool.join()


# ---- the turn itself


@pytest.fixture
def turn():
    from mproc import _mproc

    return _mproc.Turn()


def test_a_wait_without_a_turn_or_with_news_does_not_sleep(turn):
    turn.wait(turn.news, None)
    with turn:
        turn.wait(turn.news, None)  # this thread has it
        seen = turn.news
        turn.tell()
        Waiter(lambda: turn.wait(seen, None)).get()
        Waiter(lambda: turn.wait(turn.news, 0)).get()
        Waiter(lambda: turn.wait(turn.news, 0.001)).get()


def test_news_of_a_key_wake_only_who_waits_for_it_or_for_all(turn):
    mine, other = object(), object()
    woken = []

    def wait(*key):
        turn.wait(turn.news, None, *key)
        woken.append(key)

    with turn:
        sleepers = [Waiter(lambda key=key: wait(*key)) for key in ((mine,), (other,), ())]
        wait_until(lambda: False, 0.1)  # until they sleep, as a rule
        turn.tell(mine)
        sleepers[0].get()
        sleepers[2].get()
    sleepers[1].get()
    assert sorted(map(len, woken)) == [0, 1, 1]


def test_a_turn_refuses_what_is_no_time(turn):
    with pytest.raises(TypeError):
        turn.wait(0, "soon")
    with pytest.raises(TypeError):
        turn.wait()
    with pytest.raises(TypeError):
        turn.tell(1, 2)
