"""A pool that starts its workers by itself, with a function of its own and a last word of each."""

import multiprocessing
import sys
from multiprocessing.pool import Pool


def worker(inqueue, outqueue, greeting, finish):
    """Serve as the workers of the standard library do, and say how many tasks there were."""
    inqueue._writer.close()
    outqueue._reader.close()
    while (task := inqueue.get()) is not None:
        job, i, func, args, kwds = task
        try:
            result = True, (greeting, func(*args, **kwds))
        except Exception as error:
            result = False, error
        outqueue.put((job, i, result))
    finish.release()


class OwnPool(Pool):
    def __init__(self, processes, greeting, context):
        self._greeting = greeting
        self._finished = context.Semaphore(0)
        super().__init__(processes, context=context)

    def _repopulate_pool(self):
        for _ in range(self._processes - len(self._pool)):
            args = (self._inqueue, self._outqueue, self._greeting, self._finished)
            process = self.Process(self._ctx, target=worker, args=args)
            process.name = process.name.replace("Process", "OwnWorker")
            process.start()
            self._pool.append(process)

    @staticmethod
    def Process(ctx, *args, **kwds):
        return ctx.Process(*args, daemon=False, **kwds)


def half(x):
    return 12 // x


def main(method):
    pool = OwnPool(2, "hello", multiprocessing.get_context(method))
    print(sorted(process.name.partition("-")[0] for process in pool._pool))
    calls = [pool.apply_async(half, (x,)) for x in (1, 2, 3)]
    print([call.get(30) for call in calls])
    try:
        pool.apply(half, (0,))
    except ZeroDivisionError as error:
        print("failed:", error)
    pool.close()
    pool.join()
    print([process.exitcode for process in pool._pool], pool._finished.get_value())


if __name__ == "__main__":
    main(sys.argv[1])
