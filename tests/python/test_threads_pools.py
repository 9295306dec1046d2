"""Eight threads at one pool, executor, future, process or container, with and without the GIL."""

import concurrent.futures
import itertools
import pickle
import threading
from functools import partial

import pytest
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
