"""A program on an engine to whose nodes something happens: run by test_cables.py.

usage: cables.py CALLS SECONDS RETRIES

It submits so many calls that take so long, says that they are under way, waits for a line on stdin,
and tells as JSON how each of them has ended, and when the last one has. RETRIES: the option of that
name; "-" for none.
"""

import json
import multiprocessing
import os
import sys
import time

import mproc

FOREVER = 300  # seconds: more than any call may take to end


def nap(seconds):
    time.sleep(seconds)
    return 1


def pids(_):
    """The agent that this worker belongs to, and the process of the engine that has started it."""
    time.sleep(0.05)
    with open(f"/proc/{os.getppid()}/stat") as stat:
        return os.getppid(), int(stat.read().rsplit(")", 1)[1].split()[1])


def how(result):
    try:
        return "done" if result.get(FOREVER) == 1 else "wrong"
    except (mproc.WorkerLostError, mproc.EngineError, multiprocessing.TimeoutError) as error:
        return type(error).__name__


if __name__ == "__main__":
    calls, seconds = int(sys.argv[1]), float(sys.argv[2])
    options = {} if sys.argv[3] == "-" else {"retries": int(sys.argv[3])}
    with multiprocessing.Pool() as pool:
        agents = dict(pool.map(pids, range(60), 1))
        submit = pool.options(**options).apply_async if options else pool.apply_async
        results = [submit(nap, (seconds,)) for _ in range(calls)]
        results[0].get(FOREVER)
        print(json.dumps(agents), flush=True)
        sys.stdin.readline()
        began = time.monotonic()
        ends = [how(result) for result in results]
        took = time.monotonic() - began
    counts = {end: ends.count(end) for end in sorted(set(ends))}
    print(json.dumps({"ends": counts, "seconds": took}), flush=True)
