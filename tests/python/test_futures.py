"""ProcessPoolExecutor: every future ends, whatever happens to workers, executor and interpreter."""

import asyncio
import concurrent.futures
import errno
import functools
import gc
import logging
import logging.handlers
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import types
import weakref

import errands
import pytest
from conftest import not_for_ever, wait_until

import mproc
from mproc import _engine as engine
from mproc import futures
from mproc._pool import executor, helper
from mproc.futures import BrokenProcessPool, ProcessPoolExecutor, UnreadableError
from mproc.pool import WorkerDiedError

LONG = 60  # seconds that no wait takes: after them something is wrong


@pytest.fixture
def fork():
    return mproc.get_context("fork")


def workers(pool):
    return list(pool._engine._workers())


def touch(path):
    path.write_text("")


def hold(queue, path):
    """Tell that the task runs, and run until the file is there."""
    queue.put(os.getpid())
    errands.wait_for(path)


def note_and_hold(path):
    with path.open("a") as file:
        file.write("begun\n")
    time.sleep(LONG)


def keep(queue):
    errands.state.append(queue)


def hold_kept(path, value=None):
    hold(errands.state[0], path)
    return value


class Busy:
    """An executor whose only worker runs a task until go() is called."""

    def __init__(self, ctx, tmp_path, **options):
        self.queue, self.path = ctx.Queue(), tmp_path / "go"
        self.pool = ProcessPoolExecutor(1, ctx, keep, (self.queue,), **options)
        self.first = self.pool.submit(hold_kept, self.path, "first")
        self.pid = self.queue.get(timeout=LONG)

    def go(self):
        touch(self.path)


# ---- calls


def test_names():
    assert mproc.ProcessPoolExecutor is ProcessPoolExecutor
    assert issubclass(BrokenProcessPool, concurrent.futures.BrokenExecutor)
    assert issubclass(ProcessPoolExecutor, concurrent.futures.Executor)
    assert futures._RemoteTraceback is mproc.pool.RemoteTraceback
    assert futures.EXTRA_QUEUED_CALLS == 1


def test_submit(ctx):
    with ProcessPoolExecutor(2, ctx) as pool:
        future = pool.submit(errands.add, 1, b=2, c=3)
        assert isinstance(future, concurrent.futures.Future)
        assert future.result() == 6
        assert future.done() and not future.running() and not future.cancelled()
        assert future.exception() is None
        assert pool.submit(errands.pid).result(LONG) in workers(pool)
        assert pool.submit(functools.partial(errands.add, 1, c=1)).result() == 12
        many = [pool.submit(errands.square, n) for n in range(1000)]
        assert [future.result() for future in many] == [n * n for n in range(1000)]


def test_map(ctx):
    with ProcessPoolExecutor(2, ctx) as pool:
        assert list(pool.map(errands.square, range(10))) == [n * n for n in range(10)]
        assert list(pool.map(errands.add, range(9), range(20))) == [2 * n for n in range(9)]
        assert list(pool.map(errands.square, range(50), chunksize=7)) == [n * n for n in range(50)]
        assert list(pool.map(errands.square, [], chunksize=7)) == []
        assert list(pool.map(errands.square, (n for n in [3]), timeout=LONG)) == [9]


def test_a_map_takes_no_item_that_it_does_not_run(fork):
    with ProcessPoolExecutor(1, fork) as pool:
        for chunksize in (1, 2, 3, 300):
            items = iter(range(1000))
            assert len(list(pool.map(errands.add, items, range(7), chunksize=chunksize))) == 7
            assert next(items) <= 9


def test_a_map_of_an_executor_that_is_over(fork):
    pool = ProcessPoolExecutor(1, fork)
    pool.shutdown()
    assert list(pool.map(errands.square, [])) == []
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.map(errands.square, [1])


def test_a_map_whose_items_shut_its_executor_down(fork):
    pool = ProcessPoolExecutor(1, fork)

    def items():
        yield 1
        pool.shutdown()
        yield 2

    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.map(errands.square, items())


def test_the_futures_of_a_map_are_freed_as_their_results_are_taken(fork):
    with ProcessPoolExecutor(1, fork) as pool:
        results = pool.map(errands.square, range(4))
        futures_of = results.gi_frame.f_locals["futures"]
        assert next(results) == 0
        assert len(futures_of) == 3
        results.close()
        assert all(future.done() or future.running() for future in futures_of)


def test_map_raises_in_its_place(fork):
    with ProcessPoolExecutor(2, fork) as pool:
        results = pool.map(functools.partial(errands.fail_at, bad=2), range(5))
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(IndexError):
            next(results)


def test_map_with_a_buffer_reads_no_further(fork):
    pulled = []
    with ProcessPoolExecutor(2, fork) as pool:
        items = (pulled.append(n) or n for n in range(100))
        results = pool.map(errands.square, items, buffersize=5)
        assert len(pulled) == 5
        assert next(results) == 0
        assert len(pulled) == 6
        assert list(results) == [n * n for n in range(1, 100)]


def test_map_has_a_timeout(fork, tmp_path):
    with ProcessPoolExecutor(1, fork) as pool:
        results = pool.map(errands.wait_for, [tmp_path / "go"] * 3, timeout=0.05)
        with pytest.raises(TimeoutError):
            next(results)
        touch(tmp_path / "go")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"chunksize": 0}, ValueError),
        ({"buffersize": 0}, ValueError),
        ({"buffersize": 1.5}, TypeError),
    ],
)
def test_map_refuses(fork, options, error):
    with ProcessPoolExecutor(1, fork) as pool, pytest.raises(error):
        pool.map(errands.square, [1], **options)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_workers": 0}, ValueError),
        ({"initializer": 1}, TypeError),
        ({"mp_context": "fork"}, TypeError),
        ({"mp_context": multiprocessing.get_context("fork")}, TypeError),
        ({"max_tasks_per_child": 0}, ValueError),
        ({"max_tasks_per_child": "1"}, TypeError),
        ({"max_tasks_per_child": 1, "mp_context": mproc.get_context("fork")}, ValueError),
    ],
)
def test_refuses(options, error):
    with pytest.raises(error):
        ProcessPoolExecutor(**options)


def test_as_many_as_there_are_cpus():
    number = getattr(os, "process_cpu_count", os.cpu_count)()
    assert ProcessPoolExecutor()._max_workers == number


@pytest.mark.parametrize("number", [1 << 16, (1 << 32) + 1])
def test_more_workers_than_there_can_be(number):
    """Programs ask for as many as they have tasks, and few are started."""
    with ProcessPoolExecutor(number, mproc.get_context("spawn")) as pool:
        assert pool._max_workers == number
        assert pool.submit(errands.square, 2).result(LONG) == 4
        assert len(pool._processes) == 1


def test_workers_start_as_they_are_needed(ctx, method):
    with ProcessPoolExecutor(3, ctx) as pool:
        assert pool._processes == {}
        pool.submit(errands.square, 2).result()
        assert len(pool._processes) == (3 if method == "fork" else 1)
        pool.submit(errands.square, 2).result()
        assert len(pool._processes) == (3 if method == "fork" else 1)
        assert all(process.is_alive() for process in pool._processes.values())
    assert pool._processes is None


# ---- waiting in any way


def test_wait_and_as_completed(ctx):
    with ProcessPoolExecutor(2, ctx) as pool:
        many = [pool.submit(errands.square, n) for n in range(200)]
        done = concurrent.futures.as_completed(many, timeout=LONG)
        assert sorted(future.result() for future in done) == [n * n for n in range(200)]
        many = [pool.submit(errands.square, n) for n in range(200)]
        done, not_done = concurrent.futures.wait(many, timeout=LONG)
        assert (len(done), len(not_done)) == (200, 0)


def test_a_timeout(fork, tmp_path):
    busy = Busy(fork, tmp_path)
    with busy.pool:
        for wait in (busy.first.result, busy.first.exception):
            with pytest.raises(TimeoutError):
                wait(0)
            with pytest.raises(TimeoutError):
                wait(timeout=0.02)
        assert busy.first.running()
        busy.go()
        assert busy.first.result() == "first"


class Timed:
    """An engine's tasks, and for how long this thread has had them pumped, or slept."""

    def __init__(self, engine):
        self.tasks, self.waits, self.thread = engine._tasks, [], threading.current_thread()
        self.sleep = engine._sleep

    def pump(self, job, seconds, *how):
        self.note(seconds)
        return self.tasks.pump(job, seconds, *how)

    def asleep(self, job, seconds, seen):
        self.note(seconds)
        return self.sleep(job, seconds, seen)

    def note(self, seconds):
        if threading.current_thread() is self.thread:
            self.waits.append(seconds)

    def __getattr__(self, name):
        return getattr(self.tasks, name)


def test_no_wait_is_longer_than_its_timeout(fork, tmp_path, monkeypatch):
    busy = Busy(fork, tmp_path)
    timed = Timed(busy.pool._engine)
    waits = timed.waits
    monkeypatch.setattr(busy.pool._engine, "_tasks", timed)
    monkeypatch.setattr(busy.pool._engine, "_sleep", timed.asleep)
    with busy.pool:
        for timeout in (-1, 0, 0.001):
            del waits[:]
            with pytest.raises(TimeoutError):
                busy.first.result(timeout)
            assert max(waits) <= max(timeout, 0)
        busy.go()
        assert busy.first.result() == "first"


def test_an_executor_does_not_travel(fork):
    with ProcessPoolExecutor(1, fork) as pool:
        for executor in (pool, pool.options(timeout=1)):
            with pytest.raises(TypeError, match=r"cannot pickle '.*' object"):
                pickle.dumps(executor)
        error = pool.submit(errands.square, [pool]).exception(LONG)
        assert "args[0][0]: cannot pickle 'ProcessPoolExecutor' object" in "".join(
            [str(error), *error.__notes__]
        )


def test_callbacks_come_though_nobody_waits(ctx):
    called = threading.Event()
    with ProcessPoolExecutor(1, ctx) as pool:
        pool.submit(errands.square, 3).add_done_callback(lambda future: called.set())
        assert called.wait(LONG)


def test_a_future_is_done_though_nobody_waits(ctx):
    with ProcessPoolExecutor(1, ctx) as pool:
        future = pool.submit(errands.square, 3)
        assert wait_until(future.done, LONG)


def test_the_base_class_waits_too(fork):
    with ProcessPoolExecutor(1, fork) as pool:
        future = pool.submit(errands.square, 3)
        assert concurrent.futures.Future.result(future, LONG) == 9


def test_all_is_run_though_nobody_waits(fork, tmp_path):
    paths = [tmp_path / str(n) for n in range(300)]
    with ProcessPoolExecutor(2, fork) as pool:
        for path in paths:
            pool.submit(touch, path)
        assert wait_until(lambda: all(path.exists() for path in paths), LONG)


def test_a_callback_may_wait_for_another_future(fork):
    got = []
    with ProcessPoolExecutor(1, fork) as pool:
        first, second = pool.submit(errands.square, 2), pool.submit(errands.square, 3)
        first.add_done_callback(lambda future: got.append(second.result(LONG)))
        assert first.result(LONG) == 4
        assert second.result(LONG) == 9
    assert got == [9]


def logged(caplog):
    """Return the kinds of the errors that were logged. Their frames hold the pool no longer."""
    kinds = [record.exc_info[0] for record in caplog.records if record.exc_info]
    caplog.clear()
    return kinds


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_callback_that_raises_in_the_helper_does_not_end_it(
    fork, monkeypatch, tmp_path, caplog, error
):
    told = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(args.exc_type))

    def fail(_):
        threads.append(threading.current_thread())
        raise error

    threads = []
    with ProcessPoolExecutor(1, fork) as pool:
        pool.submit(errands.wait_for, tmp_path / "go").add_done_callback(fail)
        touch(tmp_path / "go")
        assert wait_until(lambda: threads)
        assert threads == [pool._executor_manager_thread]
        future = pool.submit(errands.square, 3)
        assert concurrent.futures.wait([future], LONG).done == {future}
        assert threads == [pool._executor_manager_thread]
    assert told == []
    assert logged(caplog) == ([] if error is KeyboardInterrupt else [error])


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit])
def test_what_a_callback_raises_reaches_nobody_who_waits(fork, tmp_path, caplog, error):
    def fail(_):
        raise error

    busy = Busy(fork, tmp_path)
    with busy.pool as pool:
        futures = [pool.submit(errands.square, number) for number in range(50)]
        for future in futures:
            future.add_done_callback(fail)
        busy.go()
        assert [future.result(LONG) for future in futures] == [n**2 for n in range(50)]
    assert logged(caplog) == [error] * 50


def test_a_callback_may_submit(fork):
    more = []
    with ProcessPoolExecutor(1, fork) as pool:
        first = pool.submit(errands.square, 2)
        first.add_done_callback(lambda future: more.append(pool.submit(errands.square, 3)))
        assert first.result(LONG) == 4
        assert wait_until(lambda: more, LONG)
        assert more[0].result(LONG) == 9


def test_a_callback_may_shut_its_executor_down(fork):
    pool, over = ProcessPoolExecutor(1, fork), threading.Event()
    first, second = pool.submit(errands.square, 2), pool.submit(errands.square, 3)

    def shut_down(future):
        pool.shutdown()
        over.set()

    first.add_done_callback(shut_down)
    assert over.wait(LONG)
    assert (first.result(0), second.result(0)) == (4, 9)
    pool.shutdown()


def test_a_signal_handler_may_use_the_executor(fork):
    pool, got = ProcessPoolExecutor(2, fork), []
    old = signal.signal(
        signal.SIGALRM,
        lambda signum, frame: got.append(pool.submit(errands.square, 3).result(LONG)),
    )
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        while len(got) < 100:
            assert pool.submit(errands.square, 2).result(LONG) == 4
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    pool.shutdown()
    assert set(got) == {9}


def test_what_is_submitted_as_the_executor_breaks_fails(fork, tmp_path):
    """Between the look at the executor and the queueing of the task."""
    busy = Busy(fork, tmp_path)
    books = busy.pool._engine
    books._break(MemoryError("no more"))
    future = books._submit(errands.square, (2,), {})
    error = future.exception(LONG)
    assert type(error) is BrokenProcessPool
    assert isinstance(error.__cause__, MemoryError)
    busy.pool.shutdown()


def test_what_is_submitted_as_the_executor_ends_fails(fork):
    pool = ProcessPoolExecutor(1, fork)
    assert pool.submit(errands.square, 2).result(LONG) == 4
    pool.shutdown()
    future = pool._engine._submit(errands.square, (2,), {})
    assert isinstance(future.exception(LONG), RuntimeError)


def leave_acquired(many):
    """What an interrupt in the midst of concurrent.futures.wait() does."""
    for future in many:
        future._condition.acquire()


@pytest.mark.parametrize("wait", ["result", "shutdown"])
def test_conditions_that_are_never_released_keep_nobody_for_ever(fork, wait):
    pool = ProcessPoolExecutor(2, fork)
    many = [pool.submit(errands.square, n) for n in range(300)]
    leave_acquired(many)
    pool._engine._serve_others()
    if wait == "result":
        assert [future.result() for future in many] == [n * n for n in range(300)]
    pool.shutdown()
    assert all(future.done() for future in many)


def test_who_waits_with_the_condition_keeps_it(fork, tmp_path):
    busy = Busy(fork, tmp_path)
    with busy.pool:
        with busy.first._condition:
            busy.pool._engine._serve_others()
            busy.go()
            assert busy.first.result(LONG) == "first"
            assert busy.first._condition._is_owned()
        assert not busy.first._condition._is_owned()


def test_asyncio(ctx):
    async def main(pool):
        run = asyncio.get_running_loop().run_in_executor
        return await asyncio.gather(*[run(pool, errands.square, n) for n in range(20)])

    with ProcessPoolExecutor(2, ctx) as pool:
        assert asyncio.run(main(pool)) == [n * n for n in range(20)]


def test_many_threads(fork):
    results = {}

    def use(number):
        results[number] = [pool.submit(errands.add, number, n).result(LONG) for n in range(50)]

    with ProcessPoolExecutor(2, fork) as pool:
        threads = [threading.Thread(target=use, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == {n: [n + i for i in range(50)] for n in range(6)}


def test_a_future_is_freed(fork):
    with ProcessPoolExecutor(1, fork) as pool:
        future = pool.submit(errands.fail)
        reference = weakref.ref(future)
        with pytest.raises(ZeroDivisionError):
            future.result()
        assert reference() is future
        del future
        assert wait_until(lambda: reference() is None)


# ---- what cannot be sent, and what fails


def test_an_exception(ctx):
    with ProcessPoolExecutor(1, ctx) as pool:
        future = pool.submit(errands.fail, "luck")
        with pytest.raises(ZeroDivisionError, match="no luck"):
            future.result()
        cause = future.exception().__cause__
        assert type(cause) is futures._RemoteTraceback
        assert 'raise ZeroDivisionError(f"no {x}")' in str(cause)


@pytest.mark.parametrize("code", [0, 3])
def test_a_task_that_exits_does_not_end_its_worker(fork, code):
    with ProcessPoolExecutor(1, fork) as pool:
        pid = pool.submit(errands.pid).result()
        assert isinstance(pool.submit(errands.exit_softly, code).exception(), SystemExit)
        assert isinstance(pool.submit(errands.interrupt).exception(), KeyboardInterrupt)
        assert pool.submit(errands.pid).result() == pid


class NeverPickled:
    def __reduce__(self):
        raise pickle.PicklingError("never")


class Unreadable:
    """Pickles, but does not unpickle."""

    def __reduce__(self):
        return errands.fail, ()


class Exits:
    """Exits whoever unpickles it."""

    def __reduce__(self):
        return sys.exit, (3,)


class ExitsAtOnce:
    """Exits whoever pickles it."""

    def __reduce__(self):
        sys.exit(3)


def give(kind):
    return kind()


def raise_unreadable():
    raise errands.Needy(1, 2)


def test_what_does_not_pickle(ctx):
    with ProcessPoolExecutor(1, ctx) as pool:
        bad = [pool.submit(lambda: 1), pool.submit(errands.echo, NeverPickled())]
        bad.append(pool.submit(give, NeverPickled))
        for future in bad:
            assert isinstance(future.exception(LONG), pickle.PicklingError | AttributeError)
        assert isinstance(pool.submit(give, ExitsAtOnce).exception(LONG), SystemExit)
        assert pool.submit(errands.square, 2).result(LONG) == 4


def test_what_does_not_unpickle_fails_alone(ctx):
    with ProcessPoolExecutor(1, ctx) as pool:
        bad = [pool.submit(errands.echo, Unreadable()), pool.submit(give, Unreadable)]
        bad += [pool.submit(raise_unreadable), pool.submit(give, Exits)]
        for future in bad:
            error = future.exception(LONG)
            assert isinstance(error, UnreadableError)
            assert error.__cause__ is not None
        assert "Needy(1)" in str(bad[2].exception())
        assert pool.submit(errands.square, 2).result(LONG) == 4


class Interrupts:
    """Interrupts whoever unpickles it."""

    def __reduce__(self):
        return _interrupt, ()


def _interrupt():
    raise KeyboardInterrupt


def test_who_submits_is_left_alone_by_the_helper_until_its_second_look(fork, monkeypatch):
    """A program submits many tasks, then waits: it hears of a death there, not in submit()."""
    monkeypatch.setattr(helper, "LOOK", LONG)
    with ProcessPoolExecutor(1, fork) as pool:
        futures = [pool.submit(os._exit, 3)]
        (pid,) = pool._processes
        assert wait_until(lambda: not is_there(pid))
        assert wait_until(lambda: pool._engine._seen >= 0)
        futures += [pool.submit(errands.square, n) for n in range(12)]
        for future in futures:
            with pytest.raises(BrokenProcessPool):
                future.result(LONG)


def test_the_helper_goes_on_after_a_result_that_interrupts(fork):
    with ProcessPoolExecutor(1, fork) as pool:
        for _ in range(2):
            bad = pool.submit(give, Interrupts)
            assert not concurrent.futures.wait([bad], LONG).not_done
            assert isinstance(bad.exception(), UnreadableError)
        good = pool.submit(errands.square, 2)
        assert not concurrent.futures.wait([good], LONG).not_done


FORKED_DURING_AN_IMPORT = """
import os, sys, threading, time
from importlib.machinery import PathFinder

from mproc import _mproc, get_context


class Slow:
    def find_spec(self, name, path, target=None):
        if name != "_compat_pickle":  # which _pickle imports
            return None
        spec = PathFinder.find_spec(name, path)
        load = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (importing.set(), time.sleep(1), load(module))
        return spec


importing = threading.Event()
sys.meta_path.insert(0, Slow())
thread = threading.Thread(target=_mproc.dumps, args=(print,))
thread.start()
assert importing.wait(10)
from mproc import ProcessPoolExecutor

pool = ProcessPoolExecutor(1, get_context("fork"))
print(pool.submit(abs, -1).exception(20), flush=True)
os._exit(0)
"""


def test_a_worker_forked_while_a_thread_imports(program):
    assert program.output("-c", FORKED_DURING_AN_IMPORT) == "None\n"


def test_a_task_that_exits_as_it_is_unpickled(fork):
    with ProcessPoolExecutor(1, fork) as pool:
        assert isinstance(pool.submit(errands.echo, Exits()).exception(LONG), BrokenProcessPool)


FORKS = """
import os
import mproc

if __name__ == "__main__":
    with mproc.ProcessPoolExecutor(1) as pool:
        print(pool.submit(os.fork).result() > 0, pool.submit(abs, -1).result())
"""


def test_a_task_that_comes_back_twice_is_told_so(program):
    done = program.run("-c", FORKS)
    assert (done.returncode, done.stdout) == (0, "True 1\n")
    assert done.stderr.endswith("end that by os._exit()\n")


def test_the_cause_of_a_broken_executor(method):
    """From Python 3.15 on it is a RemoteTraceback, too."""
    with mproc.ProcessPoolExecutor(1, mproc.get_context(method)) as pool:
        cause = pool.submit(os._exit, 99).exception(LONG).__cause__
    assert isinstance(cause, WorkerDiedError) and cause.exitcode == 99
    assert str(cause).startswith(f"worker {cause.name} (pid {cause.pid}) exited with code 99")
    is_text = isinstance(cause, mproc.pool.RemoteTraceback)
    assert is_text == (sys.version_info >= (3, 15))
    if is_text:
        assert cause.tb == f"Process {cause.pid} terminated abruptly with exit code 99"
        assert pickle.loads(pickle.dumps(cause)).tb == cause.tb


@pytest.mark.parametrize("operation", ["stop", "", None])
def test_workers_end_in_two_ways_only(operation):
    with mproc.ProcessPoolExecutor(1) as pool:
        with pytest.raises(ValueError, match="operation must be 'terminate' or 'kill'"):
            pool._force_shutdown(operation)
        assert pool.submit(abs, -1).result(LONG) == 1


NO_ROOM = """
import mproc

def give(n):
    return bytes(n)

if __name__ == "__main__":
    fork = mproc.get_context("fork")  # `give` is in no file that another child could import
    with mproc.ProcessPoolExecutor(1, fork) as pool:
        taken = fork.Queue()
        taken.put(bytes(24 << 20))
        print(repr(pool.submit(give, 24 << 20).exception()))
        taken.get()
        print(len(pool.submit(give, 24 << 20).result()))
"""


def test_a_result_for_which_there_is_no_room_says_so(program):
    text = program.output("-c", NO_ROOM, env={**program.env, "MPROC_ARENA_LIMIT": "40M"})
    assert text.startswith("MemoryError('no room in the arena, whose limit is MPROC_ARENA_LIMIT")
    assert text.endswith(f"\n{24 << 20}\n")


# ---- workers that die


@pytest.mark.parametrize(
    ("errand", "args", "words"),
    [
        (errands.kill_self, (), "was ended by SIGKILL while it ran task 0"),
        (errands.kill_self, (signal.SIGTERM,), "was ended by SIGTERM while it ran task 0"),
        (errands.exit_hard, (3,), "exited with code 3 while it ran task 0"),
        (errands.exit_hard, (0,), "exited with code 0 while it ran task 0"),
    ],
)
def test_a_dead_worker_breaks_the_executor(ctx, tmp_path, errand, args, words):
    with ProcessPoolExecutor(2, ctx) as pool:
        future = pool.submit(errands.do_when_there, tmp_path / "go", errand, *args)
        others = [pool.submit(time.sleep, LONG) for _ in range(5)]
        touch(tmp_path / "go")
        with pytest.raises(BrokenProcessPool, match="terminated abruptly") as caught:
            future.result(LONG)
        assert words in str(caught.value.__cause__)
        errors = [other.exception(LONG) for other in others]
        assert {type(error) for error in errors} == {BrokenProcessPool}
        assert len({id(error) for error in errors}) == 5
        assert str(caught.value.__cause__.pid) in str(errors[0].__cause__)
        with pytest.raises(BrokenProcessPool):
            pool.submit(errands.square, 2)
        assert pool._broken


def test_an_idle_worker_is_killed(ctx):
    with ProcessPoolExecutor(1, ctx) as pool:
        os.kill(pool.submit(errands.pid).result(), signal.SIGKILL)
        with pytest.raises(BrokenProcessPool):
            for _ in range(2):  # the first may have been submitted before the death was noticed
                pool.submit(errands.square, 2).result(LONG)


def test_idle_deaths_with_work_in_between_do_not_end_a_healing_executor(fork):
    with ProcessPoolExecutor(2, fork, heal=True) as pool:
        for i in range(40):
            assert pool.submit(errands.square, i).result(LONG) == i * i
            worker = next(w for w in pool._processes.values() if w.exitcode is None)
            os.kill(worker.pid, signal.SIGKILL)
            worker.join()


def test_a_death_is_noticed_by_those_who_cannot_collect(ctx):
    with ProcessPoolExecutor(1, ctx) as pool:
        future = pool.submit(errands.kill_self)
        done, _ = concurrent.futures.wait([future], LONG)
        assert done == {future}
        assert isinstance(future.exception(), BrokenProcessPool)


def test_a_worker_that_does_not_end_when_told_is_killed(fork, monkeypatch, tmp_path):
    monkeypatch.setattr(engine, "PATIENCE", 0.05)
    queue = fork.Queue()
    pool = ProcessPoolExecutor(2, fork, keep, (queue,))
    deaf = pool.submit(ignore_sigterm)
    pid = queue.get(timeout=LONG)
    assert isinstance(pool.submit(errands.kill_self).exception(LONG), BrokenProcessPool)
    assert isinstance(deaf.exception(LONG), BrokenProcessPool)
    pool.shutdown()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def ignore_sigterm():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hold(errands.state[0], "/nowhere")


def test_an_executor_that_heals(ctx):
    with ProcessPoolExecutor(2, ctx, heal=True) as pool:
        calls = [errands.kill_self if n in (3, 7) else errands.pid for n in range(13)]
        many = [pool.submit(call) for call in calls]
        errors = [future.exception(LONG) for future in many]
        assert [n for n in range(13) if errors[n] is not None] == [3, 7]
        assert type(errors[3]) is WorkerDiedError
        assert errors[3].exitcode == -signal.SIGKILL
        for pid in workers(pool):
            os.kill(pid, signal.SIGKILL)
        assert pool.submit(errands.square, 2).result(LONG) == 4


class Overtaken:
    """Tasks of an engine: another thread has them resized just before the first one does."""

    def __init__(self, meanwhile):
        self.meanwhile = [meanwhile]
        self.workers = 0

    def resize(self, workers):
        if self.meanwhile:
            self.meanwhile.pop()()
        self.workers = workers


def test_a_thread_that_wants_fewer_workers_takes_none_of_another_ones_away():
    resize = executor.ExecutorEngine._resize
    owner = types.SimpleNamespace(_wanted=0, _sizing=threading.RLock())
    owner._tasks = Overtaken(lambda: resize(owner, 3))
    resize(owner, 1)
    assert (owner._wanted, owner._tasks.workers) == (3, 3)
    resize(owner, 2)  # it had looked before the other one asked for more
    assert (owner._wanted, owner._tasks.workers) == (3, 3)


WITHOUT_DESCRIPTORS = """
import concurrent.futures, os, resource, signal, sys
import mproc
from mproc.futures import ProcessPoolExecutor
from mproc.pool import WorkerDiedError

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with ProcessPoolExecutor(1, mproc.get_context(sys.argv[1]), heal=True) as pool:
        died = pool.submit(os._exit, 1)
        assert isinstance(died.exception(), WorkerDiedError)  # what tells of that is imported
        assert pool.submit(abs, -1).result() == 1
        (worker,) = pool._processes.values()
        held = []
        try:
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        os.kill(worker.pid, signal.SIGKILL)
        try:
            pool.submit(abs, -2).result(0.5)
        except (concurrent.futures.TimeoutError, WorkerDiedError):
            pass
        for fd in held:
            os.close(fd)
        print(pool.submit(abs, -3).result())
"""


def test_an_executor_heals_when_there_are_descriptors_again(program, method):
    """In a program of its own: what is imported when a start fails may not be found then."""
    program.write("main.py", WITHOUT_DESCRIPTORS)
    assert program.output("main.py", method) == "3\n"


def test_an_executor_that_cannot_heal(fork):
    with ProcessPoolExecutor(1, fork, os._exit, (1,), heal=True) as pool:
        assert isinstance(pool.submit(errands.square, 2).exception(LONG), BrokenProcessPool)


def refuse_to_start(monkeypatch, times):
    """Have workers not be started so many times; return the list of the times that are left."""
    start, left = executor.ExecutorEngine._start, list(range(times))

    def start_or_not(self, new):
        if left:
            left.pop()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        start(self, new)

    monkeypatch.setattr(executor.ExecutorEngine, "_start", start_or_not)
    return left


def test_a_worker_that_cannot_be_replaced_now_is_later(fork, monkeypatch):
    with ProcessPoolExecutor(1, fork, heal=True) as pool:
        assert pool.submit(errands.square, 2).result(LONG) == 4
        left = refuse_to_start(monkeypatch, 3)
        assert isinstance(pool.submit(errands.kill_self).exception(LONG), WorkerDiedError)
        assert pool.submit(errands.square, 3).result(LONG) == 9
        assert not left


def test_workers_that_can_never_be_replaced(fork, monkeypatch):
    monkeypatch.setattr(engine, "RESTART", 0.05)
    with ProcessPoolExecutor(1, fork, heal=True) as pool:
        assert pool.submit(errands.square, 2).result(LONG) == 4
        refuse_to_start(monkeypatch, 10**6)
        assert isinstance(pool.submit(errands.kill_self).exception(LONG), WorkerDiedError)
        error = pool.submit(errands.square, 3).exception(LONG)
        assert isinstance(error, BrokenProcessPool)
        assert isinstance(error.__cause__, OSError)


def test_the_first_worker_cannot_be_started(fork, monkeypatch):
    pool = ProcessPoolExecutor(2, fork)
    left = refuse_to_start(monkeypatch, 1)
    with pytest.raises(OSError, match="Too many open files"):
        pool.submit(errands.square, 2)
    assert not left
    assert pool.submit(errands.square, 2).result(LONG) == 4
    pool.shutdown()


def test_a_worker_that_has_ended_may_be_closed(fork):
    with ProcessPoolExecutor(1, fork, heal=True) as pool:
        for n in range(3):
            assert pool.submit(errands.square, n).result(LONG) == n * n
            (worker,) = pool._processes.values()
            with pytest.raises(ValueError, match="still running"):
                worker.close()
            worker.kill()
            worker.join()
            worker.close()


class OwnPopen:
    """Starts a process without mproc, as programs with popen objects of their own do."""

    method = "fork"

    def __init__(self, process):
        self.returncode = None
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(process._bootstrap())
        self.sentinel = os.pidfd_open(self.pid)
        self.polling = threading.Lock()
        weakref.finalize(self, os.close, self.sentinel)

    def poll(self, flag=os.WNOHANG):
        with self.polling:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, flag)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout=None):
        ended = self.returncode is not None or mproc.connection.wait([self.sentinel], timeout)
        return self.poll(0) if ended else None

    def terminate(self):
        os.kill(self.pid, signal.SIGTERM)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)


class OwnProcess(mproc.context.ForkProcess):
    @staticmethod
    def _Popen(process):
        return OwnPopen(process)


@pytest.mark.parametrize("heal", [False, True])
def test_workers_that_are_started_in_a_way_of_their_own(heal):
    ctx = mproc.context.ForkContext()
    ctx.Process = OwnProcess
    with ProcessPoolExecutor(2, ctx, heal=heal) as pool:
        assert list(pool.map(errands.square, range(100))) == [n * n for n in range(100)]
        assert len(workers(pool)) == 2
        error = pool.submit(errands.exit_hard, 3).exception(LONG)
        if heal:
            assert type(error) is WorkerDiedError
            assert pool.submit(errands.square, 3).result(LONG) == 9
        else:
            assert type(error) is BrokenProcessPool
            error = error.__cause__
        assert error.exitcode == 3


def test_a_start_that_is_interrupted_is_made_up_for(fork, monkeypatch):
    start = executor.ExecutorEngine._start

    def interrupted(self, new):
        monkeypatch.setattr(executor.ExecutorEngine, "_start", start)
        raise KeyboardInterrupt

    with ProcessPoolExecutor(1, fork) as pool:
        monkeypatch.setattr(executor.ExecutorEngine, "_start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.submit(errands.square, 2)
        assert pool.submit(errands.square, 3).result(LONG) == 9


def test_a_worker_that_runs_when_its_start_is_interrupted_is_seated(fork, monkeypatch):
    def interrupted(self):
        monkeypatch.undo()
        self.start()
        raise KeyboardInterrupt

    with ProcessPoolExecutor(1, fork) as pool:
        monkeypatch.setattr(fork.Process, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.submit(errands.square, 2)
        (worker,) = pool._processes.values()
        assert pool.submit(errands.pid).result(LONG) == worker.pid
    assert worker.exitcode == 0


def test_an_engine_that_nobody_can_reach_is_freed(fork, monkeypatch, tmp_path):
    monkeypatch.setattr(executor.ExecutorEngine, "_need_helper", lambda self: None)
    busy = Busy(fork, tmp_path)
    (worker,) = busy.pool._processes.values()
    reference = weakref.ref(busy.pool._engine)
    del busy
    gc.collect()
    assert reference() is None
    worker.join(LONG)
    assert worker.exitcode == -signal.SIGKILL


def test_no_thread_can_be_started(fork, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with ProcessPoolExecutor(1, fork) as pool:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        assert pool.submit(errands.square, 2).result(LONG) == 4
        monkeypatch.undo()
        assert concurrent.futures.wait([pool.submit(errands.square, 3)], LONG).not_done == set()


# ---- initializers, and workers that are replaced


@pytest.mark.parametrize("runs", [False, True])
def test_the_start_of_the_helper_is_interrupted(fork, monkeypatch, runs):
    class Interrupted(executor.ManagerThread):
        def start(self):
            if runs:
                super().start()
            raise KeyboardInterrupt

    with ProcessPoolExecutor(1, fork) as pool:
        with monkeypatch.context() as patched:
            patched.setattr(executor.ExecutorEngine, "_kind_of_helper", Interrupted)
            with pytest.raises(KeyboardInterrupt):
                pool.submit(errands.square, 2)
        future = pool.submit(errands.square, 3)
        assert concurrent.futures.wait([future], LONG).done == {future}
        assert future.result() == 9
        assert type(pool._executor_manager_thread) is executor.ManagerThread


def test_initializer(ctx):
    with ProcessPoolExecutor(2, ctx, keep, ("here",)) as pool:
        assert pool.submit(errands.add, 1).result() == 11
        assert list(pool.map(state_of, range(6))) == [["here"]] * 6


def state_of(_):
    return errands.state


def log_to(queue):
    logger = logging.getLogger("concurrent.futures")
    logger.addHandler(logging.handlers.QueueHandler(queue))
    logger.propagate = False
    raise ValueError("no initializer")


def test_an_initializer_that_fails(ctx):
    queue = ctx.Queue()
    with ProcessPoolExecutor(1, ctx, log_to, (queue,)) as pool:
        assert isinstance(pool.submit(errands.square, 2).exception(LONG), BrokenProcessPool)
    record = queue.get(timeout=LONG)
    assert record.levelname == "CRITICAL"
    assert "Exception in initializer" in record.getMessage()
    assert "no initializer" in record.getMessage()


def test_an_initializer_that_does_not_pickle():
    pool = ProcessPoolExecutor(1, mproc.get_context("spawn"), lambda: None)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pool.submit(errands.square, 2)
    pool.shutdown()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_max_tasks_per_child(method):
    ctx = mproc.get_context(method)
    with ProcessPoolExecutor(1, ctx, max_tasks_per_child=3) as pool:
        pids = [pool.submit(errands.pid).result(LONG) for _ in range(7)]
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]
        assert len(pool._processes) == 1


def test_max_tasks_per_child_spawns():
    pool = ProcessPoolExecutor(1, max_tasks_per_child=1)
    assert pool._mp_context.get_start_method() == "spawn"


def test_all_is_done_by_workers_that_are_replaced():
    """Also when nobody waits, and the executor is shut down at once."""
    pool = ProcessPoolExecutor(2, mproc.get_context("forkserver"), max_tasks_per_child=1)
    many = [pool.submit(errands.square, n) for n in range(8)]
    pool.shutdown(wait=False)
    assert concurrent.futures.wait(many, LONG).not_done == set()
    assert [future.result() for future in many] == [n * n for n in range(8)]
    assert wait_until(lambda: not mproc.active_children())  # the last ones may just be ending


def test_a_worker_may_have_children(ctx):
    with ProcessPoolExecutor(1, ctx) as pool:
        assert pool.submit(square_elsewhere, 3).result(LONG) == 9


def square_elsewhere(x):
    with ProcessPoolExecutor(1, mproc.get_context("fork")) as pool:
        return pool.submit(errands.square, x).result(LONG)


# ---- cancelling, and the end


def test_cancel(fork, tmp_path):
    busy = Busy(fork, tmp_path)
    with busy.pool as pool:
        queued = [pool.submit(errands.square, n) for n in range(10)]
        assert not busy.first.cancel()
        called = []
        queued[9].add_done_callback(called.append)
        assert queued[9].cancel() and queued[9].cancel()
        assert called == [queued[9]]
        assert concurrent.futures.wait([queued[9]], LONG).done == {queued[9]}
        with pytest.raises(concurrent.futures.CancelledError):
            queued[9].result()
        busy.go()
        assert [future.result() for future in queued[:9]] == [n * n for n in range(9)]


def test_shutdown_cancels(fork, tmp_path):
    busy = Busy(fork, tmp_path)
    queued = [busy.pool.submit(errands.square, n) for n in range(10)]
    helper = busy.pool._executor_manager_thread
    busy.pool.shutdown(wait=False, cancel_futures=True)
    assert concurrent.futures.wait(queued[1:], LONG).not_done == set()
    assert all(future.cancelled() for future in queued[1:])
    busy.go()
    assert busy.first.result(LONG) == "first"
    assert queued[0].result(LONG) == 0
    helper.join(LONG)


def test_shutdown_waits(ctx):
    pool = ProcessPoolExecutor(2, ctx)
    many = [pool.submit(errands.square, n) for n in range(50)]
    processes = pool._processes
    pool.shutdown()
    assert all(future.done() for future in many)
    assert {process.exitcode for process in processes.values()} == {0}
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(errands.square, 2)


def test_shutdown_of_an_unused_one(ctx):
    ProcessPoolExecutor(2, ctx).shutdown()
    with ProcessPoolExecutor(2, ctx):
        pass


def test_shutdown_without_waiting(ctx):
    pool = ProcessPoolExecutor(2, ctx)
    many = [pool.submit(errands.square, n) for n in range(50)]
    processes, helper = pool._processes, pool._executor_manager_thread
    pool.shutdown(wait=False)
    helper.join(LONG)
    assert not helper.is_alive()
    assert [future.result() for future in many] == [n * n for n in range(50)]
    assert all(process.exitcode == 0 for process in processes.values())


def test_one_that_nobody_holds_finishes(ctx):
    pool = ProcessPoolExecutor(2, ctx)
    many = [pool.submit(errands.square, n) for n in range(50)]
    processes, helper = pool._processes, pool._executor_manager_thread
    del pool
    gc.collect()
    helper.join(LONG)
    assert [future.result() for future in many] == [n * n for n in range(50)]
    assert all(process.exitcode == 0 for process in processes.values())


def test_results_of_a_map_do_not_hold_their_executor(fork):
    pool = ProcessPoolExecutor(2, fork)
    results, helper = pool.map(abs, range(-5, 5)), pool._executor_manager_thread
    del pool
    gc.collect()
    helper.join(LONG)
    assert not helper.is_alive()
    assert list(results) == list(map(abs, range(-5, 5)))


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_workers_are_ended(ctx, tmp_path, how):
    busy = Busy(ctx, tmp_path)
    queued = [busy.pool.submit(errands.square, n) for n in range(10)]
    helper = busy.pool._executor_manager_thread
    getattr(busy.pool, f"{how}_workers")()
    assert isinstance(busy.first.exception(LONG), BrokenProcessPool)
    assert all(future.cancelled() for future in queued[1:])
    assert isinstance(queued[0].exception(LONG), BrokenProcessPool)
    with pytest.raises(RuntimeError):
        busy.pool.submit(errands.square, 1)
    helper.join(LONG)


@pytest.mark.parametrize("how", ["terminate", "kill"])
@pytest.mark.parametrize("heal", [False, True])
def test_workers_that_are_ended_are_not_replaced(fork, tmp_path, heal, how):
    begun = tmp_path / "begun"
    pool = ProcessPoolExecutor(1, fork, heal=heal)
    stubborn = pool.options(retries=2)
    futures = [stubborn.submit(note_and_hold, begun) for _ in range(3)]
    assert wait_until(lambda: begun.exists() and begun.read_text())
    getattr(pool, f"{how}_workers")()
    pool.shutdown()
    failed = [future for future in futures if not future.cancelled()]
    assert futures[0] in failed
    for future in failed:
        with pytest.raises(BrokenProcessPool) as caught:
            future.result(LONG)
        assert str(caught.value.__cause__) == f"{how}_workers() has ended the workers"
    assert begun.read_text() == "begun\n"


def test_the_idle_ones_are_ended(ctx):
    pool = ProcessPoolExecutor(1, ctx)
    pool.terminate_workers()
    pool = ProcessPoolExecutor(1, ctx)
    pool.submit(errands.square, 2).result()
    helper = pool._executor_manager_thread
    pool.kill_workers()
    helper.join(LONG)
    assert not helper.is_alive()


def test_a_helper_that_rests_is_woken(fork, monkeypatch):
    monkeypatch.setattr(helper, "REST", 0)
    with ProcessPoolExecutor(1, fork) as pool:
        for n in range(3):
            assert concurrent.futures.wait([pool.submit(errands.square, n)], LONG).not_done == set()
            assert wait_until(lambda: pool._engine._parked)


def test_a_helper_that_fails_breaks_the_executor(fork, monkeypatch, tmp_path):
    busy = Busy(fork, tmp_path)

    def fail():
        raise MemoryError("no more")

    with busy.pool:
        monkeypatch.setattr(busy.pool._engine, "_keep_fed", fail)
        assert concurrent.futures.wait([busy.first], LONG).not_done == set()
        monkeypatch.undo()
        assert isinstance(busy.first.exception(), BrokenProcessPool)
        assert isinstance(busy.first.exception().__cause__, MemoryError)


# ---- other processes, and the interpreter's end


def in_child(target, *args):
    """The exit code of a forked child that calls this."""
    child = mproc.get_context("fork").Process(target=target, args=args)
    child.start()
    child.join()
    code = child.exitcode
    child.close()
    return code


def use_what_is_not_ours(pool, future):
    waits = [
        lambda: pool.submit(errands.square, 2),
        future.result,
        future.exception,
        lambda: concurrent.futures.wait([future]),
        lambda: next(concurrent.futures.as_completed([future])),
        lambda: future.add_done_callback(print),
    ]
    for wait in waits:
        with pytest.raises(RuntimeError, match="belongs to process"):
            wait()
    pool.shutdown()


def test_a_forked_child_has_no_use_for_it(fork, tmp_path):
    busy = Busy(fork, tmp_path)
    with busy.pool:
        assert in_child(use_what_is_not_ours, busy.pool, busy.first) == 0
        busy.go()
        assert busy.first.result(LONG) == "first"


def leave_one_open(path):
    pool = ProcessPoolExecutor(1, mproc.get_context("fork"))
    errands.state.append(pool)
    pool.submit(touch, path)


def test_a_child_finishes_its_own_at_its_end(ctx, tmp_path):
    child = ctx.Process(target=leave_one_open, args=(tmp_path / "done",))
    child.start()
    child.join(LONG)
    assert child.exitcode == 0
    assert (tmp_path / "done").exists()
    child.close()


PROGRAM = """
import concurrent.futures, multiprocessing, sys, time, atexit

def slowly(n):
    time.sleep(0.1)
    print(n, flush=True)

def at_exit():
    try:
        pool.submit(print)
    except RuntimeError as error:
        print(error)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    pool = concurrent.futures.ProcessPoolExecutor(1, context)
    print(type(pool).__module__, flush=True)
    atexit.register(at_exit)
    futures = [pool.submit(slowly, n) for n in range(3)]
    futures[2].add_done_callback(lambda future: print("called", flush=True))
"""


def test_the_interpreter_ends_when_all_is_done(program, method):
    program.write("main.py", PROGRAM)
    printed = program.output("-m", "mproc", "main.py", method).splitlines()
    assert printed[:5] == ["mproc.futures", "0", "1", "2", "called"]
    assert "cannot schedule new futures after" in printed[5]


ORPHANS = """
import os, sys, time
import mproc
from mproc.futures import ProcessPoolExecutor

if __name__ == "__main__":
    pool = ProcessPoolExecutor(2, mproc.get_context(sys.argv[1]))
    pool.submit(time.sleep, 60), pool.submit(os.getpid)
    pool.submit(os.getpid).result()
    print(*pool._processes, flush=True)
    time.sleep(60)
"""


def is_there(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_workers_end_with_their_owner(program, method):
    import subprocess

    program.write("main.py", ORPHANS)
    child = subprocess.Popen(
        [sys.executable, "main.py", method],
        cwd=program.folder,
        env=program.env,
        stdout=subprocess.PIPE,
        text=True,
    )
    with not_for_ever(child), child:
        pids = list(map(int, child.stdout.readline().split()))
        assert pids and all(map(is_there, pids))
        child.kill()
    assert wait_until(lambda: not any(map(is_there, pids)), LONG)


CANCELLED = """
import time
from mproc import ProcessPoolExecutor

if __name__ == "__main__":
    with ProcessPoolExecutor(1) as executor:
        running = executor.submit(time.sleep, 0.2)
        futures = [executor.submit(time.sleep, 60) for _ in range(2000)]
        kept = futures.pop(1000)
        for future in futures[50:]:
            assert future.cancel() and future.cancelled()
        kept.cancel()
        for future in futures[:50]:
            future.cancel()
        executor.terminate_workers()
    print("cancelled")
"""


def test_what_waits_in_the_backlog_is_cancelled_one_by_one(program):
    assert program.output(program.write("example.py", CANCELLED)) == "cancelled\n"


@pytest.mark.parametrize(
    ("how", "number"), [("kill", signal.SIGKILL), ("terminate", signal.SIGTERM)]
)
def test_workers_are_ended_as_is_asked_for(how, number):
    """Neither the helper, which sees that the executor is broken, nor another ends them first."""
    context = mproc.get_context("fork")
    for _ in range(20):
        begun = context.Event()
        with ProcessPoolExecutor(1, context, _keep, (begun,)) as executor:
            executor.submit(_tell_and_sleep)
            begun.wait()
            (worker,) = executor._processes.values()
            getattr(executor, f"{how}_workers")()
            worker.join()
            assert worker.exitcode == -number


def _keep(event):
    global kept
    kept = event


def _tell_and_sleep():
    kept.set()
    time.sleep(60)


def test_an_interrupt_while_a_task_is_refused(monkeypatch):
    """It is the caller's, and the task fails all the same."""
    with mproc.ProcessPoolExecutor(1, mproc.get_context("fork")) as executor:
        engine = executor._engine

        def interrupted(self, error, *_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(type(engine), "_instead_of", interrupted)
            with pytest.raises(KeyboardInterrupt):
                executor.submit(abs, lambda: None)
            with pytest.raises(KeyboardInterrupt):
                executor.map(abs, [lambda: None])
        assert executor.submit(abs, -1).result() == 1
        assert not engine._has_work()
