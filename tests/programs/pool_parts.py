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
        print(pool._taskqueue.empty(), pool._inqueue.empty(), pool._outqueue.empty())
        handlers = (pool._worker_handler, pool._task_handler, pool._result_handler)
        print([handler.is_alive() for handler in handlers], len(pool._pool))
        print(all(worker.is_alive() for worker in pool._pool), pool._processes, pool._state)
        pool.close()
        pool.join()
        print([handler.is_alive() for handler in handlers])


if __name__ == "__main__":
    main(sys.argv[1])
