"""A shared counter: many processes add to it, under its lock and without."""

from typing import Any

import mproc

WORKERS = 4
ROUNDS = 10_000


def work(locked: Any, atomic: Any, by_worker: Any, number: int) -> None:
    """A Value has the methods of its lock or its number, an Array those of a list."""
    for _ in range(ROUNDS):
        with locked.get_lock():
            locked.value += 1
        atomic.add(1)
        by_worker[number] += 1


def main() -> None:
    locked, atomic = mproc.Value("q"), mproc.Value("q")
    by_worker = mproc.Array("q", WORKERS)
    workers = [
        mproc.Process(target=work, args=(locked, atomic, by_worker, number))
        for number in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(f"under the lock: {locked.value}")
    print(f"without it: {atomic.value}")
    for number in range(WORKERS):
        print(f"worker {number}: {by_worker[number]}")


if __name__ == "__main__":
    main()
