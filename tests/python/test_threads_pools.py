"""Eight threads at one pool, executor, future, process or container, with and without the GIL."""

import concurrent.futures
import contextlib
import itertools
import pickle
import threading
from functools import partial

import pytest
from conftest import wait_until
from test_threads import PATIENCE, THREADS, at_once, changing

import mproc
from mproc import _mproc, futures
from mproc._pool.future import Future
from mproc.dicts import Dict
from mproc.lists import List
from mproc.pool import Pool, ThreadPool
from mproc.sets import Set

_mproc._add_pool()
_mproc._add_imap()
_mproc._add_threads()

ROUNDS = 200


def in_rounds(step, threads=THREADS, rounds=ROUNDS):
    """Each round all threads begin step(round, thread) together, and wait for each other's end."""
    together = threading.Barrier(threads)

    def job(thread):
        for i in range(rounds):
            together.wait(PATIENCE)
            step(i, thread)
        together.wait(PATIENCE)

    def run(thread):
        try:
            job(thread)
        except BaseException:
            together.abort()
            raise

    at_once(*[lambda thread=thread: run(thread) for thread in range(threads)])


# ---- whose turn it is


def test_turn_is_one_threads():
    turn, inside, taken = _mproc.Turn(), [], []

    def take(_):
        with turn as depth:
            if depth:
                inside.append(depth)
                assert inside == [1]
                with turn as again:
                    assert again == 2
                taken.append(inside.pop())

    at_once(*[changing(take, 5_000)] * THREADS)
    assert (turn.depth, turn.news) == (0, 2 * len(taken))


def test_no_news_of_a_turn_are_missed():
    """Who waits sleeps until it is told: nothing else wakes it."""
    turn, come, heard = _mproc.Turn(), [0], [0] * (THREADS - 1)
    begun, last = threading.Barrier(THREADS), 3_000

    def listen(who):
        begun.wait(PATIENCE)
        while heard[who] < last:
            seen = turn.news
            heard[who] = come[0]
            if heard[who] < last:
                turn.wait(seen, None)

    def tell():
        with turn:
            begun.wait(PATIENCE)
            for i in range(1, last + 1):
                come[0] = i
                turn.tell()
            while min(heard) < last:
                pass

    at_once(tell, *[lambda who=who: listen(who) for who in range(THREADS - 1)])


def test_sleepers_of_a_turn_come_and_go():
    turn = _mproc.Turn()

    def sleep(i):
        turn.wait(turn.news, 0.0001 * (i % 3), i % 2)
        with turn as depth:
            if depth:
                turn.tell(i % 2)

    at_once(*[changing(sleep, 2_000)] * THREADS)
    assert turn.depth == 0


# ---- jobs, and their books


def book_of(items, done):
    """A job whose parts have an item each, and the tasks that are its parts."""
    books, job, tasks = _mproc.Books(), _mproc.Job(), []
    job._callback = job._error_callback = done
    books._add_map(job, None, False, items, 1, tasks.append)
    return books, job, tasks


def test_parts_are_booked_by_all_threads():
    called = []
    made = [book_of(list(range(THREADS)), called.append) for _ in range(ROUNDS)]

    def book(i, thread):
        books, _, tasks = made[i]
        books._book(tasks[thread], False, [thread])
        books._book(tasks[thread], False, [-1])  # once more: it is not open

    in_rounds(book)
    assert called == [list(range(THREADS))] * ROUNDS
    assert all(job._ready and job._left == 0 and books.open == 0 for books, job, _ in made)


def test_a_job_fails_as_a_whole_while_its_parts_come():
    called = []
    made = [book_of(list(range(THREADS)), called.append) for _ in range(ROUNDS)]
    error = ValueError("as a whole")

    def book(i, thread):
        books, job, tasks = made[i]
        if thread == i % THREADS:
            job._fail(error)
        books._book(tasks[thread], False, [thread])
        assert job._value is not None

    in_rounds(book)
    assert len(called) == ROUNDS
    assert all(
        job._ready and job._value == value for (_, job, _), value in zip(made, called, strict=True)
    )


def test_books_are_closed_while_tasks_come():
    """A task is refused, or is failed by who has closed the books: none stays open for ever."""
    made = [(_mproc.Books(), []) for _ in range(ROUNDS)]
    handed = []

    def add(i, thread):
        books, jobs = made[i]
        if thread == 0:
            books._closed = True
            books._fail_all(RuntimeError("over"))
            return
        job = _mproc.Job()
        try:
            books._add(job, None, ((), None), handed.append)
        except RuntimeError:
            return
        jobs.append(job)

    in_rounds(add)
    assert [books.open for books, _ in made] == [0] * ROUNDS
    assert all(job._ready for _, jobs in made for job in jobs)


def test_jobs_fail_once_whoever_takes_them():
    called = []
    jobs = [_mproc.Job() for _ in range(5_000)]
    for job in jobs:
        job._error_callback = called.append
    error = ValueError("unsent")
    unsent = [(job, error) for job in jobs]
    at_once(*[lambda: _mproc.fail_jobs(unsent)] * THREADS)
    assert (len(called), unsent) == (len(jobs), [])
    assert all(job._ready for job in jobs)


# ---- streams


def test_results_of_a_stream_are_taken_by_all_threads():
    """They come meanwhile, and more parts are opened: each result is handed out once."""
    n, taken, tasks, lock, over = 4_000, [], [], threading.Lock(), threading.Event()

    class Results(_mproc.Stream):
        def _await_next(self, _timeout):
            if over.is_set():
                raise StopIteration

    stream, books = Results(), _mproc.Books()
    stream._loose = True

    def put(task):
        with lock:
            tasks.append(task)

    def feed():
        for i in range(n):
            books._add_map(stream, None, False, [i, -i], 2, put)

    def book():
        while not over.is_set():
            with lock:
                task = tasks.pop() if tasks else None
            if task is not None:
                books._book(task, False, [task.part, -task.part])

    def take():
        for value in stream:
            taken.append(value)
            if len(taken) == 2 * n:
                over.set()

    at_once(feed, *[book] * 3, *[take] * 4)
    assert sorted(taken) == sorted([*range(n), *(-i for i in range(n))])
    assert (stream._under_way, stream._ready, books.open) == (0, False, 0)


# ---- futures


def bare():
    """A future without an engine."""
    return Future()


def test_a_future_is_settled_once():
    made, won = [bare() for _ in range(ROUNDS)], []

    def settle(i, thread):
        try:
            if thread % 2:
                made[i].set_result(thread)
            else:
                made[i].set_exception(ValueError(thread))
        except concurrent.futures.InvalidStateError:
            return
        won.append((i, thread))

    in_rounds(settle)
    assert [i for i, _ in sorted(won)] == list(range(ROUNDS))
    for i, thread in won:
        error = made[i].exception(0)
        assert (made[i].result(0) if error is None else error.args[0]) == thread


def test_a_future_runs_or_is_cancelled():
    made, begun, cancelled = [bare() for _ in range(ROUNDS)], [], []

    def step(i, thread):
        if thread == 0:
            if made[i].set_running_or_notify_cancel():
                begun.append(i)
        elif made[i].cancel():
            cancelled.append(i)

    in_rounds(step)
    assert sorted({*begun, *cancelled}) == list(range(ROUNDS))
    assert not {*begun} & {*cancelled}


def test_callbacks_of_a_future_are_called_once():
    made, called = [bare() for _ in range(ROUNDS)], []

    def step(i, thread):
        if thread == 0:
            made[i].set_result(i)
        else:
            made[i].add_done_callback(lambda future: called.append((future.result(), thread)))

    in_rounds(step)
    assert sorted(called) == list(itertools.product(range(ROUNDS), range(1, THREADS)))


def test_a_future_is_waited_for_while_it_is_settled():
    """Who begins to wait as it is settled is told of it, or sees it."""
    made = [bare() for _ in range(5 * ROUNDS)]

    def step(i, thread):
        if thread == 0:
            made[i].set_result(i)
        elif thread % 2:
            assert made[i].result() == i
        else:
            assert concurrent.futures.wait([made[i]]).done == {made[i]}

    in_rounds(step, rounds=len(made))


def test_private_names_of_a_future_are_made_once():
    made, found = [bare() for _ in range(ROUNDS)], [set() for _ in range(ROUNDS)]

    def step(i, _):
        future = made[i]
        found[i].add((id(future._condition), id(future._waiters), id(future._done_callbacks)))

    in_rounds(step)
    assert {len(ids) for ids in found} == {1}


# ---- executors


noted = itertools.count()


def double(x):
    return 2 * x


def note(_):
    """How many calls of it the worker has begun before."""
    return next(noted)


@pytest.fixture
def executor():
    with futures.ProcessPoolExecutor(2, mp_context=mproc.get_context("fork")) as made:
        yield made


def test_an_executor_is_used_by_all_threads(executor):
    def use(i):
        assert executor.submit(double, i).result(PATIENCE) == 2 * i
        made = [executor.submit(double, j) for j in range(20)]
        assert [future.result(PATIENCE) for future in made] == list(range(0, 40, 2))
        made[3].cancel()

    at_once(*[changing(use, 30)] * THREADS)


def test_an_executor_is_looked_at_while_calls_are_submitted(executor):
    def look():
        seen = [executor._queue_count for _ in range(2_000)]
        assert seen == sorted(seen)

    def submit():
        for future in [executor.submit(double, i) for i in range(200)]:
            assert future._engine in (executor._engine, None)  # it is let go of meanwhile
            future.result(PATIENCE)

    at_once(*[look] * 4, *[submit] * 4)
    assert executor._queue_count == 4 * 200


def test_maps_of_an_executor_in_all_threads(executor):
    def use(i):
        assert list(executor.map(double, range(i, i + 50), chunksize=1 + i % 7)) == list(
            range(2 * i, 2 * i + 100, 2)
        )

    at_once(*[changing(use, 30)] * THREADS)


def test_futures_are_cancelled_while_they_are_handed_on(executor):
    def use(_):
        made = [executor.submit(double, j) for j in range(40)]
        gone = [future.cancel() for future in made]
        for j, future in enumerate(made):
            if gone[j]:
                assert future.cancelled()
            else:
                assert future.result(PATIENCE) == 2 * j

    at_once(*[changing(use, 20)] * THREADS)
    assert concurrent.futures.wait([executor.submit(double, 1)], PATIENCE).done


def test_waiters_and_callbacks_of_an_executor(executor):
    def use(_):
        made, called = [executor.submit(double, j) for j in range(10)], []
        for future in made:
            future.add_done_callback(called.append)
        assert len(concurrent.futures.wait(made, PATIENCE).done) == len(made)
        assert {f.result() for f in concurrent.futures.as_completed(made, PATIENCE)} == set(
            range(0, 20, 2)
        )
        # As the standard library's, a future tells who waits for it before it calls.
        assert wait_until(lambda: len(called) == len(made))

    at_once(*[changing(use, 20)] * THREADS)


def test_one_worker_begins_what_a_thread_submits_in_its_order():
    """Whoever waits hands calls on, too; none overtakes another one meanwhile."""
    order = []
    with futures.ProcessPoolExecutor(1, mp_context=mproc.get_context("fork")) as executor:

        def submit():
            order.extend(executor.submit(note, i) for i in range(3_000))

        def wait(_):
            executor.submit(double, 1).result(PATIENCE)

        at_once(submit, *[changing(wait, 200)] * (THREADS - 1))
        assert [future.result(PATIENCE) for future in order] == list(range(3_000))


# ---- pools


@pytest.fixture(params=[Pool, ThreadPool])
def pool(request):
    with request.param(2) as made:
        yield made


def test_a_pool_is_used_by_all_threads(pool):
    def use(i):
        assert pool.apply(double, (i,)) == 2 * i
        results = [pool.apply_async(double, (j,)) for j in range(10)]
        assert pool.map(double, range(30), chunksize=1 + i % 5) == list(range(0, 60, 2))
        assert [result.get(PATIENCE) for result in results] == list(range(0, 20, 2))
        assert list(pool.imap(double, range(10))) == list(range(0, 20, 2))

    at_once(*[changing(use, 30)] * THREADS)


def test_callbacks_of_a_pool_in_all_threads(pool):
    def use(i):
        called = []
        result = pool.map_async(double, range(5), callback=called.append)
        assert result.get(PATIENCE) == list(range(0, 10, 2))
        assert called == [result.get()]

    at_once(*[changing(use, 50)] * THREADS)


def test_an_imap_is_taken_from_by_all_threads(pool):
    taken, results = [], pool.imap_unordered(double, range(2_000))
    at_once(*[lambda: taken.extend(results)] * THREADS)
    assert sorted(taken) == list(range(0, 4_000, 2))


def test_an_imap_and_a_map_are_looked_at_while_they_go_on(pool):
    results, parts = pool.imap(double, range(2_000)), pool.map_async(double, range(2_000), 1)
    taken = []

    def look():
        for _ in range(2_000):
            assert results._index in range(2_001) and results._length in (None, 2_000)
            assert parts._number_left in range(2_001)
            assert not parts.ready() or parts.successful()

    at_once(*[look] * 4, *[lambda: taken.extend(results)] * 4)
    assert sorted(taken) == list(range(0, 4_000, 2)) == parts.get(PATIENCE)


def test_a_list_changes_while_a_pool_maps_it(pool):
    """Each item is one that stood there, or the map says that some are not there any more."""
    shared = [7] * 50

    def change(i):
        shared.append(7)
        del shared[: i % 3]

    def use(_):
        try:
            results = pool.map(double, shared, chunksize=3)
        except RuntimeError as error:
            assert "shorter while it was mapped" in str(error)
        else:
            assert {*results} <= {14}

    at_once(*[changing(use, 40)] * 6, *[changing(change, 2_000)] * 2)


def test_tasks_that_fail_in_all_threads(pool):
    def use(_):
        with pytest.raises(TypeError):
            pool.map(double, [1, None, 2], chunksize=1)

    at_once(*[changing(use, 20)] * THREADS)


def test_tasks_that_cannot_be_sent_in_all_threads():
    with Pool(2) as pool:

        def use(_):
            called = []
            with pytest.raises((pickle.PicklingError, AttributeError)):
                pool.apply(double, (lambda: 0,))
            result = pool.apply_async(double, (lambda: 0,), error_callback=called.append)
            result.wait(PATIENCE)
            assert len(called) == 1

        at_once(*[changing(use, 20)] * THREADS)


def test_tasks_with_options_in_all_threads():
    """Priorities begin while other threads put parts."""
    with Pool(2) as pool:

        def use(i):
            ranked = pool.options(priority=i % 3)
            results = [ranked.apply_async(double, (j,)) for j in range(10)]
            assert pool.map(double, range(20), chunksize=1) == list(range(0, 40, 2))
            assert [result.get(PATIENCE) for result in results] == list(range(0, 20, 2))

        at_once(*[changing(use, 10)] * THREADS)
        assert pool._tasks.open == 0


def use_to_the_end(pool, begun):
    """Have tasks done until the pool is over; they are done, or fail with that."""
    begun.wait(PATIENCE)
    while True:
        try:
            result = pool.apply_async(double, (1,))
        except ValueError:
            return
        try:
            assert result.get(PATIENCE) == 2
        except (mproc.ProcessError, ValueError) as error:
            assert not isinstance(error, mproc.TimeoutError)


def end_at_once(pool, begun):
    begun.wait(PATIENCE)
    pool.terminate()
    pool.join()


@pytest.mark.parametrize("kind", [Pool, ThreadPool])
@pytest.mark.parametrize("_again", range(5))
def test_a_pool_ends_while_all_threads_use_it(kind, _again):
    pool, begun = kind(2), threading.Barrier(THREADS)
    use = partial(use_to_the_end, pool, begun)
    at_once(*[use] * (THREADS - 1), partial(end_at_once, pool, begun))
    assert pool._tasks.open == 0


# ---- processes


def test_a_process_is_joined_and_closed_by_all_threads():
    ctx, n = mproc.get_context("fork"), 40
    gates = [ctx.Event() for _ in range(n)]
    processes = [ctx.Process(target=gate.wait) for gate in gates]
    for process in processes:
        process.start()
    popens = [process._popen for process in processes]

    def use(i, thread):
        popen = popens[i]
        if thread == 0:
            gates[i].set()
        elif thread == 1:
            popen.wait()
            popen.close()
        elif thread == 2:
            popen._send_signal(0)
        else:
            assert popen.wait() in (0, None)  # None: it is closed
        assert popen.pid > 0

    in_rounds(use, rounds=n)
    for process in processes:
        process.join()
        assert (process.exitcode, process._popen.sentinel) == (0, -1)


# ---- containers


def test_a_dict_is_used_by_all_threads():
    shared = Dict()

    def use(i):
        shared[i % 10] = [i, str(i)]
        shared.add("n", 1)
        shared.get(i % 10)
        shared.pop(i % 10, None)
        assert shared.setdefault(("t", i % 3), (1, 2)) == (1, 2)
        assert shared.update_with("u", lambda n: n + 1, 0) > 0
        assert all(len(value) == 2 for key, value in shared.items() if type(key) is int)

    at_once(*[changing(use, 200)] * THREADS)
    assert shared["n"] == shared["u"] == 200 * THREADS


def test_a_list_is_used_by_all_threads():
    shared = List()

    def use(i):
        shared.append([i])
        shared.extend([[i], [i]])
        assert all(len(value) == 1 for value in shared[:5])
        shared.pop()
        shared.pop(0)
        shared.sort()

    at_once(*[changing(use, 60)] * THREADS)
    assert len(shared) == 60 * THREADS


def test_an_ordinary_list_changes_while_it_is_put_into_a_shared_one():
    mine, shared = [[i] for i in range(50)], List()

    def change(i):
        mine.append([i])
        del mine[:2]
        mine.insert(0, [i])

    def put(_):
        try:
            shared[:] = mine
        except RuntimeError as error:
            assert "changed while they were pickled" in str(error)
        assert all(len(value) == 1 for value in shared)

    at_once(*[changing(put, 200)] * 6, *[changing(change, 2_000)] * 2)


def test_a_set_is_used_by_all_threads():
    shared, inserted, popped = Set(), [], []

    def use(i):
        if shared.insert(i):
            inserted.append(i)
        if i % 3 == 0:
            with contextlib.suppress(KeyError):  # the others have taken all
                popped.append(shared.pop())
        shared.discard(-1 - i)
        assert all(type(value) is int for value in shared)

    at_once(*[changing(use, 200)] * THREADS)
    assert sorted(inserted) == sorted([*popped, *shared])
