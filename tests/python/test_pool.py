"""Pool and AsyncResult: what is asked is answered, whatever happens to the workers."""

import _thread
import errno
import functools
import gc
import itertools
import os
import pickle
import signal
import sys
import threading
import time
import warnings

import errands
import pytest
from conftest import not_for_ever, wait_until

import mproc
from mproc import _engine as engine
from mproc import pool as pool_module
from mproc._pool import helper
from mproc._pool import imap as imap_module
from mproc.futures import ProcessPoolExecutor
from mproc.pool import MaybeEncodingError, ThreadPool, WorkerDiedError

LONG = 60  # seconds that no wait takes: after them something is wrong


@pytest.fixture
def fork():
    return mproc.get_context("fork")


def workers(pool):
    return [process.pid for process in pool._pool]


def over(pool):
    """Close the pool in good order; all its workers have ended well."""
    pool.close()
    pool.join()
    assert [process.exitcode for process in pool._pool] == [0] * len(pool._pool)


# A task cannot carry a queue: an initializer does.


def keep_queue(queue):
    errands.state.append(queue)


def stay_put():
    errands.stay(errands.state[0])


def say_and_wait_for(path, end):
    path.touch()
    errands.wait_for(end)


def say_and_wait(path, value=None):
    errands.say_and_wait(errands.state[0], path, value)
    return value


# ---- calls


def test_module():
    assert "Pool" in pool_module.__all__
    with mproc.Pool(1) as pool:
        assert isinstance(pool, pool_module.Pool)


def test_apply(ctx):
    with ctx.Pool(2) as pool:
        assert pool.apply(errands.square, (5,)) == 25
        assert pool.apply(errands.add, (1,)) == 11
        assert pool.apply(errands.add, [1, 2], {"c": 3}) == 6
        assert pool.apply(errands.add, args=(1,), kwds={"b": 1}) == 2
        assert pool.apply(errands.pid) in workers(pool)
        assert pool.apply(os.getpid) in workers(pool)
        assert pool.apply(int, ("7",)) == 7
        assert pool.apply("a-b".split, ("-",)) == ["a", "b"]
        assert pool.apply(functools.partial(errands.add, 1, c=1)) == 12


def test_map(ctx):
    with ctx.Pool(2) as pool:
        assert pool.map(errands.square, range(10)) == [x * x for x in range(10)]
        assert pool.map(errands.square, [3]) == [9]
        assert pool.map(errands.square, []) == []
        assert pool.map(errands.square, (x for x in (1, 2))) == [1, 4]
        assert pool.map(errands.square, {3: 1}) == [9]
        assert pool.map(str, range(1000), chunksize=7) == [str(x) for x in range(1000)]
        assert pool.map(str, range(10), 100) == [str(x) for x in range(10)]
        assert pool.map(str, range(10), chunksize=1) == [str(x) for x in range(10)]


def test_starmap_of_items_that_others_have_too(ctx):
    items = [(i, i % 3) for i in range(100)]
    expected = [pow(*item) for item in items]
    with ctx.Pool(2) as pool:
        assert pool.starmap(pow, items, 50) == expected  # the list alone refers to them
        others = list(items)
        assert pool.starmap(pow, items, 50) == expected
        assert pool.starmap(pow, items + others, 60) == expected * 2
        assert len(set(pool.map(id, [items[1]] * 2, 2))) == 1  # in the worker, too


def test_starmap(ctx):
    with ctx.Pool(2) as pool:
        pairs = list(itertools.product(range(5), range(5)))
        assert pool.starmap(errands.add, pairs) == [a + b for a, b in pairs]
        assert pool.starmap(errands.add, ([n] for n in range(3)), 2) == [10, 11, 12]
        assert pool.starmap(errands.add, []) == []


def test_async(ctx):
    with ctx.Pool(2) as pool:
        results = [pool.apply_async(errands.square, (n,)) for n in range(200)]
        mapped = pool.map_async(errands.square, range(100))
        starred = pool.starmap_async(errands.add, [(1, 2), (3, 4)], chunksize=1)
        assert starred.get(LONG) == [3, 7]
        assert mapped.get(timeout=LONG) == [n * n for n in range(100)]
        assert [result.get() for result in results] == [n * n for n in range(200)]


def test_large_values(ctx):
    with ctx.Pool(2) as pool:
        for size in (8000, 9000, 70_000, 3_000_000):
            assert pool.apply(errands.echo, (b"x" * size,)) == b"x" * size
            assert pool.map(len, [b"x" * size] * 3) == [size] * 3


def test_work_is_spread(ctx, tmp_path):
    """Two tasks of which each waits for the other cannot be done by one worker."""
    with ctx.Pool(2, keep_queue, (queue := ctx.Queue(),)) as pool:
        path = tmp_path / "go"
        results = [pool.apply_async(say_and_wait, (path, n)) for n in range(2)]
        assert sorted(queue.get(timeout=LONG) for _ in results) == sorted(workers(pool))
        path.touch()
        assert [result.get(LONG) for result in results] == [0, 1]


def test_a_worker(ctx, method):
    with ctx.Pool(1) as pool:
        name, daemon, its_method = pool.apply(errands.whereabouts)
        assert "PoolWorker" in name
        assert (daemon, its_method) == (True, method)


# ---- results


def test_a_result(ctx, tmp_path):
    with ctx.Pool(1, keep_queue, (queue := ctx.Queue(),)) as pool:
        path = tmp_path / "go"
        result = pool.apply_async(say_and_wait, (path, 7))
        queue.get(timeout=LONG)
        assert result.ready() is False
        literal = r"^<mproc\.pool\.AsyncResult object at 0x[0-9a-f]+> not ready$"
        with pytest.raises(ValueError, match=literal):
            result.successful()
        assert result.wait(0.01) is None
        with pytest.raises(mproc.TimeoutError):
            result.get(0.01)
        with pytest.raises(mproc.TimeoutError):
            result.get(timeout=0)
        with pytest.raises(mproc.TimeoutError):
            result.get(-1)
        path.touch()
        result.wait()
        assert result.ready() is True
        assert result.successful() is True
        assert result.get() == result.get(0) == 7


def test_a_failed_result(fork):
    with fork.Pool(1) as pool:
        result = pool.apply_async(errands.fail)
        result.wait(LONG)
        assert result.ready()
        assert result.successful() is False
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                result.get()


def test_a_result_becomes_ready_without_a_wait(fork):
    with fork.Pool(1) as pool:
        result = pool.apply_async(errands.square, (2,))
        assert wait_until(result.ready, LONG)
        assert result.get(0) == 4


def test_a_map_that_is_not_done(fork, tmp_path):
    with fork.Pool(1, keep_queue, (queue := fork.Queue(),)) as pool:
        path = tmp_path / "go"
        result = pool.map_async(say_and_wait, [path] * 3, chunksize=1)
        queue.get(timeout=LONG)
        with pytest.raises(mproc.TimeoutError):
            result.get(0.01)
        path.touch()
        assert result.get(LONG) == [None] * 3


def test_result_types():
    assert pool_module.ApplyResult is pool_module.AsyncResult
    assert issubclass(pool_module.MapResult, pool_module.AsyncResult)
    assert pool_module.AsyncResult[int].__args__ == (int,)


def test_results_outlive_the_pool(fork):
    pool = fork.Pool(1)
    result = pool.apply_async(errands.square, (3,))
    over(pool)
    assert result.get() == 9


# ---- callbacks


def test_callbacks(ctx):
    good, bad = [], []
    done = threading.Semaphore(0)

    def note(values):
        return lambda value: (values.append(value), done.release())

    with ctx.Pool(1) as pool:
        calls = {"callback": note(good), "error_callback": note(bad)}
        pool.apply_async(errands.square, (3,), {}, **calls)
        pool.map_async(errands.square, [1, 2], **calls)
        pool.starmap_async(errands.add, [(1, 2)], **calls)
        pool.apply_async(errands.fail, **calls)
        for _ in range(4):
            assert done.acquire(timeout=LONG)  # nobody waits for a result
    assert good == [9, [1, 4], [3]]
    assert [type(error) for error in bad] == [ZeroDivisionError]


@pytest.fixture(params=["Pool", "ThreadPool"])
def either(request, fork):
    """A pool of processes, or of threads."""
    make = fork.Pool if request.param == "Pool" else pool_module.ThreadPool
    with make(1) as pool:
        yield pool


@pytest.mark.parametrize("items", [[], iter(())])
def test_a_map_of_nothing_calls_nobody(either, items):
    seen = []
    for start in (either.map_async, either.starmap_async):
        result = start(errands.square, items, callback=seen.append, error_callback=seen.append)
        assert result.get(LONG) == [] and result.successful()
    assert either.apply(errands.square, (2,)) == 4
    assert seen == []


def test_a_pool_that_is_terminated_calls_nobody(either, tmp_path):
    seen = []
    calls = {"callback": seen.append, "error_callback": seen.append}
    begun, end = tmp_path / "begun", tmp_path / "end"
    results = [
        either.apply_async(say_and_wait_for, (begun, end), **calls),
        either.map_async(errands.square, range(9), 1, **calls),
        either.apply_async(either, **calls),
    ]
    errands.wait_for(begun)
    either.terminate()
    end.touch()  # a thread's task cannot be ended
    either.join()
    for result in results:
        with pytest.raises(Exception, match=r"terminated|pickled"):
            result.get(LONG)
    # What could not be sent may have called before.
    assert [what for what in seen if not isinstance(what, NotImplementedError)] == []


@pytest.mark.parametrize("submit", ["apply_async", "map_async", "starmap_async"])
def test_who_submits_what_cannot_be_sent_is_not_called_back_at_once(fork, submit):
    lock, seen = threading.Lock(), []
    came = threading.Event()

    def note(error):
        with lock:
            seen.append((type(error), str(error)))
        came.set()

    with fork.Pool(1) as pool:
        for attempt in range(2):
            with lock:  # a callback here and now would wait for it for ever
                args = (errands.square, [threading.Lock()])
                result = getattr(pool, submit)(*args, callback=note, error_callback=note)
                assert seen[attempt:] == []
            assert came.wait(LONG)  # nobody waits for the result
            came.clear()
            with pytest.raises(TypeError, match="lock"):
                result.get(LONG)
            assert len(seen) == attempt + 1 and seen[attempt][0] is TypeError
        pool.apply_async(errands.square, (threading.Lock(),), error_callback=note)
        pool.close()
        pool.join()
        assert len(seen) == 3


def test_a_result_that_is_waited_for_is_called_back_first(fork):
    seen = []
    with fork.Pool(1) as pool:
        result = pool.apply_async(errands.square, (threading.Lock(),), error_callback=seen.append)
        with pytest.raises(TypeError):
            result.get(LONG)
        assert [type(error) for error in seen] == [TypeError]


def test_a_callback_comes_before_get_returns(fork):
    seen = []
    with fork.Pool(2) as pool:
        for n in range(50):
            assert pool.apply_async(errands.square, (n,), callback=seen.append).get() == n * n
            assert seen[-1] == n * n


def test_a_callback_may_ask_for_more(fork):
    results = []
    with fork.Pool(1) as pool:

        def more(value):
            results.append(pool.apply_async(errands.square, (value,)))

        pool.apply_async(errands.square, (3,), callback=more).get(LONG)
        assert results[0].get(LONG) == 81


def test_a_callback_that_raises(fork, monkeypatch):
    seen = []
    monkeypatch.setattr("sys.unraisablehook", lambda report: seen.append(report.exc_type))
    with fork.Pool(1) as pool:
        result = pool.apply_async(errands.square, (3,), callback=errands.fail)
        assert result.get(LONG) == 9
        assert pool.apply(errands.square, (4,)) == 16
    assert seen == [ZeroDivisionError]


# ---- errors of the task


def test_an_exception(ctx):
    with ctx.Pool(2) as pool:
        with pytest.raises(ZeroDivisionError, match=r"^no luck$") as caught:
            pool.apply(errands.fail, ("luck",))
        cause = caught.value.__cause__
        assert type(cause) is pool_module.RemoteTraceback
        assert str(cause).startswith('\n"""\nTraceback (most recent call last):\n')
        assert "in fail\n" in str(cause)
        assert str(cause).endswith('ZeroDivisionError: no luck\n"""')
        with pytest.raises(KeyError) as caught:
            pool.apply(errands.fail_with_cause)
        assert "no cause" in str(caught.value.__cause__)
        with pytest.raises(IndexError):
            pool.starmap(errands.fail_at, [(n, 7) for n in range(20)])
        with pytest.raises(TypeError):
            pool.starmap(errands.add, [1])
        with pytest.raises(TypeError):
            pool.apply(errands.square)
        assert pool.apply(errands.square, (5,)) == 25


@pytest.mark.parametrize("chunksize", [1, 3, 20])
def test_one_of_a_map_fails(fork, chunksize):
    with fork.Pool(2) as pool:
        for bad in (0, 10, 19):
            function = functools.partial(errands.fail_at, bad=bad)
            with pytest.raises(IndexError):
                pool.map(function, range(20), chunksize=chunksize)
        assert pool.map(errands.square, range(3)) == [0, 1, 4]


def test_an_iterable_that_raises(fork):
    def items():
        yield 1
        raise LookupError("no more")

    with fork.Pool(1) as pool:
        for call in (pool.map, pool.map_async, pool.starmap):
            with pytest.raises(LookupError):
                call(errands.square, items())
        with pytest.raises(TypeError):
            pool.map(errands.square, 5)
        assert pool.apply(errands.square, (2,)) == 4


def test_a_function_that_does_not_pickle(ctx):
    with ctx.Pool(1) as pool:
        for result in (
            pool.apply_async(lambda: 1),
            pool.map_async(lambda x: x, [1, 2]),
            pool.starmap_async(lambda x: x, [(1,)]),
        ):
            with pytest.raises((pickle.PicklingError, AttributeError)):
                result.get(LONG)
        assert pool.apply(errands.square, (2,)) == 4


def test_arguments_that_do_not_pickle(ctx):
    with ctx.Pool(1) as pool:
        for call in (
            lambda: pool.apply(errands.echo, (lambda: 1,)),
            lambda: pool.apply(errands.echo, (), {"value": lambda: 1}),
            lambda: pool.map(errands.echo, [1, 2, lambda: 1], chunksize=1),
            lambda: pool.apply(errands.echo, (threading.Lock(),)),
        ):
            with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
                call()
        assert pool.map(errands.square, range(5)) == [0, 1, 4, 9, 16]


def test_what_is_no_call(fork):
    with fork.Pool(1) as pool:
        with pytest.raises(TypeError, match="not callable"):
            pool.apply(7)
        with pytest.raises(TypeError):
            pool.apply(errands.square, 5)
        assert pool.apply(errands.square, (2,)) == 4


def test_arguments_that_do_not_unpickle(ctx):
    with ctx.Pool(1) as pool:
        with pytest.raises(LookupError, match=r"^'not here'$|^not here$"):
            pool.apply(errands.echo, (errands.Unreadable(),))
        assert pool.apply(errands.square, (2,)) == 4


def test_a_result_that_does_not_pickle(ctx):
    with ctx.Pool(1) as pool:
        with pytest.raises(MaybeEncodingError) as caught:
            pool.apply(errands.give_lambda)
        text = str(caught.value)
        assert text.startswith("Error sending result: '<function give_lambda.<locals>.<lambda> at")
        assert "Reason: " in text
        assert repr(caught.value) == f"<MaybeEncodingError: {text}>"
        assert pool.apply(errands.square, (2,)) == 4


def test_an_exception_that_does_not_pickle(ctx):
    with ctx.Pool(1) as pool:
        with pytest.raises(MaybeEncodingError, match="Error sending result: 'ValueError"):
            pool.apply(errands.raise_lambda)
        assert pool.apply(errands.square, (2,)) == 4


def test_an_exception_whose_class_takes_other_arguments_arrives(ctx):
    with ctx.Pool(1) as pool, pytest.raises(errands.TwoArguments) as caught:
        pool.apply(errands.raise_two_arguments)
    assert caught.value.args == (1,) and caught.value.second == 2
    assert "raise TwoArguments(1, 2)" in str(caught.value.__cause__)


def test_an_exception_that_does_not_travel_says_what_it_was(ctx):
    with ctx.Pool(1) as pool, pytest.raises(MaybeEncodingError) as caught:
        pool.apply(errands.raise_needy)
    assert "Needy(1)" in str(caught.value)
    assert "missing 1 required positional argument" in str(caught.value)
    assert "raise Needy(1, 2)" in str(caught.value.__cause__)


def test_what_does_not_unpickle(ctx):
    with ctx.Pool(1) as pool:
        with pytest.raises(MaybeEncodingError, match="second"):
            pool.apply(errands.raise_needy)
        with pytest.raises(MaybeEncodingError, match="not here"):
            pool.apply(errands.give_unreadable)
        with pytest.raises(MaybeEncodingError, match="not here"):
            pool.starmap(errands.give_unreadable, [()])
        assert pool.apply(errands.square, (2,)) == 4


@pytest.mark.parametrize("errand", [errands.give_unprintable, errands.raise_unprintable])
def test_what_has_no_repr_either(fork, errand):
    with fork.Pool(1) as pool:
        worker = workers(pool)
        with pytest.raises(MaybeEncodingError, match="not me"):
            pool.apply(errand)
        assert workers(pool) == worker


# ---- signals


class Tripped:
    """Unpickled as None, and a signal has come whose handler has not run yet."""

    def __reduce__(self):
        return _thread.interrupt_main, (signal.SIGTERM,)


class Sixty:
    """Unpickled as 60 by code in C, which looks for no signal."""

    def __reduce__(self):
        return len, ([Tripped()] * 60,)


def refuse_to_end(*_):
    raise ValueError("asked to end")


def test_a_signal_comes_before_the_call_of_a_function_in_c(ctx):
    initargs = (signal.SIGTERM, refuse_to_end)
    with ctx.Pool(1, signal.signal, initargs) as pool:
        with pytest.raises(ValueError, match="asked to end"):
            pool.apply(time.sleep, (Sixty(),))
        with pytest.raises(ValueError, match="asked to end"):
            pool.map(time.sleep, [Sixty()])


# ---- workers that end


@pytest.mark.parametrize(
    ("errand", "args", "exitcode", "words"),
    [
        (errands.exit_softly, (7,), 7, "exited with code 7"),
        (errands.exit_softly, (None,), 0, "exited with code 0"),
        (errands.exit_hard, (9,), 9, "exited with code 9"),
        (errands.exit_hard, (0,), 0, "exited with code 0"),
        (errands.interrupt, (), 1, "exited with code 1"),
        (errands.kill_self, (), -signal.SIGKILL, "was ended by SIGKILL"),
        (errands.kill_self, (signal.SIGTERM,), -signal.SIGTERM, "was ended by SIGTERM"),
        (os.abort, (), -signal.SIGABRT, "was ended by SIGABRT"),
    ],
)
def test_a_task_ends_its_worker(ctx, errand, args, exitcode, words):
    with ctx.Pool(1) as pool:
        assert pool.apply(errands.square, (2,)) == 4
        (worker,) = pool._pool
        with pytest.raises(WorkerDiedError) as caught:
            pool.apply(errand, args)
        error = caught.value
        assert isinstance(error, mproc.ProcessError)
        assert (error.name, error.pid, error.exitcode) == (worker.name, worker.pid, exitcode)
        assert str(error) == (
            f"worker {worker.name} (pid {worker.pid}) {words} while it ran task {error.task}"
        )
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
        assert pool.apply(errands.square, (3,)) == 9
        assert workers(pool) != [worker.pid]


def test_the_tasks_beside_it_are_done(ctx):
    with ctx.Pool(2) as pool:
        results = [pool.apply_async(errands.kill_self_at, (n, 5)) for n in range(20)]
        for n, result in enumerate(results):
            if n == 5:
                with pytest.raises(WorkerDiedError):
                    result.get(LONG)
            else:
                assert result.get(LONG) == n


def test_a_map_loses_a_worker(ctx):
    with ctx.Pool(2) as pool:
        function = functools.partial(errands.kill_self_at, bad=5)
        with pytest.raises(WorkerDiedError):
            pool.map(function, range(20), chunksize=2)
        assert pool.map(errands.square, range(5)) == [0, 1, 4, 9, 16]


def test_a_busy_worker_is_killed(ctx):
    with ctx.Pool(2, keep_queue, (queue := ctx.Queue(),)) as pool:
        result = pool.apply_async(stay_put)
        pid = queue.get(timeout=LONG)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerDiedError) as caught:
            result.get(LONG)
        assert (caught.value.pid, caught.value.exitcode) == (pid, -signal.SIGKILL)
        assert pool.map(errands.square, range(5)) == [0, 1, 4, 9, 16]


def test_all_workers_are_killed(ctx):
    with ctx.Pool(2, keep_queue, (queue := ctx.Queue(),)) as pool:
        results = [pool.apply_async(stay_put) for _ in range(2)]
        waiting = [pool.apply_async(errands.square, (n,)) for n in range(10)]
        for _ in results:
            os.kill(queue.get(timeout=LONG), signal.SIGKILL)
        assert [result.get(LONG) for result in waiting] == [n * n for n in range(10)]
        for result in results:
            with pytest.raises(WorkerDiedError):
                result.get(LONG)


def test_idle_workers_are_killed(ctx):
    with ctx.Pool(2) as pool:
        pool.map(errands.square, range(10))
        for _ in range(2):
            killed = set(workers(pool))
            for worker in list(pool._pool):
                worker.kill()
                worker.join()
            assert pool.map(errands.square, range(10)) == [n * n for n in range(10)]
        result = pool.apply_async(errands.pid)
        assert result.get(LONG) not in killed


def test_dead_workers_are_replaced_when_asked(fork):
    with fork.Pool(2) as pool:
        dead = pool._pool[0]
        dead.kill()
        dead.join()
        pool._repopulate_pool()
        assert dead not in pool._pool
        assert all(worker.is_alive() for worker in pool._pool)


def test_workers_die_while_nobody_waits_and_the_pool_is_closed(fork):
    pool = fork.Pool(2, keep_queue, (queue := fork.Queue(),))
    results = [pool.apply_async(stay_put) for _ in range(2)]
    more = [pool.apply_async(errands.square, (n,)) for n in range(5)]
    pool.close()
    for _ in results:
        os.kill(queue.get(timeout=LONG), signal.SIGKILL)
    pool.join()
    assert [result.get(0) for result in more] == [0, 1, 4, 9, 16]
    for result in results:
        assert not result.successful()


def test_an_error_callback_hears_of_a_death(ctx):
    heard, done = [], threading.Event()
    with ctx.Pool(1) as pool:
        pool.apply_async(
            errands.kill_self, error_callback=lambda error: (heard.append(error), done.set())
        )
        assert done.wait(LONG)
    assert type(heard[0]) is WorkerDiedError


# ---- nobody waits


def put_kept(value):
    errands.state[0].put(value)


def die_softly():
    os._exit(1)


def test_queued_tasks_are_run_though_workers_die_and_nobody_waits(ctx):
    with ctx.Pool(2, keep_queue, (queue := ctx.Queue(),)) as pool:
        for _ in range(2):
            pool.apply_async(die_softly)
        for n in range(10):
            pool.apply_async(put_kept, (n,))
        assert sorted(queue.get(timeout=LONG) for _ in range(10)) == list(range(10))


@pytest.mark.parametrize("start", ["imap", "imap_unordered"])
@pytest.mark.parametrize("kind", [list, iter])
def test_an_imap_runs_to_its_end_though_nobody_takes_its_results(ctx, start, kind):
    with ctx.Pool(2, keep_queue, (queue := ctx.Queue(),)) as pool:
        results = getattr(pool, start)(put_kept, kind(range(300)))
        assert sorted(queue.get(timeout=LONG) for _ in range(300)) == list(range(300))
        assert list(results) == [None] * 300


@pytest.mark.parametrize("kind", [list, iter])
def test_an_imap_goes_on_when_nobody_takes_more(fork, monkeypatch, kind):
    monkeypatch.setattr(imap_module, "GAP", 0.01)
    with fork.Pool(2, keep_queue, (queue := fork.Queue(),)) as pool:
        results = pool.imap(put_kept, kind(range(300)))
        next(results)
        assert sorted(queue.get(timeout=LONG) for _ in range(300)) == list(range(300))


@pytest.mark.parametrize("start", ["imap", "imap_unordered"])
def test_an_imap_with_a_buffersize_never_goes_further(fork, monkeypatch, start):
    monkeypatch.setattr(imap_module, "NOBODY", 0)
    monkeypatch.setattr(imap_module, "GAP", 0)
    pulled = []
    with fork.Pool(2) as pool:
        items = (pulled.append(n) or n for n in range(100))
        results = getattr(pool, start)(errands.square, items, buffersize=5)
        for taken in range(1, 20):
            next(results)
            assert wait_until(lambda: pool._tasks.open == 0)
            pool.apply(errands.square, (2,))
            assert len(pulled) <= taken + 5
        pool.close()
        pool.join()
        assert len(list(results)) == 81


def test_buffersize_must_be_positive(fork):
    with fork.Pool(1) as pool, pytest.raises(ValueError, match="buffersize"):
        pool.imap(errands.square, [1], buffersize=0)


@pytest.mark.parametrize("size", [2.5, "2"])
@pytest.mark.parametrize("kind", ["imap", "imap_unordered"])
def test_buffersize_must_be_an_integer(fork, kind, size):
    with fork.Pool(1) as pool:
        with pytest.raises(TypeError, match="buffersize must be an integer or None"):
            getattr(pool, kind)(errands.square, range(9), buffersize=size)
        assert pool._tasks.open == 0


def test_an_iterable_may_wait_for_results(fork):
    """A crawler's: what is to be done next depends on what has come."""
    to_do, go = [1, 2, 3], threading.Event()

    def items():
        while to_do:
            yield to_do.pop()
            go.wait(LONG)

    with fork.Pool(1) as pool:
        got = []
        for result in pool.imap(errands.square, items()):
            got.append(result)
            go.set()
        assert got == [9, 4, 1]


def test_next_has_a_timeout_also_when_the_iterable_takes_its_time(fork):
    go = threading.Event()
    with fork.Pool(1) as pool:
        results = pool.imap(errands.square, iter(go.wait, True))
        with pytest.raises(mproc.TimeoutError):
            results.next(timeout=0.02)
        go.set()
        with pytest.raises(StopIteration):
            results.next(timeout=LONG)


def test_callbacks_come_one_after_the_other_and_may_rest_between(fork, monkeypatch):
    monkeypatch.setattr(helper, "REST", 0)
    with fork.Pool(1) as pool:
        for n in range(3):
            called = threading.Event()
            pool.apply_async(errands.square, (n,), callback=lambda _, e=called: e.set())
            assert called.wait(LONG)
            assert wait_until(lambda: pool._helper is None)


def refuse_to_start(monkeypatch, times, error):
    """Have workers not be started so many times; return the list of the times that are left."""
    start, left = pool_module.Pool._start, list(range(times))

    def start_or_not(self, new):
        if left:
            left.pop()
            raise error
        start(self, new)

    monkeypatch.setattr(pool_module.Pool, "_start", start_or_not)
    return left


def test_a_worker_that_cannot_be_replaced_now_is_later(fork, monkeypatch):
    with fork.Pool(1) as pool:
        left = refuse_to_start(monkeypatch, 3, OSError(errno.EMFILE, "no descriptors"))
        assert isinstance(caught(pool.apply_async(errands.kill_self)), WorkerDiedError)
        assert pool.apply_async(errands.square, (3,)).get(LONG) == 9
        assert not left


def test_workers_that_can_never_be_replaced(fork, monkeypatch):
    monkeypatch.setattr(engine, "RESTART", 0.05)
    with fork.Pool(1) as pool:
        refuse_to_start(monkeypatch, 10**6, OSError(errno.EMFILE, "no descriptors"))
        assert isinstance(caught(pool.apply_async(errands.kill_self)), WorkerDiedError)
        with pytest.raises(OSError, match="no descriptors"):
            pool.apply_async(errands.square, (3,)).get(LONG)


def test_a_worker_cannot_be_replaced_for_another_reason(fork, monkeypatch, tmp_path):
    with fork.Pool(1) as pool:
        refuse_to_start(monkeypatch, 10**6, RuntimeError("not any more"))
        pool.apply_async(errands.wait_for, (tmp_path / "go",))
        results = [pool.apply_async(errands.kill_self), pool.apply_async(errands.square, (3,))]
        (tmp_path / "go").write_text("")
        assert isinstance(caught(results[0]), WorkerDiedError)
        with pytest.raises(RuntimeError, match="not any more"):
            results[1].get(LONG)
        with pytest.raises(ValueError, match="not running"):
            pool.apply(errands.square, (3,))


def caught(result):
    with pytest.raises(Exception) as info:  # it is looked at afterwards
        result.get(LONG)
    return info.value


def test_no_helper_can_be_started(fork, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with fork.Pool(1) as pool:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        assert pool.apply_async(errands.square, (2,)).get(LONG) == 4
        assert list(pool.imap(errands.square, iter(range(300)))) == [n * n for n in range(300)]


def test_a_death_is_noticed_while_results_of_others_come(fork):
    with fork.Pool(2) as pool:
        over = threading.Event()

        def keep_busy():
            while not over.is_set():
                for result in [pool.apply_async(errands.square, (2,)) for _ in range(100)]:
                    result._watched = False

        thread = threading.Thread(target=keep_busy)
        thread.start()
        try:
            assert isinstance(caught(pool.apply_async(errands.kill_self)), WorkerDiedError)
        finally:
            over.set()
            thread.join()


def give_connection(n):
    reader, writer = mproc.Pipe(duplex=False)
    writer.send(n)
    return reader


def test_results_that_need_their_worker_are_read_before_it_ends(ctx):
    pool = ctx.Pool(2)
    results = [pool.apply_async(give_connection, (n,)) for n in range(10)]
    pool.close()
    pool.join()
    for n, result in enumerate(results):
        with result.get(0) as connection:
            assert connection.recv() == n


class ReadSlowly:
    """Takes its time to be unpickled, in the thread that collects."""

    begun, go = threading.Event(), threading.Event()

    @classmethod
    def read(cls):
        cls.begun.set()
        assert cls.go.wait(LONG)
        return "read"

    def __reduce__(self):
        return ReadSlowly.read, ()


def test_a_task_is_open_until_its_result_has_been_read(fork):
    """Another thread that finds no open task lets the workers go, and some results need them."""
    pool = fork.Pool(1)
    result = pool.apply_async(ReadSlowly)
    thread = threading.Thread(target=result.wait)
    thread.start()
    assert ReadSlowly.begun.wait(LONG)
    pool.close()
    assert pool._tasks.open == 1
    assert pool._pool[0].exitcode is None
    ReadSlowly.go.set()
    thread.join()
    assert result.get(0) == "read"
    pool.join()


def test_a_closed_pool_lets_its_workers_go_though_nobody_joins_it(fork):
    pool = fork.Pool(2)
    result = pool.apply_async(errands.square, (2,))
    pool.close()
    assert wait_until(lambda: all(process.exitcode == 0 for process in pool._pool), LONG)
    assert result.get(0) == 4
    pool.join()


class Shortens:
    """Takes all others out of its list when it is pickled."""

    def __init__(self, items):
        self.items = items

    def __reduce__(self):
        del self.items[1:]
        return int, ()


@pytest.mark.parametrize("chunksize", [1, 4])
def test_a_list_that_becomes_shorter_while_it_is_mapped(fork, chunksize):
    """No result stands for an item that was not there any more."""
    items = []
    items += [Shortens(items), *range(5)]
    with fork.Pool(1) as pool:
        with pytest.raises(RuntimeError, match="became shorter while it was mapped"):
            pool.map(errands.square, items, chunksize)
        assert pool.map(errands.square, [2]) == [4]


class Exits:
    """Exits whoever unpickles it."""

    def __reduce__(self):
        return errands.exit_softly, (3,)


def test_a_result_that_exits_as_it_is_unpickled(fork):
    with fork.Pool(1) as pool:
        assert isinstance(caught(pool.apply_async(Exits)), MaybeEncodingError)
        assert pool.apply(errands.square, (2,)) == 4


class Signals:
    """Sends whoever unpickles it a signal, on the way to the result that it stands for."""

    def __reduce__(self):
        return _signalled, ()


def _signalled():
    signal.raise_signal(signal.SIGUSR1)
    return "the result"


class Heard(Exception):
    pass


@pytest.fixture
def heard_once():
    """The handler of SIGUSR1 raises the first time."""
    raised = []

    def hear(*_):
        if not raised:
            raised.append(1)
            raise Heard

    before = signal.signal(signal.SIGUSR1, hear)
    yield
    signal.signal(signal.SIGUSR1, before)


def test_a_handler_that_raises_while_a_result_is_unpickled(fork, heard_once):
    with fork.Pool(1) as pool:
        result = pool._apply_async(Signals, (), None)
        with pytest.raises(Heard):
            result.get()
        assert result.get() == "the result"
        assert pool.apply(Signals) == "the result"


def test_a_handler_that_raises_while_a_part_is_unpickled(fork, heard_once):
    with fork.Pool(1) as pool:
        result = pool._map_async(_give_signals, range(4), False, 1)
        with pytest.raises(Heard):
            result.get()
        assert result.get() == ["the result"] * 4


LARGE_ITEMS = """
import sys
import mproc

def back(item):
    return item

if __name__ == "__main__":
    item = bytes(8 << 20)
    with mproc.get_context(sys.argv[1]).Pool(2) as pool:
        print(sum(map(len, pool.map(back, [item] * 30, 1))) >> 20)
        print(sum(map(len, pool.starmap(back, [(item,)] * 30, 2))) >> 20)
        try:
            pool.map(back, [item] * 9 + [lambda: 0] + [item] * 9, 1)
        except Exception as error:
            print(type(error).__name__)
        print(len(pool.map(back, [item] * 3, 1)))
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_map_takes_large_results_while_it_puts_large_items(program, tmp_path, method):
    file = tmp_path / "large_items.py"
    file.write_text(LARGE_ITEMS)
    env = {**program.env, "MPROC_ARENA_LIMIT": "96M"}
    said = program.output(str(file), method, env=env).split()
    assert said[:2] == ["240", "240"]
    assert said[2] in ("AttributeError", "PicklingError")
    assert said[3] == "3"


def _wait_for_gate(gate, _item):
    os.read(gate, 1)


def _when_it_has_begun(pool, then):
    wait_until(lambda: pool._tasks.open > 0)
    then()


def _raise_signal():
    signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)


def test_a_handler_that_raises_while_a_map_puts_large_items(fork, heard_once):
    items = [bytes(2 << 20)] * 100
    gate, opener = os.pipe()
    with open(gate), open(opener, "wb", 0) as opened, fork.Pool(2) as pool:
        killer = threading.Thread(target=_when_it_has_begun, args=(pool, _raise_signal))
        killer.start()
        with pytest.raises(Heard):
            pool.map(functools.partial(_wait_for_gate, gate), items, 1)
        killer.join()
        assert 0 < pool._tasks.open < len(items)  # the rest was not put
        opened.write(bytes(len(items)))
        assert pool.map(len, items, 1) == [2 << 20] * 100


def test_a_pool_is_terminated_while_a_map_puts_large_items(fork):
    items = [bytes(2 << 20)] * 100
    gate, opener = os.pipe()
    with open(gate), open(opener, "wb", 0), fork.Pool(2) as pool:
        ender = threading.Thread(target=_when_it_has_begun, args=(pool, pool.terminate))
        ender.start()
        with pytest.raises(mproc.ProcessError, match="terminated"):
            pool.map(functools.partial(_wait_for_gate, gate), items, 1)
        ender.join()


def _give_signals(_):
    return Signals()


def _give_signals_after(gate):
    os.read(gate, 1)
    return Signals()


def test_a_handler_that_raises_while_the_result_of_a_future_is_unpickled(fork, heard_once):
    gate, opener = os.pipe()
    with ProcessPoolExecutor(1, fork) as pool, open(gate), open(opener, "wb", 0) as opened:
        future = pool.submit(_give_signals_after, gate)
        with pytest.raises(Heard):
            opened.write(b"x")
            future.result()
        assert future.result() == "the result"


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_callback_that_raises_in_the_helper_does_not_end_it(fork, monkeypatch, tmp_path, error):
    told, threads, results = [], [], []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(args.exc_type))

    def fail(_):
        threads.append(threading.current_thread())
        raise error

    with fork.Pool(1) as pool:
        pool.apply_async(errands.wait_for, (tmp_path / "go",), callback=fail)
        (tmp_path / "go").touch()
        assert wait_until(lambda: threads)
        assert threads != [threading.current_thread()]
        pool.apply_async(errands.square, (3,), callback=results.append)
        assert wait_until(lambda: results)
        assert results == [9]
    assert told == ([] if error is KeyboardInterrupt else [error])


@pytest.mark.parametrize("runs", [False, True])
def test_the_start_of_the_helper_is_interrupted(fork, monkeypatch, runs):
    class Interrupted(threading.Thread):
        def start(self):
            if runs:
                super().start()
            raise KeyboardInterrupt

    results = []
    with fork.Pool(1) as pool:
        with monkeypatch.context() as patched:
            patched.setattr(threading, "Thread", Interrupted)
            with pytest.raises(KeyboardInterrupt):
                pool.apply_async(errands.square, (2,))
        pool.apply_async(errands.square, (3,), callback=results.append)
        assert wait_until(lambda: results)
        pool.close()
        pool.join()
    assert results == [9]


class NoDescriptors:
    """A finder of modules that has no descriptor left for one of them."""

    def __init__(self, name):
        self.name = name

    def find_spec(self, name, path=None, target=None):
        if name == self.name:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), name)


def test_there_is_no_descriptor_for_importing_the_helper(fork, monkeypatch):
    """What was submitted is done all the same; the helper comes with a later task."""
    finder, results = NoDescriptors(helper.__name__), []
    with fork.Pool(1) as pool:
        with monkeypatch.context() as patched:
            patched.delitem(sys.modules, helper.__name__)
            patched.setattr(sys, "meta_path", [finder, *sys.meta_path])
            result = pool.apply_async(errands.square, (2,), callback=results.append)
            assert pool._helper is None
            assert result.get(LONG) == 4
        later = pool.apply_async(errands.square, (3,), callback=results.append)
        assert pool._helper is not None
        assert later.get(LONG) == 9
        assert results == [4, 9]


def test_terminate_imports_nothing(fork, monkeypatch):
    """There may be no descriptor for that."""
    running = fork.Queue()
    with fork.Pool(2, keep_queue, (running,)) as pool:
        pool.map_async(stay_put_for, range(2), 1)
        assert {running.get(timeout=LONG) for _ in range(2)} == {w.pid for w in pool._pool}
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, "signal", None)
            pool.terminate()
        assert [worker.exitcode for worker in pool._pool] == [-signal.SIGTERM] * 2


@pytest.mark.parametrize("end", ["terminate", "close"])
def test_the_pool_ends_while_another_thread_starts_the_helper(fork, monkeypatch, end):
    starts, go = threading.Event(), threading.Event()

    class Late(threading.Thread):
        def start(self):
            starts.set()
            assert go.wait(LONG)
            super().start()

    pool = fork.Pool(1)
    submitter = threading.Thread(target=pool.apply_async, args=(errands.square, (2,)))
    monkeypatch.setattr(pool, "_kind_of_helper", Late)
    submitter.start()
    try:
        assert starts.wait(LONG)
        getattr(pool, end)()
        pool.join()
    finally:
        go.set()
        submitter.join()


# ---- initializers


def test_initializer(ctx):
    with ctx.Pool(2, errands.remember, ("a", 1)) as pool:
        assert pool.map(errands.recall, range(4), 1) == [[("a", 1)]] * 4
        with pytest.raises(WorkerDiedError):
            pool.apply(errands.kill_self)
        assert pool.map(errands.recall, range(4), 1) == [[("a", 1)]] * 4


def test_initargs_may_be_any_iterable(fork):
    with fork.Pool(1, initializer=errands.remember, initargs=iter([1, 2])) as pool:
        assert pool.apply(errands.recall) == [(1, 2)]
        with pytest.raises(WorkerDiedError):
            pool.apply(errands.kill_self)
        assert pool.apply(errands.recall) == [(1, 2)]


@pytest.mark.parametrize("initargs", [None, 5])
def test_initargs_without_an_initializer_are_not_looked_at(fork, initargs):
    """Programs hand on what they were given: None and None."""
    with fork.Pool(1, None, initargs) as pool:
        assert pool.apply(errands.square, (2,)) == 4
    with ThreadPool(1, None, initargs) as pool:
        assert pool.apply(errands.square, (2,)) == 4
    with ProcessPoolExecutor(1, fork, None, initargs) as executor:
        assert executor.submit(errands.square, 2).result(LONG) == 4


def test_an_initializer_that_fails_once(ctx, tmp_path):
    with ctx.Pool(1, errands.give_up_once, (tmp_path / "failed",)) as pool:
        assert pool.apply(errands.square, (2,)) == 4


@pytest.mark.parametrize("errand", [errands.give_up, errands.fail])
def test_an_initializer_that_always_fails(ctx, capfd, errand):
    """It breaks the pool with an error: workers are not started for ever."""
    with ctx.Pool(2, errand) as pool:
        first = number_of(pool._pool[0])
        results = [pool.apply_async(errands.square, (n,)) for n in range(3)]
        for result in results:
            with pytest.raises(WorkerDiedError, match=r"exited with code [13]$"):
                result.get(LONG)
        with pytest.raises(ValueError, match=r"^Pool not running$"):
            pool.apply(errands.square, (2,))
        pool.join()
        assert max(map(number_of, pool._pool)) - first <= 2 + 8 + 2  # as mproc.h says
    if errand is errands.fail:
        assert "ZeroDivisionError: no None" in capfd.readouterr().err


def number_of(worker):
    return int(worker.name.rpartition("-")[2])


# ---- maxtasksperchild


def test_maxtasksperchild(ctx):
    with ctx.Pool(1, maxtasksperchild=2) as pool:
        pids = [pool.apply(errands.pid) for _ in range(5)]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]


def test_maxtasksperchild_counts_chunks(fork):
    with fork.Pool(1, maxtasksperchild=1) as pool:
        pids = pool.map(errands.pid, range(6), chunksize=3)
    assert pids[0] == pids[2] != pids[3] == pids[5]


def test_maxtasksperchild_with_nobody_waiting(fork):
    pool = fork.Pool(2, maxtasksperchild=1)
    results = [pool.apply_async(errands.square, (n,)) for n in range(10)]
    pool.close()
    pool.join()
    assert [result.get(0) for result in results] == [n * n for n in range(10)]


# ---- arguments


@pytest.mark.parametrize("processes", [0, -1])
def test_too_few_processes(processes):
    with pytest.raises(ValueError, match=r"^Number of processes must be at least 1$"):
        mproc.Pool(processes)


@pytest.mark.parametrize("processes", [1 << 16, (1 << 32) + 1])
def test_too_many_processes(processes):
    with pytest.raises(ValueError, match=r"^Number of processes must be at most 65535$"):
        mproc.Pool(processes)


@pytest.mark.parametrize("number", [0, -1, 1.5, "2"])
def test_wrong_maxtasksperchild(number):
    with pytest.raises(ValueError, match=r"^maxtasksperchild must be a positive int or None$"):
        mproc.Pool(1, maxtasksperchild=number)


def test_wrong_initializer():
    with pytest.raises(TypeError, match=r"^initializer must be a callable$"):
        mproc.Pool(1, 5)
    with pytest.raises(TypeError):
        mproc.Pool(1, errands.remember, 5)


def test_wrong_processes():
    with pytest.raises(TypeError):
        mproc.Pool("2")


def test_as_many_as_there_are_cpus():
    with mproc.Pool() as pool:
        number = getattr(os, "process_cpu_count", os.cpu_count)()
        assert len(pool._pool) == pool._processes == number


@pytest.mark.parametrize("chunksize", ["1", 1.5])
def test_wrong_chunksize(fork, chunksize):
    with fork.Pool(1) as pool:
        with pytest.raises(TypeError):
            pool.map(errands.square, [1], chunksize)
        assert pool.apply(errands.square, (2,)) == 4


def living(pool):
    return sum(process.exitcode is None for process in pool._pool)


def is_of_size(pool, number):
    """Whoever waits notices that workers have ended."""
    return pool.apply(errands.square, (2,)) == 4 and living(pool) == number


def test_resize(ctx):
    with ctx.Pool(2) as pool:
        for number in (5, 1, 3):
            pool.resize(number)
            assert wait_until(lambda number=number: is_of_size(pool, number))
            assert f"pool_size={number}>" in repr(pool)
            assert pool.map(errands.square, range(50)) == [n * n for n in range(50)]
        with pytest.raises(WorkerDiedError):
            pool.apply(errands.kill_self)
        assert wait_until(lambda: is_of_size(pool, 3))
        pool.close()
        pool.join()
        assert living(pool) == 0


def test_resize_loses_no_task(fork):
    with fork.Pool(3) as pool:
        results = [pool.apply_async(errands.square, (n,)) for n in range(200)]
        pool.options(priority=1).resize(1)
        results += [pool.apply_async(errands.square, (n,)) for n in range(200, 400)]
        pool.resize(4)
        assert [result.get(LONG) for result in results] == [n * n for n in range(400)]
        assert pool._processes == 4


def test_resize_as_programs_do_it_with_the_standard_pool(fork):
    with fork.Pool(1) as pool:
        pool._processes = 3
        pool._repopulate_pool()
        assert len({worker.pid for worker in pool._pool}) == living(pool) == 3
        assert pool.map(errands.square, range(9)) == [n * n for n in range(9)]


@pytest.mark.parametrize(
    ("number", "error"),
    [(0, ValueError), (-1, ValueError), (65, ValueError), (1.5, TypeError), ("2", TypeError)],
)
def test_resize_refuses(fork, number, error):
    with fork.Pool(1) as pool:
        with pytest.raises(error):
            pool.resize(number)
        assert pool._processes == living(pool) == 1


def test_who_cannot_be_resized(fork):
    pool = fork.Pool(1)
    pool.close()
    with pytest.raises(ValueError, match="Pool not running"):
        pool.resize(2)
    pool.join()
    for other in (ThreadPool(1), Piped(1, context=fork)):
        with other, pytest.raises(NotImplementedError, match="are always as many"):
            other.resize(2)


def test_an_initializer_that_does_not_pickle():
    for method in ("spawn", "forkserver"):
        with pytest.raises((pickle.PicklingError, AttributeError)):
            mproc.get_context(method).Pool(2, lambda: None)


# ---- the end


def test_repr(fork):
    pool = fork.Pool(3)
    assert repr(pool) == "<mproc.pool.Pool state=RUN pool_size=3>"
    pool.close()
    assert repr(pool) == "<mproc.pool.Pool state=CLOSE pool_size=3>"
    pool.terminate()
    assert repr(pool) == "<mproc.pool.Pool state=TERMINATE pool_size=3>"
    pool.join()


def test_close_and_join(ctx):
    pool = ctx.Pool(2)
    results = [pool.apply_async(errands.square, (n,)) for n in range(50)]
    pool.close()
    pool.close()
    for use in (
        lambda: pool.apply(errands.square, (1,)),
        lambda: pool.apply_async(errands.square, (1,)),
        lambda: pool.map(errands.square, [1]),
        lambda: pool.map_async(errands.square, []),
        lambda: pool.starmap(errands.add, [(1,)]),
        lambda: pool.starmap_async(errands.add, [(1,)]),
        pool.__enter__,
    ):
        with pytest.raises(ValueError, match=r"^Pool not running$"):
            use()
    pool.join()
    pool.join()
    assert [result.get(0) for result in results] == [n * n for n in range(50)]
    assert [process.exitcode for process in pool._pool] == [0, 0]


def test_join_while_it_runs(fork):
    with fork.Pool(1) as pool, pytest.raises(ValueError, match=r"^Pool is still running$"):
        pool.join()


def test_terminate(ctx):
    pool = ctx.Pool(2, keep_queue, (queue := ctx.Queue(),))
    results = [pool.apply_async(stay_put) for _ in range(5)]
    for _ in range(2):
        queue.get(timeout=LONG)
    pool.terminate()
    pool.terminate()
    pool.join()
    assert [process.exitcode for process in pool._pool] == [-signal.SIGTERM] * 2
    for result in results:
        with pytest.raises(mproc.ProcessError, match="terminated before the task was done"):
            result.get(LONG)
    with pytest.raises(ValueError, match=r"^Pool not running$"):
        pool.apply(errands.square, (1,))
    pool.close()
    assert pool._state == "TERMINATE"


def test_terminate_after_close(fork):
    pool = fork.Pool(1, keep_queue, (queue := fork.Queue(),))
    pool.apply_async(stay_put)
    queue.get(timeout=LONG)
    pool.close()
    pool.terminate()
    pool.join()


def test_terminate_wakes_a_thread_that_waits(fork):
    with fork.Pool(1, keep_queue, (queue := fork.Queue(),)) as pool:
        result, caught = pool.apply_async(stay_put), []

        def wait():
            try:
                result.get(LONG)
            except mproc.ProcessError as error:
                caught.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        queue.get(timeout=LONG)
        pool.terminate()
        thread.join(LONG)
        assert len(caught) == 1


def one_and_then(wait):
    yield 1
    wait()


@pytest.mark.parametrize("kind", ["imap", "imap_unordered"])
@pytest.mark.parametrize("source", ["plain", "that is asked no more", "that waits"])
def test_terminate_ends_an_imap(fork, kind, source):
    going_on = threading.Event()
    items = {
        "plain": range(10**6),
        "that is asked no more": iter(range(10**6)),
        "that waits": one_and_then(going_on.wait),
    }[source]
    pool = fork.Pool(1)
    results = getattr(pool, kind)(errands.square, items)
    next(results)
    pool.terminate()
    with pytest.raises(mproc.ProcessError, match="terminated before the task was done"):
        while True:
            results.next(LONG)
    going_on.set()
    pool.join()


def ignore_terms(queue):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    keep_queue(queue)


def test_terminate_kills_who_does_not_listen(fork, monkeypatch):
    monkeypatch.setattr(engine, "PATIENCE", 0.05)
    with fork.Pool(1, ignore_terms, (queue := fork.Queue(),)) as pool:
        pool.apply_async(stay_put)
        queue.get(timeout=LONG)
        pool.terminate()
        assert pool._pool[0].exitcode == -signal.SIGKILL


def test_with(ctx):
    with ctx.Pool(2) as pool:
        processes = pool._pool
        assert pool.map(errands.square, range(4)) == [0, 1, 4, 9]
    assert pool._state == "TERMINATE"
    assert all(process.exitcode is not None for process in processes)


def test_with_after_an_exception(fork):
    with pytest.raises(LookupError), fork.Pool(1) as pool:
        raise LookupError
    assert pool._state == "TERMINATE"


def test_is_not_pickled(fork):
    text = "pool objects cannot be passed between processes or pickled"
    literal = rf"^{text}(\nwhen serializing .*)*(\nargs\[0\]: .*)?$"  # of pickle, from 3.14 on
    with fork.Pool(1) as pool:
        with pytest.raises(NotImplementedError, match=literal):
            pickle.dumps(pool)
        with pytest.raises(NotImplementedError, match=literal):
            pool.apply(errands.echo, (pool,))


@pytest.fixture
def unclosed(monkeypatch):
    """The warnings about pools: a list that, unlike pytest's, does not keep what they are about."""
    texts = []
    monkeypatch.setattr("warnings.warn", lambda text, kind, **_: texts.append((text, kind)))
    return texts


@pytest.mark.parametrize("options", [{}, {"maxtasksperchild": 3}])
def test_unclosed(ctx, unclosed, options):
    """A pool that nobody has any more says so, and its workers end."""
    pool = ctx.Pool(2, **options)
    assert pool.apply(errands.square, (2,)) == 4
    processes = pool._pool
    literal = f"unclosed running multiprocessing pool {pool!r}"
    del pool
    assert wait_until(lambda: unclosed)
    assert unclosed == [(literal, ResourceWarning)]
    for process in processes:
        process.join(LONG)
        assert process.exitcode == 0
    assert wait_until(lambda: threading.active_count() == 1)


def test_unclosed_with_results(fork, unclosed):
    """A result keeps its pool: it has to be collected by somebody."""
    result = fork.Pool(1).apply_async(errands.square, (2,))
    gc.collect()
    assert result.get(LONG) == 4
    assert unclosed == []
    del result
    assert wait_until(lambda: len(unclosed) == 1)  # the helper may be about to leave the pool
    assert wait_until(lambda: not mproc.active_children())


def test_unclosed_with_callbacks(fork, unclosed):
    """They are called all the same."""
    seen = []
    fork.Pool(1).apply_async(errands.square, (2,), callback=seen.append)
    gc.collect()
    assert wait_until(lambda: unclosed)
    assert seen == [4]
    assert wait_until(lambda: not mproc.active_children() and threading.active_count() == 1)


def test_closed_ones_do_not_warn(fork):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for end in ("close", "terminate"):
            pool = fork.Pool(1)
            getattr(pool, end)()
            pool.join()
            del pool
            gc.collect()


# ---- threads


def test_threads_use_one_pool(ctx):
    failures = []

    def work(pool, n):
        try:
            for i in range(20):
                assert pool.apply(errands.add, (n, i)) == n + i
                assert pool.map(errands.square, range(n)) == [x * x for x in range(n)]
                result = pool.apply_async(errands.square, (i,))
                assert result.get(LONG) == i * i
        except BaseException as error:
            failures.append(error)

    with ctx.Pool(2) as pool:
        threads = [threading.Thread(target=work, args=(pool, n)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
            assert not thread.is_alive()
    assert failures == []


def test_threads_wait_for_one_result(fork, tmp_path):
    with fork.Pool(1, keep_queue, (queue := fork.Queue(),)) as pool:
        path, got = tmp_path / "go", []
        result = pool.apply_async(say_and_wait, (path, 7))
        threads = [threading.Thread(target=lambda: got.append(result.get(LONG))) for _ in range(4)]
        for thread in threads:
            thread.start()
        queue.get(timeout=LONG)
        path.touch()
        for thread in threads:
            thread.join(LONG)
        assert got == [7] * 4


def test_a_thread_waits_long_while_another_gets_on(fork):
    with fork.Pool(2, keep_queue, (queue := fork.Queue(),)) as pool:
        slow = pool.apply_async(stay_put)
        thread = threading.Thread(target=slow.wait)
        thread.start()
        queue.get(timeout=LONG)
        for n in range(20):
            assert pool.apply(errands.square, (n,)) == n * n
        pool.terminate()
        thread.join(LONG)
        assert not thread.is_alive()


# ---- pools and processes


def test_a_pool_in_a_child(ctx):
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        process = ctx.Process(target=errands.map_in_a_child, args=(ctx, writer))
        process.start()
        assert reader.recv() == [n * n for n in range(10)]
        process.join(LONG)
        assert process.exitcode == 0


def test_a_pool_in_a_worker(ctx, method):
    """Workers are daemons, and these may have no children: an error, that arrives."""
    with ctx.Pool(1) as pool:
        words = pool.apply(errands.pool_in_a_daemon, (method,))
        assert words == "daemonic processes are not allowed to have children"


def test_a_pool_in_a_worker_that_is_no_daemon(fork):
    class Free(type(fork).Process):
        @property
        def daemon(self):
            return False

        @daemon.setter
        def daemon(self, value):
            pass

    class Nesting(pool_module.Pool):
        @staticmethod
        def Process(ctx, *args, **kwds):
            return Free(*args, **kwds)

    with Nesting(2, context=fork) as pool:
        assert pool.map(nested_map, [3, 4]) == [[0, 1, 4], [0, 1, 4, 9]]


def nested_map(n):
    with mproc.get_context("fork").Pool(2) as pool:
        return pool.map(errands.square, range(n))


def test_a_forked_child_has_no_use_for_its_parents_pool(fork):
    with fork.Pool(1) as pool:
        reader, writer = fork.Pipe(duplex=False)
        with reader, writer:
            process = fork.Process(target=errands.use_the_parents, args=(pool, writer))
            process.start()
            answers = reader.recv()
            process.join(LONG)
            assert process.exitcode == 0
        literal = f"{pool!r} belongs to process {os.getpid()}, not to this one"
        assert answers == [literal] * 4
        assert pool.apply(errands.square, (2,)) == 4


def test_two_pools_at_once(ctx):
    with ctx.Pool(1) as one, ctx.Pool(2) as other:
        first = one.map_async(errands.square, range(100))
        second = other.map_async(errands.square, range(50))
        assert second.get(LONG) == [n * n for n in range(50)]
        assert first.get(LONG) == [n * n for n in range(100)]


def test_many_pools_in_sequence(method):
    """The fixture sees what they leave."""
    ctx = mproc.get_context(method)
    for n in range(5 if method == "spawn" else 30):
        with ctx.Pool(2) as pool:
            assert pool.map(errands.square, range(n)) == [x * x for x in range(n)]


def test_no_thread_and_few_descriptors(ctx, method):
    with ctx.Pool(1):  # whatever is made once is made
        pass
    threads, before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    with ctx.Pool(4) as pool:
        pool.map(errands.square, range(100))
        assert threading.active_count() == threads
        assert len(os.listdir("/proc/self/fd")) <= before + 5


# ---- Ctrl-C

CTRL_C = """\
import os, signal, sys
import mproc
import errands

def main():
    ctx = mproc.get_context(sys.argv[1])
    queue = ctx.Queue()
    with ctx.Pool(2, errands.remember, (queue,)) as pool:
        print(*[process.pid for process in pool._pool], flush=True)
        pool.map(wait, range(4), 1)

def wait(n):
    os.write(1, b"in\\n")
    while True:
        signal.pause()

if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(7)
"""


@pytest.mark.parametrize("whom", ["parent", "group"])
def test_ctrl_c(program, method, whom):
    """SIGINT ends map with KeyboardInterrupt, and the workers are gone."""
    import subprocess
    import sys

    script = program.write("ctrl_c.py", CTRL_C)
    env = {**program.env}
    env["PYTHONPATH"] += os.pathsep + os.path.dirname(errands.__file__)
    with (
        subprocess.Popen(
            [sys.executable, str(script), method],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
            start_new_session=True,
        ) as child,
        not_for_ever(child),
    ):
        pids = [int(pid) for pid in child.stdout.readline().split()]
        assert [child.stdout.readline() for _ in pids] == ["in\n"] * 2
        if whom == "parent":
            child.send_signal(signal.SIGINT)
        else:
            os.killpg(child.pid, signal.SIGINT)
        out, _ = child.communicate(timeout=LONG)
    assert "interrupted\n" in out
    assert child.returncode == 7
    assert wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))


def test_a_signal_handler_runs_while_a_result_is_waited_for(fork, tmp_path):
    path = tmp_path / "go"
    old = signal.signal(signal.SIGALRM, lambda *_: path.touch())
    try:
        with fork.Pool(1, keep_queue, (queue := fork.Queue(),)) as pool:
            result = pool.apply_async(say_and_wait, (path, 7))
            queue.get(timeout=LONG)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            assert result.get(LONG) == 7
    finally:
        signal.signal(signal.SIGALRM, old)


def test_a_signal_handler_may_use_the_pool(fork):
    with fork.Pool(2) as pool:
        got = []
        old = signal.signal(
            signal.SIGALRM, lambda signum, frame: got.append(pool.apply(errands.square, (3,)))
        )
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
            while len(got) < 100:
                assert pool.apply(errands.square, (2,)) == 4
                assert pool.map(errands.square, range(9)) == [n * n for n in range(9)]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
        assert set(got) == {9}


@pytest.mark.parametrize("options", ["", "maxtasksperchild=9"])
def test_at_exit(program, method, options):
    """A program that forgets its pool ends, and its workers do, also when a thread minds them."""
    script = program.write(
        "forgetful.py",
        "import sys, mproc\n"
        "if __name__ == '__main__':\n"
        f"    pool = mproc.get_context(sys.argv[1]).Pool(2, {options})\n"
        "    print(pool.apply(abs, (-1,)))\n"
        "    print(*[process.pid for process in pool._pool])\n",
    )
    first, pids = program.output(script, method).splitlines()
    assert first == "1"
    assert wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids.split()))


# ---- imap


@pytest.fixture
def pool(ctx):
    with ctx.Pool(2) as pool:
        yield pool
    pool.join()


@pytest.mark.parametrize("chunksize", [1, 7])
def test_imap_keeps_the_order(pool, chunksize):
    assert list(pool.imap(errands.square, range(200), chunksize)) == [n * n for n in range(200)]


@pytest.mark.parametrize("chunksize", [1, 7])
def test_imap_unordered_gives_each_result_once(pool, chunksize):
    results = list(pool.imap_unordered(errands.square, range(200), chunksize))
    assert sorted(results) == [n * n for n in range(200)]


def test_imap_reads_only_what_it_needs(pool, monkeypatch):
    """The standard library pulls tens of thousands of items before the first result is taken."""
    monkeypatch.setattr(imap_module, "NOBODY", LONG)
    monkeypatch.setattr(imap_module, "GAP", LONG)
    pulled = []
    results = pool.imap(errands.square, (pulled.append(n) or n for n in range(100_000)))
    assert next(results) == 0
    assert len(pulled) <= 100


@pytest.mark.parametrize("start", ["imap", "imap_unordered"])
@pytest.mark.parametrize("kind", [list, iter])
def test_threads_share_the_results_of_an_imap(pool, start, kind):
    """Each result is one thread's; none ends before the last result was taken."""
    results, got = getattr(pool, start)(errands.square, kind(range(500))), []
    threads = [threading.Thread(target=lambda: got.extend(results)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert sorted(got) == [n * n for n in range(500)]


def stop_at_two(number):
    if number == 2:
        raise StopIteration("mine")
    return number


@pytest.mark.parametrize("chunksize", [1, 3])
@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
def test_a_stop_iteration_of_a_task_ends_no_imap(pool, name, chunksize):
    """It is an error of that item; the results of the others come."""
    results = getattr(pool, name)(stop_at_two, range(6), chunksize)
    got, errors = [], []
    while True:
        try:
            got.append(next(results))
        except StopIteration:
            break
        except RuntimeError as error:
            errors.append(error)
    assert len(errors) == 1 and "StopIteration" in str(errors[0])
    assert errors[0].__cause__.args == ("mine",)
    assert sorted(got) == ([0, 1, 3, 4, 5] if chunksize == 1 else [3, 4, 5])


@pytest.mark.parametrize("chunksize", [None, 1, 3, 6])
def test_a_stop_iteration_of_a_task_fails_its_map(pool, chunksize):
    """The standard library's map returns what has come, in wrong places."""
    with pytest.raises(StopIteration, match="mine"):
        pool.map(stop_at_two, range(6), chunksize)
    with pytest.raises(StopIteration, match="mine"):
        pool.starmap(stop_at_two, [(number,) for number in range(6)], chunksize)


def test_imap_of_nothing(pool):
    assert list(pool.imap(errands.square, [])) == []
    assert list(pool.imap_unordered(errands.square, [])) == []


def test_an_iterable_that_raises_does_so_in_its_place(pool):
    def items():
        yield from range(5)
        raise LookupError("no more")

    for start in (pool.imap, pool.imap_unordered):
        results = start(errands.square, items())
        got = [next(results) for _ in range(5)]
        assert sorted(got) == [0, 1, 4, 9, 16]
        with pytest.raises(LookupError, match="no more"):
            next(results)
        with pytest.raises(StopIteration):
            next(results)


class Handled(Exception):
    """What a signal's handler raises that the program calls, too."""


def handle(*_):
    raise Handled


@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
@pytest.mark.parametrize("end", [SystemExit, KeyboardInterrupt, GeneratorExit, Handled])
def test_whatever_an_iterable_raises_ends_its_imap(fork, name, end):
    """The thread that reads it is no place where it could be heard."""

    def items():
        yield 2
        if end is Handled:
            handle()
        raise end

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with fork.Pool(1) as pool:
            results = getattr(pool, name)(errands.square, items())
            assert results.next(LONG) == 4
            with pytest.raises(end):
                results.next(LONG)
            with pytest.raises(StopIteration):
                results.next(LONG)
            pool.close()
            pool.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_an_item_that_cannot_be_sent_raises_in_its_place(pool):
    results = pool.imap(errands.square, [2, lambda: 0])
    assert next(results) == 4
    with pytest.raises((AttributeError, pickle.PicklingError)):
        next(results)


@pytest.mark.parametrize("chunksize", [1, 2])
def test_items_before_one_that_cannot_be_sent_are_done(pool, chunksize):
    items = [*range(30), lambda: 0, *range(30)]
    results, got = pool.imap(errands.square, items, chunksize), []
    with pytest.raises((AttributeError, pickle.PicklingError)) as caught:
        got.extend(results)
    assert got == [n * n for n in range(30)]
    notes = caught.value.__notes__  # from 3.14 on pickle adds notes of its own
    assert any(note.startswith("iterable[30]") for note in notes), notes
    assert list(results) == []


class Interrupting:
    """An item whose pickling a signal handler interrupts once, as it were: in this thread."""

    interrupted = 0

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        here = threading.current_thread() is threading.main_thread()
        if here and self.number >= 20 and not Interrupting.interrupted:
            Interrupting.interrupted = self.number
            raise KeyboardInterrupt
        return int, (self.number,)


@pytest.mark.parametrize("start", ["imap", "imap_unordered"])
def test_an_imap_that_is_interrupted_goes_on(fork, monkeypatch, start):
    monkeypatch.setattr(Interrupting, "interrupted", 0)
    monkeypatch.setattr(imap_module, "WINDOW", 8)
    with fork.Pool(2) as pool:
        results = getattr(pool, start)(errands.square, [Interrupting(n) for n in range(100)])
        got = []
        with pytest.raises(KeyboardInterrupt):
            got.extend(results)
        assert len(got) < Interrupting.interrupted
        assert sorted([*got, *results]) == [n * n for n in range(100)]


@pytest.mark.parametrize(("quick", "slow"), [(LONG, 2 * LONG), (0, 0)])
@pytest.mark.parametrize("buffersize", [None, 3])
def test_how_far_an_imap_goes_ahead(fork, monkeypatch, quick, slow, buffersize):
    monkeypatch.setattr(imap_module, "QUICK", quick)
    monkeypatch.setattr(imap_module, "SLOW", slow)
    with fork.Pool(2) as pool:
        results, most = pool.imap(errands.square, range(3000), buffersize=buffersize), 0
        for number, result in enumerate(results):
            assert result == number * number
            most = max(most, results._under_way)
    assert most == (buffersize or (1024 if quick else 64))


def test_a_dict_that_changes_fails_in_its_place(fork):
    items = dict.fromkeys(range(200))
    with fork.Pool(2) as pool:
        results, got = pool.imap(errands.square, items), []
        items["more"] = None
        with pytest.raises(RuntimeError, match="changed size"):
            got.extend(results)
        assert got == [n * n for n in range(len(got))] and len(got) >= 64


def test_imap_chunksize_must_be_positive(pool):
    with pytest.raises(ValueError, match=r"Chunksize must be 1\+, not 0"):
        pool.imap(errands.square, [1], 0)


def test_imap_next_has_a_timeout(pool):
    results = pool.imap(time.sleep, [LONG])
    with pytest.raises(mproc.TimeoutError):
        results.next(0.01)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
@pytest.mark.parametrize("progress", [None, lambda progress: None], ids=["plain", "progress"])
def test_imap_next_has_a_timeout_that_is_over(pool, timeout, progress):
    results = pool.imap(time.sleep, [LONG], progress=progress)
    with pytest.raises(mproc.TimeoutError):
        results.next(timeout)


def next_or_none(results):
    try:
        return results.next(0)
    except mproc.TimeoutError:
        return None


def test_imap_next_without_a_wait_sees_what_has_come(fork, monkeypatch):
    with fork.Pool(1) as pool:
        monkeypatch.setattr(pool, "_need_helper", lambda: None)
        results = pool.imap(errands.square, [3])
        assert wait_until(lambda: next_or_none(results) == 9)


@pytest.mark.parametrize("unordered", [False, True])
def test_imap_goes_on_after_close(ctx, unordered):
    pool = ctx.Pool(2)
    start = pool.imap_unordered if unordered else pool.imap
    first, second = start(errands.square, range(500)), start(errands.square, range(500))
    pool.close()
    assert sum(first) == sum(n * n for n in range(500))
    pool.join()
    assert sum(second) == sum(n * n for n in range(500))


def test_imap_tells_of_a_worker_that_died(pool):
    results = pool.imap_unordered(os._exit, [3])
    with pytest.raises(WorkerDiedError, match="exited with code 3"):
        next(results)


# ---- queues of one's own, and what recipes know of the standard pool


class Piped(pool_module.Pool):
    """Sends tasks and results through queues of its own."""

    def _setup_queues(self):
        super()._setup_queues()
        self.sent = []
        put = self._quick_put
        self._quick_put = lambda task: (self.sent.append(task), put(task))


def test_a_pool_with_queues_of_its_own(ctx):
    with Piped(2, context=ctx) as pool:
        assert pool.apply(errands.add, (1,), {"b": 2}) == 3
        assert pool.map(errands.square, range(50)) == [n * n for n in range(50)]
        assert pool.starmap(errands.add, [(1, 2), (3, 4)]) == [3, 7]
        assert list(pool.imap(errands.square, iter(range(99)))) == [n * n for n in range(99)]
        with pytest.raises(ZeroDivisionError) as caught:
            pool.apply(errands.fail)
        assert type(caught.value.__cause__) is pool_module.RemoteTraceback
        assert len(pool.sent) > 10
    pool.join()


def test_a_pool_with_queues_of_its_own_ends_well(ctx):
    pool = Piped(2, context=ctx)
    results = [pool.apply_async(errands.square, (n,)) for n in range(20)]
    pool.close()
    pool.join()
    assert [result.get(0) for result in results] == [n * n for n in range(20)]
    assert [process.exitcode for process in pool._pool] == [0, 0]


def test_what_does_not_travel_through_queues_of_ones_own(fork):
    with Piped(1, context=fork) as pool:
        with pytest.raises((pickle.PicklingError, AttributeError)):
            pool.apply(lambda: 1)
        with pytest.raises(MaybeEncodingError):
            pool.apply(errands.give_lambda)
        with pytest.raises(MaybeEncodingError):
            pool.apply(errands.give_unreadable)
        assert pool.apply(errands.square, (2,)) == 4


class Unreadable:
    """Raises when it is unpickled: what that is, is said."""

    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        return do_raise, (self.error,)


def do_raise(error):
    raise error


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), FileNotFoundError("a file"), EOFError("an end"), SystemExit(3)],
    ids=repr,
)
def test_a_result_that_cannot_be_read_from_a_queue_of_ones_own(fork, tmp_path, error):
    """It does not say whose it is. Its task ends, and what waits behind it is done."""
    go = tmp_path / "go"
    with Piped(2, context=fork) as pool:
        busy = pool.apply_async(errands.wait_for, (go,))
        unreadable = pool.apply_async(Unreadable, (error,))
        behind = pool.apply_async(errands.square, (3,))
        with pytest.raises(MaybeEncodingError):
            unreadable.get(LONG)
        assert behind.get(LONG) == 9
        go.touch()
        busy.wait(LONG)
        assert pool.apply_async(errands.square, (2,)).get(LONG) == 4


class Unsendable:
    def __reduce__(self):
        raise SystemExit(4)


def test_an_argument_that_exits_as_it_is_pickled_for_a_queue_of_ones_own(fork):
    with Piped(1, context=fork) as pool:
        with pytest.raises(SystemExit):
            pool.apply_async(errands.square, (Unsendable(),)).get(LONG)
        assert pool.apply_async(errands.square, (2,)).get(LONG) == 4


def test_a_worker_with_queues_of_its_own_dies(ctx):
    """Nobody knows which task it had: what is under way fails, and the pool goes on."""
    with Piped(1, context=ctx) as pool:
        assert isinstance(caught(pool.apply_async(errands.kill_self)), WorkerDiedError)
        assert pool.apply(errands.square, (2,)) == 4


class Repopulating(pool_module.Pool):
    """Starts its workers itself."""

    def _setup_queues(self):
        self._inqueue = self._ctx.SimpleQueue()
        self._outqueue = self._ctx.SimpleQueue()
        self._quick_put = self._inqueue._writer.send
        self._quick_get = self._outqueue._reader.recv

    def _repopulate_pool(self):
        for _ in range(self._processes - len(self._pool)):
            args = (self._inqueue, self._outqueue, self._initializer, self._initargs)
            args += (self._maxtasksperchild, self._wrap_exception)
            process = self.Process(self._ctx, target=clean_worker, args=args)
            self._pool.append(process)
            process.name = process.name.replace("Process", "PoolWorker")
            process.daemon = True
            process.start()


def clean_worker(*args, **kwargs):
    pool_module.worker(*args, **kwargs)


def test_a_pool_that_starts_its_workers_itself(ctx):
    with Repopulating(2, context=ctx) as pool:
        assert pool.map(errands.square, range(50)) == [n * n for n in range(50)]
        assert isinstance(caught(pool.apply_async(errands.kill_self)), WorkerDiedError)
        assert pool.map(errands.square, range(50)) == [n * n for n in range(50)]
        assert len(pool._pool) == 2
    with Repopulating(1, maxtasksperchild=2, context=ctx) as pool:
        assert pool.map(errands.square, range(7), chunksize=1) == [n * n for n in range(7)]


def istarmap(pool, function, iterable, chunksize=1):
    """A recipe that programs carry: imap for several arguments."""
    pool._check_running()
    batches = pool_module.Pool._get_tasks(function, iterable, chunksize)
    result = pool_module.IMapIterator(pool)
    tasks = pool._guarded_task_generation(result._job, pool_module.starmapstar, batches)
    pool._taskqueue.put((tasks, result._set_length))
    return (item for chunk in result for item in chunk)


@pytest.mark.parametrize("chunksize", [1, 3])
def test_a_recipe_with_the_parts_of_the_standard_pool(ctx, chunksize):
    with ctx.Pool(2) as pool:
        pairs = [(n, n + 1) for n in range(200)]
        got = list(istarmap(pool, errands.add, pairs, chunksize))
        assert got == [a + b for a, b in pairs]
        assert pool_module.mapstar((abs, (-1, -2))) == [1, 2]
        assert pool._taskqueue.empty()


def test_what_programs_count(fork):
    with fork.Pool(1, keep_queue, (queue := fork.Queue(),)) as pool:
        result = pool.map_async(stay_put_for, range(3), chunksize=1)
        queue.get(timeout=LONG)
        assert (len(pool._cache), result._number_left, pool._taskqueue.qsize()) == (3, 3, 2)
    assert list(pool_module.IMapIterator(pool)) == []


def stay_put_for(_):
    stay_put()


# ---- parts of the standard pool that programs look at


def test_what_stands_for_the_queues_and_threads(ctx):
    with ctx.Pool(1) as pool:
        assert pool._inqueue is pool._inqueue and pool._inqueue.empty() and pool._outqueue.empty()
        handler = pool._worker_handler
        assert handler.is_alive() and handler.daemon and handler._state == pool._state == "RUN"
        pool.close()
        handler.join()
        assert not handler.is_alive() and not pool._pool[0].is_alive()
        with pytest.raises(AttributeError, match="'Pool' object has no attribute '_no_such_part'"):
            pool._no_such_part  # noqa: B018


class SeatingPool(mproc.pool.Pool):
    """Overrides what starts workers only to see it, and leaves the starting to its base."""

    def _repopulate_pool(self):
        self.asked = getattr(self, "asked", 0) + 1
        super()._repopulate_pool()


def test_a_subclass_may_leave_the_starting_of_workers_to_its_base(ctx):
    with SeatingPool(2, context=ctx) as pool:
        assert len(pool._pool) == 2 and pool.asked == 1
        assert pool.map(abs, [-1, -2]) == [1, 2]
        pool.close()
        pool.join()


def own_worker(inqueue, outqueue, *options):
    while (task := inqueue.get()) is not None:
        job, i, func, args, kwds = task
        outqueue.put((job, i, (True, ["own", func(*args, **kwds)])))


def test_a_function_in_the_place_of_the_workers_own(monkeypatch, ctx):
    monkeypatch.setattr(mproc.pool, "worker", own_worker)
    with ctx.Pool(2) as pool:
        assert pool.apply(abs, (-3,)) == ["own", 3]
        pool.close()
        pool.join()
        assert [old.exitcode for old in pool._pool] == [0, 0]


class HalfSent(mproc.queues.SimpleQueue):
    """Sends the number 13 by half, and kills the process that sends it."""

    def put(self, obj):
        data = pickle.dumps(obj)
        with self._wlock:
            if obj is not None and obj[2] == (True, 13):
                os.write(self._writer.fileno(), len(data).to_bytes(4, "big") + data[:5])
                os.kill(os.getpid(), signal.SIGKILL)
            self._writer.send_bytes(data)


class QueuesPool(mproc.pool.Pool):
    def _setup_queues(self):
        super()._setup_queues()
        self._outqueue = HalfSent(ctx=self._ctx)
        self._quick_get = self._outqueue.get


def test_a_worker_that_is_killed_while_it_sends_does_not_stop_the_end(ctx):
    pool = QueuesPool(1, context=ctx)
    assert pool.apply(abs, (-12,)) == 12
    result = pool.apply_async(abs, (-13,))
    with pytest.raises(WorkerDiedError):
        result.get(30)
    pool.terminate()
    pool.join()
    assert not any(old.is_alive() for old in pool._pool)
