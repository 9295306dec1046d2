"""What tasks and programs do that is not only to compute, told as JSON: run by test_habits.py.

usage: habits.py SCENE…
"""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, as_completed, wait

LARGE = 100 << 20
MARK = "MPROC_TEST_HABIT"


def square(x):
    return x * x


def say(text):
    print(text, flush=True)
    return len(text)


def printing():
    """What a task prints comes out, if not always in this process."""
    with multiprocessing.Pool() as pool:
        return pool.apply(say, ("a task has said so",))


def set_variable(value):
    os.environ[MARK] = value
    return os.getpid()


def variable(_):
    return os.getpid(), os.environ.get(MARK)


def environment():
    """A task's environment is that of its process, as on one machine."""
    with multiprocessing.Pool(1) as pool:
        pid = pool.apply(set_variable, ("1",))
        told = pool.apply(variable, (0,))
    with multiprocessing.Pool(1) as pool:
        return [list(told) == [pid, "1"], pool.apply(variable, (0,))[1], os.environ.get(MARK)]


def fork_and_wait(code):
    pid = os.fork()
    if pid == 0:
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def start_process(x):
    words = [sys.executable, "-c", f"print({x} + 1)"]
    return int(subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout)


def forking():
    with multiprocessing.Pool() as pool:
        return [pool.map(fork_and_wait, [0, 3, 4], 1), pool.apply(start_process, (1,))]


class StubbornError(Exception):
    """Cannot be pickled, or cannot be made anew."""

    def __init__(self, how, more):
        super().__init__(how)
        self.more = (lambda: more) if how == "pickled" else more

    def __str__(self):
        return f"stubborn: {self.args[0]}"


def be_stubborn(how):
    raise StubbornError(how, 1)


def unpicklable():
    """The task fails with an error that says so, and the pool goes on."""
    ends = []
    with multiprocessing.Pool() as pool, ProcessPoolExecutor() as executor:
        for how in ("pickled", "unpickled"):
            for result in (
                pool.apply_async(be_stubborn, (how,)).get,
                executor.submit(be_stubborn, how).result,
            ):
                try:
                    result(100)
                except Exception as error:
                    ends.append("stubborn" in repr(error).lower())
        return [ends, pool.apply(square, (3,)), executor.submit(square, 3).result(100)]


def large_bytes(n):
    return bytes(n)


def large():
    with multiprocessing.Pool() as pool:
        there = pool.apply(len, (bytes(LARGE),))
        return [there == LARGE, len(pool.apply(large_bytes, (LARGE,))) == LARGE]


def again():
    """50 pools and executors, one after the other."""
    told = []
    for i in range(25):
        with multiprocessing.Pool(2) as pool:
            told += pool.map(square, [i])
        with ProcessPoolExecutor(2) as executor:
            told.append(executor.submit(square, i).result(100))
    return told == [i * i for i in range(25) for _ in range(2)]


def two():
    """Two pools and an executor at once, and one pool made while another has work."""
    with multiprocessing.Pool() as one:
        first = one.map_async(time.sleep, [0.1] * 20, 1)
        with multiprocessing.Pool() as other, ProcessPoolExecutor() as executor:
            numbers = executor.map(square, range(20))
            told = [other.map(square, range(20)) == list(numbers)]
        return [*told, len(first.get(100))]


def nap(seconds):
    time.sleep(seconds)
    return seconds


def waiting():
    """The functions of concurrent.futures that wait for several."""
    with ProcessPoolExecutor() as executor:
        short, long = executor.submit(nap, 0.01), executor.submit(nap, 3)
        done, left = wait([short, long], 100, FIRST_COMPLETED)
        told = [done == {short}, left == {long}]
        futures = [executor.submit(nap, i / 100) for i in range(10)]
        ended = sorted(future.result() for future in as_completed(futures, 100))
        told.append(ended == [i / 100 for i in range(10)])
        told.append(not wait([long, *futures], 100).not_done)
        try:
            next(iter(as_completed([executor.submit(nap, 3)], 0.05)))
        except TimeoutError:
            told.append(True)
        waits = [executor.submit(nap, 0.02) for _ in range(2000)]
        told.append(sum(future.cancel() for future in waits) > 0)
    return told


def refused():
    """A program with another key than that which it has told the nodes is refused, and says so."""
    lock = multiprocessing.Lock()
    with multiprocessing.Pool(1) as pool:
        pool.apply(square, (1,))
        multiprocessing.current_process().authkey = b"another one"
        try:
            return pool.apply_async(take, (lock,)).get(60)
        except Exception as error:
            return type(error).__name__


def take(lock):
    with lock:
        return "mine"


if __name__ == "__main__":
    for scene in sys.argv[1:]:
        began = time.monotonic()
        print(json.dumps({scene: globals()[scene]()}), flush=True)
        print(f"{scene}: {time.monotonic() - began:.1f} s", file=sys.stderr)
