"""pebble: a pool with timeouts, a worker that dies, a decorated function."""

import os
import time
from concurrent.futures import TimeoutError

from pebble import ProcessExpired, ProcessPool, concurrent


def add_one(x):
    return x + 1


def be_slow(x):
    time.sleep(30)


def die(x):
    os._exit(3)


@concurrent.process(timeout=60)
def triple(x):
    return x * 3


if __name__ == "__main__":
    with ProcessPool(max_workers=2) as pool:
        print(list(pool.map(add_one, range(10), timeout=60).result()))
        try:
            pool.schedule(be_slow, args=[1], timeout=1).result()
        except TimeoutError:
            print("timed out")
        try:
            pool.schedule(die, args=[1]).result()
        except ProcessExpired as error:
            print("expired", error.exitcode)
    print(triple(4).result())
