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
