"""What people do with pools: recipes of their own, callbacks, callables of all kinds, nesting."""

import functools
import multiprocessing
import multiprocessing.pool as pools
import sys
import threading
from typing import NamedTuple


def istarmap(self, func, iterable, chunksize=1):
    self._check_running()
    tasks = pools.Pool._get_tasks(func, iterable, chunksize)
    result = pools.IMapIterator(self)
    generated = self._guarded_task_generation(result._job, pools.starmapstar, tasks)
    self._taskqueue.put((generated, result._set_length))
    return (item for chunk in result for item in chunk)


class Point(NamedTuple):
    x: int


class Scale:
    def __init__(self, by):
        self.by = by

    def add(self, number):
        return self.by + number

    @classmethod
    def named(cls, number):
        return cls.__name__, number

    @staticmethod
    def negative(number):
        return -number

    def __call__(self, number):
        return self.by * number


class ReducedError(Exception):
    def __reduce__(self):
        return ReducedError, ("reduced",)


class StateError(Exception):
    def __getstate__(self):
        return {"a": 1}

    def __setstate__(self, state):
        self.state = state


ERRORS = (
    ReducedError("not"), StateError("s"), FileNotFoundError(2, "none", "file"), KeyError("k"),
    UnicodeDecodeError("utf8", b"abc", 0, 1, "why"), StopAsyncIteration(4),
)  # fmt: skip


def fail(number):
    raise ERRORS[number]


def fail_at_two(number):
    if number == 2:
        raise ValueError(number)
    return number


def nested(queue, method, number):
    with multiprocessing.get_context(method).Pool(2) as pool:
        queue.put(sum(pool.map(float, range(number))))


def pool_in_a_worker(method):
    try:
        multiprocessing.get_context(method).Pool(1)
    except AssertionError as error:
        return str(error)
    return "a pool"


def call_back(ctx):
    got, done = [], threading.Semaphore(0)

    def keep(value):
        got.append(repr(value))
        done.release()

    with ctx.Pool(2) as pool:
        for number in range(4):
            pool.apply_async(fail_at_two, (number,), callback=keep, error_callback=keep)
        pool.map_async(fail_at_two, range(2), callback=keep)
        pool.starmap_async(fail_at_two, [(2,)], error_callback=keep)
        for _ in range(6):
            done.acquire()
    print(sorted(got))


def call_all_kinds(pool):
    scale = Scale(10)
    kinds = (scale.add, scale, Scale.named, Scale.negative, functools.partial(pow, 2), float)
    for kind in kinds:
        print(pool.map(kind, range(3)))
    print(pool.map(repr, [Point(2)]), pool.starmap(Point, [(1,)]), pool.apply(dict, (), {"a": 1}))
    print(pool.map("-".join, [["a", "b"]]), pool.map(abs, []))


def main(method):
    pools.Pool.istarmap = istarmap
    ctx = multiprocessing.get_context(method)
    with ctx.Pool(2) as pool:
        print(list(pool.istarmap(divmod, enumerate(range(1, 11)), 3)))
        call_all_kinds(pool)
        for number in range(len(ERRORS)):
            try:
                pool.apply(fail, (number,))
            except Exception as error:
                print(type(error).__name__, error.args, type(error.__cause__).__name__)
        print(pool.apply(pool_in_a_worker, (method,)))
    call_back(ctx)
    queue = ctx.Queue()
    parents = [ctx.Process(target=nested, args=(queue, method, number)) for number in (5, 10)]
    for parent in parents:
        parent.start()
    print(sorted(queue.get(timeout=60) for _ in parents))
    for parent in parents:
        parent.join()


if __name__ == "__main__":
    main(sys.argv[1])
