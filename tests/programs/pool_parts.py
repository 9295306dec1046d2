"""What recipes read of a pool: its caches, queues and threads; istarmap; what is left."""

import itertools
import multiprocessing
import multiprocessing.pool as mpp
import sys
import time


def istarmap(pool, function, iterable, chunksize=1):
    """The well-known recipe, of the 3.8 kind."""
    batches = mpp.Pool._get_tasks(function, iterable, chunksize)
    result = mpp.IMapIterator(pool)
    pool._taskqueue.put(
        (
            pool._guarded_task_generation(result._job, mpp.starmapstar, batches),
            result._set_length,
        )
    )
    return (item for chunk in result for item in chunk)


def add(a, b):
    return a + b


def nap(x):
    time.sleep(0.01)
    return x


def main(method):
    with multiprocessing.get_context(method).Pool(2) as pool:
        print(list(istarmap(pool, add, zip(range(10), itertools.repeat(5)), 3)))
        result = pool.map_async(nap, range(20), chunksize=5)
        while not result.ready():
            assert 0 <= result._number_left <= 4
            time.sleep(0.01)
        print(result._number_left, sum(result.get()), len(pool._cache))
        print(result._success, result._event.is_set(), result._event.wait(5), len(result._cache))
        slow = pool.apply_async(time.sleep, (0.2,))
        print(slow._event.wait(0.01), slow._job != result._job, slow.get())
        some = pool.imap(nap, range(5))
        print(next(some), [*some], some._index, some._length)
        print(callable(pool._quick_put), callable(pool._quick_get))
        print(len(pool._get_worker_sentinels(pool._pool)), pool._join_exited_workers(pool._pool))
        print(pool._taskqueue.empty(), pool._inqueue.empty(), pool._outqueue.empty())
        handlers = (pool._worker_handler, pool._task_handler, pool._result_handler)
        print([handler.is_alive() for handler in handlers], len(pool._pool))
        print(all(worker.is_alive() for worker in pool._pool), pool._processes, pool._state)
        pool.close()
        pool.join()
        print([handler.is_alive() for handler in handlers])
    print([pool._join_exited_workers(pool._pool)])


def use_threads():
    pool = mpp.ThreadPool(2)
    print([type(queue).__name__ for queue in (pool._inqueue, pool._outqueue)])
    print(pool._get_worker_sentinels(pool._pool), pool._terminate.still_active())
    print(pool.map(nap, range(4)), pool._quick_put == pool._inqueue.put)
    print(type(pool._change_notifier).__name__)
    pool.terminate()
    pool.join()
    print(pool._state, pool._terminate.still_active())


if __name__ == "__main__":
    main(sys.argv[1])
    use_threads()
