"""pool.options(): timeouts, retries, memory and priorities of what a Pool does."""

import gc
import os
import signal
import warnings
import weakref

import errands
import pytest
from test_task_options import (
    FAIR,
    LONG,
    SHORT,
    die_until,
    fill_memory,
    keep,
    private_memory,
    say,
    say_and_wait,
    stay_until,
)

import mproc
from mproc.pool import TaskMemoryError, TaskTimeoutError, ThreadPool, WorkerDiedError


@pytest.fixture
def fork():
    return mproc.get_context("fork")


def caught(result):
    with pytest.raises(mproc.ProcessError) as info:
        result.get(LONG)
    return info.value


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"timeout": 0}, ValueError, "timeout must be more than 0 seconds, not 0"),
        ({"timeout": -1.5}, ValueError, "timeout must be more than 0 seconds, not -1.5"),
        ({"timeout": "1"}, TypeError, "timeout must be a number of seconds, not str"),
        ({"retries": -1}, ValueError, "retries must be 0 or more, not -1"),
        ({"retries": 1.5}, TypeError, "retries must be an integer, not float"),
        ({"memory": 0}, ValueError, "memory must be 1 or more, not 0"),
        ({"memory": "1G"}, TypeError, "memory must be an integer, not str"),
        ({"priority": 0.5}, TypeError, "priority must be an integer, not float"),
        ({"priority": 1 << 40}, ValueError, "priority must be less than"),
        ({"tries": 1}, TypeError, "tries"),
    ],
)
def test_refuses(fork, options, error, words):
    with fork.Pool(1) as pool:
        for either in (pool, pool.options(timeout=1)):
            with pytest.raises(error, match=words):
                either.options(**options)


def test_every_method_has_them(ctx):
    with ctx.Pool(2) as pool:
        some = pool.options(timeout=LONG, retries=1, memory=1 << 40)
        assert some.apply(errands.add, (1,), {"b": 2}) == 3
        assert some.apply_async(errands.square, (3,)).get(LONG) == 9
        assert some.map(errands.square, range(5), chunksize=2) == [0, 1, 4, 9, 16]
        assert some.starmap(errands.add, [(1, 2), (3, 4)]) == [3, 7]
        assert some.map_async(errands.square, [2]).get(LONG) == [4]
        assert some.starmap_async(errands.add, [(1, 1)]).get(LONG) == [2]
        assert list(some.imap(errands.square, range(99))) == [n * n for n in range(99)]
        unordered = some.imap_unordered(errands.square, range(99), chunksize=7)
        assert sorted(unordered) == [n * n for n in range(99)]


# ---- the same pool


def test_it_is_the_same_pool(fork):
    pool = fork.Pool(2)
    once = pool.options(timeout=LONG, retries=2)
    twice = once.options(retries=0, priority=-3)
    assert "timeout=60.0, retries=2>" in repr(once)
    assert "timeout=60.0, retries=0, priority=-3>" in repr(twice)
    assert isinstance(once, mproc.pool.Pool)
    assert once.apply(errands.pid) in [worker.pid for worker in pool._pool]
    assert twice._pool is pool._pool
    with twice:
        pass
    assert pool._state == once._state == "TERMINATE"
    for each in (pool, once, twice):
        with pytest.raises(ValueError, match="not running"):
            each.apply(errands.square, (1,))
    pool.join()


def test_close_and_join_through_it(fork):
    pool = fork.Pool(1)
    some = pool.options(retries=1)
    result = some.apply_async(errands.square, (2,))
    some.close()
    some.join()
    assert (pool._state, result.get(0)) == ("CLOSE", 4)


def test_who_drops_it_does_not_end_the_pool(fork):
    with fork.Pool(1) as pool, warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = []
        pool.options(retries=1).apply_async(errands.square, (2,), callback=seen.append).get(LONG)
        gc.collect()
        assert seen == [4]
        assert pool.apply_async(errands.square, (3,)).get(LONG) == 9


def test_it_keeps_the_pool(fork):
    pool = fork.Pool(1)
    reference, some = weakref.ref(pool), pool.options(retries=1)
    del pool
    gc.collect()
    assert some.apply(errands.square, (2,)) == 4
    some.terminate()
    some.join()
    del some
    gc.collect()
    assert reference() is None


class Derived(mproc.pool.Pool):
    def twice(self, value):
        return 2 * self.apply(errands.square, (value,))


def test_of_a_class_that_derives(fork):
    with Derived(1, context=fork) as pool:
        some = pool.options(retries=1)
        assert isinstance(some, Derived)
        assert type(some) is type(pool.options(timeout=1)) is type(some.options(timeout=1))
        assert some.twice(3) == 18


class Piped(mproc.pool.Pool):
    def _setup_queues(self):
        super()._setup_queues()


def test_pools_that_have_none(fork):
    with ThreadPool(1) as pool, pytest.raises(NotImplementedError, match="of a ThreadPool have no"):
        pool.options(timeout=1)
    with Piped(1, context=fork) as pool, pytest.raises(NotImplementedError, match="Piped have no"):
        pool.options()


# ---- what they do


def test_a_timeout(ctx):
    with ctx.Pool(2) as pool:
        late = pool.options(timeout=SHORT).apply_async(errands.wait_for, ("/nowhere",))
        error = caught(late)
        assert type(error) is TaskTimeoutError
        assert error.task == 0 and error.seconds >= SHORT and error.pid > 0
        with pytest.raises(ProcessLookupError):
            os.kill(error.pid, 0)
        assert pool.map(errands.square, range(9)) == [n * n for n in range(9)]


def test_a_timeout_of_a_part(fork):
    with fork.Pool(1) as pool:
        results = pool.options(timeout=FAIR).imap(errands.wait_for, ["/", "/nowhere", "/"])
        assert next(results) is None
        with pytest.raises(TaskTimeoutError):
            next(results)
        assert next(results) is None


def test_retries(ctx, tmp_path):
    with ctx.Pool(2) as pool:
        result = pool.options(retries=3).apply_async(die_until, (tmp_path / "good", 3))
        others = pool.map(errands.square, range(20), chunksize=1)
        assert (result.get(LONG), others) == (3, [n * n for n in range(20)])
        error = caught(pool.options(retries=1).apply_async(die_until, (tmp_path / "bad", 9)))
        assert type(error) is WorkerDiedError and error.exitcode == -signal.SIGKILL
        assert error.__notes__ == ["The task was tried 2 times"]


def test_join_waits_for_retries(fork, tmp_path):
    pool = fork.Pool(1)
    some = pool.options(timeout=FAIR, retries=2)
    result = some.apply_async(stay_until, (tmp_path / "tries", 2))
    pool.close()
    pool.join()
    assert result.get(0) == 2


def test_terminate_ends_retries(fork, tmp_path):
    with fork.Pool(1) as pool:
        result = pool.options(retries=1000).apply_async(die_until, (tmp_path / "tries", 10**6))
    with pytest.raises(mproc.ProcessError, match="terminated before the task was done"):
        result.get(LONG)


def test_memory(ctx):
    with ctx.Pool(1) as pool:
        limit = pool.apply(private_memory) + (64 << 20)
        error = caught(pool.options(memory=limit).apply_async(fill_memory, (128 << 20,)))
        assert type(error) is TaskMemoryError and error.peak > limit
        assert pool.apply(errands.square, (3,)) == 9


def test_priorities(ctx, tmp_path):
    queue = ctx.Queue()
    with ctx.Pool(1, keep, (queue,)) as pool:
        urgent = pool.options(priority=5)
        results = [pool.apply_async(say_and_wait, (tmp_path / "go",))]
        assert queue.get(timeout=LONG) == "begun"
        results.append(pool.apply_async(say, ("next",)))  # the one that lies ready for the worker
        for n in range(3):
            results.append(pool.apply_async(say, ((0, n),)))
            results.append(urgent.apply_async(say, ((5, n),)))
            results.append(urgent.options(priority=-1).apply_async(say, ((-1, n),)))
        (tmp_path / "go").write_text("")
        for result in results:
            result.get(LONG)
        said = [queue.get(timeout=LONG) for _ in range(10)]
    assert said == ["next", *[(priority, n) for priority in (5, 0, -1) for n in range(3)]]


def test_what_travels_by_value_has_options_too(ctx):
    pytest.importorskip("cloudpickle")
    with ctx.Pool(1, pickler="cloudpickle") as pool:
        late = pool.options(timeout=SHORT).apply_async(lambda: errands.wait_for("/nowhere"))
        assert type(caught(late)) is TaskTimeoutError
        assert pool.options(retries=1).map(lambda n: n + 1, range(3)) == [1, 2, 3]
