#!/usr/bin/env python3
"""Measures one row of the comparison with one library, in this process.

`rows.py LIBRARY METHOD ROW` prints a number in JSON. LIBRARY is the name of a package with the
interface of `multiprocessing`, METHOD a start method. A rate is in operations a second, a time in
seconds an operation. compare.py runs this file, in a new process for each number.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

SHORTEST = 0.05  # seconds: a shorter run says more about the scheduler than about the library
LIBRARY = "multiprocessing"  # the package that is measured; the command line says which
RUNS = 3  # of each number: other programs only ever make a run slower, so the fastest run counts

Run = Callable[[int], float]  # does n operations and returns the seconds that they took


@dataclass
class Row:
    title: str
    rate: bool  # more is better
    prepare: Callable[[Any], Any]  # from a context to a context manager over a Run
    most: int = 1 << 30  # operations in one run at most, where one costs memory


ROWS: dict[str, Row] = {}


def row(name: str, title: str, *, rate: bool = False, most: int = 1 << 30) -> Callable[[Any], Any]:
    """Enters a generator function that yields a Run as a row."""

    def enter(prepare: Any) -> Any:
        ROWS[name] = Row(title, rate, contextmanager(prepare), most)
        return prepare

    return enter


def timed(step: Callable[[], object]) -> Run:
    """A Run that calls `step` n times."""

    def run(n: int) -> float:
        began = time.perf_counter()
        for _ in range(n):
            step()
        return time.perf_counter() - began

    return run


# ---------------------------------------------------------------- children


def nothing() -> None:
    """A child's work in the rows about processes."""


def produce(queue: Any, item: object, n: int, ready: Any, go: Any) -> None:
    ready.release()
    go.wait()
    for _ in range(n):
        queue.put(item)


def consume(queue: Any, n: int, ready: Any, go: Any, times: Any) -> None:
    ready.release()
    go.wait()
    began = time.perf_counter()
    for _ in range(n):
        queue.get()
    times.put((began, time.perf_counter()))


def echo(requests: Any, replies: Any) -> None:
    for item in iter(requests.get, None):
        replies.put(item)


def take_turns(lock: Any, n: int, ready: Any, go: Any, times: Any) -> None:
    ready.release()
    go.wait()
    began = time.perf_counter()
    for _ in range(n):
        with lock:
            pass
    times.put((began, time.perf_counter()))


def same(x: object) -> object:
    return x


# ---------------------------------------------------------------- queues


def together(mp: Any, timed_ones: list[Any], others: list[Any]) -> float:
    """Lets children begin at the same moment.

    A child is a pair of a function and its first arguments; `times` is the last argument of the
    timed ones. The result is the seconds from their first beginning to their last end.
    """
    ready, go, times = mp.Semaphore(0), mp.Event(), mp.SimpleQueue()
    children = [mp.Process(target=f, args=(*args, ready, go, times)) for f, args in timed_ones]
    children += [mp.Process(target=f, args=(*args, ready, go)) for f, args in others]
    for child in children:
        child.start()
    for _ in children:
        ready.acquire()
    go.set()
    spans = [times.get() for _ in timed_ones]
    for child in children:
        child.join()
    return max(end for _, end in spans) - min(began for began, _ in spans)


def stream(mp: Any, pairs: int, item: object, kind: Callable[[], Any] | None = None) -> Run:
    """A Run of n messages through one queue, a Queue or what `kind` makes.

    There are as many producers as consumers.
    """

    def run(n: int) -> float:
        queue, each = (kind or mp.Queue)(), max(1, n // pairs)
        consumers = [(consume, (queue, each))] * pairs
        producers = [(produce, (queue, item, each))] * pairs
        return together(mp, consumers, producers) * n / (each * pairs)

    return run


@row("queue.int", "`Queue`: small ints, one producer, one consumer", rate=True)
def queue_int(mp: Any) -> Iterator[Run]:
    yield stream(mp, 1, 12345)


@row("queue.4K", "`Queue`: 4 KiB, two producers, two consumers", rate=True)
def queue_4k(mp: Any) -> Iterator[Run]:
    yield stream(mp, 2, b"x" * 4096)


@row("queue.1M", "`Queue`: 1 MiB messages", rate=True, most=2000)
def queue_1m(mp: Any) -> Iterator[Run]:
    yield stream(mp, 1, b"x" * (1 << 20))


@row("queue.round_trip", "`Queue`: round trip")
def queue_round_trip(mp: Any) -> Iterator[Run]:
    requests, replies = mp.Queue(), mp.Queue()
    child = mp.Process(target=echo, args=(requests, replies))
    child.start()

    def there_and_back() -> None:
        requests.put(1)
        replies.get()

    yield timed(there_and_back)
    requests.put(None)
    child.join()


@row("queue.alone", "`Queue`: put and get by one process")
def queue_alone(mp: Any) -> Iterator[Run]:
    queue = mp.Queue()

    def put_and_get() -> None:
        queue.put(1)
        queue.get()

    yield timed(put_and_get)


# ---------------------------------------------------------------- pools


def mapping(mp: Any, chunksize: int | None) -> Iterator[Run]:
    with mp.Pool(2) as pool:

        def run(n: int) -> float:
            numbers = range(n)
            began = time.perf_counter()
            pool.map(same, numbers, chunksize)
            return time.perf_counter() - began

        yield run


@row("pool.map1", "`Pool.map`, chunksize 1", rate=True, most=200_000)
def pool_map_one(mp: Any) -> Iterator[Run]:
    yield from mapping(mp, 1)


@row("pool.map", "`Pool.map`, default chunksize, trivial function", rate=True, most=4_000_000)
def pool_map(mp: Any) -> Iterator[Run]:
    yield from mapping(mp, None)


@row("pool.imap", "`Pool.imap`, chunksize 1", rate=True, most=200_000)
def pool_imap(mp: Any) -> Iterator[Run]:
    with mp.Pool(2) as pool:

        def run(n: int) -> float:
            began = time.perf_counter()
            for _ in pool.imap(same, range(n)):
                pass
            return time.perf_counter() - began

        yield run


@row("pool.apply", "`Pool.apply`")
def pool_apply(mp: Any) -> Iterator[Run]:
    with mp.Pool(2) as pool:
        yield timed(lambda: pool.apply(same, (1,)))


@row("pool.life", "`Pool(2)`, close, join")
def pool_life(mp: Any) -> Iterator[Run]:
    def live() -> None:
        pool = mp.Pool(2)
        pool.close()
        pool.join()

    yield timed(live)


# ---------------------------------------------------------------- large arrays


def array_8m(shared: bool) -> Any:
    """8 MB of numbers. shared: in the memory of the family, if the library has such arrays."""
    import numpy

    array = numpy.ones(1_000_000)
    package = importlib.import_module(LIBRARY)
    return package.asarray(array) if shared and hasattr(package, "asarray") else array


def echo_arrays(receive: Callable[[], Any], send: Callable[[Any], object]) -> None:
    while (array := receive()) is not None:
        send(array)


def there_and_back(send: Callable[[Any], object], receive: Callable[[], Any], shared: bool) -> Run:
    """A Run of round trips of an array, once the child has imported numpy for its first one."""
    array = array_8m(shared)

    def step() -> None:
        send(array)
        receive()

    step()
    return timed(step)


def arrays_through_a_pipe(mp: Any, shared: bool) -> Iterator[Run]:
    mine, its = mp.Pipe()
    child = mp.Process(target=echo_arrays, args=(its.recv, its.send))
    child.start()
    yield there_and_back(mine.send, mine.recv, shared)
    mine.send(None)
    child.join()


def arrays_through_queues(mp: Any, shared: bool) -> Iterator[Run]:
    requests, replies = mp.Queue(), mp.Queue()
    child = mp.Process(target=echo_arrays, args=(requests.get, replies.put))
    child.start()
    yield there_and_back(requests.put, replies.get, shared)
    requests.put(None)
    child.join()


def arrays_through_a_pool(mp: Any, shared: bool) -> Iterator[Run]:
    with mp.Pool(1) as pool:
        results: list[Any] = []
        yield there_and_back(
            lambda array: results.append(pool.apply(same, (array,))), results.pop, shared
        )


@row("array.pipe", "`Pipe`: an array of 8 MB, there and back")
def array_pipe(mp: Any) -> Iterator[Run]:
    yield from arrays_through_a_pipe(mp, shared=False)


@row("array.pipe.shared", "the same with `mproc.asarray`, plain with the other")
def array_pipe_shared(mp: Any) -> Iterator[Run]:
    yield from arrays_through_a_pipe(mp, shared=True)


@row("array.queue", "`Queue`: an array of 8 MB, there and back")
def array_queue(mp: Any) -> Iterator[Run]:
    yield from arrays_through_queues(mp, shared=False)


@row("array.queue.shared", "the same with `mproc.asarray`, plain with the other")
def array_queue_shared(mp: Any) -> Iterator[Run]:
    yield from arrays_through_queues(mp, shared=True)


@row("array.pool", "`Pool.apply`: an array of 8 MB, there and back")
def array_pool(mp: Any) -> Iterator[Run]:
    yield from arrays_through_a_pool(mp, shared=False)


@row("array.pool.shared", "the same with `mproc.asarray`, plain with the other")
def array_pool_shared(mp: Any) -> Iterator[Run]:
    yield from arrays_through_a_pool(mp, shared=True)


# ---------------------------------------------------------------- processes


def start_and_join(mp: Any) -> None:
    child = mp.Process(target=nothing)
    child.start()
    child.join()


@row("process.start", "`Process.start()`")
def process_start(mp: Any) -> Iterator[Run]:
    def run(n: int) -> float:
        seconds = 0.0
        for _ in range(n):
            child = mp.Process(target=nothing)
            began = time.perf_counter()
            child.start()
            seconds += time.perf_counter() - began
            child.join()
        return seconds

    yield run


@row("process.life", "`Process`: start and join")
def process_life(mp: Any) -> Iterator[Run]:
    yield timed(lambda: start_and_join(mp))


@row("process.is_alive", "`Process.is_alive()`")
def process_is_alive(mp: Any) -> Iterator[Run]:
    goes_on = mp.Event()
    child = mp.Process(target=goes_on.wait)
    child.start()
    yield timed(child.is_alive)
    goes_on.set()
    child.join()


# ---------------------------------------------------------------- locks and shared values


@row("lock", "`with lock:`")
def lock_alone(mp: Any) -> Iterator[Run]:
    lock = mp.Lock()

    def take() -> None:
        with lock:
            pass

    yield timed(take)


def contend(mp: Any) -> Run:
    """A Run of n acquires and releases of one lock by two children."""
    lock = mp.Lock()

    def run(n: int) -> float:
        return together(mp, [(take_turns, (lock, n // 2 + 1))] * 2, [])

    return run


@row("lock.two", "`with lock:` by two processes at once")
def lock_of_two(mp: Any) -> Iterator[Run]:
    yield contend(mp)


@row("value", "`Value`: `with v.get_lock(): v.value += 1`")
def value(mp: Any) -> Iterator[Run]:
    number = mp.Value("q", 0)

    def add_one() -> None:
        with number.get_lock():
            number.value += 1

    yield timed(add_one)


@row("shareable_list", "`ShareableList` of 60, made, closed, unlinked")
def shareable_list(mp: Any) -> Iterator[Run]:
    memory = importlib.import_module(f"{LIBRARY}.shared_memory")
    items = [1, 2.5, "text", None, True, b"bytes"] * 10

    def live() -> None:
        made = memory.ShareableList(items)
        made.shm.close()
        made.shm.unlink()

    yield timed(live)


@row("import", "`import` of the package")
def import_of_package(mp: Any) -> Iterator[Run]:
    code = f"import time; t = time.perf_counter(); import {LIBRARY}; print(time.perf_counter() - t)"

    def run(n: int) -> float:
        return sum(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(n))

    yield run


# ---------------------------------------------------------------- one number


def settle(run: Run, most: int) -> tuple[int, float]:
    """Doubles the number of operations until a run is long enough.

    The result is the number, and the seconds of the run.
    """
    n = 1
    seconds = run(n)
    while seconds < SHORTEST and n < most:
        n = min(most, max(2 * n, int(n * min(1.5 * SHORTEST / max(seconds, 1e-9), 50))))
        seconds = run(n)
    return n, seconds


def measure(name: str, method: str) -> float:
    entry = ROWS[name]
    with entry.prepare(importlib.import_module(LIBRARY).get_context(method)) as run:
        n, seconds = settle(run, entry.most)
        seconds = min([seconds, *(run(n) for _ in range(RUNS - 1))])
    return n / seconds if entry.rate else seconds / n


if __name__ == "__main__":
    LIBRARY = sys.argv[1]
    print(json.dumps(measure(sys.argv[3], sys.argv[2])))
