"""ThreadPool and dummy.Pool: Pool's interface on threads, which share everything."""

import gc
import signal
import threading
import time
import weakref

import errands
import pytest
from conftest import wait_until

import mproc
from mproc import _mproc, dummy
from mproc import pool as pool_module
from mproc._pool import threads
from mproc.pool import Pool, ThreadPool, WorkerDiedError

LONG = 60  # seconds that no wait takes: after them something is wrong


@pytest.fixture
def pool():
    with ThreadPool(2) as pool:
        yield pool
    pool.join()


def test_kinds(pool):
    assert isinstance(pool, Pool)
    assert "ThreadPool" in pool_module.__all__
    assert repr(pool) == "<mproc.pool.ThreadPool state=RUN pool_size=2>"
    with dummy.Pool(1) as other:
        assert type(other) is ThreadPool
        assert other.apply(abs, (-1,)) == 1
    other.join()


def test_calls(pool):
    assert pool.apply(lambda x, y=1: x + y, (1,), {"y": 2}) == 3
    assert pool.map(lambda x: -x, range(10)) == [-n for n in range(10)]
    assert pool.map(lambda x: -x, range(10), chunksize=3) == [-n for n in range(10)]
    assert pool.map(lambda x: -x, []) == []
    assert pool.starmap(pow, [(2, 3), (3, 2)]) == [8, 9]
    assert pool.starmap_async(pow, [(2, 3)]).get(LONG) == [8]
    assert pool.map_async(abs, [-1]).get(LONG) == [1]
    assert list(pool.imap(abs, range(-200, 0))) == list(range(200, 0, -1))
    assert sorted(pool.imap_unordered(abs, iter(range(-9, 0)), 2)) == list(range(1, 10))


def test_arguments_and_results_are_the_same_objects(pool):
    thing = object()
    assert pool.apply(lambda x: x, (thing,)) is thing
    assert pool.map(lambda x: x, [thing]) == [thing]


def test_it_runs_in_other_threads(pool):
    names = pool.map(lambda _: threading.current_thread(), range(4))
    assert threading.main_thread() not in names
    assert all(thread.daemon for thread in names)


def test_errors(pool):
    with pytest.raises(ZeroDivisionError) as caught:
        pool.apply(errands.fail)
    assert caught.value.__cause__ is None
    with pytest.raises(IndexError):
        pool.map(lambda n: [0][n], range(3), chunksize=1)
    with pytest.raises(TypeError):
        pool.apply(None)
    results = pool.imap(errands.square, iter([1, "x"]))
    assert next(results) == 1
    with pytest.raises(TypeError):
        next(results)


@pytest.mark.parametrize("errand", [errands.exit_softly, errands.interrupt])
def test_what_would_end_a_thread_is_the_callers(pool, errand):
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        pool.apply(errand, (1,) if errand is errands.exit_softly else ())
    assert pool.apply(abs, (-1,)) == 1


def test_callbacks(pool):
    got, done = [], threading.Event()
    pool.apply_async(abs, (-1,), callback=lambda x: (got.append(x), done.set()))
    assert done.wait(LONG)
    done.clear()
    pool.map_async(errands.fail, [1], error_callback=lambda x: (got.append(x), done.set()))
    assert done.wait(LONG)
    assert got[0] == 1
    assert type(got[1]) is ZeroDivisionError


def test_nobody_waits(pool):
    done = []
    results = pool.imap(done.append, range(300))
    assert wait_until(lambda: len(done) == 300, LONG)
    assert list(results) == [None] * 300


def test_a_timeout(pool):
    go = threading.Event()
    result = pool.apply_async(go.wait)
    with pytest.raises(mproc.TimeoutError):
        result.get(0.02)
    assert not result.ready()
    go.set()
    assert result.get(LONG) is True
    assert result.successful()


def test_initializer():
    local = threading.local()
    with ThreadPool(2, lambda x: setattr(local, "x", x), (7,)) as pool:
        assert pool.map(lambda _: local.x, range(8)) == [7] * 8
    pool.join()


def test_an_initializer_that_fails(monkeypatch):
    told = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    with ThreadPool(1, errands.fail) as pool:
        with pytest.raises(WorkerDiedError):
            pool.apply(abs, (-1,))
        with pytest.raises(ValueError, match="not running"):
            pool.apply(abs, (-1,))
    pool.join()
    assert {args.exc_type for args in told} == {ZeroDivisionError}
    assert 1 < len(told) <= 1 + 8 + 1


def test_no_thread_can_be_started(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(OSError, match="can't start new thread"):
        ThreadPool(1)


def test_close_does_what_waits():
    pool, done = ThreadPool(2), []
    for n in range(20):
        pool.apply_async(lambda n=n: done.append(n))
    pool.close()
    pool.join()
    assert sorted(done) == list(range(20))
    with pytest.raises(ValueError, match="not running"):
        pool.apply(abs, (1,))


class Alarm(Exception):
    pass


def raise_alarm(number, frame):
    raise Alarm


def test_no_result_is_lost_by_what_a_signals_handler_raises(pool):
    before = signal.signal(signal.SIGALRM, raise_alarm)
    try:
        for after in range(1, 150):
            result = pool.map_async(abs, range(30), 1)
            try:
                signal.setitimer(signal.ITIMER_REAL, after * 1e-5)
                result.get()
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Alarm:
                pass
            assert result.get(LONG) == list(range(30))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("call", ["apply", "map", "imap"])
def test_terminate_comes_while_a_task_is_queued(monkeypatch, call):
    """As by another thread, between the look whether the pool is open and the put."""
    pool = ThreadPool(1)
    waiting = pool._tasks._waiting

    class Late:
        def __getattr__(self, name):
            return getattr(waiting, name)

        def put(self, task):
            if pool._state == "RUN":
                pool.terminate()
            waiting.put(task)

    monkeypatch.setattr(pool._tasks, "_waiting", Late())
    with pytest.raises(mproc.ProcessError, match="terminated before the task was done"):
        list(getattr(pool, call)(abs, ([-1, -2, -3] if call != "apply" else (-1,))))
    pool.join()
    assert pool._tasks.open == 0


def test_terminate_comes_before_a_task_is_queued():
    """As by another thread, between the look whether the pool is open and the books."""
    pool = ThreadPool(1)

    def arguments():
        pool.terminate()
        yield -1

    with pytest.raises(mproc.ProcessError, match="terminated before the task was done"):
        pool.apply(abs, arguments())
    pool.join()


def test_terminate_does_not_wait_for_a_task():
    go, begun = threading.Event(), threading.Event()
    pool = ThreadPool(1)
    running = pool.apply_async(lambda: (begun.set(), go.wait()))
    waiting = pool.apply_async(abs, (1,))
    assert begun.wait(LONG)
    pool.terminate()
    for result in (running, waiting):
        with pytest.raises(mproc.ProcessError):
            result.get(LONG)
    go.set()
    pool.join()


def test_one_that_nobody_holds():
    with pytest.warns(ResourceWarning, match="unclosed running"):
        pool = ThreadPool(2)
        pool.map(abs, [1])
        pool.me, reference = pool, weakref.ref(pool)
        del pool
        gc.collect()
    gc.collect()  # from 3.14 on the recorded warning keeps it, and its weak reference
    assert reference() is None


def test_threads_share_one_pool(pool):
    got = {}

    def use(number):
        got[number] = pool.map(lambda n: n + number, range(100), chunksize=1)

    threads = [threading.Thread(target=use, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {n: list(range(n, n + 100)) for n in range(5)}


def test_a_forked_child_has_no_use_for_it(pool):
    def use():
        with pytest.raises(ValueError, match="belongs to process"):
            pool.apply(abs, (1,))

    child = mproc.get_context("fork").Process(target=use)
    child.start()
    child.join()
    assert child.exitcode == 0
    child.close()


def test_too_few():
    with pytest.raises(ValueError, match="at least 1"):
        ThreadPool(0)


def test_tasks_are_spread(pool):
    barrier = threading.Barrier(2)
    assert sorted(pool.map(lambda _: barrier.wait(LONG), range(2), chunksize=1)) == [0, 1]
    assert pool.map(time.sleep, [0, 0]) == [None, None]


# ---- tasks


def test_a_task_knows_its_work():
    job = _mproc.Job()
    task = _mproc.Task(job, pow, ((2,), {"exp": 3}))
    assert task.run() == _mproc.run(*task.work) == 8
    job._book(task.part, False, task.run())
    assert job._ready
    assert (job._value, job._failed) == (8, False)


def divide(*args):
    """Return the tasks of a map."""
    tasks = []
    _mproc.Books()._add_map(*args, tasks.append)
    return tasks


def test_a_map_is_divided():
    job = _mproc.Job()
    tasks = divide(job, errands.square, False, [1, 2, 3, 4, 5], 2)
    assert [task.part for task in tasks] == [0, 1, 2]
    for task in reversed(tasks):
        assert not job._ready
        task.job._book(task.part, False, task.run())
    assert job._value == [1, 4, 9, 16, 25]
    (whole,) = divide(_mproc.Job(), pow, True, [(2, 3), [3, 2]], 1000)
    assert whole.run() == [8, 9]
    nothing = _mproc.Job()
    assert divide(nothing, pow, True, [], 1) == []
    assert nothing._ready
    assert nothing._value == []


def test_a_stream_is_divided():
    stream = _mproc.Stream()
    assert [t.part for t in divide(stream, abs, False, [1, 2, 3], 2)] == [0, 1]
    (third,) = divide(stream, abs, False, [-4], 2)
    assert (third.part, stream._opened) == (2, 3)


def test_what_a_task_may_be():
    for chunk in (0, -1):
        with pytest.raises(ValueError, match="chunksize"):
            divide(_mproc.Job(), abs, False, [1], chunk)
    for arguments in (None, [], (1, 2), ((), 1, 2)):
        with pytest.raises(TypeError):
            _mproc.Task(_mproc.Job(), abs, arguments).run()
    for kind in (1, 2):
        with pytest.raises(TypeError, match="for its arguments"):
            _mproc.run(kind, abs, (1,))
    with pytest.raises(TypeError):
        _mproc.Task(None, abs, ((), None))


def test_what_is_in_the_books():
    books, tasks, job = _mproc.Books(), [], _mproc.Job()
    books._add(job, pow, ((2, 3), None), tasks.append)
    (task,) = tasks
    assert books.open == 1
    assert books._open == {task}
    books._book(task, False, task.run())
    books._book(task, False, "again")
    assert (books.open, job._value) == (0, 8)
    with pytest.raises(TypeError):
        books._book(None, False, 1)


def test_what_cannot_be_handed_on_is_not_in_the_books():
    books, stream, tasks = _mproc.Books(), _mproc.Stream(), []

    def put(task):
        if len(tasks) == 2:
            raise KeyboardInterrupt
        tasks.append(task)

    with pytest.raises(KeyboardInterrupt):
        books._add_map(stream, abs, False, [-1] * 9, 2, put)
    assert books._open == set(tasks)
    assert stream._opened == 2
    with pytest.raises(KeyboardInterrupt):
        books._add(_mproc.Job(), abs, ((-1,), None), put)
    assert books.open == 2


def test_closed_books():
    books, stream = _mproc.Books(), _mproc.Stream()
    books._closed = True
    with pytest.raises(RuntimeError, match="takes no more tasks"):
        books._add(_mproc.Job(), abs, ((-1,), None), [].append)
    for items in ([], [-1]):
        with pytest.raises(RuntimeError, match="takes no more tasks"):
            books._add_map(stream, abs, False, items, 1, [].append)
    assert (books.open, stream._opened) == (0, 0)


def test_books_are_closed_while_a_map_comes():
    books, stream, tasks = _mproc.Books(), _mproc.Stream(), []

    def put(task):
        tasks.append(task)
        books._closed = True

    with pytest.raises(RuntimeError, match="takes no more tasks"):
        books._add_map(stream, abs, False, [-1, -2], 1, put)
    assert (books._open, stream._opened) == (set(tasks), 1)


def test_a_result_is_taken_and_booked_in_one_step():
    books, tasks, job = _mproc.Books(), [], _mproc.Job()
    books._add(job, abs, ((-1,), None), tasks.append)
    results = [None, (tasks[0], False, 1)]
    asked = []

    def get(block, timeout):
        asked.append((block, timeout))
        return results.pop(0)

    books._take_next(get)
    assert not job._ready
    books._take_next(get, False, 2)
    assert (job._value, asked) == (1, [(True, None), (False, 2)])
    with pytest.raises(TypeError, match="no result of a task"):
        books._take_next(lambda block, timeout: 5)
    with pytest.raises(IndexError):
        books._take_next(get)


@pytest.mark.parametrize("times", [0, 1, 2])
def test_an_interrupt_while_a_result_is_read_does_not_lose_it(times):
    """It is the caller's. A task whose result is not read at the second try fails."""
    books, tasks, job = _mproc.Books(), [], _mproc.Job()
    books._add(job, abs, ((-1,), None), tasks.append)
    interrupts = [KeyboardInterrupt(number) for number in range(times)]
    raised = interrupts.copy()

    def read(task, failed, value):
        assert (task, failed, value) == (tasks[0], False, 1)
        if raised:
            raise raised.pop(0)
        return failed, value + 1

    def take():
        books._take_next(lambda *_: (tasks[0], False, 1), True, None, read)

    if times == 0:
        take()
    else:
        with pytest.raises(KeyboardInterrupt) as caught:
            take()
        assert caught.value is interrupts[0]
    assert books.open == 0
    assert (job._failed, job._value) == (times == 2, interrupts[1] if times == 2 else 2)


@pytest.mark.parametrize("read", [lambda *_: 5, lambda *_: (True,)])
def test_what_is_read_must_be_a_result(read):
    books, tasks, job = _mproc.Books(), [], _mproc.Job()
    books._add(job, abs, ((-1,), None), tasks.append)
    with pytest.raises((SystemError, TypeError)):
        books._take_next(lambda *_: (tasks[0], False, 1), True, None, read)
    assert job._failed


def test_all_that_are_open_fail():
    books, jobs = _mproc.Books(), [_mproc.Job() for _ in range(3)]
    heard = []

    def hear(error):
        heard.append(error)
        raise KeyboardInterrupt

    for job in jobs:
        job._error_callback = hear
        books._add(job, abs, ((-1,), None), lambda _: None)
    error = LookupError("all")
    with pytest.raises(KeyboardInterrupt):
        books._fail_all(error)
    assert books.open == 0
    assert heard == [error] * 3
    assert [job._value for job in jobs] == [error] * 3
    books._fail_all(error)


def test_jobs_that_are_to_fail():
    jobs = [_mproc.Job() for _ in range(3)]
    heard, errors = [], [LookupError(str(n)) for n in range(3)]

    def hear(error):
        heard.append(error)
        if error is errors[1]:
            raise KeyboardInterrupt

    for job in jobs:
        job._error_callback = hear
    left = list(zip(jobs, errors, strict=True))
    with pytest.raises(KeyboardInterrupt):
        _mproc.fail_jobs(left)
    assert (heard, left) == (errors[:2], [(jobs[2], errors[2])])
    _mproc.fail_jobs(left)
    assert (heard, left) == (errors, [])
    with pytest.raises(TypeError):
        _mproc.fail_jobs([(1, 2)])


class NoWorkers:
    """An engine, as ThreadTasks sees it, whose tasks are done by who tests them."""

    _pool = ()


def test_what_has_come_is_booked_together():
    engine, stream = NoWorkers(), _mproc.Stream()
    tasks = threads.ThreadTasks(engine, 1, LONG)
    tasks.submit_map(stream, abs, True, False, [-1, -2, -3], 1)
    tasks.close()
    assert tasks.serve(0, 0, None, None) == tasks.open == 3
    assert tasks.pump(stream, 0)
    assert tasks.open == 0
    assert [stream.next() for _ in range(3)] == [1, 2, 3]
