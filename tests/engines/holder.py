"""A program one of whose tasks has a lock of the program when something happens to its node.

It says on which host that is, waits for a line on stdin, and tells as JSON how that task has ended,
and two others that take the lock one after the other. Run by test_cables.py.
"""

import json
import multiprocessing
import socket
import sys
import time

import mproc

FOREVER = 300  # seconds: more than any call may take to end


def hold(queue, lock):
    lock.acquire()
    queue.put(socket.gethostname())
    time.sleep(FOREVER)


def take(lock):
    with lock:
        return "mine"


def how(result):
    try:
        return result.get(FOREVER)
    except (mproc.ProcessError, multiprocessing.TimeoutError) as error:
        return type(error).__name__


if __name__ == "__main__":
    queue, lock = multiprocessing.Queue(), multiprocessing.Lock()
    with multiprocessing.Pool() as pool:
        first = pool.options(retries=0).apply_async(hold, (queue, lock))
        print(json.dumps(queue.get(timeout=FOREVER)), flush=True)
        sys.stdin.readline()
        began = time.monotonic()
        ends = [how(pool.apply_async(take, (lock,))) for _ in range(2)]
        ends.append(how(first))
        took = time.monotonic() - began
    print(json.dumps({"ends": ends, "seconds": took}), flush=True)
