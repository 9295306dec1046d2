"""Barrier: between threads, between processes, with an action, and when one of them dies."""

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
Broken = threading.BrokenBarrierError


def wait_and_tell(barrier, connection, times=1):
    connection.send(os.getpid())
    try:
        connection.send([barrier.wait(LONG) for _ in range(times)])
    except Broken:
        connection.send("broken")


def in_threads(function, number):
    results = []
    threads = [threading.Thread(target=lambda: results.append(function())) for _ in range(number)]
    for thread in threads:
        thread.start()
    return threads, results


def until_they_wait(barrier, number):
    while barrier.n_waiting < number:
        time.sleep(0.001)


def outcome(barrier):
    try:
        return barrier.wait(LONG)
    except Broken:
        return "broken"


def log(path):
    with path.open("a") as file:
        file.write("acted\n")


class Log:
    def __init__(self, path):
        self.path = path

    def __call__(self):
        log(self.path)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def test_module():
    assert synchronize.Barrier is type(mproc.Barrier(1))
    assert "Barrier" not in synchronize.__all__
    assert isinstance(mproc.Barrier(1), threading.Barrier)
    with pytest.raises(AttributeError, match="has no attribute 'Barriere'"):
        synchronize.Barriere  # noqa: B018


@pytest.mark.parametrize("parties", [0, -1, 2**31])
def test_impossible_parties(parties):
    with pytest.raises(ValueError, match=r"^parties must be >= 1"):
        mproc.Barrier(parties)


def test_one_party_never_waits():
    barrier = mproc.Barrier(1)
    assert (barrier.wait(), barrier.wait(0), barrier.parties) == (0, 0, 1)
    assert (barrier.n_waiting, barrier.broken) == (0, False)


def test_all_pass():
    barrier = mproc.Barrier(3)
    threads, results = in_threads(lambda: barrier.wait(LONG), 2)
    until_they_wait(barrier, 2)
    assert re.fullmatch(r"<.*Barrier at 0x[0-9a-f]+: waiters=2/3>", repr(barrier))
    assert barrier.wait() == 2
    for thread in threads:
        thread.join()
    assert sorted(results) == [0, 1]


@pytest.mark.parametrize("own", [True, False])
def test_time_passes(own):
    barrier = mproc.Barrier(2, timeout=0.02 if own else LONG)
    start = time.monotonic()
    with pytest.raises(Broken):
        barrier.wait(None if own else 0.02)
    assert time.monotonic() - start >= 0.02
    assert barrier.broken is True
    assert re.fullmatch(r"<.*Barrier at 0x[0-9a-f]+: broken>", repr(barrier))
    with pytest.raises(Broken):
        barrier.wait()
    barrier.reset()
    assert barrier.broken is False


@pytest.mark.parametrize("end", ["abort", "reset"])
def test_abort_and_reset(end):
    barrier = mproc.Barrier(3)
    threads, results = in_threads(lambda: outcome(barrier), 2)
    until_they_wait(barrier, 2)
    getattr(barrier, end)()
    for thread in threads:
        thread.join()
    assert results == ["broken", "broken"]
    assert barrier.broken is (end == "abort")


def test_an_action():
    acted = []
    barrier = mproc.Barrier(2, lambda: acted.append(barrier.n_waiting))
    threads, results = in_threads(lambda: (outcome(barrier), len(acted)), 2)
    for thread in threads:
        thread.join()
    assert sorted(results) == [(0, 1), (1, 1)]
    assert acted == [2]


def test_an_action_that_raises():
    def act():
        raise KeyError("no")

    barrier = mproc.Barrier(2, act)
    threads, results = in_threads(lambda: outcome(barrier), 1)
    until_they_wait(barrier, 1)
    with pytest.raises(KeyError):
        barrier.wait()
    threads[0].join()
    assert results == ["broken"]
    assert barrier.broken


def test_an_action_that_aborts():
    barrier = mproc.Barrier(1, lambda: barrier.abort())
    with pytest.raises(Broken):
        barrier.wait()


def test_a_signal_handler_that_raises_ends_the_wait():
    class Stop(Exception):
        pass

    def stop(number, frame):
        raise Stop

    barrier = mproc.Barrier(2)
    old = signal.signal(signal.SIGALRM, stop)
    try:
        with pytest.raises(Stop):
            alarmed(0.02, barrier.wait, LONG)
    finally:
        signal.signal(signal.SIGALRM, old)
    assert (barrier.n_waiting, barrier.broken) == (0, False)


def test_is_not_pickled_for_nobody():
    with pytest.raises(RuntimeError, match=r"^Barrier objects should only be shared between"):
        pickle.dumps(mproc.Barrier(1))


def test_children(ctx, tmp_path):
    barrier = ctx.Barrier(4, Log(tmp_path / "log"), LONG)
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        processes = [ctx.Process(target=wait_and_tell, args=(barrier, writer, 3)) for _ in range(3)]
        for process in processes:
            process.start()
        mine = [barrier.wait() for _ in range(3)]
        told = [reader.recv() for _ in range(6)]
        for process in processes:
            process.join()
            assert process.exitcode == 0
    indices = [mine] + [indices for indices in told if isinstance(indices, list)]
    assert [sorted(order) for order in zip(*indices, strict=True)] == [[0, 1, 2, 3]] * 3
    assert (tmp_path / "log").read_text() == "acted\n" * 3


def test_a_waiter_dies(ctx):
    barrier = ctx.Barrier(3)
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        processes = [ctx.Process(target=wait_and_tell, args=(barrier, writer)) for _ in range(2)]
        for process in processes:
            process.start()
            reader.recv()
        until_they_wait(barrier, 2)
        processes[0].kill()
        assert reader.recv() == "broken"
        for process in processes:
            process.join()
    with pytest.raises(Broken):
        barrier.wait()


def test_the_only_waiter_has_died(ctx):
    barrier = ctx.Barrier(2)
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        process = ctx.Process(target=wait_and_tell, args=(barrier, writer))
        process.start()
        reader.recv()
        until_they_wait(barrier, 1)
        process.kill()
        process.join()
        with pytest.raises(Broken):
            barrier.wait(LONG)


def test_the_actor_dies(ctx):
    barrier = ctx.Barrier(2, die)
    threads, results = in_threads(lambda: outcome(barrier), 1)
    until_they_wait(barrier, 1)
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        process = ctx.Process(target=wait_and_tell, args=(barrier, writer))
        process.start()
        process.join()
    threads[0].join()
    assert process.exitcode == -signal.SIGKILL
    assert results == ["broken"]
