"""What type checkers say of programs on mproc: `make lint` has mypy and pyright read this file.

It is not run. Each assert_type() fails where the checker finds another type.
"""

import ctypes
from concurrent.futures import Future
from multiprocessing.pool import Pool as StandardPool
from typing import Any, assert_type

import mproc
from mproc.connection import Connection
from mproc.managers import DictProxy, ListProxy, SyncManager
from mproc.pool import AsyncResult, IMapIterator, MapResult, Pool
from mproc.queues import JoinableQueue, Queue, SimpleQueue
from mproc.sharedctypes import Synchronized, SynchronizedArray, SynchronizedString


def square(x: int) -> float:
    return x * x


def add(x: int, y: int) -> int:
    return x + y


def queues() -> None:
    queue: Queue[int] = mproc.Queue()
    queue.put(1)
    assert_type(queue.get(), int)
    assert_type(queue.get_nowait(), int)
    assert_type(queue.get_many(3), list[int])
    queue.put("text")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    joinable: JoinableQueue[str] = mproc.JoinableQueue()
    assert_type(joinable.get(), str)
    simple: SimpleQueue[bytes] = mproc.SimpleQueue()
    assert_type(simple.get(), bytes)


def pools() -> None:
    with mproc.Pool(2) as pool:
        assert_type(pool, Pool)
        assert_type(pool.map(square, [1]), list[float])
        assert_type(pool.starmap(add, [(1, 2)]), list[int])
        assert_type(pool.apply(square, (1,)), float)
        assert_type(pool.apply_async(square, (1,)), AsyncResult[float])
        assert_type(pool.map_async(square, [1]), MapResult[float])
        assert_type(pool.map_async(square, [1]).get(), list[float])
        assert_type(pool.imap(square, [1]), IMapIterator[float])
        assert_type(next(pool.imap_unordered(square, [1])), float)
        pool.map(square, ["text"])  # type: ignore[arg-type] # pyright: ignore


def executors() -> None:
    with mproc.ProcessPoolExecutor() as executor:
        assert_type(executor.submit(add, 1, 2), Future[int])
        assert_type(executor.submit(add, 1, 2).result(), int)
        assert_type(list(executor.map(square, [1])), list[float])


def values() -> None:
    assert_type(mproc.Value(ctypes.c_int, 1), Synchronized[int])
    assert_type(mproc.Value(ctypes.c_double).value, float)
    assert_type(mproc.Value(ctypes.c_int, lock=False), ctypes.c_int)
    assert_type(mproc.Array(ctypes.c_double, 3), SynchronizedArray[float])
    assert_type(mproc.Array(ctypes.c_double, 3)[0], float)
    assert_type(mproc.Array(ctypes.c_char, 3), SynchronizedString)
    assert_type(mproc.RawArray(ctypes.c_int, 3), ctypes.Array[ctypes.c_int])
    assert_type(mproc.RawValue(ctypes.c_int), ctypes.c_int)


def pipes(end: Connection[str, int]) -> None:
    end.send("text")
    assert_type(end.recv(), int)
    end.send(1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    ours, theirs = mproc.Pipe()
    assert_type(ours, Connection[Any, Any])
    theirs.send(ours.recv())


def managers() -> None:
    with mproc.Manager() as manager:
        assert_type(manager, SyncManager)
        assert_type(manager.dict(a=1), DictProxy)
        assert_type(manager.list([1]), ListProxy)
        manager.Lock().acquire()
        manager.Queue().put(1)


def others(pool: StandardPool) -> None:
    assert_type(pool.map(square, [1]), list[float])  # the standard library's says the same
