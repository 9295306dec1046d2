"""A process that is stopped in the middle of a section keeps no thread but those that need it."""

import os
import random
import signal
import subprocess
import sys
import threading
import time

import mproc

TRIES = 2000
STOPPED = 0.3  # seconds
HELD_UP = 0.28  # calls that take longer have met the stopped process in a section
TICKS = 5  # meanwhile, of some 60; on a busy machine there may be none, and it is tried again

# Another process has to do this: the one that waits may be unable to. A byte begins each time, and
# a byte ends it.
GOES_ON = """
import os, select, signal, sys
while os.read(0, 1):
    if not select.select([0], [], [], float(sys.argv[2]))[0]:
        os.kill(int(sys.argv[1]), signal.SIGCONT)
    os.read(0, 1)
"""


def hammer(q):
    while True:
        q.put(1)
        q.get()


def test_other_threads_run_while_a_queue_is_held_up():
    ctx = mproc.get_context("fork")
    q, done, ticks = ctx.Queue(), threading.Event(), 0

    def tick():
        nonlocal ticks
        while not done.wait(0.005):
            ticks += 1

    child = ctx.Process(target=hammer, args=(q,), daemon=True)
    child.start()
    command = [sys.executable, "-c", GOES_ON, str(child.pid), str(STOPPED)]
    thread = threading.Thread(target=tick)
    thread.start()
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0) as other:
            for _ in range(TRIES):
                time.sleep(0.002 * random.random())
                os.kill(child.pid, signal.SIGSTOP)
                other.stdin.write(b"x")
                before, start = ticks, time.monotonic()
                for _ in range(3):
                    q.put(2)
                    q.get()
                held_up = time.monotonic() - start >= HELD_UP
                ran = ticks - before
                other.stdin.write(b"x")
                os.kill(child.pid, signal.SIGCONT)
                if held_up and ran >= TICKS:
                    break
            other.stdin.close()
    finally:
        done.set()
        thread.join()
        child.kill()
        child.join()
        child.close()
    assert held_up
    assert ran >= TICKS
