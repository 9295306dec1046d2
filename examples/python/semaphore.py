"""Eight workers share three printers; one dies at work and blocks no other.

The bounded semaphore knows which member took which permit: that of a dead one comes back.
"""

from __future__ import annotations

import mmap
import os
import signal

import mproc
from mproc.synchronize import BoundedSemaphore, Lock

PRINTERS = 3
WORKERS = 8
PAGES = 50
BUSY, MOST, COUNT = range(3)


def count(lock: Lock, figures: memoryview[int], busy: int, pages: int) -> None:
    with lock:
        figures[BUSY] += busy
        figures[COUNT] += pages
        figures[MOST] = max(figures[MOST], figures[BUSY])


def work(printers: BoundedSemaphore, lock: Lock, figures: memoryview[int]) -> None:
    for _ in range(PAGES):
        with printers:
            count(lock, figures, 1, 0)
            count(lock, figures, -1, 1)


def die_printing(printers: BoundedSemaphore) -> None:
    printers.acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    ctx = mproc.get_context("fork")
    printers, lock = ctx.BoundedSemaphore(PRINTERS), ctx.Lock()
    figures = memoryview(mmap.mmap(-1, 24)).cast("q")
    dead = ctx.Process(target=die_printing, args=(printers,))
    dead.start()
    dead.join()
    print(f"one worker ended with {dead.exitcode}")
    workers = [ctx.Process(target=work, args=(printers, lock, figures)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        if worker.exitcode != 0:
            raise SystemExit(1)
    print(f"{figures[COUNT]} pages printed")
    kept = "yes" if figures[MOST] <= PRINTERS else "no"
    print(f"never more than {PRINTERS} printers at work: {kept}")
    print(f"printers free at the end: {printers.get_value()}")


if __name__ == "__main__":
    main()
