"""An LRU cache that workers share: what one has computed, all of them find.

The values are in a shared dict, and each has the time of its last use beside it. The worker that
makes the cache too large throws out what was not used for longest, and a lock has one do that at a
time. Whether a value is there twice, or thrown out while another worker reads it, makes no
difference: a value that is not there is computed.
"""

import time
from collections.abc import Callable

import mproc
from mproc.dicts import Dict

ROOM = 50


class Cache:
    def __init__(self) -> None:
        self.entries: Dict[int, tuple[int, float]] = mproc.Dict()
        self.lock = mproc.Lock()

    def get(self, key: int, compute: Callable[[int], int]) -> tuple[int, bool]:
        entry = self.entries.get(key)
        value = compute(key) if entry is None else entry[0]
        self.entries[key] = (value, time.monotonic())
        if len(self.entries) > ROOM:
            self.shrink()
        return value, entry is not None

    def shrink(self) -> None:
        with self.lock:
            oldest_first = sorted(self.entries.items(), key=lambda item: item[1][1])
            for key, _ in oldest_first[: len(oldest_first) - ROOM]:
                self.entries.pop(key, None)


def square(n: int) -> int:
    return n * n


def work(cache: Cache, first: int, hits: Dict[str, int]) -> None:
    for i in range(first, first + 400):
        n = i % 60 if i % 4 else i % 5
        value, hit = cache.get(n, square)
        assert value == n * n
        if hit:
            hits.add("hits")


def main() -> None:
    cache = Cache()
    hits: Dict[str, int] = mproc.Dict(hits=0)
    workers = [mproc.Process(target=work, args=(cache, 30 * i, hits)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    cache.shrink()
    print(f"at most {ROOM} entries: {len(cache.entries) <= ROOM}")
    print(f"found: {hits['hits'] > 0}")
    if any(worker.exitcode != 0 for worker in workers):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
