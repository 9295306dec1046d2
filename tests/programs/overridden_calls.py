"""Classes that override a method to see or change what the others of the class do by it."""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.pool import Pool, ThreadPool
from multiprocessing.process import BaseProcess
from multiprocessing.queues import JoinableQueue, Queue
from multiprocessing.synchronize import BoundedSemaphore, Condition, Event, Lock, RLock, Semaphore

seen = []


class CountingExecutor(ProcessPoolExecutor):
    def submit(self, fn, /, *args, **kwargs):
        seen.append("submit")
        return super().submit(fn, *args, **kwargs)

    def shutdown(self, wait=True):
        seen.append("shutdown")
        super().shutdown(wait)


class CountingPool(Pool):
    def apply_async(self, *args, **kwargs):
        seen.append("apply_async")
        return super().apply_async(*args, **kwargs)

    def terminate(self):
        seen.append("terminate")
        super().terminate()


class CountingThreadPool(ThreadPool):
    def apply_async(self, *args, **kwargs):
        seen.append("apply_async")
        return super().apply_async(*args, **kwargs)


class Noting:
    def put(self, obj, *args, **kwargs):
        seen.append("put")
        super().put(obj, *args, **kwargs)


class NotingQueue(Noting, Queue):
    def get(self, *args, **kwargs):
        seen.append("get")
        return super().get(*args, **kwargs)


class NotingJoinableQueue(Noting, JoinableQueue):
    pass


class NamedLock(Lock):
    def __init__(self, name, ctx):
        super().__init__(ctx=ctx)
        self.name = name


class NamedRLock(RLock):
    def __init__(self, name, ctx):
        super().__init__(ctx=ctx)
        self.name = name


class Permits(Semaphore):
    def __init__(self, ctx):
        super().__init__(3, ctx=ctx)


class Seats(BoundedSemaphore):
    def __init__(self, ctx):
        super().__init__(value=2, ctx=ctx)


class Flag(Event):
    def __init__(self, ctx, *, up):
        super().__init__(ctx=ctx)
        if up:
            self.set()


class Gate(Condition):
    def __init__(self, name, lock, ctx):
        super().__init__(lock, ctx=ctx)
        self.name = name


def told(what):
    print(what, seen)
    seen.clear()


def look(lock, permits):
    parent = multiprocessing.parent_process()
    print(parent.name, parent.exitcode, parent.daemon, isinstance(parent, BaseProcess), flush=True)
    print(lock.acquire(block=False), permits.acquire(block=False), flush=True)


def main(method):
    ctx = multiprocessing.get_context(method)
    with CountingExecutor(2, mp_context=ctx) as executor:
        print(list(executor.map(abs, range(-4, 0))), list(executor.map(max, [1, 5, 2], [3, 4, 6])))
        told("executor")
        print(list(executor.map(abs, range(-5, 0), chunksize=2)))
    told("executor in chunks")
    with CountingPool(2, context=ctx) as pool:
        print(pool.apply(abs, (-1,)), pool.map(abs, [-2]), pool.apply(int, ("11",), {"base": 2}))
    told("pool")
    with CountingThreadPool(2) as pool:
        print(pool.apply(abs, (-1,)))
    told("threads")
    for queue in (NotingQueue(ctx=ctx), NotingJoinableQueue(ctx=ctx)):
        queue.put_nowait(1)
        print(queue.get())
        queue.put(2)
        while queue.empty():
            pass
        print(queue.get_nowait())
        told(type(queue).__name__)
        queue.close()
        queue.join_thread()
    lock, permits, seats = NamedLock("a", ctx), Permits(ctx), Seats(ctx)
    print(lock.name, lock.acquire(), permits.get_value(), seats.get_value())
    for semaphore in (permits, seats):
        while semaphore.acquire(block=False):
            seen.append("acquire")
        told(type(semaphore).__name__)
    recursive = NamedRLock("b", ctx)
    print(recursive.name, recursive.acquire(), recursive.acquire())
    print(Flag(ctx, up=True).is_set(), Flag(ctx, up=False).is_set())
    for gate in (Gate("c", lock, ctx), Gate("d", None, ctx)):
        print(gate.name, gate.acquire(block=False), recursive.release())
    process = ctx.Process(target=look, args=(lock, permits))
    process.start()
    process.join()
    print(process.exitcode)


if __name__ == "__main__":
    main(sys.argv[1])
