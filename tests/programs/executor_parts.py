"""What programs read of a ProcessPoolExecutor: its workers, what waits, whether it is broken."""

import concurrent.futures.process as executors
import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor


class Watched(ProcessPoolExecutor):
    """One that takes the lock of its base, as some do who look at what it guards."""

    def submit(self, fn, /, *args, **kwargs):
        future = super().submit(fn, *args, **kwargs)
        with self._shutdown_lock:
            print("open", not self._shutdown_thread, self._broken)
        return future


def show(executor):
    print(executor._max_workers, executor._broken, executor._shutdown_thread)
    print(executor._work_ids.empty(), executor._cancel_pending_futures)
    print(type(executor._idle_worker_semaphore).__name__)
    print(executor._safe_to_dynamically_spawn_children)


def use_early(ctx):
    """Workers that are there before there is work."""
    with Watched(2, ctx) as executor:
        if executor._safe_to_dynamically_spawn_children:
            executor._spawn_process()
            print(len(executor._processes))
        else:
            executor._launch_processes()
            print(len(executor._processes))
        print(executor.submit(pow, 2, 5).result())
        show(executor)
    print(executor._processes, executor._shutdown_thread)


def use_backlog(ctx):
    executor = ProcessPoolExecutor(1, ctx)
    futures = [executor.submit(time.sleep, 0.3) for _ in range(9)]
    print(len(executor._pending_work_items) > 0, executor._queue_count)
    executor.shutdown(cancel_futures=True)
    print(executor._cancel_pending_futures, futures[0].cancelled(), futures[-1].cancelled())


def use_broken(ctx):
    executor = ProcessPoolExecutor(1, ctx)
    victim = executor.submit(os.getpid).result()
    os.kill(victim, signal.SIGKILL)
    for _ in range(1000):
        try:
            executor.submit(time.sleep, 0.05).result()
        except executors.BrokenProcessPool as error:
            print(error)
        if executor._broken:
            break
    print(executor._broken)
    try:
        executor.submit(pow, 2, 3)
    except executors.BrokenProcessPool as error:
        print(error)
    executor.shutdown()


def main(method):
    ctx = multiprocessing.get_context(method)
    use_early(ctx)
    use_backlog(ctx)
    use_broken(ctx)


if __name__ == "__main__":
    main(sys.argv[1])
